"""Day-parts: what is refused, and which windows they are on the days on which clocks change."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playlists.daypart import Daypart, as_json, intersect, parse, windows
from playlists.localtime import UnknownZone

EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def part(begins: str, ends: str, days: list[str] = EVERY_DAY) -> Daypart:
    return parse({"days": days, "from": begins, "to": ends})


def local_windows(parts: list[Daypart], zone: str, begin: str, end: str) -> list[str]:
    found = windows(parts, zone, datetime.fromisoformat(begin), datetime.fromisoformat(end))
    assert all(edge.tzinfo is UTC for window in found for edge in window)
    return [f"{opens:%dT%H:%M}-{closes:%dT%H:%M}" for opens, closes in found]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        ({"days": ["mon"], "from": "09:00"}, "to is missing"),
        ({"days": ["mon"], "from": "09:00", "to": "21:00", "zone": "UTC"}, "unknown field 'zone'"),
        ({"days": [], "from": "09:00", "to": "21:00"}, "at least one day"),
        ({"days": "mon", "from": "09:00", "to": "21:00"}, "must be a list"),
        ({"days": ["Mon"], "from": "09:00", "to": "21:00"}, "'Mon' is none of"),
        ({"days": [0], "from": "09:00", "to": "21:00"}, "0 is none of"),
        ({"days": [["mon"]], "from": "09:00", "to": "21:00"}, "is none of"),
        ({"days": ["mon", "mon"], "from": "09:00", "to": "21:00"}, "mon is there twice"),
        ({"days": ["mon"], "from": "24:00", "to": "21:00"}, "from must be before 24:00"),
        ({"days": ["mon"], "from": "9:00", "to": "21:00"}, "from must be a time"),
        ({"days": ["mon"], "from": "09:00", "to": "24:01"}, "to must be a time"),
        ({"days": ["mon"], "from": "09:00", "to": "21:00:00"}, "to must be a time"),
        ({"days": ["mon"], "from": "09:60", "to": "21:00"}, "from must be a time"),
        ({"days": ["mon"], "from": 540, "to": "21:00"}, "from must be a time"),
        ({"days": ["mon"], "from": "09:00", "to": "21:00\n"}, "to must be a time"),
        ({"days": ["mon"], "from": "٠٩:00", "to": "21:00"}, "from must be a time"),
    ],
)
def test_a_fault_is_named(given: object, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse(given)


@pytest.mark.parametrize(("begins", "ends"), [("00:00", "24:00"), ("22:30", "02:00"), ("00:00", "00:00")])
def test_what_is_parsed_is_written_as_it_came(begins: str, ends: str) -> None:
    given = {"days": ["tue", "sun"], "from": begins, "to": ends}
    assert as_json(parse(given)) == given


@pytest.mark.parametrize(
    ("parts", "zone", "begin", "end", "expected"),
    [
        pytest.param(
            [part("09:00", "17:00")], "Europe/Berlin", "2026-01-05T00:00Z", "2026-01-06T00:00Z", ["05T08:00-05T16:00"],
            id="plain",
        ),
        pytest.param(
            [part("22:00", "02:00", ["fri"])], "Europe/Berlin", "2026-01-05T00:00Z", "2026-01-12T00:00Z",
            ["09T21:00-10T01:00"], id="past-midnight-belongs-to-the-day-it-begins",
        ),
        pytest.param(
            [part("08:00", "08:00", ["mon"])], "UTC", "2026-01-05T00:00Z", "2026-01-12T00:00Z",
            ["05T08:00-06T08:00"], id="equal-edges-are-a-whole-day",
        ),
        pytest.param(
            [part("00:00", "24:00")], "America/New_York", "2026-03-07T00:00Z", "2026-03-10T00:00Z",
            ["07T00:00-10T00:00"], id="whole-days-touch-and-are-one",
        ),
        pytest.param(
            [part("00:00", "24:00", ["sun"])], "America/New_York", "2026-03-06T00:00Z", "2026-03-12T00:00Z",
            ["08T05:00-09T04:00"], id="a-day-of-23-hours",
        ),
        pytest.param(
            [part("00:00", "24:00", ["sun"])], "America/New_York", "2026-10-30T00:00Z", "2026-11-05T00:00Z",
            ["01T04:00-02T05:00"], id="a-day-of-25-hours",
        ),
        pytest.param(
            [part("00:00", "24:00", ["sun"])], "Australia/Lord_Howe", "2026-04-03T00:00Z", "2026-04-07T00:00Z",
            ["04T13:00-05T13:30"], id="a-day-of-24.5-hours",
        ),
        pytest.param(
            [part("02:30", "03:00", ["sun"])], "America/New_York", "2026-03-06T00:00Z", "2026-03-12T00:00Z", [],
            id="a-part-inverted-by-the-gap-is-empty-that-day",
        ),
        pytest.param(
            [part("02:00", "02:30", ["sun"])], "Europe/Berlin", "2026-10-24T00:00Z", "2026-10-27T00:00Z",
            ["25T00:00-25T00:30"], id="a-part-in-the-fold-is-its-first-copy",
        ),
        pytest.param(
            [part("02:15", "02:45", ["sun"])], "Europe/Berlin", "2026-03-28T00:00Z", "2026-03-30T00:00Z",
            ["29T01:15-29T01:45"], id="a-part-in-the-gap-moves-with-it",
        ),
        pytest.param(
            [part("09:00", "12:00"), part("11:00", "13:00"), part("13:00", "14:00")], "UTC",
            "2026-01-05T10:00Z", "2026-01-05T13:30Z", ["05T10:00-05T13:30"], id="overlaps-merge-and-are-clipped",
        ),
        pytest.param([], "UTC", "2026-01-05T10:00Z", "2026-01-05T13:30Z", ["05T10:00-05T13:30"], id="none-is-always"),
        pytest.param([], "UTC", "2026-01-05T10:00Z", "2026-01-05T10:00Z", [], id="an-empty-span"),
        pytest.param(
            [part("09:00", "12:00", ["sat"])], "Pacific/Apia", "2011-12-29T00:00Z", "2011-12-31T09:00Z",
            ["30T19:00-30T22:00"], id="the-day-after-a-skipped-day",
        ),
        pytest.param(
            [part("22:00", "21:00", ["thu"])], "Pacific/Apia", "2011-12-30T22:00Z", "2011-12-31T09:00Z",
            ["30T22:00-31T07:00"], id="a-part-that-a-skipped-day-carries-on",
        ),
        pytest.param(
            [part("00:00", "01:00", ["sun"])], "America/St_Johns", "2010-11-07T02:00Z", "2010-11-07T02:45Z",
            ["07T02:30-07T02:45"], id="a-part-of-tomorrow-before-midnight-comes-twice",
        ),
    ],
)  # fmt: skip
def test_windows(parts: list[Daypart], zone: str, begin: str, end: str, expected: list[str]) -> None:
    assert local_windows(parts, zone, begin, end) == expected


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(UnknownZone):
        local_windows([part("09:00", "17:00")], "Europe/Atlantis", "2026-01-05T00:00Z", "2026-01-06T00:00Z")


minutes = st.lists(st.integers(0, 200), max_size=12, unique=True).map(sorted)


@given(minutes, minutes)
def test_an_intersection_holds_what_both_hold(one: list[int], other: list[int]) -> None:
    def stretches(edges: list[int]) -> list[tuple[datetime, datetime]]:
        at = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=edge) for edge in edges]
        return list(zip(at[::2], at[1::2], strict=False))

    def held(found: list[tuple[datetime, datetime]]) -> set[datetime]:
        return {opens + timedelta(minutes=n) for opens, closes in found for n in range((closes - opens).seconds // 60)}

    a, b = stretches(one), stretches(other)
    assert held(intersect(a, b)) == held(a) & held(b)
    assert all(left[1] < right[0] for left, right in zip(intersect(a, b), intersect(a, b)[1:], strict=False))
