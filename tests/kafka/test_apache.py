"""The relay against real brokers that are killed, frozen and restarted under load, with and without idempotence.

Each test writes without a pause while something is done to the cluster; afterwards the topic is read from its
beginning. SIGNAGED_TEST_OUTAGE is for how many seconds all brokers are away in the worst of them (60 for a real one).
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from time import monotonic
from uuid import UUID, uuid4

import pytest
import structlog

from config.settings import DatabaseSettings, KafkaSettings
from daemon.announce import announce
from daemon.database import Database
from daemon.outbox import queries
from tests.conftest import scratch_database
from tests.daemon.outbox.relaying import change, firsts, relaying, settings, told, until, write
from tests.doubles import FakeClock
from tests.kafka.cluster import Brokers, brokers, missing

pytestmark = [pytest.mark.torture, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

log = structlog.get_logger()

OUTAGE = float(os.environ.get("SIGNAGED_TEST_OUTAGE", "20"))
KEYS = 40
PAUSE = 0.2  # between two messages of a key


@pytest.fixture(scope="module")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Brokers]:
    async with brokers(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@dataclass(slots=True)
class Flow:
    """One relay's database and topic, and how far each key was written."""

    database: Database
    url: str
    clock: FakeClock
    kafka: KafkaSettings
    keys: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(KEYS)])
    written: int = 0

    async def write(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.written += 1
            await write(self.database, self.clock, self.keys, range(self.written, self.written + 1))
            await asyncio.sleep(PAUSE)

    async def counted(self, what: str) -> int:
        async with self.database.transaction() as tx:
            return int(await tx.fetchval(f"SELECT {what} FROM outbox"))

    async def empty(self) -> bool:
        return await self.counted("count(*)") == 0


@pytest.fixture
async def flows(postgres: str, migrated_template: str, kafka: Brokers, clock: FakeClock) -> AsyncIterator[list[Flow]]:
    """Two relays side by side, one with idempotence, each with a database and a topic of its own."""
    async with AsyncExitStack() as stack:
        made = []
        for idempotence in ("on", "off"):
            url = await stack.enter_async_context(scratch_database(postgres, migrated_template))
            database = await stack.enter_async_context(Database.open(DatabaseSettings(url=url)))
            database.schema_ready = True
            chosen = settings(kafka.bootstrap, idempotence=idempotence, request_timeout=timedelta(seconds=5))
            await stack.enter_async_context(relaying(database, clock, chosen))
            made.append(Flow(database, url, clock, chosen))
        yield made


@asynccontextmanager
async def load(flows: list[Flow]) -> AsyncIterator[None]:
    """Write all the while, and some seconds before and after."""
    stop = asyncio.Event()
    writing = [asyncio.create_task(flow.write(stop)) for flow in flows]
    await asyncio.sleep(2)
    yield
    await asyncio.sleep(2)
    stop.set()
    await asyncio.gather(*writing)


async def check_arrival(flows: list[Flow], seconds: float = 60) -> None:
    """See that everything arrives within `seconds`, in order, nothing else does, and nothing stays."""
    began = monotonic()
    for flow in flows:
        assert await flow.counted("coalesce(sum(attempts), 0)") == 0
        await until(flow.empty, seconds)
        seen = await told(flow.kafka)
        assert firsts(seen) == {str(key): list(range(1, flow.written + 1)) for key in flow.keys}
        count, again = flow.written * KEYS, sum(map(len, seen.values())) - flow.written * KEYS
        seconds_after = round(monotonic() - began, 1)  # the last was written
        log.info("all read", idempotence=flow.kafka.idempotence, messages=count, again=again, seconds=seconds_after)


async def test_one_broker_is_killed_and_comes_back(flows: list[Flow], kafka: Brokers) -> None:
    async with load(flows):
        await kafka.all[0].end(SIGKILL)
        await asyncio.sleep(8)
        await kafka.start(kafka.all[0])
    await check_arrival(flows)


async def test_one_broker_is_frozen_and_thawed(flows: list[Flow], kafka: Brokers) -> None:
    async with load(flows):
        kafka.all[1].send(SIGSTOP)
        await asyncio.sleep(10)
        kafka.all[1].send(SIGCONT)
    await check_arrival(flows)


async def test_brokers_are_restarted_one_after_the_other(flows: list[Flow], kafka: Brokers) -> None:
    async with load(flows):
        for broker in kafka.all:
            await broker.end(SIGTERM)
            await kafka.start(broker)
            await asyncio.sleep(2)
    await check_arrival(flows)


async def test_all_brokers_are_killed_and_stay_away(flows: list[Flow], kafka: Brokers) -> None:
    async with load(flows):
        await asyncio.gather(*(broker.end(SIGKILL) for broker in kafka.all))
        await asyncio.sleep(OUTAGE)
        for flow in flows:
            assert await flow.counted("count(*)") > KEYS * OUTAGE / PAUSE / 4, "it kept what could not leave"
        await kafka.start(*kafka.all)
    await check_arrival(flows)


async def test_a_message_that_brokers_find_too_large_waits_alone(flows: list[Flow]) -> None:
    for flow in flows:
        sick = flow.keys[0]
        await write(flow.database, flow.clock, flow.keys, range(1, 3))
        async with flow.database.transaction() as tx:
            large = change(sick, 3, flow.clock)._replace(note="x" * 1_500_000)
            await announce(tx, [large], flow.clock.now())
        await write(flow.database, flow.clock, flow.keys, range(4, 6))
        await until(partial(parked, flow), 30)
        await until(partial(waiting, flow, 3), 30)
        async with flow.database.transaction() as tx:
            [refused] = await queries.list_parked(tx, 10)
            assert (refused.key, refused.sequence, refused.held_back) == (sick, 3, 2)
            assert await queries.skip(tx, [refused.id])
        await until(flow.empty, 30)
        assert firsts(await told(flow.kafka)) == {str(key): [1, 2, 4, 5] for key in flow.keys}


async def parked(flow: Flow) -> bool:
    return await flow.counted("count(*) FILTER (WHERE parked_at IS NOT NULL)") == 1


async def waiting(flow: Flow, count: int) -> bool:
    return await flow.counted("count(*)") == count
