"""People, screens and two tickers at once on the same few campaigns and wallets: no deadlock, nothing lost."""

import asyncio
import random

import asyncpg
import pytest

from daemon.database import Connection, set_codecs
from daemon.verify import verify
from playlists.ids import CampaignId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.test_random_lives import Life
from tests.daemon.campaigns.world import NOW

WORKERS, STEPS = 6, 40


@pytest.mark.parametrize("seed", range(2))
async def test_many_hands(owner_connection: Tx, database_url: str, seed: int) -> None:
    tenants = [await world.tenant(owner_connection, funds="5000.00", running_limit=20) for _ in range(3)]
    await world.device(owner_connection)
    shared: list[CampaignId] = []
    connections = [await asyncpg.connect(database_url) for _ in range(WORKERS)]

    async def work(number: int, connection: Connection) -> None:
        await set_codecs(connection)
        life = Life(connection, tenants[number % 3], random.Random(seed * 100 + number))
        life.campaigns = shared
        for _ in range(STEPS):
            life.now = max(life.now, now[0])
            if number < 2:
                await life.pass_time()  # the tickers
                now[0] = max(now[0], life.now)
            else:
                await life.step()  # DeadlockDetectedError is no refusal: it would end the test

    now = [NOW]
    try:
        await asyncio.gather(*(work(number, each) for number, each in enumerate(connections)))
    finally:
        for each in connections:
            each.terminate()
    async with owner_connection.transaction():
        report = await verify(owner_connection)
    assert report.violations == []
    assert len(shared) > 10
