"""A relay under way between a test's database and some brokers, what is written for it, and what they were told."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer
from prometheus_client import CollectorRegistry

from config.settings import KafkaSettings
from daemon.announce import announce
from daemon.campaigns.events import Transition
from daemon.database import Database
from daemon.metrics import Metrics
from daemon.outbox import relay
from daemon.rush import Rush
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests import events
from tests.doubles import FakeClock


def change(campaign: UUID, sequence: int, clock: FakeClock) -> Transition:
    """What a relay could not tell from a real one: only type and states stay the same throughout."""
    now = clock.now()
    return Transition(
        CampaignId(campaign), TenantId(campaign), sequence, "paused", "Sale", "signage", "PAUSED", "PAUSED", "USER",
        None, [], {}, now, now, None, None, 1, "signaged", "corr",
    )  # fmt: skip


def settings(bootstrap: str, **others: Any) -> KafkaSettings:
    topic = f"t-{uuid4()}"
    return KafkaSettings(
        bootstrap_servers=bootstrap,
        topic=topic,
        devices_topic=f"{topic}-devices",
        **{"request_timeout": timedelta(seconds=2), **others},
    )


@asynccontextmanager
async def relaying(
    database: Database,
    clock: FakeClock,
    kafka: KafkaSettings,
    wake: asyncio.Event | None = None,
    rush: Rush | None = None,
) -> AsyncIterator[Metrics]:
    metrics, woken = Metrics.create(CollectorRegistry()), wake or asyncio.Event()
    running = asyncio.create_task(relay.run(database, clock, metrics, kafka, woken, lambda: None, rush))
    try:
        yield metrics
        assert not running.done(), "a relay lives through everything"
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def consumed(kafka: KafkaSettings, count: int, topic: str | None = None) -> dict[str, list[int]]:
    """Wait for `count` messages; give each key's sequences in the order in which they came."""
    seen: dict[str, list[int]] = defaultdict(list)
    async with consuming(kafka, topic or kafka.topic) as consumer, asyncio.timeout(20):
        while sum(map(len, seen.values())) < count:
            await take(consumer, seen)
    return seen


@asynccontextmanager
async def consuming(kafka: KafkaSettings, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of a topic from its beginning."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def take(consumer: AIOKafkaConsumer, seen: dict[str, list[int]]) -> None:
    """Add the sequences of what has come, each event valid, to those of its key."""
    for records in (await consumer.getmany(timeout_ms=200)).values():
        for record in records:
            event = events.read(record.key, record.value, record.headers)
            seen[event["subject"]].append(event["sequence"])


async def until(holds: Callable[[], Any], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.05)


def pending(connection: Tx) -> Callable[[], Any]:
    async def none_left() -> bool:
        return not await connection.fetchval("SELECT count(*) FROM outbox WHERE parked_at IS NULL")

    return none_left


async def write(database: Database, clock: FakeClock, keys: Sequence[UUID], sequences: range) -> None:
    """One transaction a key and sequence, keys side by side: ids are given and committed in mixed order."""

    async def one(key: UUID) -> None:
        for sequence in sequences:
            async with database.transaction() as tx:
                await announce(tx, [change(key, sequence, clock)], clock.now())
                await asyncio.sleep(0)

    await asyncio.gather(*map(one, keys))


async def told(kafka: KafkaSettings) -> dict[str, list[int]]:
    """Read the topic from its beginning to its present end; give each key's sequences in the order of the log."""
    seen: dict[str, list[int]] = defaultdict(list)
    async with consuming(kafka, kafka.topic) as consumer:
        places = consumer.assignment()
        ends = await consumer.end_offsets(places)
        async with asyncio.timeout(60):
            while [one for one in places if await consumer.position(one) < ends[one]]:
                await take(consumer, seen)
    return seen


def firsts(seen: dict[str, list[int]]) -> dict[str, list[int]]:
    """Each key's sequences as a consumer has them that drops what it knows."""
    return {key: list(dict.fromkeys(sequences)) for key, sequences in seen.items()}
