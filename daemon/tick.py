"""One tick: its steps in their order, each in batches and transactions of its own, none stopping the next (SPEC 3)."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import structlog

from daemon.announce import announce
from daemon.campaigns import lifecycle
from daemon.campaigns.campaign import TransitionType
from daemon.campaigns.events import Transition
from daemon.campaigns.lifecycle import Change
from daemon.campaigns.queries import claiming
from daemon.campaigns.queries.claiming import Claimed, Place
from daemon.campaigns.queries.distribution import claim_to_distribute
from daemon.campaigns.zones import resolution
from daemon.database import DatabaseUnavailable
from daemon.distribute import distribute
from daemon.draining import drain
from daemon.failpoints import failpoint
from daemon.ground import Ground
from playlists.ids import CampaignId
from playlists.localtime import resolve, tzdata_version
from playlists.queries import Tx

log = structlog.get_logger("daemon.tick")

UNTRIED = timedelta(minutes=5)  # what rested in quarantine and was not tried for so long is due no longer


class Step(NamedTuple):
    """An ordered part of a tick: its name, and what it does until nothing is left to do."""

    name: str
    run: Callable[[Ground], Awaitable[None]]


async def tick(ground: Ground, steps: Sequence[Step], names: Collection[str] | None = None) -> bool:
    """Run the steps, or those of these names, and say whether all went well.

    A step that fails is logged and counted, and the next one runs. Raises DatabaseUnavailable when there is no
    database to go on with.
    """
    good = True
    for step in steps:
        if names is not None and step.name not in names:
            continue
        try:
            await step.run(ground)
        except Exception as error:
            good = False
            ground.metrics.step_failures_total.labels(step.name).inc()
            if isinstance(error, DatabaseUnavailable) and error.outage:
                raise
            log.exception("step failed", step=step.name)
    return good


async def _count_quarantined(ground: Ground) -> None:
    async with ground.begin() as tx:
        number = await claiming.count_quarantined(tx, ground.clock.now() - UNTRIED)
    ground.metrics.campaigns_quarantined.set(number)


async def _distribute(ground: Ground) -> None:
    await drain((_distribution(ground.rules.lead),), ground)


def _distribution(lead: timedelta) -> Change:
    async def claim(tx: Tx, now: datetime, limit: int, after: Place) -> Claimed:
        return await claim_to_distribute(tx, now, lead, limit, after)

    async def over(tx: Tx, ids: Sequence[CampaignId], now: datetime, _: timedelta) -> list[Transition]:
        return await distribute(tx, ids, now, lead)

    return Change(TransitionType.CONTENT_DISTRIBUTED, claim, over, held=claim)


async def _resolve(ground: Ground) -> None:
    await drain((resolution(tzdata_version(), resolve, ground.rules.lead),), ground)


def once(name: str, work: Callable[[Tx, datetime], Awaitable[Sequence[Transition]]], *, final: bool = False) -> Step:
    """A step that is one transaction of `work(tx, now)`, its transitions announced.

    What is `final` cannot be undone and rests on the time alone: it waits while the clock is held (SPEC 4).
    """

    async def run(ground: Ground) -> None:
        now = ground.clock.now()
        async with ground.begin() as tx:
            if final and await ground.held(tx):
                return
            transitions = await work(tx, now)
            await announce(tx, transitions, now)
            failpoint("step.before_commit")
        failpoint("step.after_commit")
        ground.report(transitions)

    return Step(name, run)


# Ends beat starts at the same instant; what starts past its end completes with it.
LIFE = (
    Step("complete", partial(drain, (lifecycle.COMPLETE,))),
    Step("start", partial(drain, (lifecycle.MISS, lifecycle.START))),
    Step("settle", partial(drain, (lifecycle.SETTLE,))),
    Step("distribute", _distribute),
    Step("expire", partial(drain, (lifecycle.EXPIRE,))),
    Step("zones", _resolve),
    Step("quarantine", _count_quarantined),
)
