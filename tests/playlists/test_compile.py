"""The compiler against an oracle that asks slot by slot, over the nights on which clocks change."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlists.compile import compile_playlist
from playlists.daypart import Daypart
from playlists.ids import CampaignId, CreativeId, Sha256
from playlists.localtime import resolve, to_local
from playlists.placement import Media, Placement, Screen, has_slot
from playlists.playlist import Playlist, Showing, parse
from playlists.slots import EPOCH, Claim, sequence

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

# Each horizon begins within the day before these changes: forward and back in New York, Berlin and Lord Howe.
CHANGES = {
    "America/New_York": ["2026-03-08T07:00Z", "2026-11-01T06:00Z"],
    "Europe/Berlin": ["2026-03-29T01:00Z", "2026-10-25T01:00Z"],
    "Australia/Lord_Howe": ["2026-04-04T15:00Z", "2026-10-03T15:30Z"],
    "Asia/Kathmandu": ["2026-06-01T00:00Z"],
}

dayparts = st.builds(
    Daypart,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    begins=st.one_of(st.integers(0, 47).map(lambda n: 30 * n), st.integers(0, 1439)),
    ends=st.one_of(st.integers(1, 48).map(lambda n: 30 * n), st.integers(1, 1440)),
)
parts = st.lists(dayparts, max_size=2).map(tuple)


def media(number: int, duration_ms: int) -> Media:
    return Media(CreativeId(UUID(int=number)), Sha256(f"{number:064x}"), 1000 + number, "video/mp4", duration_ms)


@st.composite
def horizons(draw: st.DrawFn) -> tuple[str, datetime, datetime]:
    zone = draw(st.sampled_from(sorted(CHANGES)))
    change = datetime.fromisoformat(draw(st.sampled_from(CHANGES[zone])))
    begin = EPOCH + ((change - EPOCH) // HOUR - draw(st.integers(0, 20))) * HOUR
    return zone, begin, begin + draw(st.integers(1, 30)) * HOUR


@st.composite
def screens(draw: st.DrawFn, zone: str) -> Screen:
    house = [media(900 + n, draw(st.sampled_from([9999, 31_000, 700_000]))) for n in range(draw(st.integers(0, 3)))]
    return Screen(zone, draw(st.sampled_from([6, 10, 12, 30])), draw(parts), tuple(house))


@st.composite
def placements(draw: st.DrawFn, begin: datetime, end: datetime) -> list[Placement]:
    seconds = int((end - begin).total_seconds())
    found = []
    for number in range(draw(st.integers(0, 6))):
        start = begin + timedelta(seconds=draw(st.integers(-7200, seconds)))
        found.append(
            Placement(
                campaign_id=CampaignId(UUID(int=draw(st.integers(1, 2**64)) << 8 | number)),
                creatives=tuple(
                    media(10 * number + n, draw(st.sampled_from([5000, 15_000, 59_999, 120_000, 400_000])))
                    for n in range(draw(st.integers(1, 3)))
                ),
                start_at=start,
                end_at=start + timedelta(seconds=draw(st.integers(1, seconds))),
                dayparts=draw(parts),
                weight=draw(st.integers(1, 10)),
                scheduled=draw(st.sampled_from([True, True, True, False])),
            )
        )
    return found


@st.composite
def inputs(draw: st.DrawFn) -> tuple[list[Placement], Screen, datetime, datetime]:
    zone, begin, end = draw(horizons())
    return draw(placements(begin, end)), draw(screens(zone)), begin, end


def occurrences(given_parts: Sequence[Daypart], zone: str, near: datetime) -> list[tuple[datetime, datetime]]:
    """Each part on each local day around an instant, its edges resolved one by one; nothing merged."""
    today = datetime.fromisoformat(to_local(near, zone).date().isoformat())
    found = []
    for day in (today + timedelta(days=n) for n in range(-2, 3)):
        for part in given_parts:
            if day.weekday() in part.days:
                following = timedelta(days=1 if part.ends <= part.begins else 0)
                opens = resolve(day + part.begins * MINUTE, zone).utc
                closes = resolve(day + following + part.ends * MINUTE, zone).utc
                assert opens is not None
                assert closes is not None
                found.append((opens, closes))
    return found


def holds(given_parts: Sequence[Daypart], zone: str, begin: datetime, end: datetime) -> bool:
    """Whether [begin, end) lies in the parts, walking from part to part that takes over."""
    if not given_parts:
        return True
    stretches = occurrences(given_parts, zone, begin)
    reached = begin
    while reached < end:
        reaching = [closes for opens, closes in stretches if opens <= reached < closes]
        if not reaching:
            return False
        reached = max(reaching)
    return True


def may_play(placement: Placement, screen: Screen, begins: datetime) -> bool:
    over = begins + timedelta(milliseconds=placement.longest_ms)
    return (
        placement.scheduled
        and placement.longest_ms * screen.slots_per_hour <= 3_600_000
        and placement.start_at <= begins
        and over <= placement.end_at
        and holds(placement.dayparts, screen.timezone, begins, over)
        and holds(screen.opening_hours, screen.timezone, begins, over)
    )


@given(inputs())
@settings(max_examples=250, deadline=None)
def test_every_slot_shows_what_the_oracle_says(
    given_input: tuple[list[Placement], Screen, datetime, datetime],
) -> None:
    placed, screen, begin, end = given_input
    playlist = compile_playlist(placed, screen, begin, end)
    assert parse(playlist.body) == playlist
    assert compile_playlist(placed[::-1], screen, begin, end).body == playlist.body
    assert all(one.sequence != other.sequence for one, other in pairwise(playlist.segments))

    slot = HOUR / screen.slots_per_hour
    begins = begin
    while begins < end:
        shown = list(playlist.showings(begins, begins + slot))
        assert (shown[0].begins, shown[-1].ends) == (begins, begins + slot)
        if not holds(screen.opening_hours, screen.timezone, begins, begins + timedelta.resolution):
            assert shown == [Showing("dark", None, None, begins, begins + slot)]
        else:
            eligible = [each for each in placed if may_play(each, screen, begins)]
            rest = shown
            if eligible:
                assert_ad(playlist, eligible, screen, shown[0])
                rest = shown[1:]
            assert_house(playlist, rest)
        begins += slot


def assert_ad(playlist: Playlist, eligible: list[Placement], screen: Screen, shown: Showing) -> None:
    """The ad is the one that the slot rule gives this slot, whole and in its campaign's window."""
    claims = [Claim(each.campaign_id, each.weight, len(each.creatives)) for each in eligible]
    given_away = sequence(claims, screen.slots_per_hour)
    planned = given_away[(shown.begins - EPOCH) // (HOUR / screen.slots_per_hour) % len(given_away)]
    assert planned is not None
    placement = eligible[planned.claim]
    assert shown.kind == "ad"
    assert shown.creative is not None
    entry = playlist.creatives[shown.creative]
    expected = placement.creatives[planned.turn]
    assert (entry.campaign_id, entry.id) == (placement.campaign_id, expected.creative_id)
    assert shown.campaign_id == placement.campaign_id
    assert shown.ends - shown.begins == timedelta(milliseconds=expected.duration_ms)
    assert placement.start_at <= shown.begins
    assert shown.ends <= placement.end_at


def assert_house(playlist: Playlist, shown: list[Showing]) -> None:
    """House content in a loop from its first item, only the last cut short; without any, dark."""
    for number, showing in enumerate(shown):
        if not playlist.fallback:
            assert showing.kind == "dark"
            continue
        expected = playlist.fallback[number % len(playlist.fallback)]
        assert (showing.kind, showing.creative, showing.campaign_id) == ("house", expected, None)
        length = timedelta(milliseconds=playlist.creatives[expected].duration_ms)
        if number == len(shown) - 1:
            assert showing.ends - showing.begins <= length
        else:
            assert showing.ends - showing.begins == length


@given(inputs(), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_a_renewal_changes_nothing_planned(
    given_input: tuple[list[Placement], Screen, datetime, datetime], later: int
) -> None:
    placed, screen, begin, end = given_input
    old = compile_playlist(placed, screen, begin, end)
    new = compile_playlist(placed, screen, begin + later * HOUR, end + later * HOUR)
    slot = HOUR / screen.slots_per_hour
    at = begin + later * HOUR
    while at < end:
        assert old.at(at) == new.at(at)
        assert old.at(at + slot / 3) == new.at(at + slot / 3)
        at += slot


@given(inputs())
@settings(max_examples=150, deadline=None)
def test_a_campaign_can_be_booked_exactly_if_it_has_a_slot(
    given_input: tuple[list[Placement], Screen, datetime, datetime],
) -> None:
    placed, screen, begin, end = given_input
    for placement in placed:
        alone = replace(placement, scheduled=True)
        around = compile_playlist([alone], screen, begin - 3 * HOUR, end + 31 * HOUR)
        plays = any(index is not None for segment in around.segments for index in segment.sequence)
        found = has_slot(alone.start_at, alone.end_at, alone.dayparts, alone.longest_ms, screen)
        assert found == plays


def test_media_that_await_a_decision_or_a_later_window_are_distributed() -> None:
    begin = datetime(2026, 11, 22, 4, tzinfo=UTC)
    waiting = Placement(CampaignId(UUID(int=2)), (media(1, 5000),), begin, begin + HOUR, (), 5, scheduled=False)
    later = Placement(
        CampaignId(UUID(int=1)), (media(1, 5000), media(2, 5000)), begin + 99 * HOUR, begin + 100 * HOUR, (), 5
    )
    screen = Screen("UTC", 12, (), (media(3, 10_000),))
    playlist = compile_playlist([waiting, later], screen, begin, begin + 48 * HOUR)
    assert [(entry.campaign_id, entry.id.int) for entry in playlist.creatives] == [
        (UUID(int=1), 1), (UUID(int=1), 2), (UUID(int=2), 1), (None, 3),
    ]  # fmt: skip
    assert [segment.sequence for segment in playlist.segments] == [(None,) * 12]
    assert playlist.fallback == (3,)


def test_a_horizon_of_anything_but_whole_hours_is_refused() -> None:
    begin, screen = datetime(2026, 11, 22, 4, tzinfo=UTC), Screen("UTC", 12, (), ())
    for wrong in ((begin, begin), (begin + MINUTE, begin + HOUR), (begin, begin + HOUR + MINUTE)):
        with pytest.raises(ValueError, match="whole UTC hours"):
            compile_playlist([], screen, *wrong)


def test_a_campaign_placed_twice_is_refused() -> None:
    begin = datetime(2026, 11, 22, 4, tzinfo=UTC)
    one = Placement(CampaignId(UUID(int=1)), (media(1, 5000),), begin, begin + HOUR, (), 5)
    with pytest.raises(ValueError, match="placed twice"):
        compile_playlist([one, replace(one, weight=6)], Screen("UTC", 12, (), ()), begin, begin + HOUR)
