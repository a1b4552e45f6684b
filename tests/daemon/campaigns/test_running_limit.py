"""Submits, edits and executes of one tenant, fifty at once: never more running than its limit, none refused in vain."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from daemon.campaigns import booking, editing
from daemon.campaigns.draft import zulu
from daemon.campaigns.errors import RunningLimit
from daemon.campaigns.events import Transition
from daemon.database import set_codecs
from daemon.verify import verify
from playlists.ids import CampaignId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, advertiser

LIMIT, AT_ONCE, CONNECTIONS = 3, 50, 25

Deed = Callable[[Tx], Awaitable[list[Transition]]]
OVERLAP = """
SELECT max(n) FROM (
    SELECT (SELECT count(*) FROM campaigns c WHERE c.status IN ('PENDING_APPROVAL', 'SCHEDULED', 'ACTIVE', 'PAUSED')
            AND c.start_at <= b.start_at AND c.end_at > b.start_at) AS n
    FROM campaigns b) instants"""


@pytest.mark.parametrize("seed", range(2))
async def test_no_instant_has_more_than_the_limit(owner_connection: Tx, database_url: str, seed: int) -> None:
    dice = random.Random(seed)
    tenant_id = await world.tenant(owner_connection, running_limit=LIMIT, funds="100000.00")
    user = advertiser(tenant_id)
    await world.device(owner_connection)
    creative = str(await world.creative(owner_connection, tenant_id))

    async def booked(number: int, whole: bool) -> CampaignId:
        start = NOW + 24 * HOUR + (number % 10) * 10 * HOUR
        window: dict[str, Any] = {"start_at": zulu(start), "end_at": zulu(start + dice.randint(3, 10) * HOUR)}
        book = world.submitted if whole else world.draft
        return await book(owner_connection, tenant_id, creatives=[creative], **window)

    standing = [await booked(number, whole=True) for number in range(20)]
    drafts = [await booked(number, whole=False) for number in range(20)]
    extended = {one: dice.randint(1, 40) * HOUR for one in standing}

    def longer(one: CampaignId) -> Deed:
        async def edit(tx: Tx) -> list[Transition]:
            end = await world.column(tx, one, "end_at") + extended[one]
            return await editing.edit(tx, one, {"end_at": zulu(end)}, NOW, user, LIMITS)

        return edit

    def submit(one: CampaignId) -> Deed:
        return lambda tx: booking.submit(tx, one, NOW, user, LIMITS)

    def execute(one: CampaignId) -> Deed:
        return lambda tx: booking.execute(tx, one, NOW, user)

    deeds = [*map(submit, drafts), *map(longer, standing), *map(execute, dice.sample(standing, 10))]
    assert len(deeds) == AT_ONCE
    dice.shuffle(deeds)
    refused = await at_once(database_url, deeds)
    assert await owner_connection.fetchval(OVERLAP) == LIMIT
    assert 5 < len(refused) < AT_ONCE  # how many go through is for whoever comes first to say
    # windows have only grown since, so what was refused rightly is refused now
    assert len(await at_once(database_url, refused)) == len(refused)
    assert await owner_connection.fetchval(OVERLAP) == LIMIT
    async with owner_connection.transaction():
        assert (await verify(owner_connection)).violations == []


async def at_once(url: str, deeds: list[Deed]) -> list[Deed]:
    """Do all of it at the same time; those that the limit refused. Nothing else may go wrong."""
    pool = await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, init=set_codecs)
    assert pool is not None
    refused: list[Deed] = []
    named: list[int] = []

    async def attempt(deed: Deed) -> None:
        async with pool.acquire() as tx:
            try:
                async with tx.transaction():
                    assert await deed(tx)
            except RunningLimit as limit:
                refused.append(deed)
                named.append(len(limit.names))

    try:
        await asyncio.gather(*map(attempt, deeds))
    finally:
        await pool.close()
    assert min(named) >= LIMIT
    return refused
