"""The one seam to Kafka: a producer that is built, used and thrown away within deadlines of our own.

aiokafka's own calls can hang for ever when brokers are down, its retries do not say whether a message was written,
and one refused batch spoils an idempotent producer for good. So nothing here is repaired: any trouble ends the link,
what had no answer counts as unknown, and the relay builds another.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID
from zlib import crc32

import anyio
from aiokafka import AIOKafkaProducer, errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from config.settings import KafkaSettings
from daemon.failpoints import failpoint
from daemon.outbox.bypass import Place
from daemon.outbox.message import CONTENT_TYPE, Topic
from daemon.outbox.queries import Row

HEADERS = [("content-type", CONTENT_TYPE.encode())]
PARTITIONS = 12  # of a topic that we create: shares out evenly among 1, 2, 3, 4, 6 consumers
REPLICAS = 3  # as above, where there are as many brokers
UNTIMED = -1  # Kafka's own way of saying so
BATCH_BYTES = 512 * 1024  # half of what brokers take unless told otherwise
PARTING_SECONDS = 1.0

# the broker's word on these very bytes: sent again they would be refused again
REFUSED = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.UnsupportedForMessageFormatError,
    errors.PolicyViolationError,
)
# may be the message's fault or the broker's: tried a few times alone
DOUBTED = (errors.UnknownError, errors.CorruptRecordException, errors.InvalidRequestError)
REFUSALS = (errors.InvalidTimestampError, *REFUSED, *DOUBTED)
# a broker that knows no idempotent producers answers one of these when asked for a producer id
NO_IDEMPOTENCE = (
    errors.UnknownError,
    errors.UnsupportedVersionError,
    errors.IncompatibleBrokerVersion,
    errors.InvalidRequestError,
    errors.ClusterAuthorizationFailedError,
)


class BrokersUnavailable(Exception):
    """Kafka could not serve the call; whether messages in flight were written is unknown."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that Kafka does not take; `final` when trying again is pointless."""

    id: int
    error: str
    final: bool


@dataclass(slots=True)
class Outcome:
    """What became of a place's rows: ids that are written, messages refused; the rest is unknown or was not tried."""

    acked: list[int] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    trouble: str | None = None  # the link is spent, for this place at least
    spoiled: bool = False  # by a refusal that only a link without idempotence can track down


@dataclass(slots=True)
class Link:
    """A connected producer; what it may call the topics and how long one answer may take."""

    producer: Any
    idempotent: bool
    detour: bool  # without idempotence for once, to find what was refused
    topics: dict[str, str]
    deadline: float
    partitions: dict[str, int] = field(default_factory=dict)  # how many each topic had when last asked
    connections: dict[Any, Any] = field(default_factory=dict)  # those seen so far, by broker
    turns: dict[Place, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    broken: dict[Place, str] = field(default_factory=dict)  # what this link serves no more, and why
    # brokers keep records by their timestamps, which are therefore this host's and not the database's; a broker that
    # refuses them because its clock is another gets none
    timed: bool = True

    def steady(self) -> bool:
        """Whether no connection was lost since the last look, not even one that aiokafka has replaced meanwhile.

        What answers on a new one may be a broker that lost its memory, and the embedded one acknowledges messages for
        a topic that it does not have. With idempotence this cannot be: the broker would not know the producer.
        """
        if self.idempotent:
            return True
        now = self.producer.client._conns  # noqa: SLF001 - aiokafka tells nobody that it reconnects
        if any(now.get(place) is not known or not known.connected() for place, known in self.connections.items()):
            return False
        self.connections.update({place: known for place, known in now.items() if place[0] != "bootstrap"})
        return True

    async def places(self, rows: Sequence[Row]) -> tuple[dict[Place, list[Row]], list[Refusal]]:
        """Sort rows by where they belong, in their order, and tell those that belong nowhere; their keys stay behind.

        Raises BrokersUnavailable.
        """
        places: dict[Place, list[Row]] = {}
        refused: dict[UUID, Refusal] = {}
        for topic in {row.topic for row in rows} & self.topics.keys():
            self.partitions[topic] = await _partition_count(self.producer, self.topics[topic], self.deadline / 2)
        for row in rows:
            if row.topic not in self.topics:
                refused.setdefault(row.key, Refusal(row.id, f"there is no topic for {row.topic!r}", final=True))
            elif row.key not in refused:
                # the same choice as librdkafka's `consistent`
                partition = crc32(str(row.key).encode()) % self.partitions[row.topic]
                places.setdefault(Place(row.topic, partition), []).append(row)
        return places, list(refused.values())

    async def send(self, place: Place, rows: Sequence[Row]) -> Outcome:
        """Bring a place's rows to Kafka, each key's in their order; never raises for what Kafka or a message does.

        A place's batches follow one another, each after the ack of the one before, those of several callers too. So a
        failure leaves no gap: of each key a beginning is written, all that follows is still to be sent.
        """
        outcome = Outcome()
        waiting = deque([list(rows)])
        barred: set[UUID] = set()  # a refused message's key waits for a person
        while waiting:
            portion = [row for row in waiting.popleft() if row.key not in barred]
            if not portion:
                continue
            at = None if self.timed else UNTIMED
            batch, size = self._packed(portion, at)
            if size < len(portion):
                waiting.appendleft(portion[size:])
                portion = portion[:size]
            try:
                await self._deliver(batch, place)
            except REFUSALS as error:
                if self.idempotent:  # the refused batch has left a gap in the broker's count of this producer's batches
                    outcome.trouble, outcome.spoiled = repr(error), True
                    return outcome
                if isinstance(error, errors.InvalidTimestampError) and at != UNTIMED:
                    self.timed = False
                    waiting.appendleft(portion)
                elif len(portion) > 1:
                    half = len(portion) // 2
                    waiting.extendleft((portion[half:], portion[:half]))
                else:
                    barred.add(portion[0].key)
                    outcome.refused.append(Refusal(portion[0].id, repr(error), isinstance(error, REFUSED)))
            except BrokersUnavailable as error:
                outcome.trouble = str(error)
                return outcome
            else:
                outcome.acked += [row.id for row in portion]
        return outcome

    def _packed(self, rows: list[Row], at: int | None) -> tuple[Any, int]:
        """A batch of the first rows, at least one, and how many fitted."""
        batch = self.producer.create_batch()
        for count, row in enumerate(rows):
            key = str(row.key).encode()
            if batch.append(timestamp=at, key=key, value=row.body, headers=HEADERS) is None:
                return batch, count
        return batch, len(rows)

    async def _deliver(self, batch: Any, place: Place) -> None:
        # aiokafka's own queue for a partition loses count of the time when several wait in it
        async with self.turns[place]:
            if place in self.broken:
                raise BrokersUnavailable(self.broken[place])
            try:
                async with asyncio.timeout(self.deadline):
                    self._insist()
                    answer = await self.producer.send_batch(batch, self.topics[place.topic], partition=place.partition)
                    failpoint("relay.sent")
                    await answer
                    failpoint("relay.acked")
                    self._insist()
            except REFUSALS:
                raise
            except Exception as error:  # aiokafka raises much, and all of it leaves us not knowing
                self.broken[place] = repr(error)
                raise BrokersUnavailable(repr(error)) from error

    def _insist(self) -> None:
        if not self.steady():
            raise errors.KafkaConnectionError("a connection was lost")


async def _partition_count(producer: Any, topic: str, seconds: float) -> int:
    """How many partitions a topic has; asking makes it where brokers create topics on demand."""
    try:
        async with asyncio.timeout(seconds):
            return len(await producer.partitions_for(topic))
    except Exception as error:
        raise BrokersUnavailable(f"topic {topic}: {error!r}") from error


@asynccontextmanager
async def connected(settings: KafkaSettings, *, detour: bool = False) -> AsyncIterator[Link]:
    """Yield a link with all topics there: up within two request time-outs, gone within three seconds.

    `detour` leaves idempotence off whatever the setting. Raises BrokersUnavailable.
    """
    async with AsyncExitStack() as closing:
        try:
            # it takes some ten answers, one after the other
            async with asyncio.timeout(2 * settings.request_timeout.total_seconds()):
                link = await _connect(settings, closing, detour=detour)
        except Exception as error:
            raise BrokersUnavailable(repr(error)) from error
        yield link


async def _connect(settings: KafkaSettings, closing: AsyncExitStack, *, detour: bool) -> Link:
    wanted = not detour and settings.idempotence != "off"
    try:
        producer = await _started(settings, closing, idempotent=wanted)
    except NO_IDEMPOTENCE:
        if not wanted or settings.idempotence == "on":
            raise
        wanted = False
        producer = await _started(settings, closing, idempotent=False)
    seconds = settings.request_timeout.total_seconds()
    topics = {Topic.CAMPAIGNS.value: settings.topic, Topic.DEVICES.value: settings.devices_topic}
    cluster = await producer.client.fetch_all_metadata()
    if missing := set(topics.values()) - cluster.topics():
        await _create_topics(settings, missing, brokers=len(cluster.brokers()))
    partitions = {name: await _partition_count(producer, topic, seconds) for name, topic in topics.items()}
    # twice: the broker's own time-out, and as long for the retries of an idempotent producer
    return Link(producer, wanted, detour, topics, 2 * seconds, partitions)


async def _started(settings: KafkaSettings, closing: AsyncExitStack, *, idempotent: bool) -> Any:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers.split(","),
        client_id="signaged",
        acks="all",
        enable_idempotence=idempotent,
        request_timeout_ms=round(settings.request_timeout.total_seconds() * 1000),
        max_batch_size=BATCH_BYTES,
        connections_max_idle_ms=None,  # an idle one that is closed looks like a broker that died
    )
    closing.push_async_callback(_discard, producer)
    await producer.start()
    return producer


async def _create_topics(settings: KafkaSettings, topics: Iterable[str], brokers: int) -> None:
    """Create topics; whoever may not, or need not, finds out when it asks for the partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers.split(","), client_id="signaged")
    wanted = [NewTopic(topic, PARTITIONS, max(1, min(REPLICAS, brokers))) for topic in topics]
    try:
        with suppress(Exception):  # a cluster between two controllers makes aiokafka raise what it never meant to
            await admin.start()
            await admin.create_topics(wanted)
    finally:
        with anyio.move_on_after(PARTING_SECONDS, shield=True):
            await admin.close()


async def _discard(producer: Any) -> None:
    """Stop a producer; by force when messages are under way, so that none is written behind its successor's back."""
    with anyio.CancelScope(shield=True):
        waiting = producer._message_accumulator  # noqa: SLF001 - aiokafka has no way to give up
        if not waiting._batches and not waiting._pending_batches:  # noqa: SLF001 - as above
            with suppress(Exception):
                async with asyncio.timeout(PARTING_SECONDS):
                    await producer.stop()
                    return
        # stop() would wait for batches that cannot leave: end their sender and the connections instead
        producer._closed = True  # noqa: SLF001 - as above
        for batch in [*chain(*waiting._batches.values()), *waiting._pending_batches]:  # noqa: SLF001 - as above
            batch.future.add_done_callback(_heard)
        sender = producer._sender.sender_task  # noqa: SLF001 - as above
        if sender is not None:
            sender.cancel()
        with suppress(Exception):
            async with asyncio.timeout(PARTING_SECONDS):
                await producer.client.close()
        if (news := producer.client._md_update_fut) is not None:  # noqa: SLF001 - nobody is left to bring them
            news.cancel()
        if sender is not None:
            await asyncio.wait([sender], timeout=PARTING_SECONDS)


def _heard(answer: "asyncio.Future[Any]") -> None:
    """Take note of a failure that nobody waits for any more, or asyncio complains of it."""
    if not answer.cancelled():
        answer.exception()
