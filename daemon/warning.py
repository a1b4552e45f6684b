"""What advertisers are warned of: screens not ready before a start, silent after it, a budget nearly used up.

Warnings change nothing. A look at the screens of a large network is slow, so a tick takes as many campaigns as fit
its time and the next goes on; nobody waits for one.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import structlog

from daemon.announce import announce
from daemon.campaigns import lifecycle
from daemon.campaigns.campaign import Reason, TransitionType
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import risk
from daemon.campaigns.queries.risk import Due
from daemon.database import transient
from daemon.ground import Ground
from daemon.notices import queries as notices
from daemon.notices.kinds import Kind
from daemon.tick import Step, once
from devices.presence import silence
from devices.queries.presence import watch
from devices.queries.unready import Readiness, by_store, heard, sound
from playlists.queries import Row, Tx

log = structlog.get_logger("daemon.warning")

CHECKS = (timedelta(hours=6), timedelta(hours=1))  # before the start (SPEC 7)
SILENT = timedelta(hours=1)  # after the start without a sign of any screen (SPEC 3)
STORES = 50  # that a warning names
PORTION = 4  # campaigns a transaction: each may mean a look at every device there is
SECONDS = 1.0  # of a tick
BUDGETS = 1000  # a transaction


def steps(ready_percent: int, patience: timedelta) -> tuple[Step, ...]:
    """The steps of a tick that warn; `patience` is the silence after which a device is offline."""
    looks = (
        Look(_to_start, partial(_not_ready, ready_percent=ready_percent)),
        Look(partial(_started, patience=patience), _silent),
    )
    return Step("risk", partial(_look, looks)), once("budget", _nearly_spent)


class Look(NamedTuple):
    """Something to warn of: `due` locks a portion of the campaigns to look at, `risks` finds what to tell of them."""

    due: Callable[[Tx, datetime], Awaitable[list[Due]]]
    risks: Callable[[Tx, Sequence[Due]], Awaitable[list[dict[str, Any]]]]


async def _look(looks: Sequence[Look], ground: Ground) -> None:
    """Take each look portion by portion, until nothing is due or the time of this tick is used."""
    ends = time.monotonic() + SECONDS
    for look in looks:
        count = PORTION
        while count == PORTION and time.monotonic() < ends:
            now = ground.clock.now()
            async with ground.begin() as tx:
                due = await look.due(tx, now)
                transitions = await _warned(tx, look, due, now)
            ground.report(transitions)
            count = len(due)


async def _warned(tx: Tx, look: Look, due: Sequence[Due], now: datetime) -> list[Transition]:
    """Note that all were looked at and log what was found; one that fails alone is noted too, the others go through."""
    if not due:
        return []
    try:
        async with tx.transaction():
            risks = await look.risks(tx, due)
            await risk.note_checked(tx, [each.id for each in due], now)
            rows = await risk.log_at_risk(tx, risks, now) if risks else []
            transitions = [_at_risk(row, now) for row in rows]
            await announce(tx, transitions, now)
            return transitions
    except Exception as error:
        if transient(error):
            raise
        if len(due) == 1:
            log.exception("warning failed", campaign_id=str(due[0].id))
            await risk.note_checked(tx, [due[0].id], now)
            return []
    middle = len(due) // 2
    return [*await _warned(tx, look, due[:middle], now), *await _warned(tx, look, due[middle:], now)]


async def _to_start(tx: Tx, now: datetime) -> list[Due]:
    return await risk.lock_to_start(tx, now, CHECKS, PORTION)


async def _not_ready(tx: Tx, due: Sequence[Due], ready_percent: int) -> list[dict[str, Any]]:
    """Those of which too few screens are READY some hours before their start; once per check (SPEC 7)."""
    fine = await sound(tx, [each.id for each in due], ready_percent)
    doubtful = [each for each in due if each.id not in fine]
    found = await by_store(tx, [each.id for each in doubtful], STORES) if doubtful else {}
    risks = []
    for each in doubtful:
        readiness = found[each.id]
        if not readiness.devices:
            risks.append(_risk(each, Reason.NO_ELIGIBLE_DEVICES, readiness, 0))
        elif readiness.ready * 100 < ready_percent * readiness.devices:
            readiness.first = [store for store in readiness.first if store.ready < store.devices]
            risks.append(_risk(each, Reason.NOT_READY, readiness, readiness.unready_stores))
    return risks


async def _started(tx: Tx, now: datetime, patience: timedelta) -> list[Due]:
    """Those that run for an hour; time in which nobody served is not counted: silence then was ours."""
    due = await risk.lock_started(tx, now, SILENT, PORTION)
    if not due:
        return []
    watched = await watch(tx, patience)
    return [each for each in due if silence(each.due_at - SILENT, watched) >= SILENT]


async def _silent(tx: Tx, due: Sequence[Due]) -> list[dict[str, Any]]:
    """Those of whose screens none was seen since the start, once (SPEC 3)."""
    there = await heard(tx, [each.id for each in due])
    lost = [each for each in due if each.id not in there]
    found = await by_store(tx, [each.id for each in lost], STORES) if lost else {}
    return [
        _risk(each, Reason.DEVICES_OFFLINE, found[each.id], found[each.id].stores)
        for each in lost
        if found[each.id].devices
    ]


def _risk(due: Due, reason: Reason, readiness: Readiness, stores: int) -> dict[str, Any]:
    moved = {
        "ready": readiness.ready,
        "recipients": readiness.devices,
        "stores_at_risk": stores,
        "stores": [store._asdict() | {"store_id": str(store.store_id)} for store in readiness.first],
    }
    return {"id": str(due.id), "due_at": due.due_at, "reason": reason.value, "moved": moved}


def _at_risk(row: Row, now: datetime) -> Transition:
    fact = lifecycle.fact(row, TransitionType.AT_RISK, row["status"], row["due_at"], now, Reason(row["reason"]))
    return fact._replace(note=None, moved=row["moved"])


async def _nearly_spent(tx: Tx, now: datetime) -> list[Transition]:
    """Owe a mail for each campaign that has used 90 % of its budget, once per budget (SPEC 10): no change, no event."""
    found = await risk.note_nearly_spent(tx, now, BUDGETS)
    if found:
        await notices.append(tx, [notices.Mail(Kind.BUDGET_USED, *each) for each in found], now)
    return []
