"""`signaged verify`: whether the money and the log of a live database are as they must be."""

import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from daemon.commands.options import ConfigFile, Json, as_json, settings_of

if TYPE_CHECKING:
    from daemon.invariants import Invariant
    from daemon.verify import Report

QUIET = 3.0  # seconds before it tells what it is at


async def verify(*, config: ConfigFile = None, json: Json = False) -> int:
    """Check the invariants of wallets, ledger, plays, log and outbox, while everything runs.

    Each is read from one snapshot, for no longer than it takes, and nothing is locked. Tells how many rows each was
    held against, and what breaks it; ends with 1 if anything does. Long work tells on standard error what it is at.

    Example: `signaged verify --config signaged.toml`
    """
    from daemon import verify as checks
    from daemon.database import Database

    settings, began = settings_of(config), time.monotonic()

    def telling(invariant: "Invariant") -> None:
        if time.monotonic() - began > QUIET:
            print(f"after {time.monotonic() - began:.0f} s: {invariant.rule} ...", file=sys.stderr, flush=True)

    async with Database.open(settings.database, "signaged verify") as database:
        report = await checks.verify_live(partial(database.transaction, timeout=2 * checks.PATIENCE), telling)
    _tell(report, json)
    return 1 if report.violations else 0


def _tell(report: "Report", json: bool) -> None:
    broken = report.broken
    if json:
        checked = [{**each._asdict(), "holds": each.invariant not in broken} for each in report.checked]
        violations = [violation._asdict() for violation in report.violations]
        print(as_json({"ok": not broken, "checked": checked, "violations": violations}))
        return
    for each in report.checked:
        print(f"{'BROKEN' if each.invariant in broken else 'ok':<6}  {each.invariant} ({each.rows})")
    for violation in report.violations:
        print(f"{violation.invariant}: {violation.subject}: {violation.detail}", file=sys.stderr)
