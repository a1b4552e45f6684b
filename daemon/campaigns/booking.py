"""What people do with a campaign: book, edit, submit, decide, pause, cancel, pay more (SPEC 3, 5).

Every function locks the campaign's row, then the tenant's where money or the running limit is concerned, and
returns the transitions that it logged; the caller announces them in the same transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg

from daemon.campaigns import draft as drafts
from daemon.campaigns import ledger, lifecycle, submission
from daemon.campaigns.campaign import EDITABLE, FIELDS, PERSONAL, Campaign, Reason, Status, TransitionType, successor
from daemon.campaigns.draft import BookingLimits, Draft
from daemon.campaigns.errors import (
    EditNotAllowed,
    Invalid,
    InvalidTransition,
    NameTaken,
    NotFound,
)
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import changes
from daemon.campaigns.queries.changes import Entry
from playlists.ids import CampaignId, TenantId
from playlists.queries import Row, Tx, mark_campaigns


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: named in the log, bound to a tenant or to none, with an operator's say or without."""

    actor: str  # "token:<id>"
    correlation_id: str
    operator: bool
    tenant_id: TenantId | None = None  # None: any tenant's campaigns

    @property
    def reason(self) -> Reason:
        """What the log says of whose decision it was."""
        return Reason.OPERATOR if self.operator else Reason.USER


async def create(
    tx: Tx, tenant_id: TenantId, given: Mapping[str, Any], now: datetime, caller: Caller, limits: BookingLimits
) -> tuple[CampaignId, list[Transition]]:
    """Book a DRAFT for a tenant from the fields of SPEC 11 (without `tenant_id`).

    Raises Invalid, NameTaken, NotFound("Tenant").
    """
    tenant = await changes.tenant(tx, tenant_id)
    if tenant is None or caller.tenant_id not in (None, tenant_id):
        raise NotFound("Tenant")
    draft, errors = drafts.new(given, tenant["timezone"], limits)
    errors.update(await submission.unknown_references(tx, tenant_id, draft, errors))
    if errors:
        raise Invalid(list(errors.items()))
    transition = await changes.create(tx, tenant_id, draft, _entry(TransitionType.CREATED, caller), now)
    if transition is None:
        raise NameTaken(draft.name)
    await submission.save_parts(tx, transition.campaign_id, draft)
    return transition.campaign_id, [transition]


async def edit(
    tx: Tx,
    campaign_id: CampaignId,
    patch: Mapping[str, Any],
    now: datetime,
    caller: Caller,
    limits: BookingLimits,
) -> list[Transition]:
    """Change fields of a DRAFT, or of a REJECTED campaign, which becomes a DRAFT by it; null clears (SPEC 3).

    Raises Invalid, EditNotAllowed, NameTaken, NotFound.
    """
    row = await _locked(tx, campaign_id, caller)
    before = changes.state(row)
    allowed = EDITABLE.get(before.status)
    if allowed is None or not allowed.issuperset(set(patch) & FIELDS):
        raise EditNotAllowed(f"Campaign is {before.status}; an edit needs DRAFT or REJECTED")
    tenant = await changes.tenant(tx, before.tenant_id)
    assert tenant is not None  # noqa: S101 - campaigns refer to their tenant
    old = await submission.stored_draft(tx, row)
    draft, errors = drafts.patched(old, patch, tenant["timezone"], limits)
    errors.update(await submission.unknown_references(tx, before.tenant_id, draft, errors))
    if errors:
        raise Invalid(list(errors.items()))
    try:
        async with tx.transaction():
            await changes.edit(tx, campaign_id, draft)
    except asyncpg.UniqueViolationError:
        raise NameTaken(draft.name) from None
    await submission.save_parts(tx, campaign_id, draft)
    entry = _entry(TransitionType.UPDATED, caller, changes=drafts.changes(old, draft))
    return [await changes.save(tx, before, _redrafted(before, draft), entry, now)]


def _redrafted(before: Campaign, draft: Draft) -> Campaign:
    return replace(
        before,
        name=draft.name,
        channel=draft.channel,
        status=Status.DRAFT,
        status_reason=None,
        status_note=None,
        start_at=draft.start.at if draft.start else None,
        start_local=draft.start.local if draft.start else None,
        budget_micros=draft.budget_micros,
        held_micros=0,
        released_micros=0,
        submitted_at=None,
        settled_at=None,
    )


async def delete(tx: Tx, campaign_id: CampaignId, now: datetime, caller: Caller) -> list[Transition]:
    """Take a DRAFT out of every list. Raises InvalidTransition, NotFound."""
    before = changes.state(await _locked(tx, campaign_id, caller))
    _next(before, TransitionType.DELETED, "delete", "DRAFT")
    entry = _entry(TransitionType.DELETED, caller)
    return [await changes.save(tx, before, replace(before, deleted_at=now), entry, now)]


async def submit(
    tx: Tx,
    campaign_id: CampaignId,
    now: datetime,
    caller: Caller,
    limits: BookingLimits,
) -> list[Transition]:
    """Book a DRAFT for good: everything checked, the whole budget held (SPEC 3).

    It becomes SCHEDULED, or PENDING_APPROVAL where a creative is flagged or the budget over the tenant's limit.
    Raises Invalid, InsufficientFunds, RunningLimit, NoEligibleDevices, InvalidTransition, NotFound.
    """
    row = await _locked(tx, campaign_id, caller)
    before = changes.state(row)
    _next(before, TransitionType.SCHEDULED, "submit", "DRAFT")
    checked = await submission.checked(tx, before, await submission.stored_draft(tx, row), now, limits)
    tenant = await changes.lock_tenant(tx, before.tenant_id)
    await submission.within_running_limit(tx, before, checked.start_at, checked.end_at, tenant["running_limit"])
    reason = checked.approval_reason(tenant["approval_limit_micros"])
    after = replace(
        before,
        status=Status.PENDING_APPROVAL if reason else Status.SCHEDULED,
        status_reason=reason,
        status_note=None,
        held_micros=checked.budget_micros,
        submitted_at=now,
        total_recipients=checked.audience,
    )
    kind = TransitionType.SUBMITTED if reason else TransitionType.SCHEDULED
    entry = _entry(kind, caller, reason=reason, moved={"held_micros": checked.budget_micros})
    transition = await changes.save(tx, before, after, entry, now)
    await ledger.hold(tx, before, transition.sequence, checked.budget_micros, now)
    return [transition]


async def approve(tx: Tx, campaign_id: CampaignId, now: datetime, caller: Caller) -> list[Transition]:
    """Let a campaign that awaits approval be scheduled; past its start, the next tick starts it at once.

    Raises InvalidTransition (also once its window is over), NotFound.
    """
    before = changes.state(await _locked(tx, campaign_id, caller))
    status = _next(before, TransitionType.APPROVED, "approve", "PENDING_APPROVAL")
    if before.end_at is not None and before.end_at <= now:
        raise InvalidTransition("Campaign's end is past; it can only be rejected or withdrawn")
    after = replace(before, status=status, status_reason=None, status_note=None)
    return [await changes.save(tx, before, after, _entry(TransitionType.APPROVED, caller, reason=caller.reason), now)]


async def reject(tx: Tx, campaign_id: CampaignId, note: str, now: datetime, caller: Caller) -> list[Transition]:
    """Send a campaign that awaits approval back with a note; its hold is released and closed.

    Raises Invalid, InvalidTransition, NotFound.
    """
    before = changes.state(await _locked(tx, campaign_id, caller))
    status = _next(before, TransitionType.REJECTED, "reject", "PENDING_APPROVAL")
    if not drafts.note(note).strip():
        raise Invalid([("note", "is required")])
    return [await _close(tx, before, status, _entry(TransitionType.REJECTED, caller, caller.reason, note), now)]


async def cancel(
    tx: Tx,
    campaign_id: CampaignId,
    note: str | None,
    now: datetime,
    caller: Caller,
    limits: BookingLimits,
) -> list[Transition]:
    """End a campaign for good; what awaits approval is withdrawn by it (SPEC 3).

    It leaves the playlists and is settled `settle_after` later, or at once if it was never distributed.
    Raises InvalidTransition, NotFound.
    """
    before = changes.state(await _locked(tx, campaign_id, caller))
    needs = "PENDING_APPROVAL, SCHEDULED, ACTIVE or PAUSED"
    status = _next(before, TransitionType.CANCELLED, "cancel", needs)
    entry = _entry(TransitionType.CANCELLED, caller, caller.reason, drafts.note(note) or None)
    if before.status is Status.PENDING_APPROVAL:
        return [await _close(tx, before, status, entry, now)]
    at_once = before.distributed_at is None
    after = replace(
        before,
        status=status,
        status_reason=caller.reason,
        status_note=note,
        settle_at=now if at_once else now + limits.settle_after,
    )
    transitions = [await changes.save(tx, before, after, entry, now)]
    if at_once:
        await changes.lock_tenant(tx, before.tenant_id)
        transitions += await lifecycle.settle(tx, [campaign_id], now)
    else:
        await mark_campaigns(tx, [campaign_id], now, urgent=True)
    return transitions


async def _close(tx: Tx, before: Campaign, status: Status, entry: Entry, now: datetime) -> Transition:
    """Release the whole hold of what was never scheduled, in the transition's own transaction."""
    amount = before.held_micros
    await changes.lock_tenant(tx, before.tenant_id)
    after = replace(
        before,
        status=status,
        status_reason=entry.reason,
        status_note=entry.note,
        held_micros=0,
        released_micros=before.released_micros + amount,
        settled_at=now,
    )
    transition = await changes.save(tx, before, after, replace(entry, moved={"released_micros": amount}), now)
    await ledger.release(tx, before, transition.sequence, amount, now)
    return transition


async def execute(tx: Tx, campaign_id: CampaignId, now: datetime, caller: Caller) -> list[Transition]:
    """Start a SCHEDULED campaign now: its `start_at` becomes now, all other rules hold (SPEC 3).

    Raises InvalidTransition (also once its window is over), RunningLimit, NotFound.
    """
    before = changes.state(await _locked(tx, campaign_id, caller))
    _next(before, TransitionType.STARTED, "execute", "SCHEDULED")
    assert before.start_at is not None  # noqa: S101 - the database keeps what is scheduled whole
    assert before.end_at is not None  # noqa: S101 - as above
    if before.end_at <= now:
        raise InvalidTransition("Campaign's end is past")
    tenant = await changes.lock_tenant(tx, before.tenant_id)
    await submission.within_running_limit(tx, before, now, before.end_at, tenant["running_limit"])
    return await lifecycle.start_now(tx, before, now, caller.reason, caller.actor, caller.correlation_id)


async def pause(tx: Tx, campaign_id: CampaignId, note: str | None, now: datetime, caller: Caller) -> list[Transition]:
    """Take an ACTIVE campaign from the screens; on a PAUSED one, add the person's cause to those that stand.

    Raises InvalidTransition (also when the person's cause stands already), NotFound.
    """
    before = changes.state(await _locked(tx, campaign_id, caller))
    status = _next(before, TransitionType.PAUSED, "pause", "ACTIVE or PAUSED")
    if caller.reason in before.pause_causes:
        raise InvalidTransition(f"Campaign is PAUSED by {caller.reason} already")
    _before_its_end(before, now)
    after = replace(
        before,
        status=status,
        status_reason=caller.reason,
        status_note=note,
        pause_causes=(*before.pause_causes, str(caller.reason)),
    )
    entry = _entry(TransitionType.PAUSED, caller, caller.reason, drafts.note(note) or None)
    transition = await changes.save(tx, before, after, entry, now)
    await changes.begin_pause(tx, campaign_id, caller.reason, now)
    await mark_campaigns(tx, [campaign_id], now, urgent=True)
    return [transition]


async def resume(tx: Tx, campaign_id: CampaignId, now: datetime, caller: Caller) -> list[Transition]:
    """End what persons paused; an operator's pause needs an operator (SPEC 3).

    Raises InvalidTransition after the end, by the wrong role and while a cause of the system stands; NotFound.
    """
    before = changes.state(await _locked(tx, campaign_id, caller))
    status = _next(before, TransitionType.RESUMED, "resume", "PAUSED")
    _before_its_end(before, now)
    systems = [cause for cause in before.pause_causes if cause not in PERSONAL]
    if systems:
        raise InvalidTransition(f"Campaign is PAUSED by {', '.join(systems)}; resume ends only a person's pause")
    if Reason.OPERATOR in before.pause_causes and not caller.operator:
        raise InvalidTransition("Campaign is PAUSED by OPERATOR; resume needs an operator")
    return [await _resume(tx, before, status, _entry(TransitionType.RESUMED, caller, caller.reason), now)]


async def _resume(tx: Tx, before: Campaign, status: Status, entry: Entry, now: datetime) -> Transition:
    after = replace(before, status=status, status_reason=None, status_note=None, pause_causes=())
    transition = await changes.save(tx, before, after, entry, now)
    await changes.end_pauses(tx, before.id, before.pause_causes, now)
    await mark_campaigns(tx, [before.id], now)
    return transition


async def topup(tx: Tx, campaign_id: CampaignId, amount_micros: int, now: datetime, caller: Caller) -> list[Transition]:
    """Add to a campaign's budget with a further hold; it ends BUDGET_EXHAUSTED (SPEC 3).

    `draft.topup` reads the amount. Raises InsufficientFunds, InvalidTransition, NotFound.
    """
    before = changes.state(await _locked(tx, campaign_id, caller))
    _next(before, TransitionType.BUDGET_INCREASED, "topup", "SCHEDULED, ACTIVE or PAUSED")
    _before_its_end(before, now)
    assert before.budget_micros is not None  # noqa: S101 - the database keeps what is scheduled whole
    await changes.lock_tenant(tx, before.tenant_id)
    exhausted = Reason.BUDGET_EXHAUSTED in before.pause_causes
    causes = tuple(cause for cause in before.pause_causes if cause != Reason.BUDGET_EXHAUSTED)
    grown = replace(
        before, budget_micros=before.budget_micros + amount_micros, held_micros=before.held_micros + amount_micros
    )
    ended = exhausted and not causes
    topped = grown if ended or not exhausted else replace(grown, pause_causes=causes, status_reason=causes[-1])
    entry = _entry(TransitionType.BUDGET_INCREASED, caller, caller.reason, moved={"amount_micros": amount_micros})
    transition = await changes.save(tx, before, topped, entry, now)
    await ledger.hold(tx, before, transition.sequence, amount_micros, now)
    if not ended:
        if exhausted:
            await changes.end_pauses(tx, campaign_id, [Reason.BUDGET_EXHAUSTED], now)
        return [transition]
    raised = replace(topped, version=before.version + 1, sequence=transition.sequence)
    entry = _entry(TransitionType.RESUMED, caller, Reason.BUDGET_EXHAUSTED)
    return [transition, await _resume(tx, raised, Status.ACTIVE, entry, now)]


async def _locked(tx: Tx, campaign_id: CampaignId, caller: Caller) -> Row:
    row = await changes.lock(tx, campaign_id, caller.tenant_id)
    if row is None:
        raise NotFound("Campaign")
    return row


def _next(campaign: Campaign, kind: TransitionType, action: str, needs: str) -> Status:
    """The status that the action leads to; raises InvalidTransition where SPEC 3 has none."""
    status = successor(kind, campaign.status)
    if status is None:
        raise InvalidTransition(f"Campaign is {campaign.status}; {action} needs {needs}")
    return status


def _before_its_end(campaign: Campaign, now: datetime) -> None:
    if campaign.end_at is not None and campaign.end_at <= now:
        raise InvalidTransition("Campaign's end is past")


def _entry(
    kind: TransitionType,
    caller: Caller,
    reason: Reason | None = None,
    note: str | None = None,
    **more: Any,
) -> Entry:
    return Entry(kind, caller.actor, caller.correlation_id, reason=reason, note=note, **more)
