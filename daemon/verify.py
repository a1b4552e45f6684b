"""The invariants proved on a live database without stopping anything (SPEC 5)."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.invariants import INVARIANTS, Invariant
from playlists.queries import Tx

MOST_TOLD = 20  # violations of one invariant
PATIENCE = 600.0  # seconds for one invariant

Begin = Callable[[], AbstractAsyncContextManager[Tx]]


class Violation(NamedTuple):
    """One row that breaks an invariant: which invariant, whose row, and the numbers."""

    invariant: str
    subject: str
    detail: str


class Checked(NamedTuple):
    """An invariant, how many rows it was held against, and the seconds that took."""

    invariant: str
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, in order, and what was found."""

    checked: list[Checked] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    @property
    def broken(self) -> set[str]:
        """The invariants that do not hold."""
        return {violation.invariant for violation in self.violations}


SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
# Nothing is written and nobody waits. One core of the server at most, memory for sums instead of its disk.
LIGHTLY = f"""
SET LOCAL transaction_read_only = on; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL work_mem = '64MB';
SET LOCAL statement_timeout = {round(PATIENCE * 1000)}"""


async def verify(tx: Tx) -> Report:
    """Check every invariant on one snapshot of the database; `tx` is a transaction in which nothing was done yet.

    At most MOST_TOLD violations of each are told.
    """
    report = Report()
    await tx.execute(SNAPSHOT)
    await tx.execute(LIGHTLY)
    for invariant in INVARIANTS:
        await _check(tx, invariant, report)
    return report


async def verify_live(
    begin: Begin, telling: Callable[[Invariant], None], invariants: Iterable[Invariant] = INVARIANTS
) -> Report:
    """Check every invariant in a transaction of its own, so that no snapshot is held longer than it must.

    An old one keeps the server from tidying up behind everybody. `telling` is told of each invariant before.
    """
    report = Report()
    for invariant in invariants:
        telling(invariant)
        async with begin() as tx:
            await tx.execute(LIGHTLY)
            await _check(tx, invariant, report)
    return report


async def _check(tx: Tx, invariant: Invariant, report: Report) -> None:
    began = time.monotonic()
    found = await tx.fetch(invariant.broken, MOST_TOLD, *invariant.arguments, timeout=PATIENCE)
    rows = await tx.fetchval(invariant.counted, timeout=PATIENCE)
    report.violations.extend(Violation(invariant.rule, str(row[0]), row[1]) for row in found)
    report.checked.append(Checked(invariant.rule, rows, round(time.monotonic() - began, 3)))
