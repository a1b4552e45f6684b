"""Where plays, deliveries and the ledger meet: what devices report, judged and paid in one transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.announce import announce
from daemon.campaigns import ledger, lifecycle
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import playing
from devices import plays
from devices.contents import Contents, Library
from devices.plays import Facts, Play, Verdict
from devices.queries.plays import Judged, answered, given, lock_reporter, record_plays
from playlists.ids import CampaignId, DeviceId, Digest
from playlists.queries import Tx


@dataclass(frozen=True, slots=True)
class Report:
    """The plays of one request, and what time the device thought it was."""

    device_time: datetime
    plays: Sequence[Play]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Every play of a report with its verdict, in its order, and the transitions that followed."""

    results: Sequence[Judged]
    transitions: Sequence[Transition]


async def accept(
    tx: Tx, device_id: DeviceId, report: Report, library: Library, default_cpm_micros: int, now: datetime
) -> Receipt:
    """Judge, count and charge the plays of one report; all of it is durable with `tx`, or none (SPEC 5, 7).

    The device's row is locked first, then the campaigns by id. A campaign that has nothing left is PAUSED.
    """
    cpm_micros = await lock_reporter(tx, device_id)
    facts, contents, campaigns = await _facts(tx, device_id, report, library, now)
    purse = _Purse(default_cpm_micros if cpm_micros is None else cpm_micros, campaigns, contents)
    seen, results = set(facts.answered), []
    for play in report.plays:
        verdict = Verdict.DUPLICATE if play.play_id in seen else plays.judge(play, facts, now)
        seen.add(play.play_id)
        began = plays.corrected(play.started_at, facts.skew)
        results.append(purse.pay(Judged(play, began, verdict, 0, 0)))
    await record_plays(tx, device_id, [r for r in results if r.verdict is not Verdict.DUPLICATE], now)
    await ledger.charge(tx, purse.charges(), now)
    transitions = await lifecycle.exhaust(tx, purse.emptied(), now)
    await announce(tx, transitions, now)
    return Receipt(results, transitions)


async def _facts(
    tx: Tx, device_id: DeviceId, report: Report, library: Library, now: datetime
) -> tuple[Facts, dict[Digest, Contents], dict[CampaignId, playing.Playing]]:
    """All that the report's plays are judged by; the campaigns it may charge are locked from here on."""
    known = await answered(tx, device_id, [play.play_id for play in report.plays])
    there = await given(tx, device_id, list({play.digest for play in report.plays}))
    contents = await library.contents(tx, there)
    granted = {digest for digest, was_given in there.items() if was_given}
    campaigns = await playing.lock_playing(tx, _billable(report.plays, contents, granted, known))
    facts = Facts(
        skew=report.device_time - now,
        answered=known,
        playlists={digest: held.durations for digest, held in contents.items()},
        granted=granted,
        campaigns={campaign: found.facts for campaign, found in campaigns.items()},
    )
    return facts, contents, campaigns


def _billable(
    reported: Iterable[Play], contents: dict[Digest, Contents], granted: set[Digest], known: set[str]
) -> list[CampaignId]:
    """The campaigns that the device was given to play; no other is locked on a device's word."""
    return sorted({
        play.campaign_id
        for play in reported
        if play.digest in granted and play.play_id not in known and play.campaign_id in contents[play.digest].campaigns
    })  # fmt: skip


class _Purse:
    """What the campaigns of one report have left, while its plays are paid in turn."""

    def __init__(
        self, cpm_micros: int, campaigns: dict[CampaignId, playing.Playing], contents: dict[Digest, Contents]
    ) -> None:
        self._cpm_micros, self._campaigns, self._contents = cpm_micros, campaigns, contents
        self._rest = {campaign: found.rest_micros for campaign, found in campaigns.items()}
        self._impressions: dict[CampaignId, int] = defaultdict(int)

    def pay(self, judged: Judged) -> Judged:
        """The play with its price and what of it was charged; an impression that nothing is left for is unpaid."""
        if judged.verdict is not Verdict.ACCEPTED:
            return judged
        play = judged.play
        creative_ms = self._contents[play.digest].durations[play.campaign_id, play.creative_id]
        price = ledger.price_micros(self._cpm_micros, creative_ms, self._campaigns[play.campaign_id].priority)
        self._impressions[play.campaign_id] += 1
        rest = self._rest[play.campaign_id]
        charged = min(price, rest)
        self._rest[play.campaign_id] = rest - charged
        verdict = Verdict.ACCEPTED if rest else Verdict.UNPAID
        return judged._replace(verdict=verdict, price_micros=price, charged_micros=charged)

    def charges(self) -> list[ledger.Charge]:
        """One charge for each campaign that was seen, in order of id."""
        return [
            ledger.Charge(campaign, self._campaigns[campaign].rest_micros - self._rest[campaign], seen)
            for campaign, seen in sorted(self._impressions.items())
        ]

    def emptied(self) -> list[CampaignId]:
        """The campaigns that were seen and have nothing left."""
        return [campaign for campaign in sorted(self._impressions) if not self._rest[campaign]]
