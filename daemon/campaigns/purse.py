"""What the campaigns of one report have left of budget and day, while its plays are paid in turn (SPEC 5), pure."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple

from daemon.campaigns.ledger import Charge, DayCharge, price_micros
from daemon.campaigns.queries.playing import Playing
from daemon.campaigns.rates import Tariff
from playlists.ids import CampaignId
from playlists.localtime import date_ends, to_local

_Day = tuple[CampaignId, date]


class Payment(NamedTuple):
    """What a play came to, in micros; `counted_on` is the date it counts towards where its campaign has a cap.

    `empty` when nothing was left to charge it to.
    """

    price_micros: int
    charged_micros: int
    counted_on: date | None
    empty: bool


class Purse:
    """The locked campaigns of one report and what is left of each, to be asked for play by play."""

    def __init__(self, tariff: Tariff, campaigns: Mapping[CampaignId, Playing]) -> None:
        self._tariff, self._campaigns = tariff, campaigns
        self._rest = {campaign: found.rest_micros for campaign, found in campaigns.items()}
        self._impressions: dict[CampaignId, int] = defaultdict(int)
        self._days: dict[_Day, int] = defaultdict(int)

    def pay(self, campaign_id: CampaignId, creative_ms: int, began: datetime) -> Payment:
        """Pay one impression: the least of its price, the rest of the budget and the rest of its day's cap."""
        campaign = self._campaigns[campaign_id]
        price = price_micros(self._tariff.cpm_micros(began), creative_ms, campaign.priority)
        rest, on = self._rest[campaign_id], None
        if campaign.daily_cap_micros is not None:
            on = to_local(began, campaign.timezone).date()
            rest = min(rest, self._day_rest(campaign_id, on))
        charged = min(price, rest)
        self._impressions[campaign_id] += 1
        self._rest[campaign_id] -= charged
        if on is not None and charged:
            self._days[campaign_id, on] += charged
        return Payment(price, charged, on, not rest)

    def _day_rest(self, campaign_id: CampaignId, on: date) -> int:
        campaign = self._campaigns[campaign_id]
        spent = campaign.spends.get(on, 0) + self._days.get((campaign_id, on), 0)
        return max(0, (campaign.daily_cap_micros or 0) - spent)

    def charges(self) -> list[Charge]:
        """One charge for each campaign that was seen, in order of id."""
        return [
            Charge(campaign, self._campaigns[campaign].rest_micros - self._rest[campaign], seen)
            for campaign, seen in sorted(self._impressions.items())
        ]

    def days(self) -> list[DayCharge]:
        """What the charges add to the days of campaigns with a cap, in order of id and date."""
        return [DayCharge(campaign, on, charged) for (campaign, on), charged in sorted(self._days.items())]

    def emptied(self) -> list[CampaignId]:
        """The campaigns that were seen and have nothing left."""
        return [campaign for campaign in sorted(self._impressions) if not self._rest[campaign]]

    def capped(self, now: datetime) -> list[tuple[CampaignId, datetime]]:
        """Those that were seen, run, and have used up the day it is: off the screens until that instant, when it ends.

        Those that are off the screens until then already are left out.
        """
        return [
            (campaign_id, until)
            for campaign_id in sorted(self._impressions)
            if (until := self._off_until(campaign_id, now)) is not None
        ]

    def _off_until(self, campaign_id: CampaignId, now: datetime) -> datetime | None:
        campaign = self._campaigns[campaign_id]
        if campaign.daily_cap_micros is None or now >= campaign.facts.end_at:
            return None
        if self._day_rest(campaign_id, to_local(now, campaign.timezone).date()):
            return None
        until = date_ends(now, campaign.timezone)
        return until if campaign.capped_until is None or campaign.capped_until < until else None
