"""Every statement that stands in the code is one that the migrated database can prepare."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import asyncpg

import daemon
import devices
import playlists
from playlists.queries import Tx

STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")
TEMPLATE = re.compile(r"\{[a-z_]+\}")  # completed elsewhere


def modules() -> Iterator[str]:
    for package in (daemon, devices, playlists):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            # what only `signaged dev` needs is heavy and has no SQL; __main__ runs
            if not found.name.startswith("daemon.dev") and not found.name.endswith("__main__"):
                yield found.name


def statements() -> Iterator[tuple[str, str]]:
    for name in modules():
        for constant, value in vars(importlib.import_module(name)).items():
            named = isinstance(value, str) and constant.isupper() and STATEMENT.match(value)
            if named and not TEMPLATE.search(value):
                yield f"{name}.{constant}", value


async def test_every_statement_can_be_prepared(connection: Tx) -> None:
    faults, known = {}, dict(statements())
    for name, statement in known.items():
        try:
            await connection.prepare(statement)
        except asyncpg.PostgresError as error:
            faults[name] = str(error)
    assert not faults
    assert len(known) > 50
