"""The database's clock, told without asking: an offset to this host's monotonic clock, measured again and again."""

import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol, Self

from playlists.queries import Tx

READ_CLOCK = "SELECT clock_timestamp()"
JUMP = timedelta(seconds=5)  # SPEC 4
SLEW = 0.0005  # no clock is set faster than that without a jump: what an hour's outage may hide
SAMPLES = 8  # drift within that many refreshes stays far under a millisecond
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Whoever can say what time it is."""

    @property
    def held(self) -> bool:
        """Whether the time is in doubt, so that nothing may follow from it that cannot be undone (SPEC 4)."""
        ...

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...


class ClockUnset(Exception):
    """The database has not been reached yet, and no other clock counts."""


class Reading(NamedTuple):
    """An instant that the database told, and between which two offsets to the monotonic clock it puts it."""

    told: datetime
    low: timedelta  # as if the reply had taken no time: never ahead
    high: timedelta
    heard: float  # seconds of the monotonic clock

    @classmethod
    def of(cls, told: datetime, asked: float, heard: float) -> Self:
        """Make one of what was told between two readings of the monotonic clock (seconds)."""
        at = told - EPOCH
        return cls(told, at - timedelta(seconds=heard), at - timedelta(seconds=asked), heard)

    def jump(self, low: timedelta, high: timedelta, since: float) -> timedelta | None:
        """By how much it lies beside an offset that was between these two at `since`; None: not more than by drift."""
        ahead, behind = self.low - high, low - self.high
        allowed = JUMP + timedelta(seconds=SLEW * abs(self.heard - since))
        if ahead > allowed:
            return ahead
        return -behind if behind > allowed else None


class DatabaseClock:
    """A clock that is never ahead of the database's and at most one round trip behind (SPEC 2)."""

    def __init__(self) -> None:
        """Begin without knowing the time."""
        self._offset: timedelta | None = None
        self._last: Reading | None = None
        self._recent: deque[timedelta] = deque(maxlen=SAMPLES)
        self.held = False  # set by who watches for jumps, before the clock follows one

    @property
    def known(self) -> bool:
        """Say whether the database's time was ever read."""
        return self._offset is not None

    @property
    def last(self) -> Reading | None:
        """The reading that it goes by."""
        return self._last

    def now(self) -> datetime:
        """Return the database's present instant in UTC; raises ClockUnset before the first refresh."""
        if self._offset is None:
            raise ClockUnset("the database's clock was never read")
        return EPOCH + timedelta(seconds=time.monotonic()) + self._offset

    async def refresh(self, connection: Tx) -> None:
        """Read the database's clock once and go by it, jump or not; raises what the connection raises."""
        asked = time.monotonic()
        told: datetime = await connection.fetchval(READ_CLOCK)
        self.follow(Reading.of(told, asked, time.monotonic()))

    def jump(self, reading: Reading) -> timedelta | None:
        """By how much a reading that is not followed yet lies beside what this clock says; None: it agrees."""
        if self._last is None:
            return None
        return reading.jump(self._last.low, self._last.high, self._last.heard)

    def follow(self, reading: Reading) -> None:
        """Go by a reading from now on."""
        if self.jump(reading) is not None:
            self._recent.clear()
        self._last = reading
        self._recent.append(reading.low)
        # the best recent bound is the one whose reply was quickest, unless this reading proves it ahead
        best = max(self._recent)
        self._offset = best if best <= reading.high else reading.low

    def offset_seconds(self) -> float:
        """Return how far this host's clock is ahead of the database's, in seconds (0 while unknown)."""
        if self._offset is None:
            return 0.0
        return (datetime.now(UTC) - self.now()).total_seconds()
