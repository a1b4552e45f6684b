"""The database's clock: never ahead of it, at most a round trip behind, and honest about jumps."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.clock import EPOCH, JUMP, ClockUnset, DatabaseClock
from playlists.queries import Tx

OFFSET = timedelta(days=20_000)  # of the database's clock to the monotonic one
DELAY = st.floats(0, 4, allow_nan=False)


def told(monotonic: float, offset: timedelta = OFFSET) -> datetime:
    return EPOCH + timedelta(seconds=monotonic) + offset


def error_of(clock: DatabaseClock, offset: timedelta = OFFSET) -> timedelta:
    """How far the clock is behind the database's; the reading itself takes some microseconds."""
    return told(time.monotonic(), offset) - clock.now()


def test_clock_nobody_set_tells_nothing() -> None:
    clock = DatabaseClock()
    assert not clock.known
    with pytest.raises(ClockUnset):
        clock.now()


@given(st.lists(st.tuples(DELAY, DELAY), min_size=1, max_size=20))
def test_clock_is_never_ahead_and_as_good_as_its_quickest_recent_reply(delays: list[tuple[float, float]]) -> None:
    clock, now = DatabaseClock(), 1000.0
    for there, back in delays:
        clock.observe(told(now + there), now, now + there + back)
        now += there + back + 1
    behind = error_of(clock)
    quickest = min(back for _, back in delays[-8:])
    assert timedelta(microseconds=-20) <= behind <= timedelta(seconds=quickest + 0.1)  # but for rounding
    assert clock.jumped is None


def test_clock_that_drifts_back_is_followed() -> None:
    clock, offset = DatabaseClock(), OFFSET
    for second in range(60):
        offset = OFFSET - timedelta(milliseconds=second)  # a thousandth slow: far worse than any real one
        clock.observe(told(second, offset), second, second + 0.0001)
    assert error_of(clock, offset) >= timedelta(0)
    assert clock.jumped is None


@pytest.mark.parametrize("jump", [timedelta(seconds=6), timedelta(seconds=-6), timedelta(days=-400)])
def test_jump_is_recorded_with_its_sign_and_followed(jump: timedelta) -> None:
    clock = DatabaseClock()
    clock.observe(told(1), 1, 1.001)
    clock.observe(told(2, OFFSET + jump), 2, 2.001)
    assert clock.jumped is not None
    assert abs(clock.jumped - jump) < timedelta(milliseconds=5)
    assert timedelta(0) <= error_of(clock, OFFSET + jump) < timedelta(seconds=0.1)


def test_slow_reply_is_no_jump() -> None:
    clock = DatabaseClock()
    clock.observe(told(1), 1, 1.001)
    clock.observe(told(2), 2, 2 + 2 * JUMP.total_seconds())
    clock.observe(told(30), 30 - 2 * JUMP.total_seconds(), 30)
    assert clock.jumped is None
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
