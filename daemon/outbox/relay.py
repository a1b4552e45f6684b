"""The relay: brings messages to Kafka, in order per campaign, at least once, whatever is down (SPEC 9).

The work is cut in shards by key. A relay serves a shard while it holds that shard's advisory lock on its own
connection, so a killed one's shards are free at once. Per shard one portion at a time is under way, sorted by
partition; its rows are deleted after the ack, and what had no answer simply is still there to be read again. A
partition that keeps a shard waiting is left to itself, and the shard goes on with the rows of all others.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import structlog

from config.settings import KafkaSettings
from daemon.clock import Clock, ClockUnset
from daemon.database import Connection, Database, DatabaseUnavailable, deadline
from daemon.failpoints import failpoint
from daemon.metrics import Metrics
from daemon.outbox import queries
from daemon.outbox.bypass import Bypass, Place
from daemon.outbox.message import SHARDS
from daemon.outbox.producer import BrokersUnavailable, Link, Outcome, connected
from daemon.outbox.queries import Row
from daemon.outbox.stalls import Stalls
from daemon.rush import Rush

log = structlog.get_logger("daemon.outbox.relay")

PORTION = 500  # messages of a shard at a time
POLL_SECONDS = 0.2
HOUSEKEEPING_SECONDS = 0.5  # looks for free shards and for doubted messages to try again
MEASURE_SECONDS = 5.0
FORWARD_SECONDS = 0.05
CALL_SECONDS = 5.0  # of one statement; none takes longer than some milliseconds
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
LONGEST_DETOUR = 60.0
PARTING_SECONDS = 1.0
PATIENCE = 1.0  # with a partition, before a shard goes on without it


@dataclass(frozen=True, slots=True)
class Lane:
    """A shard's rows of one partition, under way since an instant (seconds, monotonic)."""

    shard: int
    place: Place
    since: float


@dataclass(slots=True)
class Round:
    """What one connection serves: the shards it holds, what is under way, and the partitions it reads past."""

    held: set[int] = field(default_factory=set)
    lanes: dict[Lane, asyncio.Task[Outcome]] = field(default_factory=dict)
    bypass: Bypass = field(default_factory=Bypass)
    acked_at: float = 0.0  # when any partition last took something (seconds, monotonic)

    def waiting(self, now: float) -> set[Place]:
        """The partitions that have been silent for too long."""
        return {lane.place for lane in self.lanes if now - lane.since > PATIENCE}

    def free(self) -> set[int]:
        """The shards that wait for no partition but those that are read past."""
        return self.held - {lane.shard for lane in self.lanes if lane.place not in self.bypass.places}


@dataclass(frozen=True, slots=True)
class Relay:
    """What every part of the relay needs."""

    database: Database
    clock: Clock
    metrics: Metrics
    beat: Callable[[], None]
    rush: Rush
    stir: asyncio.Event = field(default_factory=asyncio.Event)
    stalls: Stalls = field(default_factory=Stalls)
    round: Round = field(default_factory=Round)  # of the connection that is open, else of the last


async def run(
    database: Database,
    clock: Clock,
    metrics: Metrics,
    settings: KafkaSettings,
    wake: asyncio.Event,
    beat: Callable[[], None],
    rush: Rush | None = None,
) -> None:
    """Relay until cancelled. `wake` may be set after a commit to be quicker than the next poll; gives way to `rush`."""
    # its own account of an outage is one line a second; ours is one line an outage
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    relay = Relay(database, clock, metrics, beat, rush or Rush())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_relay, relay, settings)
        tasks.start_soon(_forward, relay, wake)
        tasks.start_soon(_measure, relay)


async def _relay(relay: Relay, settings: KafkaSettings) -> None:
    """Serve, and after any trouble of either side start afresh: new producer, new connection, locks taken anew."""
    pause, detour = FIRST_PAUSE, False
    while True:
        relay.beat()
        began = time.monotonic()
        try:
            async with connected(settings, detour=detour) as link:
                relay.beat()
                _note_kafka(relay, up=True)
                async with relay.database.dedicated("relay") as connection:
                    detour = await _serve(relay, connection, link)
        except BrokersUnavailable as error:
            relay.stalls.forget()
            _note_kafka(relay, up=False, reason=str(error))
        except (DatabaseUnavailable, ClockUnset):
            pass  # the database's own seam tells of it
        # giving the locks up between tries lets a relay with a better link have the shards
        pause = FIRST_PAUSE if time.monotonic() - began > 2 * LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
        await asyncio.sleep(pause)


def _note_kafka(relay: Relay, *, up: bool, reason: str = "") -> None:
    if relay.metrics.components["kafka"] != up:
        if up:
            log.info("kafka available")
        else:
            log.warning("kafka unavailable", reason=reason)
    relay.metrics.note("kafka", up=up)


async def _serve(relay: Relay, connection: Connection, link: Link) -> bool:
    """Relay over one link until it is spent or stale; answers whether the next must do without idempotence.

    Raises BrokersUnavailable, DatabaseUnavailable.
    """
    async with _listening(relay, connection):
        began, housekept = time.monotonic(), -HOUSEKEEPING_SECONDS
        relay.stalls.begin(began)
        while True:
            relay.beat()
            relay.stir.clear()
            if time.monotonic() - housekept >= HOUSEKEEPING_SECONDS:
                await _housekeep(relay, connection, link)
                housekept = time.monotonic()
            done = _finished(relay.round)
            await _settle(relay, connection, list(done.values()))
            if any(outcome.spoiled for outcome in done.values()):
                return True
            _judge(relay, done)
            if relay.stalls.due(time.monotonic()):
                return False
            if not link.steady():
                return link.detour
            found = any(outcome.refused for outcome in done.values())
            if link.detour and (found or time.monotonic() - began > LONGEST_DETOUR):
                return False
            await relay.rush.give_way()
            if not await _start_portions(relay, connection, link):
                await _sleep(relay.stir, POLL_SECONDS)


async def _housekeep(relay: Relay, connection: Connection, link: Link) -> None:
    work = relay.round
    async with deadline(connection, CALL_SECONDS):
        if missing := set(range(SHARDS)) - work.held:
            work.held |= await queries.take_shards(connection, missing)
        await queries.retry_doubted(connection, relay.clock.now())
        if work.bypass.places:
            await work.bypass.look(connection, work.held, link.partitions)


def _judge(relay: Relay, done: Mapping[Lane, Outcome]) -> None:
    """Tell a partition in trouble from a link that is: the others' acks since it began speak for the link.

    Raises BrokersUnavailable.
    """
    now = time.monotonic()
    for lane, outcome in done.items():
        if outcome.acked and not outcome.trouble:
            relay.round.acked_at = now
            relay.stalls.forgive(lane.place)
    for lane, outcome in done.items():
        if outcome.trouble and relay.round.acked_at <= lane.since:
            raise BrokersUnavailable(outcome.trouble)
        if outcome.trouble:
            relay.stalls.put_aside(lane.place, outcome.trouble, now)
    relay.round.bypass.pass_by(relay.stalls.aside() | relay.round.waiting(now))


async def _start_portions(relay: Relay, connection: Connection, link: Link) -> bool:
    """Read for every shard that waits for nothing and send what is there; answers whether there was any.

    Raises BrokersUnavailable.
    """
    work = relay.round
    free = work.free()
    if not free:
        return False
    async with deadline(connection, CALL_SECONDS):
        if work.bypass.places:
            rows = await work.bypass.read(connection, free, link.partitions, PORTION)
        else:
            rows = await queries.read(connection, free, PORTION)
    failpoint("relay.read")
    started, portions = False, dict[int, list[Row]]()
    for row in rows:
        portions.setdefault(row.shard, []).append(row)
    for shard, portion in portions.items():
        places, refused = await link.places(portion)
        await _settle(relay, connection, [Outcome(refused=refused)])
        for place in places.keys() - work.bypass.places:
            lane = asyncio.create_task(link.send(place, places[place]))
            lane.add_done_callback(lambda _: relay.stir.set())
            work.lanes[Lane(shard, place, time.monotonic())] = lane
            started = True
    return started


def _finished(work: Round) -> dict[Lane, Outcome]:
    done = [lane for lane, task in work.lanes.items() if task.done()]
    return {lane: work.lanes.pop(lane).result() for lane in done}


async def _settle(relay: Relay, connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Forget what is written, set aside what is refused."""
    acked = [id_ for outcome in outcomes for id_ in outcome.acked]
    refused = [refusal for outcome in outcomes for refusal in outcome.refused]
    if not acked and not refused:
        return
    async with deadline(connection, CALL_SECONDS):
        if acked:
            await queries.delete(connection, acked)
            failpoint("relay.deleted")
            relay.metrics.outbox_published_total.inc(len(acked))
        for refusal in refused:
            log.error("message refused", id=refusal.id, reason=refusal.error, final=refusal.final)
            await queries.park(connection, refusal.id, refusal.error, relay.clock.now(), final=refusal.final)


@asynccontextmanager
async def _listening(relay: Relay, connection: Connection) -> AsyncIterator[None]:
    """Be woken by other instances; at the end let what is under way finish, if it does so soon, and settle it."""
    relay.round.held.clear()
    relay.round.lanes.clear()
    relay.round.bypass.pass_by(())
    async with deadline(connection, CALL_SECONDS):
        await queries.go_by_index(connection)
        await connection.add_listener(queries.WAKE_CHANNEL, lambda *_: relay.stir.set())
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await _part(relay, connection)


async def _part(relay: Relay, connection: Connection) -> None:
    lanes, passed = relay.round.lanes, relay.round.bypass.places
    tasks, hopeful = list(lanes.values()), [lanes[lane] for lane in lanes if lane.place not in passed]
    if hopeful:
        await asyncio.wait(hopeful, timeout=PARTING_SECONDS)
    outcomes = list(_finished(relay.round).values())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if not connection.is_closed():
        with anyio.move_on_after(PARTING_SECONDS):
            try:
                await _settle(relay, connection, outcomes)
            except Exception as error:  # noqa: BLE001 - it is sent twice then, as after a kill
                log.info("acknowledged messages stay for another round", reason=str(error))
    relay.round.held.clear()


async def _forward(relay: Relay, wake: asyncio.Event) -> None:
    """Pass a wake-up on to the loop, and to the other instances' while they hold shards."""
    while True:
        await wake.wait()
        wake.clear()
        relay.stir.set()
        if len(relay.round.held) < SHARDS:
            try:
                async with relay.database.transaction(CALL_SECONDS) as tx:
                    await queries.wake_relays(tx)
            except DatabaseUnavailable:
                pass  # they poll
            await asyncio.sleep(FORWARD_SECONDS)


async def _measure(relay: Relay) -> None:
    """Keep the gauges of the backlog, the less often the longer counting takes."""
    while True:
        began = time.monotonic()
        try:
            async with relay.database.transaction() as tx:
                backlog = await queries.backlog(tx)
            now = relay.clock.now()
        except (DatabaseUnavailable, ClockUnset):
            pass
        else:
            relay.metrics.outbox_pending.set(backlog.pending)
            relay.metrics.outbox_parked.set(backlog.parked)
            age = (now - backlog.oldest_at).total_seconds() if backlog.oldest_at else 0.0
            relay.metrics.outbox_oldest_seconds.set(max(0.0, age))
        await asyncio.sleep(max(MEASURE_SECONDS, 20 * (time.monotonic() - began)))


async def _sleep(event: asyncio.Event, seconds: float) -> None:
    """Sleep until the event or the time."""
    with anyio.move_on_after(seconds):
        await event.wait()
