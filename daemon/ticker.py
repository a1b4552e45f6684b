"""The loop behind the tick: at every UTC minute, and at the very instant at which something is due (SPEC 4)."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog

from daemon.campaigns.events import Transition
from daemon.campaigns.queries.due import next_due
from daemon.clock import Clock
from daemon.database import Database, DatabaseUnavailable
from daemon.metrics import Metrics, precreate
from daemon.tick import LIFE, Ground, Rules, Step, tick

log = structlog.get_logger("daemon.ticker")

MINUTE = timedelta(minutes=1)
LOOK_AGAIN = timedelta(milliseconds=50)  # at due rows that were found locked
LOOKS = 20  # that often, then as often as anything is asked
RECONNECT = 0.5  # seconds

Plan = Mapping[str, datetime]  # step -> the instant at which it has something to do


async def run(
    database: Database,
    clock: Clock,
    metrics: Metrics,
    rules: Rules,
    recheck: timedelta,
    report: Callable[[Sequence[Transition]], None],
    wake: asyncio.Event,
    beat: Callable[[], None],
    steps: Sequence[Step] = LIFE,
) -> None:
    """Tick until cancelled, on a connection of its own; without a database, wait for one.

    The next due instant is asked for at least every `recheck`, and when `wake` is set. `steps` begin with LIFE.
    """
    precreate(metrics.step_failures_total, [step.name for step in steps])
    while True:
        beat()
        try:
            async with database.dedicated("ticker") as connection:
                begin = partial(database.transaction, on=connection)
                ground = Ground(begin, clock, metrics, rules, report)
                await _keep(ground, steps, recheck, wake, beat)
        except DatabaseUnavailable as error:
            log.debug("no database to tick on", reason=str(error))
        await asyncio.sleep(RECONNECT)


async def _keep(
    ground: Ground,
    steps: Sequence[Step],
    recheck: timedelta,
    wake: asyncio.Event,
    beat: Callable[[], None],
) -> None:
    whole_at = ground.clock.now()  # at once: what fell due while nobody ticked
    looks = 0
    while True:
        beat()
        wake.clear()
        now = ground.clock.now()
        if now >= whole_at:
            await _ticked(ground, steps, None)
            whole_at = next_minute(now)
        plan = await _plan(ground, steps)
        now = ground.clock.now()
        late = {name for name, at in plan.items() if at <= now}
        if late:
            # what ends may be settled in the same tick
            await _ticked(ground, steps, late | {"settle"} if late & {"complete", "start"} else late)
            plan, now = await _plan(ground, steps), ground.clock.now()
        overdue = any(at <= now for at in plan.values())
        looks = looks + 1 if overdue else 0
        until = min([whole_at, now + recheck, *(at for at in plan.values() if at > now)])
        if overdue and looks <= LOOKS:
            until = min(until, now + LOOK_AGAIN)
        await _sleep(ground, until, wake)


async def _plan(ground: Ground, steps: Sequence[Step]) -> Plan:
    now = ground.clock.now()
    async with ground.begin() as tx:
        row = await next_due(tx, now, ground.rules.lead)
    plan = {step.name: row[step.name] for step in steps if row.get(step.name) is not None}
    oldest = min((plan[name] for name in ("complete", "start", "settle", "expire") if name in plan), default=now)
    ground.metrics.transitions_oldest_due_seconds.set(max(0.0, (now - oldest).total_seconds()))
    return plan


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
