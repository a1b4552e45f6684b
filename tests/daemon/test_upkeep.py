"""Upkeep: the gauges say what is in the tables, and the clock's loop says whether the database answers."""

import asyncio
from collections.abc import Awaitable

from prometheus_client import CollectorRegistry

from config.settings import DatabaseSettings
from daemon.clock import DatabaseClock
from daemon.database import Database
from daemon.metrics import Metrics
from daemon.upkeep import count, keep_time
from playlists.queries import Tx

DEVICES = """
WITH store AS (INSERT INTO stores (code, name, timezone, created_at, updated_at)
               VALUES ('S', 'Shop', 'UTC', now(), now()) RETURNING id),
     device AS (INSERT INTO devices (store_id, name, disabled, created_at, updated_at)
                SELECT id, name, name = 'd', now(), now() FROM store, unnest('{a,b,c,d}'::text[]) AS names (name)
                RETURNING id, name)
INSERT INTO presence (device_id, last_seen_at, online) SELECT id, now(), name = 'a' FROM device WHERE name <> 'c'
"""


async def briefly(loop: Awaitable[None]) -> None:
    await asyncio.wait_for(asyncio.gather(asyncio.wait_for(loop, 1), return_exceptions=True), 5)


async def test_devices_are_counted_by_status(database_url: str, connection: Tx) -> None:
    await connection.execute(DEVICES)
    metrics = Metrics.create(CollectorRegistry())
    async with Database.open(DatabaseSettings(url=database_url)) as database:
        await briefly(count(database, metrics))
    found = {child["status"]: value for child, value in samples(metrics)}
    assert found == {"NEW": 1, "ONLINE": 1, "OFFLINE": 1, "DISABLED": 1}
    assert metrics.campaigns.labels("ACTIVE")._value.get() == 0


async def test_clock_loop_tells_whether_the_database_answers(database_url: str) -> None:
    beats: list[int] = []
    for url, up in ((database_url, True), ("postgresql://nobody@127.0.0.1:1/none", False)):
        metrics, clock = Metrics.create(CollectorRegistry()), DatabaseClock()
        async with Database.open(DatabaseSettings(url=url)) as database:
            await briefly(keep_time(database, clock, metrics, lambda: beats.append(1)))
        assert metrics.components["database"] is up
        assert clock.known is up
        assert beats
        beats.clear()


def samples(metrics: Metrics) -> list[tuple[dict[str, str], float]]:
    return [(sample.labels, sample.value) for family in metrics.devices.collect() for sample in family.samples]
