"""What time does to campaigns: they start, complete, settle, miss their window or fail (SPEC 3, 4).

Each rule is a Change: a claim that locks what is due and nobody else holds (`queries.claiming`), and one set-based
statement over what was claimed (`queries.due`). Whichever instance runs it, and however often, it happens once.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from daemon.campaigns.campaign import Campaign, Reason, Status, TransitionType
from daemon.campaigns.draft import zulu
from daemon.campaigns.events import SYSTEM, Transition
from daemon.campaigns.money import decimal
from daemon.campaigns.queries import audience, claiming, due, suspending
from daemon.campaigns.queries.claiming import Claimed, Place
from devices.audience import audience_sizes
from playlists.ids import CampaignId
from playlists.queries import Row, Tx, mark_campaigns

Over = Callable[[Tx, Sequence[CampaignId], datetime, timedelta], Awaitable[list[Transition]]]
Claim = Callable[[Tx, datetime, int, Place], Awaitable[Claimed]]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that time does: `claim` locks up to so many campaigns that are due, `over` changes those.

    `around` claims instead after waiting for locks was in vain, `held` while the clock is held (SPEC 4): None for what
    cannot be undone, which then waits.
    """

    kind: TransitionType
    claim: Claim
    over: Over
    around: Claim | None = None
    held: Claim | None = None


async def complete(tx: Tx, ids: Sequence[CampaignId], now: datetime, settle_after: timedelta) -> list[Transition]:
    """Complete those of the locked campaigns that are ACTIVE or PAUSED."""
    return [_completed(row, now) for row in await due.complete(tx, ids, now, settle_after)]


async def start(tx: Tx, ids: Sequence[CampaignId], now: datetime, settle_after: timedelta) -> list[Transition]:
    """Start those of the locked campaigns that are SCHEDULED; what starts past its end completes with it."""
    rows = await due.start(tx, ids, now)
    transitions = [_start_fact(row, now, None, SYSTEM, []) for row in rows]
    over = [row["id"] for row in rows if row["end_at"] <= now]
    if over:
        transitions += await complete(tx, over, now, settle_after)
    return transitions + await _halted_at_start(tx, rows, now)


async def start_now(
    tx: Tx, campaign: Campaign, now: datetime, reason: str, actor: str, correlation_id: str
) -> list[Transition]:
    """Start one SCHEDULED campaign, locked and before its end, at a person's word: its `start_at` becomes now.

    A start that has come while screens had the campaign stands: they began by themselves, and were paid.
    """
    begun = campaign.start_at is not None and campaign.start_at <= now and campaign.distributed_at is not None
    changes: list[dict[str, object]] = []
    if not begun:
        old = zulu(campaign.start_at) if campaign.start_at else None
        changes.append({"field": "start_at", "old": old, "new": zulu(now)})
        await due.move_start(tx, campaign.id, now)
    await claiming.heal(tx, [campaign.id])
    rows = await due.start(tx, [campaign.id], now, reason, actor, correlation_id, changes)
    transitions = [_start_fact(row, now, reason, actor, changes) for row in rows]
    if campaign.distributed_at is not None and not begun:
        await mark_campaigns(tx, [campaign.id], now)  # its window has grown
    return transitions + await _halted_at_start(tx, rows, now)


async def _halted_at_start(tx: Tx, rows: Sequence[Row], now: datetime) -> list[Transition]:
    """Pause those of the campaigns just started that may not or cannot run (SPEC 3).

    A cause may stand since before, such as the tenant's suspension; there may be nothing to spend, as a late start may
    find its budget played away, or nobody to play to.
    """
    running = [row for row in rows if row["end_at"] > now]
    spent = [row["id"] for row in running if not row["held_micros"]]
    held = [row["id"] for row in running if row["pause_causes"]]
    rows = await suspending.hold(tx, held, now) if held else []
    transitions = [fact(row, TransitionType.PAUSED, _ACTIVE, now, now, Reason(row["status_reason"])) for row in rows]
    transitions += await exhaust(tx, spent, now) if spent else []
    return transitions + await _deserted(tx, [row["id"] for row in running if not row["total_recipients"]], now)


async def desert(tx: Tx, now: datetime) -> list[Transition]:
    """Pause those campaigns whose last device has gone while they ran (SPEC 3)."""
    return await _deserted(tx, await audience.lock_deserted(tx, now), now)


async def _deserted(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> list[Transition]:
    """Pause those that have no device; the stored number may be a moment old, so that a zero is counted again."""
    devices = await audience_sizes(tx, ids) if ids else {}
    nobody = [campaign_id for campaign_id in ids if not devices[campaign_id]]
    return await _halt(tx, nobody, Reason.NO_ELIGIBLE_DEVICES, now) if nobody else []


async def revive(tx: Tx, now: datetime) -> list[Transition]:
    """Let those campaigns go on that were paused for want of devices and have some again (SPEC 3)."""
    cause = Reason.NO_ELIGIBLE_DEVICES
    ended = await due.end_cause(tx, await due.lock_found(tx, now), cause, now)
    rows = [row for row in ended if row["status"] == Status.ACTIVE]
    await mark_campaigns(tx, [row["id"] for row in rows], now)
    return [fact(row, TransitionType.RESUMED, Status.PAUSED.value, now, now, cause) for row in rows]


async def miss(tx: Tx, ids: Sequence[CampaignId], now: datetime, _: timedelta) -> list[Transition]:
    """Give those up that were in no playlist in time; their holds go back. Tenants are locked too."""
    return [_closed(TransitionType.MISSED, Status.MISSED, row, now) for row in await due.miss(tx, ids, now)]


async def expire(tx: Tx, ids: Sequence[CampaignId], now: datetime, _: timedelta) -> list[Transition]:
    """Close those that nobody approved in time; their holds go back. Tenants are locked too."""
    return [_closed(TransitionType.EXPIRED, Status.EXPIRED, row, now) for row in await due.expire(tx, ids, now)]


async def settle(tx: Tx, ids: Sequence[CampaignId], now: datetime, _: timedelta = timedelta()) -> list[Transition]:
    """Settle campaigns that are over: count and spend stand, what was not used goes back. Tenants are locked too."""
    return [_settled(row, now) for row in await due.settle(tx, ids, now)]


def _claim(statement: str) -> Claim:
    return partial(claiming.claim, statement)


COMPLETE = Change(TransitionType.COMPLETED, _claim(claiming.CLAIM_TO_COMPLETE), complete)
START = Change(
    TransitionType.STARTED,
    _claim(claiming.CLAIM_TO_START),
    start,
    held=_claim(claiming.CLAIM_TO_START_BEFORE_END),  # the others would be completed with it
)
MISS = Change(TransitionType.MISSED, _claim(claiming.CLAIM_TO_MISS), miss, _claim(claiming.CLAIM_TO_MISS_AROUND))
EXPIRE = Change(
    TransitionType.EXPIRED, _claim(claiming.CLAIM_TO_EXPIRE), expire, _claim(claiming.CLAIM_TO_EXPIRE_AROUND)
)
SETTLE = Change(
    TransitionType.SETTLED, _claim(claiming.CLAIM_TO_SETTLE), settle, _claim(claiming.CLAIM_TO_SETTLE_AROUND)
)


async def fail(
    tx: Tx, ids: Sequence[CampaignId], reason: Reason, note: str, now: datetime, settle_after: timedelta
) -> list[Transition]:
    """Give campaigns up for good that are SCHEDULED, ACTIVE or PAUSED; they leave the playlists, settled later."""
    rows = await due.fail(tx, ids, reason, note, now, settle_after)
    await mark_campaigns(tx, [row["id"] for row in rows if row["distributed_at"]], now, urgent=True)
    return [fact(row, TransitionType.FAILED, row["from_status"], now, now, reason) for row in rows]


async def exhaust(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> list[Transition]:
    """Pause those of the campaigns that run and hold nothing any more, `BUDGET_EXHAUSTED` (SPEC 5).

    A campaign that a person paused gets the cause added. The caller holds their rows locked.
    """
    return await _halt(tx, ids, Reason.BUDGET_EXHAUSTED, now)


async def _halt(tx: Tx, ids: Sequence[CampaignId], cause: Reason, now: datetime) -> list[Transition]:
    rows = await due.halt(tx, ids, cause, now)
    await mark_campaigns(tx, [row["id"] for row in rows], now, urgent=True)
    return [fact(row, TransitionType.PAUSED, row["from_status"], now, now, cause) for row in rows]


async def log_unmoved(
    tx: Tx, kind: TransitionType, ids: Sequence[CampaignId], due_ats: Sequence[datetime], now: datetime
) -> list[Transition]:
    """Log a change that leaves the status as it is, such as `content.distributed`, of locked campaigns.

    Their columns are the caller's to write before. `due_ats` stand beside `ids`.
    """
    rows = await due.log_unmoved(tx, kind, ids, due_ats, now)
    return [fact(row, kind, row["status"], row["due_at"], now, None) for row in rows]


def fact(
    row: Row, kind: TransitionType, from_status: str, due_at: datetime, now: datetime, reason: Reason | None
) -> Transition:
    """The transition of a whole row of `campaigns` as it is after the change."""
    return Transition(
        row["id"], row["tenant_id"], row["sequence"], kind.value, row["name"], row["channel"], from_status,
        row["status"], None if reason is None else reason.value, row["status_note"] if reason else None, [], {},
        due_at, now, row["start_at"], row["activated_at"], row["total_recipients"], SYSTEM, row["correlation_id"],
    )  # fmt: skip


# Rows of the hot statements, by position: a thousand a batch.
_SCHEDULED, _ACTIVE = Status.SCHEDULED.value, Status.ACTIVE.value
_COMPLETED = Status.COMPLETED.value


def _start_fact(
    row: Row, now: datetime, reason: str | None, actor: str, changes: list[dict[str, object]]
) -> Transition:
    campaign_id, tenant_id, sequence, name, channel, start_at, _, recipients, correlation_id, *_ = row
    return Transition(
        campaign_id, tenant_id, sequence, "started", name, channel, _SCHEDULED, _ACTIVE, reason, None, changes, {},
        start_at, now, start_at, now, recipients, actor, correlation_id,
    )  # fmt: skip


def _completed(row: Row, now: datetime) -> Transition:
    campaign_id, tenant_id, sequence, name, channel, before, start_at, due_at, since, recipients, correlation_id = row
    return Transition(
        campaign_id, tenant_id, sequence, "completed", name, channel, before, _COMPLETED, None, None, [], {},
        due_at, now, start_at, since, recipients, SYSTEM, correlation_id,
    )  # fmt: skip


def _settled(row: Row, now: datetime) -> Transition:
    (campaign_id, tenant_id, sequence, name, channel, status, start_at, due_at, since, recipients, correlation_id,
     amount, spent, impressions, _) = row  # fmt: skip
    moved = {"released": decimal(amount), "spent": decimal(spent), "impressions": impressions}
    return Transition(
        campaign_id, tenant_id, sequence, "settled", name, channel, status, status, None, None, [], moved,
        due_at, now, start_at, since, recipients, SYSTEM, correlation_id,
    )  # fmt: skip


def _closed(kind: TransitionType, status: Status, row: Row, now: datetime) -> Transition:
    (campaign_id, tenant_id, sequence, name, channel, before, start_at, due_at, since, recipients, correlation_id,
     amount, _, _, reason) = row  # fmt: skip
    return Transition(
        campaign_id, tenant_id, sequence, kind.value, name, channel, before, status.value, reason,
        None, [], {"released": decimal(amount)}, due_at, now, start_at, since, recipients, SYSTEM, correlation_id,
    )  # fmt: skip
