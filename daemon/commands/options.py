"""What several commands share: their options, the settings these lead to, and a short visit to the database."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from config.settings import Settings
    from playlists.queries import Tx

ConfigFile = Annotated[
    Path | None,
    Parameter(name="--config", help="TOML file with the settings; the environment and credentials go before it."),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for programs.")]


class UsageError(Exception):
    """What was typed cannot be meant; the command line ends with 64."""


def settings_of(config: Path | None) -> "Settings":
    """Read the settings as `run` would; raises ConfigError with every fault."""
    from config.sources import load

    return load(config, os.environ)


@asynccontextmanager
async def transaction(settings: "Settings") -> AsyncIterator[tuple["Tx", datetime]]:
    """Yield a transaction of the application's role and the database's present instant; committed at the end."""
    from daemon.clock import DatabaseClock
    from daemon.database import Database

    clock = DatabaseClock()
    async with (
        Database.open(settings.database, "signaged command") as database,
        database.transaction(resolve=True) as tx,
    ):
        await clock.refresh(tx)
        yield tx, clock.now()


def as_json(told: object) -> str:
    """Write a value as indented JSON; instants and ids as their text."""
    import orjson

    return orjson.dumps(told, default=str, option=orjson.OPT_INDENT_2).decode()
