"""From a path to an imported network: read, check, write, with progress."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import orjson

from config.settings import Settings
from daemon.database import Database
from daemon.importing.apply import Import, Outcome, present
from daemon.importing.document import Fault, Rules, read
from daemon.limits import booking_limits, tenant_defaults
from daemon.media import MediaFolder

TIMEOUT_SECONDS = 600.0
_TOLD_EVERY = 500


class NotImported(Exception):
    """The file has faults; the database is as it was."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


async def import_file(
    path: Path, settings: Settings, database: Database, now: datetime, told: Callable[[str], None]
) -> Outcome:
    """Import a network file, all or nothing. Raises NotImported, OSError (unreadable), DatabaseUnavailable."""
    given = await asyncio.to_thread(_json, path)
    rules = _rules(settings)
    counted: Counter[str] = Counter()

    def progress(section: str) -> None:
        counted[section] += 1
        if counted[section] % _TOLD_EVERY == 0:
            told(f"{counted[section]} {section}")

    async with database.transaction(timeout=TIMEOUT_SECONDS, resolve=True) as tx:
        have = await present(tx)
        network, faults = await asyncio.to_thread(read, given, path.parent, have.known(), rules)
        if faults:
            raise NotImported(faults)
        work = Import(tx, now, rules, MediaFolder(settings.media.folder), progress, have)
        await work.write(network)
        if work.faults:
            raise NotImported(work.faults)
    return work.outcome


def _json(path: Path) -> object:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise NotImported([Fault("", f"is not JSON: {error}")]) from error


def _rules(settings: Settings) -> Rules:
    return Rules(tenant_defaults(settings), booking_limits(settings), settings.media.max_bytes)
