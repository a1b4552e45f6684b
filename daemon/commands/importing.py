"""`signaged import`: a network from a file."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from daemon.commands.options import ConfigFile, Json, UsageError, as_json, settings_of

if TYPE_CHECKING:
    from daemon.importing.apply import Outcome
    from daemon.importing.document import Fault

MOST_FAULTS_TOLD = 50


async def import_network(
    file: Annotated[Path, Parameter(help="The network file: JSON, described in the README.")],
    *,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Import a network: tenants, stores, devices, creatives with their media, house content and campaigns.

    The whole file is checked first, and with any fault nothing is changed: each is told with its place, as a JSON
    pointer, and the command ends with 64. What is there already is changed to what the file says, or left alone if
    it is equal: importing a file twice is the same as once. Nothing is ever deleted.

    Example: `signaged import network.json --config signaged.toml`
    """
    from daemon.clock import DatabaseClock
    from daemon.database import Database
    from daemon.importing.command import NotImported, import_file

    settings = settings_of(config)
    clock = DatabaseClock()
    async with Database.open(settings.database, "signaged import") as database:
        async with database.transaction() as tx:
            await clock.refresh(tx)
        try:
            outcome = await import_file(file, settings, database, clock.now(), _progress)
        except NotImported as refused:
            _tell_faults(refused.faults, json)
            return 64
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror or error}") from error
    _tell_outcome(outcome, json)
    return 0


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"  {text}", file=sys.stderr)


def _tell_faults(faults: list["Fault"], json: bool) -> None:
    if json:
        print(as_json({"faults": [fault._asdict() for fault in faults]}))
        return
    for fault in faults[:MOST_FAULTS_TOLD]:
        print(f"{fault.place or '/'}: {fault.message}", file=sys.stderr)
    if len(faults) > MOST_FAULTS_TOLD:
        print(f"and {len(faults) - MOST_FAULTS_TOLD} more (--json tells all)", file=sys.stderr)
    print(f"signaged: {len(faults)} faults; nothing was imported", file=sys.stderr)


def _tell_outcome(outcome: "Outcome", json: bool) -> None:
    sections = sorted({section for section, _ in outcome.counts})
    kinds = ("new", "changed", "unchanged")
    if json:
        print(as_json({name: {kind: outcome.counts[name, kind] for kind in kinds} for name in sections}))
        return
    for name in sections:
        print(f"{name:<10} " + ", ".join(f"{outcome.counts[name, kind]} {kind}" for kind in kinds))
