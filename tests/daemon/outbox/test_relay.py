import asyncio
import socket
from datetime import timedelta
from time import monotonic
from uuid import uuid4

import asyncpg
import pytest

from daemon.announce import announce
from daemon.database import Database
from daemon.dev.embedded import embedded_kafka
from daemon.outbox import queries, relay
from daemon.outbox.message import Message, shard
from daemon.rush import Rush
from playlists.queries import Tx
from tests.daemon.outbox.relaying import change, consumed, firsts, pending, relaying, settings, until, write
from tests.doubles import FakeClock


async def test_many_writers_each_key_in_order_without_gap(
    database: Database, connection: Tx, clock: FakeClock, kafka_bootstrap: str
) -> None:
    kafka, keys = settings(kafka_bootstrap), [uuid4() for _ in range(40)]
    async with relaying(database, clock, kafka) as metrics:
        await write(database, clock, keys, range(1, 26))
        seen = await consumed(kafka, 1000)
        await until(pending(connection))
        assert metrics.component_up.labels("kafka")._value.get() == 1
        assert metrics.outbox_published_total._value.get() == 1000
    assert seen == {str(key): list(range(1, 26)) for key in keys}


async def test_a_poison_message_holds_back_its_key_alone(
    database: Database, connection: Tx, clock: FakeClock, kafka_bootstrap: str
) -> None:
    kafka, sick, well = settings(kafka_bootstrap), uuid4(), uuid4()
    while shard(well) != shard(sick):
        well = uuid4()
    await write(database, clock, [sick, well], range(1, 3))
    await queries.append(connection, [Message("nowhere", sick, 3, "paused", b"{}")], clock.now())
    await write(database, clock, [sick, well], range(4, 6))
    async with relaying(database, clock, kafka):
        seen = await consumed(kafka, 6)
        assert seen == {str(sick): [1, 2], str(well): [1, 2, 4, 5]}
        [refused] = await queries.list_parked(connection, 10)
        assert (refused.key, refused.sequence, refused.held_back) == (sick, 3, 2)
        assert "nowhere" in str(refused.error)
        assert await queries.backlog(connection) == (2, clock.now(), 1)
        assert await queries.requeue(connection, [refused.id]) == [refused.id]
        await until(lambda: queries.list_parked(connection, 10))
        assert await queries.skip(connection, [refused.id, refused.id - 1]) == [refused.id]
        seen = await consumed(kafka, 8)
    assert seen[str(sick)] == [1, 2, 4, 5]


async def test_a_doubted_message_is_tried_again_by_itself_until_a_person_must_look(
    database: Database, connection: Tx, clock: FakeClock, kafka_bootstrap: str
) -> None:
    kafka, key = settings(kafka_bootstrap), uuid4()
    await write(database, clock, [key], range(1, 4))
    first = await connection.fetchval("SELECT min(id) FROM outbox")
    await queries.park(connection, first, "UnknownError()", clock.now(), final=False)
    async with relaying(database, clock, kafka):
        await asyncio.sleep(0.7)
        assert await queries.backlog(connection) == (3, clock.now(), 0)
        clock.advance(seconds=3)
        assert await consumed(kafka, 3) == {str(key): [1, 2, 3]}
    await write(database, clock, [key], range(4, 5))
    last = await connection.fetchval("SELECT max(id) FROM outbox")
    for _ in range(queries.DOUBTS):
        await queries.park(connection, last, "UnknownError()", clock.now(), final=False)
    [refused] = await queries.list_parked(connection, 10)
    assert (refused.attempts, refused.next_attempt_at) == (queries.DOUBTS, None)


async def test_the_shards_of_a_killed_relay_are_taken_within_a_second(
    database: Database, connection: Tx, clock: FakeClock, kafka_bootstrap: str
) -> None:
    kafka, keys = settings(kafka_bootstrap), [uuid4() for _ in range(30)]
    holders = "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND granted"
    async with relaying(database, clock, kafka), relaying(database, clock, kafka):
        await write(database, clock, keys, range(1, 6))
        await until(pending(connection))
        [killed] = [record["pid"] for record in await connection.fetch(holders, queries.LOCK_SPACE)]
        owner = await asyncpg.connect(database.settings.url)
        await owner.execute("SELECT pg_terminate_backend($1)", killed)
        await owner.close()
        await write(database, clock, keys, range(6, 11))
        began = monotonic()
        await until(pending(connection))
        assert monotonic() - began < 1.5
        seen = await consumed(kafka, 300)
    assert firsts(seen) == {str(key): list(range(1, 11)) for key in keys}


async def test_a_commit_beside_an_idle_relay_wakes_the_busy_one(
    database: Database, connection: Tx, clock: FakeClock, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka, wakes = settings(kafka_bootstrap), (asyncio.Event(), asyncio.Event())
    holders = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1"
    monkeypatch.setattr(relay, "POLL_SECONDS", 60.0)
    async with relaying(database, clock, kafka, wakes[0]):
        await until(lambda: connection.fetchval(holders, queries.LOCK_SPACE))
        async with relaying(database, clock, kafka, wakes[1]):
            await asyncio.sleep(0.5)
            for number, wake in enumerate(wakes):
                await write(database, clock, [uuid4()], range(1, 3))
                wake.set()
                began = monotonic()
                await until(pending(connection), 5)
                assert monotonic() - began < 1, number


async def test_messages_wait_for_the_end_of_a_rush(
    database: Database, connection: Tx, clock: FakeClock, kafka_bootstrap: str
) -> None:
    kafka, rush = settings(kafka_bootstrap), Rush()
    async with relaying(database, clock, kafka, rush=rush):
        with rush.under_way():
            await write(database, clock, [uuid4()], range(1, 3))
            await asyncio.sleep(1)
            assert await connection.fetchval("SELECT count(*) FROM outbox") == 2
        await until(pending(connection), 2)


async def test_brokers_absent_at_first_and_restarted_lose_nothing_unsent(
    database: Database, connection: Tx, clock: FakeClock
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kafka, keys = settings(f"127.0.0.1:{port}"), [uuid4() for _ in range(20)]
    async with relaying(database, clock, kafka) as metrics:
        await write(database, clock, keys, range(1, 4))
        await asyncio.sleep(0.5)
        assert metrics.component_up.labels("kafka")._value.get() == 0
        async with embedded_kafka(port):
            seen = await consumed(kafka, 60)
            await until(pending(connection))
        assert seen == {str(key): [1, 2, 3] for key in keys}
        await write(database, clock, keys, range(4, 7))
        async with embedded_kafka(port):  # its memory is new
            seen = await consumed(kafka, 60)
            await until(pending(connection))
        assert firsts(seen) == {str(key): [4, 5, 6] for key in keys}
        attempts = await connection.fetchval("SELECT coalesce(sum(attempts), 0) FROM outbox")
        assert attempts == 0


async def test_a_broker_that_never_answers_does_not_delay_the_end(database: Database, clock: FakeClock) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    kafka = settings(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", request_timeout=timedelta(seconds=20))
    await write(database, clock, [uuid4()], range(1, 3))
    async with relaying(database, clock, kafka):
        await asyncio.sleep(0.5)
        ending = monotonic()
    assert monotonic() - ending < 5
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.05)


async def test_reading_goes_by_the_index_with_whatever_statistics(
    connection: Tx, owner_connection: Tx, clock: FakeClock
) -> None:
    keys = [uuid4() for _ in range(2000)]
    await queries.go_by_index(connection)
    for rounds, statistics in ((0, "ANALYZE outbox"), (10, "SELECT 1"), (0, "ANALYZE outbox")):
        for sequence in range(1, rounds + 1):
            await announce(connection, [change(key, sequence, clock) for key in keys], clock.now())
        await owner_connection.execute(statistics)
        for parameters in (("'{0,1,2,3,4,5,6,7}'", "500"), ("'{3}'", "20")):
            statement = queries.READ.replace("$1", parameters[0]).replace("$2", parameters[1])
            plan = "\n".join(record[0] for record in await connection.fetch("EXPLAIN " + statement))
            assert "Index Scan using outbox_in_order on outbox" in plan, plan
            assert "Sort" not in plan, plan
            assert "Seq Scan" not in plan, plan
