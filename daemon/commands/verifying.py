"""`signaged verify`: whether the money and the log of a live database are as they must be."""

import sys

from daemon.commands.options import ConfigFile, Json, as_json, settings_of

PATIENCE = 3600.0  # seconds for all checks


async def verify(*, config: ConfigFile = None, json: Json = False) -> int:
    """Check the invariants of wallets, ledger, plays and logs on one snapshot, while everything runs.

    Tells how many rows each invariant was held against, and what breaks it; ends with 1 if anything does.

    Example: `signaged verify --config signaged.toml`
    """
    from daemon import verify as checks
    from daemon.database import Database

    settings = settings_of(config)
    async with (
        Database.open(settings.database, "signaged verify") as database,
        database.transaction(timeout=PATIENCE) as tx,
    ):
        report = await checks.verify(tx)
    broken = {violation.invariant for violation in report.violations}
    if json:
        checked = [{**each._asdict(), "holds": each.invariant not in broken} for each in report.checked]
        violations = [violation._asdict() for violation in report.violations]
        print(as_json({"ok": not broken, "checked": checked, "violations": violations}))
    else:
        for each in report.checked:
            print(f"{'BROKEN' if each.invariant in broken else 'ok':<6}  {each.invariant} ({each.rows})")
        for violation in report.violations:
            print(f"{violation.invariant}: {violation.subject}: {violation.detail}", file=sys.stderr)
    return 1 if broken else 0
