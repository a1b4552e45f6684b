"""The database's clock, told without asking: an offset to this host's monotonic clock, measured again and again."""

import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from playlists.queries import Tx

log = structlog.get_logger("daemon.clock")

READ_CLOCK = "SELECT clock_timestamp()"
JUMP = timedelta(seconds=5)  # SPEC 4
SAMPLES = 8  # drift within that many refreshes stays far under a millisecond
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Whoever can say what time it is."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...


class ClockUnset(Exception):
    """The database has not been reached yet, and no other clock counts."""


class DatabaseClock:
    """A clock that is never ahead of the database's and at most one round trip behind (SPEC 2)."""

    def __init__(self) -> None:
        """Begin without knowing the time."""
        self._offset: timedelta | None = None
        self._bounds: tuple[timedelta, timedelta] | None = None  # of the offset, by the last reading
        self._recent: deque[timedelta] = deque(maxlen=SAMPLES)
        self.jumped: timedelta | None = None  # the last jump seen, signed; what follows from one is decided elsewhere

    @property
    def known(self) -> bool:
        """Say whether the database's time was ever read."""
        return self._offset is not None

    def now(self) -> datetime:
        """Return the database's present instant in UTC; raises ClockUnset before the first refresh."""
        if self._offset is None:
            raise ClockUnset("the database's clock was never read")
        return EPOCH + timedelta(seconds=time.monotonic()) + self._offset

    async def refresh(self, connection: Tx) -> None:
        """Read the database's clock once; raises what the connection raises."""
        asked = time.monotonic()
        told: datetime = await connection.fetchval(READ_CLOCK)
        self.observe(told, asked, time.monotonic())

    def observe(self, told: datetime, asked: float, heard: float) -> None:
        """Take in an instant of the database that was read between two readings of the monotonic clock (seconds)."""
        low = told - EPOCH - timedelta(seconds=heard)  # as if the reply had taken no time: never ahead
        high = told - EPOCH - timedelta(seconds=asked)
        before_low, before_high = self._bounds or (low, high)
        if max(low - before_high, before_low - high) > JUMP:
            self.jumped = low - before_low
            log.warning("database clock jumped", seconds=self.jumped.total_seconds())
            self._recent.clear()
        self._bounds = low, high
        self._recent.append(low)
        # the best recent bound is the one whose reply was quickest, unless this reading proves it ahead
        best = max(self._recent)
        self._offset = best if best <= high else low

    def offset_seconds(self) -> float:
        """Return how far this host's clock is ahead of the database's, in seconds (0 while unknown)."""
        if self._offset is None:
            return 0.0
        return (datetime.now(UTC) - self.now()).total_seconds()
