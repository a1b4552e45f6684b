"""The database's clock: never ahead of it, at most a round trip behind, and honest about jumps."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.clock import EPOCH, JUMP, ClockUnset, DatabaseClock, Reading
from playlists.queries import Tx

OFFSET = timedelta(days=20_000)  # of the database's clock to the monotonic one
DELAY = st.floats(0, 4, allow_nan=False)


def told(monotonic: float, offset: timedelta = OFFSET) -> datetime:
    return EPOCH + timedelta(seconds=monotonic) + offset


def heard(clock: DatabaseClock, told: datetime, asked: float, heard: float) -> timedelta | None:
    """Let the clock go by a reading, and say how far that was a jump."""
    reading = Reading.of(told, asked, heard)
    jump = clock.jump(reading)
    clock.follow(reading)
    return jump


def error_of(clock: DatabaseClock, offset: timedelta = OFFSET) -> timedelta:
    """How far the clock is behind the database's; whatever delays us between the readings counts as behind."""
    shown = clock.now()
    return told(time.monotonic(), offset) - shown


def test_clock_nobody_set_tells_nothing() -> None:
    clock = DatabaseClock()
    assert not clock.known
    with pytest.raises(ClockUnset):
        clock.now()


@given(st.lists(st.tuples(DELAY, DELAY), min_size=1, max_size=20))
def test_clock_is_never_ahead_and_as_good_as_its_quickest_recent_reply(delays: list[tuple[float, float]]) -> None:
    clock, now = DatabaseClock(), 1000.0
    for there, back in delays:
        assert heard(clock, told(now + there), now, now + there + back) is None
        now += there + back + 1
    behind = error_of(clock)
    quickest = min(back for _, back in delays[-8:])
    assert timedelta(microseconds=-20) <= behind <= timedelta(seconds=quickest + 0.1)  # but for rounding


def test_clock_that_drifts_back_is_followed() -> None:
    clock, offset = DatabaseClock(), OFFSET
    for second in range(60):
        offset = OFFSET - timedelta(milliseconds=second)  # a thousandth slow: far worse than any real one
        assert heard(clock, told(second, offset), second, second + 0.0001) is None
    assert error_of(clock, offset) >= timedelta(0)


@pytest.mark.parametrize("jump", [timedelta(seconds=6), timedelta(seconds=-6), timedelta(days=-400)])
def test_jump_is_seen_with_its_sign_before_it_is_followed(jump: timedelta) -> None:
    clock = DatabaseClock()
    assert heard(clock, told(1), 1, 1.001) is None
    reading = Reading.of(told(2, OFFSET + jump), 2, 2.001)
    seen = clock.jump(reading)
    assert seen is not None
    assert abs(seen - jump) < timedelta(milliseconds=5)
    assert timedelta(0) <= error_of(clock) < timedelta(seconds=0.1)
    clock.follow(reading)
    assert timedelta(0) <= error_of(clock, OFFSET + jump) < timedelta(seconds=0.1)


def test_what_a_clock_drifts_in_an_outage_is_no_jump() -> None:
    clock = DatabaseClock()
    assert heard(clock, told(1), 1, 1.001) is None
    day = 86_400.0
    assert clock.jump(Reading.of(told(day, OFFSET + timedelta(seconds=20)), day, day + 0.001)) is None
    assert clock.jump(Reading.of(told(day, OFFSET + timedelta(minutes=2)), day, day + 0.001)) is not None


def test_slow_reply_is_no_jump() -> None:
    clock = DatabaseClock()
    assert heard(clock, told(1), 1, 1.001) is None
    assert heard(clock, told(2), 2, 2 + 2 * JUMP.total_seconds()) is None
    assert heard(clock, told(30), 30 - 2 * JUMP.total_seconds(), 30) is None
    assert error_of(clock) < timedelta(seconds=0.1)


async def test_clock_tells_the_databases_time_not_the_hosts(connection: Tx) -> None:
    clock = DatabaseClock()
    await clock.refresh(connection)
    mine = clock.now()
    theirs: datetime = await connection.fetchval("SELECT clock_timestamp()")
    assert mine <= theirs
    assert theirs - mine < timedelta(seconds=1)
    assert mine.tzinfo is UTC
    assert abs(clock.offset_seconds() - (datetime.now(UTC) - clock.now()).total_seconds()) < 0.1
