"""One tick: its steps in their order, each in batches and transactions of its own, none stopping the next (SPEC 3)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import structlog

from daemon.announce import announce
from daemon.campaigns import lifecycle
from daemon.campaigns.campaign import Reason, TransitionType
from daemon.campaigns.events import Transition
from daemon.campaigns.lifecycle import Change
from daemon.campaigns.queries import due
from daemon.campaigns.queries.distribution import claim_to_distribute
from daemon.clock import Clock
from daemon.database import DatabaseUnavailable, transient
from daemon.distribute import distribute
from daemon.failpoints import failpoint
from daemon.metrics import Metrics
from playlists.ids import CampaignId
from playlists.queries import Tx

log = structlog.get_logger("daemon.tick")

Begin = Callable[[], AbstractAsyncContextManager[Tx]]  # a transaction, committed at the end of the block


@dataclass(frozen=True, slots=True)
class Rules:
    """What of the settings a tick goes by: rows a batch, pauses before retries, and the two leads."""

    batch: int
    retries: tuple[timedelta, ...]
    settle_after: timedelta
    lead: timedelta  # how long before its start a campaign is distributed


@dataclass(frozen=True, slots=True)
class Ground:
    """What steps stand on; `report` is told of transitions once they are committed."""

    begin: Begin
    clock: Clock
    metrics: Metrics
    rules: Rules
    report: Callable[[Sequence[Transition]], None]


class Step(NamedTuple):
    """An ordered part of a tick: its name, and what it does until nothing is left to do."""

    name: str
    run: Callable[[Ground], Awaitable[None]]


class Stuck(Exception):
    """Campaigns that not even their failure can be noted of; they are due until somebody looks."""


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


async def drain(changes: Sequence[Change], ground: Ground) -> None:
    """Do each change to everything due, batch by batch. Raises Stuck when all that can be done is done."""
    committed: list[Transition] = []
    stuck: Stuck | None = None
    try:
        for change in changes:
            try:
                while await _batch(change, ground, committed) == ground.rules.batch:
                    pass
            except Stuck as error:
                stuck = error
    finally:
        _report(ground, committed)
    if stuck:
        raise stuck


async def _batch(change: Change, ground: Ground, committed: list[Transition]) -> int:
    """One batch in one transaction, and how many campaigns it took; a row that fails is sorted out of it.

    What the batch before committed is reported while the server works on this one.
    """
    now, rules = ground.clock.now(), ground.rules
    try:
        async with ground.begin() as tx:
            claimed = await change.claim(tx, now, rules.batch)
            if not claimed:
                return 0
            failpoint(f"tick.claimed.{change.kind}")
            changing = asyncio.ensure_future(change.over(tx, claimed, now, rules.settle_after))
            try:
                await asyncio.sleep(0)  # it is on its way before we go on
                _report(ground, committed)
            finally:
                transitions = await changing
            failpoint(f"tick.changed.{change.kind}")
            await announce(tx, transitions, now)
            failpoint(f"tick.before_commit.{change.kind}")
    except Exception as error:
        if transient(error):
            raise
        log.warning("batch failed", change=change.kind, error=str(error))
        return await _sorted_out(change, ground, now)
    failpoint(f"tick.after_commit.{change.kind}")
    committed += transitions
    return len(claimed)


def _report(ground: Ground, committed: list[Transition]) -> None:
    if committed:
        told = committed.copy()
        committed.clear()
        ground.report(told)


async def _sorted_out(change: Change, ground: Ground, now: datetime) -> int:
    """The same batch halved until the bad rows stand alone: those are noted, the others go through."""
    rules = ground.rules
    async with ground.begin() as tx:
        ids = await change.claim(tx, now, rules.batch)
        transitions, bad = await _halved(tx, change, ids, now, rules)
        stuck = []
        for campaign_id, error in bad:
            noted = await _noted(tx, campaign_id, error, now, rules)
            transitions += noted or []
            stuck += [campaign_id] if noted is None else []
    ground.report(transitions)
    if stuck:
        raise Stuck(f"{len(stuck)} campaigns, the first of them {stuck[0]}")
    return len(ids)


async def _halved(
    tx: Tx, change: Change, ids: Sequence[CampaignId], now: datetime, rules: Rules
) -> tuple[list[Transition], list[tuple[CampaignId, Exception]]]:
    if not ids:
        return [], []
    try:
        async with tx.transaction():
            transitions = await change.over(tx, ids, now, rules.settle_after)
            await announce(tx, transitions, now)
            return transitions, []
    except Exception as error:
        if transient(error):
            raise
        if len(ids) == 1:
            return [], [(ids[0], error)]
    middle = len(ids) // 2
    done, bad = await _halved(tx, change, ids[:middle], now, rules)
    more_done, more_bad = await _halved(tx, change, ids[middle:], now, rules)
    return done + more_done, bad + more_bad


async def _noted(
    tx: Tx, campaign_id: CampaignId, error: Exception, now: datetime, rules: Rules
) -> list[Transition] | None:
    """Put off a campaign whose transition failed alone, or fail it after its last retry; None if neither can be."""
    try:
        async with tx.transaction():
            row = await due.note_attempt(tx, campaign_id, now, rules.retries)
            log.error("transition failed", campaign_id=str(campaign_id), attempt=row["attempts"], exc_info=error)
            if row["attempts"] <= len(rules.retries):
                return []
            note = f"its transition failed {row['attempts']} times"
            failed = await lifecycle.fail(tx, [campaign_id], Reason.TRANSITION_FAILED, note, now, rules.settle_after)
            await announce(tx, failed, now)
            return failed
    except Exception as failure:
        if transient(failure):
            raise
        log.exception("failure not noted", campaign_id=str(campaign_id))
        return None


async def _distribute(ground: Ground) -> None:
    await drain((_distribution(ground.rules.lead),), ground)


def _distribution(lead: timedelta) -> Change:
    async def claim(tx: Tx, now: datetime, limit: int) -> list[CampaignId]:
        return await claim_to_distribute(tx, now, lead, limit)

    async def over(tx: Tx, ids: Sequence[CampaignId], now: datetime, _: timedelta) -> list[Transition]:
        return await distribute(tx, ids, now, lead)

    return Change(TransitionType.CONTENT_DISTRIBUTED, claim, over)


def once(name: str, work: Callable[[Tx, datetime], Awaitable[Sequence[Transition]]]) -> Step:
    """A step that is one transaction of `work(tx, now)`, its transitions announced."""

    async def run(ground: Ground) -> None:
        now = ground.clock.now()
        async with ground.begin() as tx:
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
)
