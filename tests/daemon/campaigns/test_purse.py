"""A purse against days of every length: which date a play counts towards, and when a used-up day is over."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from daemon.campaigns.purse import Purse
from daemon.campaigns.queries.playing import Playing
from daemon.campaigns.rates import Prices, Tariff
from devices.plays import CampaignFacts
from playlists.ids import CampaignId

ONE = CampaignId(UUID(int=1))
PRICE = 1_000  # of 15 s at a CPM of 1.00
YEAR = timedelta(days=365)


def purse(now: datetime, zone: str, cap: int, spends: dict[date, int], until: datetime | None = None) -> Purse:
    facts = CampaignFacts(now - YEAR, now + YEAR)
    return Purse(Tariff(Prices(1_000_000), None, None, zone), {ONE: Playing(facts, 5, 10**9, zone, cap, until, spends)})


@pytest.mark.parametrize(
    ("zone", "begins", "hours"),
    [
        ("Europe/Berlin", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-24T22:00", 25),
        ("Australia/Lord_Howe", "2026-04-04T13:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-03T13:30", 23.5),
        ("America/New_York", "2026-11-01T04:00", 25),
        ("Asia/Kathmandu", "2026-11-01T18:15", 24),
    ],
)
def test_a_cap_lasts_as_long_as_its_day(zone: str, begins: str, hours: float) -> None:
    first = datetime.fromisoformat(begins).replace(tzinfo=UTC)
    ends = first + timedelta(hours=hours)
    moments = [first + timedelta(minutes=7 * n) for n in range(int(hours * 60) // 7)]
    moments += [first, ends - timedelta(microseconds=1)]
    paying = purse(ends, zone, len(moments) * PRICE, {})
    dates = {paying.pay(ONE, 15_000, began).counted_on for began in moments}
    assert len(dates) == 1
    assert not paying.capped(ends), "the day that is used up is over"
    [today] = paying.days()
    assert today.charged_micros == len(moments) * PRICE
    assert paying.pay(ONE, 15_000, first - timedelta(microseconds=1)).counted_on != today.spent_on
    assert paying.pay(ONE, 15_000, first).empty
    assert paying.capped(ends - timedelta(seconds=1)) == [(ONE, ends)]
    assert paying.capped(first) == [(ONE, ends)]
    assert paying.pay(ONE, 15_000, ends).charged_micros == PRICE


def test_what_is_off_the_screens_is_not_taken_off_again() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    midnight, today = datetime(2026, 11, 23, tzinfo=UTC), {now.date(): PRICE}
    for until, told in ((None, True), (now, True), (midnight, False)):
        paying = purse(now, "UTC", PRICE, today, until)
        assert paying.pay(ONE, 15_000, now).empty
        assert paying.capped(now) == ([(ONE, midnight)] if told else [])
    assert purse(now, "UTC", PRICE, today).capped(now) == [], "nobody reported a play of it"
