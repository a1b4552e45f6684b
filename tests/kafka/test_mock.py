"""The relay against brokers that misbehave on demand: nothing lost, each key in order, no message blamed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

import pytest

from config.settings import KafkaSettings
from daemon.database import Database
from daemon.outbox import queries, relay
from playlists.queries import Tx
from tests.daemon.outbox.relaying import firsts, pending, relaying, settings, told, until, write
from tests.doubles import FakeClock
from tests.kafka.mock import Answer, Cluster, cluster

PARTITIONS = 6
IDEMPOTENCE = pytest.mark.parametrize("idempotence", ["on", "off"])


@dataclass(slots=True)
class Flow:
    """A test's cluster, its relay's settings, and what is told."""

    database: Database
    connection: Tx
    clock: FakeClock
    cluster: Cluster
    kafka: KafkaSettings

    async def write(self, keys: list[UUID], sequences: range) -> None:
        await write(self.database, self.clock, keys, sequences)

    async def drained(self, seconds: float = 15) -> None:
        await until(pending(self.connection), seconds)

    async def nothing_is_blamed(self) -> bool:
        return not await self.connection.fetchval("SELECT coalesce(sum(attempts), 0) FROM outbox")


@pytest.fixture
async def flow(database: Database, connection: Tx, clock: FakeClock) -> AsyncIterator[Flow]:
    kafka = settings("127.0.0.1:1", request_timeout=timedelta(seconds=1))
    with cluster([kafka.topic, kafka.devices_topic], partitions=PARTITIONS) as mock:
        yield Flow(database, connection, clock, mock, kafka.model_copy(update={"bootstrap_servers": mock.bootstrap}))


@asynccontextmanager
async def relayed(flow: Flow, idempotence: str) -> AsyncIterator[None]:
    async with relaying(flow.database, flow.clock, flow.kafka.model_copy(update={"idempotence": idempotence})):
        yield


def partition(key: UUID) -> int:
    return crc32(str(key).encode()) % PARTITIONS


@IDEMPOTENCE
async def test_all_brokers_down_and_up_again(flow: Flow, idempotence: str) -> None:
    keys = [uuid4() for _ in range(20)]
    async with relayed(flow, idempotence):
        await flow.write(keys, range(1, 6))
        flow.cluster.down()
        await flow.write(keys, range(6, 11))
        await asyncio.sleep(1)
        assert await flow.nothing_is_blamed()
        assert await flow.connection.fetchval("SELECT count(*) FROM outbox") >= 100
        flow.cluster.up()
        await flow.drained()
    assert firsts(await told(flow.kafka)) == {str(key): list(range(1, 11)) for key in keys}


@IDEMPOTENCE
async def test_one_broker_down_for_good_and_its_partitions_moved(flow: Flow, idempotence: str) -> None:
    keys = [uuid4() for _ in range(20)]
    async with relayed(flow, idempotence):
        await flow.write(keys, range(1, 6))
        flow.cluster.down(2)
        await flow.write(keys, range(6, 11))
        await asyncio.sleep(0.5)
        for place in range(PARTITIONS):
            flow.cluster.lead(flow.kafka.topic, place, 1 if place % 2 else 3)
        await flow.drained()
        assert await flow.nothing_is_blamed()
    assert firsts(await told(flow.kafka)) == {str(key): list(range(1, 11)) for key in keys}


async def test_brokers_that_take_longer_than_our_patience(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "PATIENCE", 0.1)
    keys = [uuid4() for _ in range(20)]
    async with relayed(flow, "on"):
        await flow.write(keys, range(1, 2))
        await flow.drained()
        flow.cluster.slow(300)
        await flow.write(keys, range(2, 11))
        await flow.drained()
        flow.cluster.slow(0)
        assert await flow.nothing_is_blamed()
    assert firsts(await told(flow.kafka)) == {str(key): list(range(1, 11)) for key in keys}


async def test_leaders_that_move_all_the_time(flow: Flow) -> None:
    keys = [uuid4() for _ in range(20)]
    async with relayed(flow, "on"):
        for turn in range(8):
            for place in range(PARTITIONS):
                flow.cluster.lead(flow.kafka.topic, place, (turn + place) % 3 + 1)
            await flow.write(keys, range(2 * turn + 1, 2 * turn + 3))
            await asyncio.sleep(0.1)
        await flow.drained()
        assert await flow.nothing_is_blamed()
    assert firsts(await told(flow.kafka)) == {str(key): list(range(1, 17)) for key in keys}


@IDEMPOTENCE
async def test_answers_that_leave_everything_open(flow: Flow, idempotence: str) -> None:
    keys = [uuid4() for _ in range(20)]
    async with relayed(flow, idempotence):
        for turn, answer in enumerate(set(Answer) - {Answer.TOO_LARGE}):
            flow.cluster.answer(answer, answer)
            await flow.write(keys, range(2 * turn + 1, 2 * turn + 3))
            await asyncio.sleep(0.1)
        await flow.drained(25)
        assert await flow.nothing_is_blamed()
    assert firsts(await told(flow.kafka)) == {str(key): list(range(1, 2 * len(Answer) - 1)) for key in keys}


@IDEMPOTENCE
async def test_a_partition_without_a_leader_holds_up_its_own_keys_alone(
    flow: Flow, idempotence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PORTION", 20)  # far fewer than the rows that are stuck
    keys = [uuid4() for _ in range(40)]
    stuck = [key for key in keys if partition(key) == 2]
    well = [key for key in keys if partition(key) != 2]
    flow.cluster.lead(flow.kafka.topic, 2, None)
    async with relayed(flow, idempotence):
        await flow.write(stuck, range(1, 41))
        for turn in range(2):  # also while the partition is given up, tried again and given up
            await flow.write(keys, range(41 + turn, 42 + turn))
            await until(none_of(flow, well), 10)
            await asyncio.sleep(0.8)
        assert await flow.nothing_is_blamed()
        assert await flow.connection.fetchval("SELECT count(*) FROM outbox") == 42 * len(stuck)
        flow.cluster.lead(flow.kafka.topic, 2, 1)
        await flow.drained()
    seen = firsts(await told(flow.kafka))
    assert seen == {str(key): list(range(1 if key in stuck else 41, 43)) for key in keys}


def none_of(flow: Flow, keys: list[UUID]) -> Callable[[], Any]:
    async def gone() -> bool:
        return not await flow.connection.fetchval("SELECT count(*) FROM outbox WHERE key = ANY ($1)", keys)

    return gone


@IDEMPOTENCE
async def test_what_is_too_large_waits_for_a_person_and_the_rest_flows(flow: Flow, idempotence: str) -> None:
    sick, well = uuid4(), [uuid4() for _ in range(20)]
    flow.cluster.answer(*[Answer.TOO_LARGE] * (2 if idempotence == "on" else 1))  # once more on the link that looks
    await flow.write([sick], range(1, 2))
    async with relayed(flow, idempotence):
        await until(lambda: queries.list_parked(flow.connection, 10))
        await flow.write([sick, *well], range(2, 6))
        await until(none_of(flow, well))
        [refused] = await queries.list_parked(flow.connection, 10)
        assert (refused.key, refused.sequence, refused.attempts, refused.held_back) == (sick, 1, 1, 4)
        assert "MessageSizeTooLarge" in str(refused.error)
        assert refused.next_attempt_at is None
        assert await queries.requeue(flow.connection, [refused.id])
        await flow.drained()
    expected = {str(sick): list(range(1, 6)), **{str(key): list(range(2, 6)) for key in well}}
    assert firsts(await told(flow.kafka)) == expected
