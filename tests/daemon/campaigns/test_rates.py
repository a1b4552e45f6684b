"""Which price counts where and when: the first rate that fits, by the store's own clock, also when it is turned."""

from datetime import UTC, datetime

import pytest

from config.sources import load
from daemon.campaigns.rates import Prices, Rate, Tariff
from daemon.limits import prices
from playlists.daypart import parse
from playlists.localtime import resolve

WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def rate(cpm: int, category: str | None = None, days: list[str] | None = None, since: str = "", to: str = "") -> Rate:
    hours = parse({"days": days or WEEK, "from": since, "to": to}) if since else None
    return Rate(cpm, category, hours)


CARD = Prices(
    5,
    (
        rate(30, "Bakery", ["sat", "sun"], "06:00", "10:00"),
        rate(20, "bakery"),
        rate(15, "bar", ["fri", "sat"], "22:00", "02:30"),
        rate(10, None, None, "17:00", "19:00"),
    ),
)


@pytest.mark.parametrize(
    ("category", "local", "cpm"),
    [
        ("bakery", "2026-11-21T06:00", 30),  # a Saturday
        ("BAKERY", "2026-11-21T09:59:59.999999", 30),
        ("bakery", "2026-11-21T10:00", 20),
        ("bakery", "2026-11-20T07:00", 20),
        ("bakery", "2026-11-20T18:00", 20),  # the first that fits, not the dearest
        ("bar", "2026-11-20T21:59:59", 5),
        ("bar", "2026-11-20T22:00", 15),
        ("bar", "2026-11-21T02:29:59", 15),  # Friday's hours run into Saturday
        ("bar", "2026-11-21T02:30", 5),
        ("bar", "2026-11-22T02:00", 15),
        ("bar", "2026-11-23T02:00", 5),  # Sunday has none
        ("bar", "2026-11-23T17:00", 10),
        (None, "2026-11-23T18:59:59", 10),
        (None, "2026-11-23T19:00", 5),
        ("kiosk", "2026-11-23T12:00", 5),
    ],
)
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu"])
def test_the_first_rate_that_fits_counts(category: str | None, local: str, cpm: int, zone: str) -> None:
    began = resolve(datetime.fromisoformat(local), zone).utc
    assert began is not None
    assert Tariff(CARD, None, category, zone).cpm_micros(began) == cpm
    assert Tariff(CARD, 7, category, zone).cpm_micros(began) == 7, "a device's own price goes before the card"
    assert Tariff(CARD, 0, category, zone).cpm_micros(began) == 0


@pytest.mark.parametrize(
    ("utc", "cpm"),
    [
        ("2026-10-25T00:30", 9),  # 02:30 in summer time: the first copy
        ("2026-10-25T01:30", 9),  # 02:30 again: the part runs from the first 02:00 to 03:00, two hours
        ("2026-10-25T02:00", 5),
        ("2026-10-24T23:59:59", 5),
        ("2026-03-29T01:00", 9),  # the day on which 02:00 is 03:00: moved forward by the gap, up to 04:00
        ("2026-03-29T00:59:59", 5),
    ],
)
def test_an_hour_that_is_twice_or_never(utc: str, cpm: int) -> None:
    card = Prices(5, (rate(9, None, None, "02:00", "03:00" if utc > "2026-06" else "03:30"),))
    began = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert Tariff(card, None, None, "Europe/Berlin").cpm_micros(began) == cpm


def test_the_card_is_the_one_of_the_settings() -> None:
    card = (
        '[{cpm = "9.00", category = "bar", days = ["fri"], from = "22:00", to = "02:00"}, {cpm = "8.00", to = "06:00"}]'
    )
    environ = {
        "SIGNAGED_DATABASE__URL": "postgresql://db/x",
        "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": "a:1",
        "SIGNAGED_MONEY__RATES": card,
    }
    tariff = Tariff(prices(load(None, environ)), None, "bar", "UTC")
    found = [
        tariff.cpm_micros(datetime(2026, 11, day, hour, tzinfo=UTC))
        for day, hour in ((20, 23), (21, 1), (21, 3), (21, 6))
    ]
    assert found == [9_000_000, 9_000_000, 8_000_000, 5_000_000]
