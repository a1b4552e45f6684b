"""Fixtures that every test may ask for: a migrated database of its own, a broker, a mail sink, a clock."""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.dev.embedded import FAST_AND_LOSSY, embedded_kafka, embedded_postgres
from daemon.dev.mailbox import Mailbox, mailbox


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
async def kafka_bootstrap() -> AsyncIterator[str]:
    """The `host:port` of a Kafka broker for this run, its topics empty at the start and shared by all tests."""
    async with embedded_kafka() as address:
        yield address


@pytest.fixture
async def smtp() -> AsyncIterator[Mailbox]:
    """A mail sink for this test alone."""
    async with mailbox() as box:
        yield box
