"""Following every change with new playlists: what is marked is compiled and given to its screens, in portions.

Any instance may plan, one at a time: the lock, the marks taken and the screens changed are one transaction, so
that a planner that dies leaves all of it to the next, and what was read is current when it is published.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from daemon.clock import Clock, ClockUnset
from daemon.compiling import ChildLost, Compiled, Compiler, Input, Planned, Reach, opened
from daemon.database import Connection, Database, DatabaseUnavailable, deadline
from daemon.failpoints import failpoint
from daemon.house import SHIPPED
from daemon.metrics import Metrics, precreate
from devices.queries import seats
from devices.queries.seats import Shop
from devices.sieve import Sieve, indexes
from devices.targets import Seat
from playlists.ids import CampaignId, CreativeId, DeviceId, Digest, StoreId
from playlists.localtime import tzdata_version
from playlists.placement import Media, Placement, Screen
from playlists.queries import Tx, house_fallback, screens
from playlists.queries.placements import placements, stored
from playlists.queries.rules import by_our_rules

log = structlog.get_logger("daemon.planner")

NOTIFY = "SELECT pg_notify('signaged_screens', '')"
POLL = 0.25  # seconds between looks for marks
CALL_SECONDS = 5.0  # of a call that does no work
RETRY = 1.0  # seconds until the database is asked again
KEPT = timedelta(hours=4)  # how long a playlist is known after its end (SPEC 6)
FORGET_EVERY = timedelta(minutes=1)
# A portion's transaction stays well under a second, so that what is urgent never waits long for it.
SCREENS_A_PORTION, INPUTS_A_PORTION, PLACEMENTS_A_PORTION, COMPILE_SECONDS = 2_000, 400, 20_000, 0.35
FORGET_A_PORTION, RECOUNT_A_PORTION = 500, 50
SHELVED_AT_ONCE = 50  # bodies handed to the database in one statement
FAILED_AGAIN_AFTER = timedelta(seconds=30)
SLICE = 250  # screens sorted into inputs before others have the loop


class Step(NamedTuple):
    """What one portion did; `campaigns` had marks, and `network` says that something else had."""

    planned: int
    changed: int
    compiled: int
    campaigns: frozenset[CampaignId]
    network: bool


class Work(NamedTuple):
    """What a portion's playlists are made of, and for each input the screens that have it."""

    placements: list[Placement]
    screens: list[Screen]
    inputs: list[Input]
    devices: list[list[DeviceId]]


async def step(tx: Tx, now: datetime, compiler: Compiler, metrics: Metrics) -> Step | None:
    """Turn all marks into stale screens and give the most urgent portion of those their playlists (SPEC 6).

    None while another instance plans, or one with newer zone rules is there to. Raises ChildLost.
    """
    if not await screens.lock_planner(tx) or not await by_our_rules(tx, tzdata_version(), now):
        return None
    failpoint("planner.locked")
    marks = await screens.take_marks(tx)
    await seats.spread(tx, marks, now)
    await screens.renew(tx, now + compiler.reach.renewal, now, SCREENS_A_PORTION)
    stale, shops = await seats.stale_seats(tx, now, SCREENS_A_PORTION)
    changed = compiled = 0
    if stale:
        work = await _sorted(tx, now, compiler.reach, stale, shops)
        changed, compiled = await _publish(tx, now, work, compiler, metrics)
    return Step(
        planned=len(stale),
        changed=changed,
        compiled=compiled,
        campaigns=frozenset(mark["ref"] for mark in marks if mark["kind"] == "campaign"),
        network=any(mark["kind"] != "campaign" for mark in marks),
    )


async def _sorted(tx: Tx, now: datetime, reach: Reach, stale: Sequence[Seat], shops: dict[StoreId, Shop]) -> Work:
    """Sort screens by all that their playlists are made of: who is eligible there, and the kind of screen."""
    placed = await placements(tx, now - (reach.whole - reach.renewal), now + reach.whole)
    meant = await seats.targets(tx, [placement.campaign_id for placement in placed])
    placed = [placement for placement in placed if placement.campaign_id in meant]
    sieve = Sieve([meant[placement.campaign_id] for placement in placed])
    houses = await _houses(tx, shops)
    kinds: dict[Screen, int] = {}
    known: dict[tuple[StoreId, int], int] = {}
    inputs: dict[tuple[int, int], list[DeviceId]] = {}
    room = PLACEMENTS_A_PORTION
    for number, seat in enumerate(stale):
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        kind = known.get((seat.store_id, seat.slots_per_hour))
        if kind is None:
            shop = shops[seat.store_id]
            screen = Screen(shop.timezone, seat.slots_per_hour, shop.opening_hours, houses[seat.store_id])
            kind = known[seat.store_id, seat.slots_per_hour] = kinds.setdefault(screen, len(kinds))
        key = sieve.eligible(seat), kind
        if key in inputs:
            inputs[key].append(seat.device_id)
        elif room > 0 and len(inputs) < INPUTS_A_PORTION:  # the others stay stale, for the next portion
            inputs[key] = [seat.device_id]
            room -= key[0].bit_count()
    return Work(
        placements=placed,
        screens=list(kinds),
        inputs=[Input(kind, indexes(members)) for members, kind in inputs],
        devices=list(inputs.values()),
    )


async def _houses(tx: Tx, shops: dict[StoreId, Shop]) -> dict[StoreId, tuple[Media, ...]]:
    """The house content of each store: its own, else the network's, else the shipped image (SPEC 6)."""
    network = await house_fallback(tx)
    listed = {creative for shop in shops.values() for creative in shop.fallback}
    media = await stored(tx, listed.union(network))

    def here(ids: Sequence[CreativeId]) -> tuple[Media, ...]:
        return tuple(media[creative] for creative in ids if creative in media)

    default = here(network) or (SHIPPED,)
    return {store_id: here(shop.fallback) or default for store_id, shop in shops.items()}


async def _publish(tx: Tx, now: datetime, work: Work, compiler: Compiler, metrics: Metrics) -> tuple[int, int]:
    """Compile what is not stored yet, as much as the time allows, and give screens what is; how many changed."""
    planned = await compiler.plan(now, work.placements, work.screens, work.inputs)
    digests = await screens.shelved(tx, [_key(one) for one in planned])
    missing: dict[tuple[Digest, datetime], int] = {}
    for index, one in enumerate(planned):
        if _key(one) not in digests:
            missing.setdefault(_key(one), index)
    shelf: list[screens.Shelf] = []
    made = await compiler.make(missing.values(), COMPILE_SECONDS)
    failpoint("planner.compiled")
    for index, result in made.items():
        one = planned[index]
        if isinstance(result, Compiled):
            digests[_key(one)] = result.digest
            shelf.append(screens.Shelf(result.digest, *_about(one), result.body, result.br, result.gzip))
            metrics.compile_seconds.observe(result.seconds)
        else:
            log.error("playlist not compiled", input_digest=one.digest, error=result.error)
            await screens.postpone(tx, work.devices[index], now + FAILED_AGAIN_AFTER)
            metrics.compiles_total.labels("failed").inc()
    metrics.compiles_total.labels("ok").inc(len(shelf))
    for first in range(0, len(shelf), SHELVED_AT_ONCE):
        await screens.shelve(tx, shelf[first : first + SHELVED_AT_ONCE], now)
    given = [
        screens.Assignment(device_id, digests[_key(one)], one.digest, one.valid_until)
        for one, devices in zip(planned, work.devices, strict=True)
        if _key(one) in digests
        for device_id in devices
    ]
    return await screens.assign(tx, given, now), len(shelf)


def _key(planned: Planned) -> tuple[Digest, datetime]:
    return planned.digest, planned.valid_from


def _about(planned: Planned) -> tuple[Digest, datetime, datetime]:
    return planned.digest, planned.valid_from, planned.valid_until


# The loop ----------------------------------------------------------------------------------------------------------


class Recounts:
    """The campaigns whose stored number of recipients this instance has to bring up to date, when it has time.

    Lost with the process, so each begins with all of them.
    """

    def __init__(self) -> None:
        self._some: set[CampaignId] = set()
        self._all = True

    def note(self, step: Step) -> None:
        """Take in what a step's marks touched."""
        self._some |= step.campaigns
        self._all |= step.network

    async def portion(self, tx: Tx) -> int:
        """Recount some campaigns; how many it could: those that others hold wait for the next time."""
        if self._all:
            self._some, self._all = set(await seats.open_campaigns(tx)), False
        portion = sorted(self._some)[:RECOUNT_A_PORTION]
        if not portion:
            return 0
        held = await seats.recount(tx, portion)
        self._some.difference_update(portion)
        self._some.update(held)
        return len(portion) - len(held)


async def run(
    database: Database,
    clock: Clock,
    metrics: Metrics,
    beat: Callable[[], None],
    wake: asyncio.Event,
    reach: Reach,
    children: int = 2,
) -> None:
    """Plan whenever something is marked or ends, until cancelled; `wake` saves the wait after a change of ours."""
    precreate(metrics.step_failures_total, ("plan",))
    async with opened(children, reach) as compiler:
        while True:
            beat()
            try:
                async with database.dedicated("planner") as connection:
                    await _follow(database, connection, clock, compiler, metrics, beat, wake)
            except (DatabaseUnavailable, ClockUnset):
                pass  # the seam has told it; marks wait
            except ChildLost as error:
                log.warning("planning is started again", reason=str(error))
            except Exception:
                metrics.step_failures_total.labels("plan").inc()
                log.exception("planning failed")
            await asyncio.sleep(RETRY)


async def _follow(
    database: Database,
    connection: Connection,
    clock: Clock,
    compiler: Compiler,
    metrics: Metrics,
    beat: Callable[[], None],
    wake: asyncio.Event,
) -> None:
    recounts, forget_at = Recounts(), clock.now()
    async with database.transaction(on=connection) as tx:
        if await screens.lock_planner(tx):
            await seats.notice_unseen(tx, clock.now())
    while True:
        beat()
        now, done = clock.now(), None
        async with deadline(connection, CALL_SECONDS):
            waits = await screens.work_waits(connection, now, now + compiler.reach.renewal)
        if waits:
            async with database.transaction(on=connection) as tx:
                done = await step(tx, now, compiler, metrics)
                failpoint("planner.before_commit")
            failpoint("planner.after_commit")
        if done is not None:
            recounts.note(done)
        if done is not None and done.changed:
            async with deadline(connection, CALL_SECONDS):
                await connection.execute(NOTIFY)
            failpoint("planner.notified")
            log.info("playlists planned", screens=done.planned, changed=done.changed, compiled=done.compiled)
        if done is None or not done.planned:  # also when all that waits is an input that failed
            async with database.transaction(on=connection) as tx:
                idle = not await recounts.portion(tx)
            if now >= forget_at:
                forget_at = await _forget(database, connection, now)
            if idle:
                await _awake(wake)


async def _forget(database: Database, connection: Connection, now: datetime) -> datetime:
    """Delete what nobody can ask for any more, while there is nothing else to do; when to come again."""
    async with database.transaction(on=connection) as tx:
        if await screens.lock_planner(tx):
            await by_our_rules(tx, tzdata_version(), now)  # that others know we are here
            if await screens.forget(tx, now - KEPT, FORGET_A_PORTION):
                return now
    return now + FORGET_EVERY


async def _awake(wake: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(POLL):
            await wake.wait()
    except TimeoutError:
        return
    wake.clear()
