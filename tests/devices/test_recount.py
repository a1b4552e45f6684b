"""The stored number of recipients: counted without a lock, written only over what was counted."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

from devices.queries import seats
from playlists.queries import Tx
from tests import world

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Interrupted:
    """A connection on which somebody else does something before the second question."""

    def __init__(self, tx: Tx, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._tx, self._meanwhile, self._asked = tx, meanwhile, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def fetch(self, *question: Any) -> Any:
        self._asked += 1
        if self._asked == 2:
            await self._meanwhile()
        return await self._tx.fetch(*question)


async def test_a_count_gives_way_to_a_change_that_came_meanwhile(connection: Tx, owner_connection: Tx) -> None:
    owner = await world.tenant(connection, NOW)
    await world.device(connection, await world.store(connection, NOW), NOW)
    campaign = await world.campaign(connection, owner, NOW, creatives=[await world.creative(connection, owner, NOW)])

    async def edited() -> None:
        await owner_connection.execute("UPDATE campaigns SET total_recipients = 7, version = version + 1")

    slow = cast("Tx", Interrupted(connection, edited))
    assert await seats.recount(slow, [campaign]) == [campaign]
    assert await connection.fetchval("SELECT total_recipients FROM campaigns") == 7
    assert await seats.recount(connection, [campaign]) == []
    assert await connection.fetchval("SELECT total_recipients FROM campaigns") == 1
