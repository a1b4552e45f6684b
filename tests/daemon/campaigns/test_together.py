"""People, screens and two daemons at once on the same few campaigns and wallets: no deadlock, nothing lost."""

import asyncio
import os
from datetime import timedelta

import pytest

from daemon.verify import verify
from playlists.queries import Tx
from tests.daemon.campaigns.crowd import FOLLOWED, LIMIT, Crowd

SECONDS = 5.0
LONG = float(os.environ.get("SIGNAGED_TEST_SECONDS", "60"))
MOST_AT_ONCE = """
SELECT coalesce(max(n), 0) FROM (
    SELECT (SELECT count(*) FROM campaigns c
            WHERE c.tenant_id = b.tenant_id AND c.status IN ('PENDING_APPROVAL', 'SCHEDULED', 'ACTIVE', 'PAUSED')
              AND c.start_at <= b.start_at AND c.end_at > b.start_at) AS n
    FROM campaigns b WHERE b.status IN ('PENDING_APPROVAL', 'SCHEDULED', 'ACTIVE', 'PAUSED')) instants"""
TOO_SOON = """
SELECT campaign_id, type, due_at, executed_at FROM transitions
WHERE type IN ('started', 'completed', 'settled', 'missed', 'expired') AND executed_at < due_at"""
TRIED = "SELECT id, attempts FROM campaigns WHERE attempts > 0 OR id IN (SELECT campaign_id FROM quarantine)"
NOT_OVER = "SELECT id, status FROM campaigns WHERE status NOT IN ('DRAFT', 'REJECTED') AND settled_at IS NULL"


async def together(tx: Tx, url: str, seed: int, seconds: float) -> Crowd:
    """Whatever they do to each other, all of it holds: while they are at it, after it, and when all is over."""
    crowd = Crowd(url, seed)
    await crowd.gather(tx)
    await tx.execute(FOLLOWED)
    milling = asyncio.create_task(crowd.mill(seconds))
    while not milling.done():
        await asyncio.wait([milling], timeout=0.1)
        assert await tx.fetchval(MOST_AT_ONCE) <= LIMIT
    await milling
    await proved(tx, crowd)
    crowd.now += timedelta(days=400)
    while await crowd.tick(tx):
        crowd.now += timedelta(minutes=6)
    await proved(tx, crowd)
    assert await tx.fetch(NOT_OVER) == []
    return crowd


async def proved(tx: Tx, crowd: Crowd) -> None:
    assert crowd.wrong == []
    assert await tx.fetch(TRIED) == []
    assert await tx.fetch(TOO_SOON) == []
    async with tx.transaction():
        assert (await verify(tx)).violations == []


async def test_many_hands(owner_connection: Tx, database_url: str) -> None:
    crowd = await together(owner_connection, database_url, 1, SECONDS)

    assert {"book", "edit", "suspend", "accepted", "tick started", "tick completed", "tick settled"} <= set(crowd.done)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(2, 6))
async def test_many_hands_for_long(owner_connection: Tx, database_url: str, seed: int) -> None:
    crowd = await together(owner_connection, database_url, seed, LONG)
    assert crowd.done["accepted"] > 10
