"""What devices show of themselves is written in batches, and nothing that they send ends the writing."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import prometheus_client
import pytest

from config.settings import DatabaseSettings
from daemon import sightings as gathering
from daemon.database import Database, DatabaseUnavailable
from daemon.metrics import Metrics
from daemon.sightings import Sightings
from devices.presence import Beat
from playlists.queries import Tx
from tests import world
from tests.doubles import FakeClock

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_what_the_server_refuses_is_dropped_and_the_next_is_written(database_url: str, connection: Tx) -> None:
    device = await world.device(connection, await world.store(connection, NOW), NOW)
    sightings, metrics = Sightings(), Metrics.create(prometheus_client.CollectorRegistry())
    async with Database.open(DatabaseSettings(url=database_url)) as database:
        writer = asyncio.create_task(gathering.run(sightings, database, FakeClock(NOW), metrics, 90, lambda: None))
        try:
            with pytest.raises(DatabaseUnavailable):
                await sightings.beat(Beat(device, NOW, None, "on", 0, ["a NUL: \0"]))  # JSON may say it, PostgreSQL not
            await sightings.beat(Beat(device, NOW, None, "on", 7, []))
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
    assert await connection.fetchval("SELECT skew_ms FROM presence") == 7
    assert metrics.step_failures_total.labels("sightings")._value.get() == 1
