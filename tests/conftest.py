"""Fixtures that every test may ask for: a migrated database of its own, a broker, a mail sink, a clock."""

import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from config.settings import DatabaseSettings
from daemon.database import Database, set_codecs
from daemon.dev.embedded import FAST_AND_LOSSY, embedded_kafka, embedded_postgres
from daemon.dev.mailbox import Mailbox, mailbox
from daemon.migrate import migrate
from playlists.queries import Tx
from tests import events
from tests.doubles import FakeClock

APPLICATION_ROLE = "signaged_app"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put those that last a minute first, so that nobody waits for the last one alone."""
    items.sort(key=lambda item: not {"whole", "torture", "kafka"} & set(item.path.parts))


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[str]:
    """The owner's URL of a PostgreSQL server: SIGNAGED_TEST_DATABASE_URL, or one of our own for this run."""
    if url := os.environ.get("SIGNAGED_TEST_DATABASE_URL"):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="signaged-test-") as folder:
        async with embedded_postgres(Path(folder) / "postgres", settings=FAST_AND_LOSSY) as url:
            yield url


@pytest.fixture(scope="session")
async def migrated_template(postgres: str) -> AsyncIterator[str]:
    """The name of a migrated database, made once, that nobody connects to: the others are copies of it."""
    async with scratch_database(postgres, "template0") as url:
        await migrate(url)
        await on_server(url, events.RECORD)
        yield urlsplit(url).path[1:]


@pytest.fixture
async def empty_database_url(postgres: str) -> AsyncIterator[str]:
    """The owner's URL of a database of this test alone with no schema yet."""
    async with scratch_database(postgres, "template0") as url:
        yield url


@pytest.fixture
async def database_url(postgres: str, migrated_template: str) -> AsyncIterator[str]:
    """The owner's URL of a migrated database of this test alone; the events that were left in it must be valid."""
    async with scratch_database(postgres, migrated_template) as url:
        yield url
        await events.check_recorded(url)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Tx]:
    """A connection to this test's database as the application has it: its role, its codecs, UTC."""
    async with connected(database_url) as opened:
        await opened.execute(f"SET ROLE {APPLICATION_ROLE}")
        yield opened


@pytest.fixture
async def owner_connection(database_url: str) -> AsyncIterator[Tx]:
    """A connection to this test's database as its owner, who may do what the application may not."""
    async with connected(database_url) as opened:
        yield opened


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """This test's database as the daemon has it."""
    async with Database.open(DatabaseSettings(url=database_url)) as opened:
        opened.schema_ready = True
        yield opened


@pytest.fixture(scope="session")
async def kafka_bootstrap() -> AsyncIterator[str]:
    """The `host:port` of a Kafka broker for this run: take a topic of your own, it is shared by all tests."""
    async with embedded_kafka() as address:
        yield address


@pytest.fixture
async def smtp() -> AsyncIterator[Mailbox]:
    """A mail sink for this test alone."""
    async with mailbox() as box:
        yield box


@pytest.fixture
def clock() -> FakeClock:
    """A clock that goes when told."""
    return FakeClock()


@asynccontextmanager
async def scratch_database(server_url: str, template: str) -> AsyncIterator[str]:
    """Create a database from a template and yield its URL; drop it afterwards, whoever is still connected."""
    name = f"signaged_test_{secrets.token_hex(6)}"
    await on_server(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        await on_server(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Tx]:
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC", "jit": "off"})
    try:
        await set_codecs(connection)
        yield connection
    finally:
        connection.terminate()  # a test that failed in a transaction must not wait for it


async def on_server(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
