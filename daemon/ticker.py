"""The loop behind the tick: at every UTC minute, and at the very instant at which something is due (SPEC 4)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from daemon.campaigns.events import Transition
from daemon.campaigns.queries.agenda import Agenda, next_due
from daemon.clock import Clock
from daemon.database import Database, DatabaseUnavailable
from daemon.ground import Begin, Ground, Rules
from daemon.metrics import Metrics, precreate
from daemon.pace import Pace
from daemon.rush import Rush
from daemon.tick import LIFE, Step, tick

log = structlog.get_logger("daemon.ticker")

MINUTE = timedelta(minutes=1)
LOOK_AGAIN = timedelta(milliseconds=50)  # at due rows that were found locked
LOOKS = 20  # that often, then as often as anything is asked
RECONNECT = 0.5  # seconds

FULL_LOOKS = 20  # a look at all that could be due takes at most one part in so many of the time
FULL_AT_LEAST = 60.0  # seconds between two of them
# what cannot be undone: left alone while the clock is held (SPEC 4)
HELD = frozenset({"complete", "settle", "expire"})


async def run(  # noqa: PLR0913, PLR0917 - what a loop stands on is handed to it
    database: Database,
    clock: Clock,
    metrics: Metrics,
    rules: Rules,
    recheck: timedelta,
    report: Callable[[Sequence[Transition]], None],
    wake: asyncio.Event,
    beat: Callable[[], None],
    steps: Sequence[Step] = LIFE,
    rush: Rush | None = None,
) -> None:
    """Tick until cancelled, on a connection of its own; without a database, wait for one.

    The next due instant is asked for at least every `recheck`, and when `wake` is set. `steps` begin with LIFE.
    `rush` tells others of much to do.
    """
    precreate(metrics.step_failures_total, [step.name for step in steps])
    paces: dict[str, Pace] = {}
    rush = rush or Rush()
    while True:
        beat()
        try:
            async with database.dedicated("ticker") as connection:
                begin = partial(database.transaction, on=connection)
                second = partial(_second, database)
                ground = Ground(begin, clock, metrics, rules, report, second=second, paces=paces, rush=rush)
                await _keep(ground, steps, recheck, wake, beat)
        except DatabaseUnavailable as error:
            log.debug("no database to tick on", reason=str(error))
        await asyncio.sleep(RECONNECT)


@asynccontextmanager
async def _second(database: Database) -> AsyncIterator[Begin]:
    async with database.dedicated("ticker 2") as connection:
        yield partial(database.transaction, on=connection)


async def _keep(
    ground: Ground,
    steps: Sequence[Step],
    recheck: timedelta,
    wake: asyncio.Event,
    beat: Callable[[], None],
) -> None:
    whole_at = ground.clock.now()  # at once: what fell due while nobody ticked
    watch, looks = Watch(), 0
    while True:
        beat()
        if wake.is_set():
            watch.forget()  # whoever approves, books late or lets go on makes something due whose instant is past
        wake.clear()
        now = ground.clock.now()
        if now >= whole_at or whole_at - now > MINUTE:  # the clock may have been set back
            await _ticked(ground, steps, None)
            whole_at = next_minute(now)
        plan, since = await _plan(ground, steps, watch)
        now = ground.clock.now()
        late = {name for name, at in plan.items() if at <= now}
        if late:
            # what ends may be settled in the same tick
            names = late | {"settle"} if late & {"complete", "start"} else late
            await _ticked(replace(ground, since=since), steps, names)
            plan, _ = await _plan(ground, steps, watch)
            now = ground.clock.now()
        overdue = any(at <= now for at in plan.values())
        looks = looks + 1 if overdue else 0
        until = min([whole_at, now + recheck, *(at for at in plan.values() if at > now)])
        if overdue and looks <= LOOKS:
            until = min(until, now + LOOK_AGAIN)
        await _sleep(ground, until, wake)


class Watch:
    """How far back is looked for what is due.

    Rows that were changed leave dead index entries for as long as anybody holds an old snapshot. To pass over them
    all is done each minute, and as much more often as it costs little; between, nothing older than what the last look
    saw can be due, but for what somebody let start past its time.
    """

    def __init__(self) -> None:
        self._bound: datetime | None = None
        self._full_from = 0.0  # of the loop's clock

    def bound(self, now: datetime) -> datetime | None:
        """The due instant from which to look; None: from the first."""
        if self._bound is None or self._bound > now or asyncio.get_running_loop().time() >= self._full_from:
            return None
        return self._bound

    def forget(self) -> None:
        """Look from the first the next time."""
        self._bound = None

    def looked(self, now: datetime, oldest: datetime | None, began: float | None) -> None:
        """Note a look: the oldest due instant that is still to be done, and when it began if it was a full one."""
        self._bound = oldest or now
        if began is not None:
            ended = asyncio.get_running_loop().time()
            self._full_from = ended + min(FULL_AT_LEAST, FULL_LOOKS * (ended - began))


async def _plan(ground: Ground, steps: Sequence[Step], watch: Watch) -> tuple[Mapping[str, datetime], datetime | None]:
    """When each step has something to do, and before which instant nothing of it is due."""
    now, began = ground.clock.now(), asyncio.get_running_loop().time()
    bound = watch.bound(now)
    async with ground.begin() as tx:
        agenda = await next_due(tx, now, ground.rules.lead, bound)
    watch.looked(now, min(agenda.since.values(), default=None), began if bound is None else None)
    _tell_oldest(ground, agenda, now)
    names = {step.name for step in steps} - (HELD if agenda.held else frozenset())
    return (
        {name: at for name, at in agenda.next.items() if name in names},
        min((agenda.since[name] for name in names & agenda.since.keys()), default=None),
    )


def _tell_oldest(ground: Ground, agenda: Agenda, now: datetime) -> None:
    """Set the age of the oldest transition that is still to be done; to distribute is none."""
    late = [at for name, at in agenda.oldest.items() if name != "distribute"]
    ground.metrics.transitions_oldest_due_seconds.set(max(0.0, (now - min(late, default=now)).total_seconds()))


async def _ticked(ground: Ground, steps: Sequence[Step], names: Collection[str] | None) -> None:
    good = False
    try:
        good = await tick(ground, steps, names)
    finally:
        ground.metrics.ticks_total.labels("ok" if good else "failed").inc()
    if good:
        ground.metrics.last_tick_timestamp_seconds.set(ground.clock.now().timestamp())


async def _sleep(ground: Ground, until: datetime, wake: asyncio.Event) -> None:
    """Sleep until the clock shows `until` or somebody wakes us; a timer that fires early only makes us ask again."""
    seconds = (until - ground.clock.now()).total_seconds()
    if seconds > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await wake.wait()


def next_minute(now: datetime) -> datetime:
    """The first whole UTC minute after `now`."""
    return now.replace(second=0, microsecond=0) + MINUTE
