"""Plays go when their time is over, in portions; what they came to, the ledger and the log stay."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from daemon.chores import FORGOTTEN_AT_ONCE, forgetting
from daemon.verify import verify
from devices.contents import Library
from devices.queries.plays import purge_plays
from playlists.queries import Tx
from tests.daemon.scene import NOW, PRICE, SECOND, Scene, made, money, report
from tests.daemon.test_tick import Ticking

KEPT = timedelta(days=400)
REFUSED = """
INSERT INTO plays (device_id, play_id, campaign_id, started_at, duration_ms, verdict, received_at)
SELECT $1, 'old ' || n, gen_random_uuid(), $2, 1, 'too_short', $2 FROM generate_series(1, $3) n"""
PURGED = "SELECT counted_on, impressions, charged_micros FROM purged_plays ORDER BY counted_on"


@pytest.fixture
async def scene(owner_connection: Tx) -> Scene:
    scene = await made(owner_connection)
    await owner_connection.execute(
        """UPDATE campaigns SET daily_cap_micros = 3 * $1::bigint WHERE id = $2""", PRICE, scene.campaigns[1]
    )
    return scene


async def test_plays_go_in_portions_and_their_sums_stay(owner_connection: Tx, scene: Scene) -> None:
    tx, ticking = owner_connection, Ticking(owner_connection)
    await tx.execute(REFUSED, scene.devices[0], NOW - timedelta(days=1), FORGOTTEN_AT_ONCE + 5)
    for minutes, device in enumerate(scene.devices):
        later = NOW + timedelta(minutes=minutes)
        some = scene.plays(2, f"a{minutes}") + scene.plays(2, f"b{minutes}", campaign=1)
        await report(tx, device, some, Library(), later)
    before = [await money(tx, campaign) for campaign in scene.campaigns]
    entries = await tx.fetch("SELECT * FROM ledger ORDER BY id")

    await ticking.at(NOW + KEPT, (forgetting(KEPT),))
    assert await tx.fetchval("SELECT count(*) FROM plays") == 8, "what came at the very instant is kept"
    await ticking.at(NOW + KEPT + SECOND, (forgetting(KEPT),))
    assert await tx.fetchval("SELECT count(*) FROM plays") == 4
    assert [tuple(row) for row in await tx.fetch(PURGED)] == [(NOW.date(), 2, 2 * PRICE), (None, 2, 2 * PRICE)]
    await ticking.at(NOW + KEPT + timedelta(minutes=9), (forgetting(KEPT),))
    assert await tx.fetchval("SELECT count(*) FROM plays") == 0
    assert [tuple(row) for row in await tx.fetch(PURGED)] == [(NOW.date(), 4, 3 * PRICE), (None, 4, 4 * PRICE)]

    assert await tx.fetch("SELECT * FROM ledger ORDER BY id") == entries
    for campaign, known in zip(scene.campaigns, before, strict=True):
        row = await tx.fetchrow("SELECT spent_micros, impressions FROM campaigns WHERE id = $1", campaign)
        assert row is not None
        assert tuple(row) == (known["spent_micros"], known["impressions"])
    async with tx.transaction():
        broken = (await verify(tx)).broken
    assert not [rule for rule in broken if "play" in rule or "day" in rule], broken


async def test_two_at_once_count_each_play_once(database_url: str, owner_connection: Tx, scene: Scene) -> None:
    await report(owner_connection, scene.devices[0], scene.plays(12), Library())
    other = await asyncpg.connect(database_url)
    try:
        async with owner_connection.transaction():
            assert await purge_plays(owner_connection, NOW + SECOND, 7) == 7
            rest = asyncio.create_task(purge_plays(other, NOW + SECOND, 7))
            await asyncio.sleep(0.2)  # it skips ours, and adds to our sums after us
        assert await rest == 5
    finally:
        await other.close()
    assert [tuple(row) for row in await owner_connection.fetch(PURGED)] == [(None, 12, 12 * PRICE)]


async def test_ledger_log_and_sums_are_not_the_applications_to_delete(connection: Tx) -> None:
    for table in ("ledger", "transitions", "daily_spends", "purged_plays"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"DELETE FROM {table}")
    for table in ("ledger", "transitions"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"UPDATE {table} SET tenant_id = tenant_id")
