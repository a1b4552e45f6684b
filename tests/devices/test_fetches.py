"""What a screen says of its files beside what it was seen to download, in any order: nobody waits for the other."""

import asyncio
from datetime import UTC, datetime

from devices.queries.fetches import holdings, record_fetches, record_told
from devices.readiness import Fetched
from playlists.ids import Sha256
from playlists.queries import Tx
from tests import world
from tests.conftest import connected

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
A, B = Sha256("a" * 64), Sha256("b" * 64)


async def queue(tx: Tx, waiting: int) -> None:
    """Wait until so many wait for a lock."""
    async with asyncio.timeout(10):
        while await tx.fetchval(WAITING) < waiting:  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.01)


async def test_a_report_and_the_deliveries_of_its_screen_never_wait_for_each_other(
    connection: Tx, database_url: str
) -> None:
    device_id = await world.device(connection, await world.store(connection, NOW), NOW)

    def whole(file: Sha256) -> Fetched:
        return Fetched(device_id, file, [(0, 10)], 10, NOW)

    await record_fetches(connection, [whole(A), whole(B)], NOW)
    await record_told(connection, device_id, [A], [], NOW)
    await record_fetches(connection, [whole(A)], NOW)  # A is held again, and was CORRUPT once
    async with connected(database_url) as screen, connected(database_url) as writer:

        async def deliver() -> None:
            async with writer.transaction():
                await record_fetches(writer, [whole(A)], NOW)
                await queue(connection, 1)  # the report waits for A by now; it must not hold B
                await record_fetches(writer, [whole(B)], NOW)

        async def report() -> None:
            await asyncio.sleep(0.1)
            async with screen.transaction():
                await record_told(screen, device_id, [B], [A], NOW)

        await asyncio.gather(deliver(), report())
    held = await holdings(connection, device_id, [A, B])
    assert (held[A].whole, held[A].corruptions, held[B].whole, held[B].corruptions) == (True, 0, False, 1)
