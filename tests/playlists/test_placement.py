"""Inputs and horizons: what makes two screens share a playlist, and when it is renewed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playlists.daypart import Daypart
from playlists.ids import CampaignId, CreativeId, Digest, Sha256
from playlists.placement import Media, Placement, Screen, has_slot, horizon, input_digest

BEGIN = datetime(2026, 11, 22, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVERY_DAY = frozenset(range(7))


def media(number: int) -> Media:
    return Media(CreativeId(UUID(int=number)), Sha256(f"{number:064x}"), 1000, "image/png", 10_000)


ONE = Placement(CampaignId(UUID(int=1)), (media(1), media(2)), BEGIN, BEGIN + HOUR, (Daypart(EVERY_DAY, 0, 60),), 5)
OTHER = Placement(CampaignId(UUID(int=2)), (media(1),), BEGIN, BEGIN + HOUR, (), 5)
SCREEN = Screen("UTC", 12, (Daypart(EVERY_DAY, 480, 720), Daypart(EVERY_DAY, 780, 1200)), (media(8), media(9)))


def test_equal_inputs_have_equal_digests() -> None:
    digest = input_digest([ONE, OTHER], SCREEN)
    elsewhere = timezone(timedelta(hours=5, minutes=45))
    assert input_digest([OTHER, ONE], SCREEN) == digest
    assert input_digest([OTHER, replace(ONE, start_at=BEGIN.astimezone(elsewhere))], SCREEN) == digest
    assert input_digest([ONE, OTHER], replace(SCREEN, opening_hours=SCREEN.opening_hours[::-1])) == digest


@pytest.mark.parametrize(
    "other",
    [
        (replace(ONE, campaign_id=CampaignId(UUID(int=3))), SCREEN),
        (replace(ONE, creatives=ONE.creatives[::-1]), SCREEN),
        (replace(ONE, creatives=(replace(media(1), variant="b"), media(2))), SCREEN),
        (replace(ONE, creatives=(replace(media(1), duration_ms=10_001), media(2))), SCREEN),
        (replace(ONE, start_at=BEGIN + timedelta.resolution), SCREEN),
        (replace(ONE, end_at=BEGIN + 2 * HOUR), SCREEN),
        (replace(ONE, dayparts=()), SCREEN),
        (replace(ONE, weight=6), SCREEN),
        (replace(ONE, scheduled=False), SCREEN),
        (ONE, replace(SCREEN, timezone="Etc/UTC")),
        (ONE, replace(SCREEN, slots_per_hour=10)),
        (ONE, replace(SCREEN, opening_hours=())),
        (ONE, replace(SCREEN, fallback=SCREEN.fallback[::-1])),
    ],
)
def test_whatever_a_playlist_is_made_of_changes_its_digest(other: tuple[Placement, Screen]) -> None:
    assert input_digest([other[0]], other[1]) != input_digest([ONE], SCREEN)


@given(st.binary(max_size=8), st.integers(0, 10**6))
def test_a_horizon_covers_now_and_is_renewed_at_26_hours(seed: bytes, minutes: int) -> None:
    digest, now = Digest(sha256(seed).hexdigest()), BEGIN + timedelta(minutes=minutes)
    begin, end = horizon(digest, now)
    assert end - begin == 48 * HOUR
    assert begin <= now < end
    assert end - now > 26 * HOUR - timedelta.resolution
    assert begin.minute == begin.second == begin.microsecond == 0
    # it stays until just 26 hours remain, and then moves on by 22
    assert horizon(digest, begin) == horizon(digest, end - 26 * HOUR - timedelta.resolution) == (begin, end)
    assert horizon(digest, end - 26 * HOUR) == (begin + 22 * HOUR, end + 22 * HOUR)


def test_the_fleet_is_not_renewed_at_once() -> None:
    begins = [horizon(Digest(sha256(bytes([n])).hexdigest()), BEGIN)[0] for n in range(220)]
    assert len(set(begins)) == 22
    assert max(begins.count(each) for each in set(begins)) < 30


def test_a_horizon_of_another_length() -> None:
    begin, end = horizon(Digest("5" * 64), BEGIN, horizon_hours=6, renew_hours=4)
    assert end - begin == 6 * HOUR
    assert 4 * HOUR <= end - BEGIN <= 6 * HOUR
    with pytest.raises(ValueError, match="renewal"):
        horizon(Digest("5" * 64), BEGIN, horizon_hours=6, renew_hours=6)


@pytest.mark.parametrize(
    ("hours", "dayparts", "longest_ms", "found"),
    [
        pytest.param(24, (), 10_000, True, id="a-day"),
        pytest.param(1, (), 10_000, False, id="before-the-shop-opens"),
        pytest.param(24, (Daypart(EVERY_DAY, 720, 780),), 10_000, False, id="when-the-shop-is-shut"),
        pytest.param(24 * 365, (Daypart(EVERY_DAY, 720, 780),), 10_000, False, id="all-the-year"),
        pytest.param(24 * 365, (Daypart(frozenset({5}), 480, 490),), 10_000, True, id="once-a-week"),
        pytest.param(24, (Daypart(EVERY_DAY, 481, 484),), 10_000, False, id="no-slot-begins-there"),
        pytest.param(24, (), 300_001, False, id="longer-than-a-slot"),
        pytest.param(0, (), 10_000, False, id="an-empty-window"),
    ],
)
def test_a_slot_in_the_whole_window(hours: int, dayparts: tuple[Daypart, ...], longest_ms: int, found: bool) -> None:
    assert has_slot(BEGIN, BEGIN + hours * HOUR, dayparts, longest_ms, SCREEN) is found


def test_the_slot_on_which_one_week_of_the_search_meets_the_next_is_found() -> None:
    begin, sunday = BEGIN + timedelta(minutes=13, seconds=7), Daypart(frozenset({6}), 240, 245)
    screen = replace(SCREEN, opening_hours=())
    assert has_slot(begin, begin + timedelta(days=8), (sunday,), 300_000, screen)
    assert not has_slot(begin, begin + timedelta(days=6), (sunday,), 300_000, screen)
