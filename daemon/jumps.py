"""The guard against jumps of the database's clock: what cannot be undone is held until the clocks agree (SPEC 4).

A jump is seen against the monotonic clock of a host that was watching: the database's clock was set, another server
with another clock took over, or the host slept. The hold is a row, so that it binds every instance and outlives
them; whoever saw a jump follows it with its own clock only once that row is committed, so no instance acts on a
jumped time that is not held. A person's word (cancel, reject, withdraw) does not rest on the clock and goes on.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from daemon.clock import EPOCH, DatabaseClock, Reading
from playlists.queries import Row, Tx

log = structlog.get_logger("daemon.jumps")

AGREED = "the clocks agree again"

LOOK = """
SELECT clock_timestamp() AS told, j.id, j.witness, j.expected, j.told_at - j.expected_at AS jump
FROM (SELECT) AS always LEFT JOIN clock_jumps j ON j.ended_at IS NULL"""
HOLD = """
INSERT INTO clock_jumps (told_at, expected_at, witness, expected) VALUES ($1, $2, $3, $4)
ON CONFLICT ((true)) WHERE ended_at IS NULL DO NOTHING"""
END = """
UPDATE clock_jumps SET ended_at = clock_timestamp(), ended_by = $1 WHERE ended_at IS NULL
RETURNING told_at, expected_at"""


def boot() -> str:
    """What names this host's running: its monotonic clock counts from there."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Expected:
    """The offset at which the database's clock would be had it not jumped, as known at `since` (monotonic seconds)."""

    low: timedelta
    high: timedelta
    since: float


@dataclass(frozen=True, slots=True)
class Look:
    """What came of a look: the reading, whether all is held now, and what was news."""

    reading: Reading
    expected: Expected | None
    held: bool
    jump: timedelta | None = None
    agreed: bool = False


class Guard:
    """This instance's part in the guard: its clock, and where it expects the database's while that is in doubt."""

    def __init__(self, clock: DatabaseClock, witness: str) -> None:
        """Watch a clock; `witness` names the host's running."""
        self._clock = clock
        self._witness = witness
        self._expected: Expected | None = None

    async def look(self, tx: Tx) -> Look:
        """Read the database's clock and hold, or end the hold, in this transaction; `follow` once it is committed."""
        asked = time.monotonic()
        row = await tx.fetchrow(LOOK)
        assert row is not None  # noqa: S101 - a row whatever is held
        reading = Reading.of(row["told"], asked, time.monotonic())
        expected = self._expected or self._learned(row, reading)
        if expected is not None and reading.jump(expected.low, expected.high, expected.since) is None:
            await tx.execute(END, AGREED)  # unless another instance was the first
            return Look(reading, None, held=False, agreed=True)
        if row["id"] is None:
            expected = None  # somebody accepted the time
        jump, last = self._clock.jump(reading), self._clock.last
        if jump is None or last is None:
            return Look(reading, expected, held=row["id"] is not None)
        expected = expected or Expected(last.low, last.high, last.heard)
        should = EPOCH + timedelta(seconds=reading.heard) + expected.low
        await tx.execute(HOLD, reading.told, should, self._witness, expected.low)
        return Look(reading, expected, held=True, jump=jump)

    def follow(self, look: Look) -> None:
        """Let the clock go by a look whose transaction is committed."""
        if look.jump is not None:
            log.error("database clock jumped", seconds=look.jump.total_seconds(), now=look.reading.told.isoformat())
        if look.agreed:
            log.warning("clocks agree again", now=look.reading.told.isoformat())
        self._expected = look.expected
        self._clock.held = look.held
        self._clock.follow(look.reading)

    def _learned(self, row: Row, reading: Reading) -> Expected | None:
        """Where to expect a clock that others saw jump: as one on this host knew, or else as far back as it went."""
        if row["id"] is None:
            return None
        low = row["expected"] if self._witness and row["witness"] == self._witness else reading.low - row["jump"]
        return Expected(low, low, reading.heard)


async def accept(tx: Tx, who: str) -> tuple[datetime, datetime] | None:
    """Take the database's time as it is, at the word of `who`: the time it told and the time that was expected.

    None when nothing was held. A new jump holds again.
    """
    row = await tx.fetchrow(END, who)
    return None if row is None else (row["told_at"], row["expected_at"])
