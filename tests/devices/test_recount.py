"""The stored number of recipients: counted without a lock, written only over what was counted."""

from datetime import UTC, datetime

from devices.queries import seats
from playlists.queries import Tx
from tests import world
from tests.interrupted import interrupted

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_a_count_gives_way_to_a_change_that_came_meanwhile(connection: Tx, owner_connection: Tx) -> None:
    owner = await world.tenant(connection, NOW)
    await world.device(connection, await world.store(connection, NOW), NOW)
    campaign = await world.campaign(connection, owner, NOW, creatives=[await world.creative(connection, owner, NOW)])

    async def edited() -> None:
        await owner_connection.execute("UPDATE campaigns SET total_recipients = 7, version = version + 1")

    assert await seats.recount(interrupted(connection, 2, edited), [campaign]) == [campaign]
    assert await connection.fetchval("SELECT total_recipients FROM campaigns") == 7
    assert await seats.recount(connection, [campaign]) == []
    assert await connection.fetchval("SELECT total_recipients FROM campaigns") == 1
