"""Doing a change to everything that is due: claimed in batches, sorted where one fails, no row stopping the others."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from daemon.announce import announce
from daemon.campaigns import lifecycle
from daemon.campaigns.campaign import Reason
from daemon.campaigns.events import Transition
from daemon.campaigns.lifecycle import Change
from daemon.campaigns.queries import claiming, due
from daemon.campaigns.queries.claiming import Admission, Claimed, Place
from daemon.database import DatabaseUnavailable, transient
from daemon.failpoints import failpoint
from daemon.ground import Begin, Ground
from daemon.pace import Pace
from playlists.ids import CampaignId
from playlists.queries import Tx

log = structlog.get_logger("daemon.draining")

PAUSE, TURNS = 0.05, 20  # seconds between two attempts to claim while two others do, and how many there are
SORTING = 3.0  # seconds for finding the bad rows of a batch; what is left then is for the next
MINUTE = timedelta(minutes=1)


class Stuck(Exception):
    """Campaigns that cannot be changed, not be FAILED and not be quarantined; they are due until somebody looks."""


class Busy(Exception):
    """Two others claim at this moment; a third would slow them down."""


@dataclass(slots=True)
class Lane:
    """One connection's way through what is due of a change: behind `after` it goes on."""

    change: Change
    ground: Ground
    begin: Begin
    committed: list[Transition]
    after: Place

    @property
    def pace(self) -> Pace:
        """How large its batches are."""
        return self.ground.pace(self.change)


async def drain(changes: Sequence[Change], ground: Ground) -> None:
    """Do each change to everything due, batch by batch. Raises Stuck when all that can be done is done."""
    committed: list[Transition] = []
    stuck: Stuck | None = None
    first = claiming.FIRST if ground.since is None else Place(ground.since)
    try:
        for change in changes:
            try:
                await _through(Lane(change, ground, ground.begin, committed, first))
            except Stuck as error:
                stuck = error
    finally:
        _report(ground, committed)
    if stuck:
        raise stuck


async def _through(lane: Lane) -> None:
    """All that is due of a change; from the third full batch on, a second connection helps."""
    for _ in range(2):
        if not await _in_turn(lane):
            return
    lanes = [lane]
    async with AsyncExitStack() as stack:
        if lane.ground.second is not None:
            with suppress(DatabaseUnavailable):  # no connection to spare: one will do
                begin = await stack.enter_async_context(lane.ground.second())
                lanes.append(Lane(lane.change, lane.ground, begin, lane.committed, lane.after))
        with lane.ground.rush.under_way():
            results = await asyncio.gather(*map(_to_its_end, lanes), return_exceptions=True)
    for result in results:
        if result is not None:
            raise result


async def _to_its_end(lane: Lane) -> None:
    while await _in_turn(lane):
        pass


async def _in_turn(lane: Lane) -> bool:
    """One batch, as soon as fewer than two others claim; whether there may be more for us to do."""
    for _ in range(TURNS):
        try:
            return await _batch(lane)
        except Busy:
            await asyncio.sleep(PAUSE)
    return False  # those two are at it


async def _batch(lane: Lane) -> bool:
    """One batch in one transaction, and whether there may be more; a row that fails is sorted out of it.

    While the clock is held, only what can be undone is done. `now` never runs ahead of the hold: the clock follows a
    jump once the hold is committed (`daemon.jumps`). What the batch before committed is reported while the server
    works on this one.
    """
    change, ground, size = lane.change, lane.ground, lane.pace.size
    now = ground.clock.now()
    try:
        async with lane.begin() as tx:
            admission = await claiming.admit(tx)
            claimed = await _claimed(tx, lane, admission, now)
            if not claimed.ids:
                return False
            failpoint(f"tick.claimed.{change.kind}")
            changing = asyncio.ensure_future(_changed(tx, lane, claimed.ids, admission, now))
            try:
                await asyncio.sleep(0)  # it is on its way before we go on
                _report(ground, lane.committed)
            finally:
                transitions = await changing
            failpoint(f"tick.changed.{change.kind}")
            await announce(tx, transitions, now)
            failpoint(f"tick.before_commit.{change.kind}")
    except Busy:
        raise
    except Exception as error:
        if transient(error):
            _slow_down(lane, error)
            raise
        log.warning("batch failed", change=change.kind, error=str(error))
        return await _sorted_out(lane, now)
    failpoint(f"tick.after_commit.{change.kind}")
    lane.pace.faster()
    lane.after = claimed.last
    lane.committed += transitions
    return len(claimed.ids) == size


def _slow_down(lane: Lane, error: Exception) -> None:
    """Take smaller batches after a time-out or a lock not got: neither is an attempt of any row."""
    lane.pace.slower()
    log.warning("batches made smaller", change=lane.change.kind, batch=lane.pace.size, error=str(error))


async def _claimed(tx: Tx, lane: Lane, admission: Admission, now: datetime) -> Claimed:
    """What this transaction may change; raises Busy while two others claim."""
    change = lane.change
    claim = change.around if lane.pace.reduced and change.around else change.claim
    if admission.held or lane.ground.clock.held:  # ours is held until it has gone back, too
        if change.held is None:
            return Claimed([], lane.after)
        claim = change.held
    if not admission.admitted:
        raise Busy
    return await claim(tx, now, lane.pace.size, lane.after)


async def _changed(
    tx: Tx, lane: Lane, ids: Sequence[CampaignId], admission: Admission, now: datetime
) -> list[Transition]:
    transitions = await lane.change.over(tx, ids, now, lane.ground.rules.settle_after)
    if admission.quarantined:
        await claiming.heal(tx, ids)
    return transitions


def _report(ground: Ground, committed: list[Transition]) -> None:
    if committed:
        told = committed.copy()
        committed.clear()
        ground.report(told)


async def _sorted_out(lane: Lane, now: datetime) -> bool:
    """A batch like the one that failed, halved until the bad rows stand alone: those are noted, the others go through.

    Says whether there may be more: what there was no time for is claimed again.
    """
    ground, size = lane.ground, lane.pace.size
    until = asyncio.get_running_loop().time() + SORTING
    async with lane.begin() as tx:
        admission = await claiming.admit(tx)
        claimed = await _claimed(tx, lane, admission, now)
        sorting = Sorting(tx, lane, admission, now, until)
        await sorting.halve(claimed.ids)
        stuck = [campaign_id for campaign_id, error in sorting.bad if not await _noted(sorting, campaign_id, error)]
    ground.report(sorting.done)
    if stuck:
        raise Stuck(f"{len(stuck)} campaigns, the first of them {stuck[0]}")
    return len(claimed.ids) == size or sorting.left


@dataclass(slots=True)
class Sorting:
    """A batch being sorted: transitions that are `done`, rows that fail alone, and whether the time ran out."""

    tx: Tx
    lane: Lane
    admission: Admission
    now: datetime
    until: float
    done: list[Transition] = field(default_factory=list)
    bad: list[tuple[CampaignId, Exception]] = field(default_factory=list)
    left: bool = False

    async def halve(self, ids: Sequence[CampaignId]) -> None:
        """Change these, or each half of them where that fails."""
        if not ids:
            return
        if asyncio.get_running_loop().time() > self.until and (self.done or self.bad):
            self.left = True
            return
        try:
            async with self.tx.transaction():
                transitions = await _changed(self.tx, self.lane, ids, self.admission, self.now)
                await announce(self.tx, transitions, self.now)
            self.done += transitions
            return
        except Exception as error:
            if transient(error):
                raise
            if len(ids) == 1:
                self.bad.append((ids[0], error))
                return
        middle = len(ids) // 2
        await self.halve(ids[:middle])
        await self.halve(ids[middle:])


async def _noted(sorting: Sorting, campaign_id: CampaignId, error: Exception) -> bool:
    """Put off a campaign whose transition failed alone, fail it after its last retry, or quarantine it if it cannot be.

    False when not even that could be noted.
    """
    tx, now, rules = sorting.tx, sorting.now, sorting.lane.ground.rules
    try:
        async with tx.transaction():
            attempts = await due.note_attempt(tx, campaign_id, now, rules.retries)
            trace = error if sorting.bad[0][0] == campaign_id else None  # one of many is enough
            log.error(
                "transition failed",
                campaign_id=str(campaign_id),
                change=sorting.lane.change.kind,
                attempt=attempts,
                error=str(error),
                exc_info=trace,
            )
            if attempts <= len(rules.retries):
                return True
            note = f"its transition failed {attempts} times"
            failed = await lifecycle.fail(tx, [campaign_id], Reason.TRANSITION_FAILED, note, now, rules.settle_after)
            await announce(tx, failed, now)
        if failed:
            sorting.done += failed
            return True
    except Exception as failure:
        if transient(failure):
            raise
        log.warning("failure not noted", campaign_id=str(campaign_id), error=str(failure))
    return await _quarantined(sorting, campaign_id, error)


async def _quarantined(sorting: Sorting, campaign_id: CampaignId, error: Exception) -> bool:
    change, retries = sorting.lane.change, sorting.lane.ground.rules.retries
    pause = retries[-1] if retries else MINUTE
    try:
        async with sorting.tx.transaction():
            attempts, until = await claiming.quarantine(
                sorting.tx, campaign_id, change.kind, str(error), sorting.now, pause
            )
    except Exception as failure:
        if transient(failure):
            raise
        log.exception("campaign not quarantined", campaign_id=str(campaign_id))
        return False
    log.error(
        "campaign quarantined",
        campaign_id=str(campaign_id),
        change=change.kind,
        attempts=attempts,
        until=until.isoformat(),
        error=str(error),
    )
    return True
