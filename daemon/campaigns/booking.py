"""What people do with a campaign: book, submit, decide, execute, cancel, pay more (SPEC 3, 5).

Every function locks the campaign's row, then the tenant's where money or the running limit is concerned, and
returns the transitions that it logged; the caller announces them in the same transaction.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from daemon.campaigns import asking, halting, ledger, lifecycle, submission, suspending
from daemon.campaigns import draft as drafts
from daemon.campaigns.asking import Caller
from daemon.campaigns.campaign import Campaign, Reason, Status, TransitionType
from daemon.campaigns.draft import BookingLimits
from daemon.campaigns.errors import (
    Invalid,
    InvalidTransition,
    NameTaken,
    NotFound,
)
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import changes
from daemon.campaigns.queries.changes import Entry
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx, mark_campaigns


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
    transition = await changes.create(tx, tenant_id, draft, asking.entry(TransitionType.CREATED, caller), now)
    if transition is None:
        raise NameTaken(draft.name)
    await submission.save_parts(tx, transition.campaign_id, draft)
    return transition.campaign_id, [transition]


async def delete(tx: Tx, campaign_id: CampaignId, now: datetime, caller: Caller) -> list[Transition]:
    """Take a DRAFT out of every list. Raises InvalidTransition, NotFound."""
    before = changes.state(await asking.locked(tx, campaign_id, caller))
    asking.next_status(before, TransitionType.DELETED, "delete", "DRAFT")
    entry = asking.entry(TransitionType.DELETED, caller)
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
    What an operator submits for a suspended tenant stays out of the playlists until that ends. Raises Invalid,
    InsufficientFunds, RunningLimit, NoEligibleDevices, TenantSuspended, InvalidTransition, NotFound.
    """
    row = await asking.locked(tx, campaign_id, caller)
    before = changes.state(row)
    asking.next_status(before, TransitionType.SCHEDULED, "submit", "DRAFT")
    checked = await submission.checked(tx, before, await submission.stored_draft(tx, row), now, limits)
    tenant = await changes.lock_tenant(tx, before.tenant_id)
    suspending.permit(tenant, caller)
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
    after = after if reason else suspending.scheduled(after, tenant)
    kind = TransitionType.SUBMITTED if reason else TransitionType.SCHEDULED
    entry = asking.entry(kind, caller, reason=reason, moved={"held_micros": checked.budget_micros})
    transition = await changes.save(tx, before, after, entry, now)
    await ledger.hold(tx, before, transition.sequence, checked.budget_micros, now)
    if reason:
        await changes.await_approval(tx, campaign_id, now + limits.approval_wait)
    await suspending.note(tx, after, now)
    return [transition]


async def approve(tx: Tx, campaign_id: CampaignId, now: datetime, caller: Caller) -> list[Transition]:
    """Let a campaign that awaits approval be scheduled; past its start, the next tick starts it at once.

    Raises InvalidTransition (also once its window is over, or its time to be approved), NotFound.
    """
    row = await asking.locked(tx, campaign_id, caller)
    before = changes.state(row)
    status = asking.next_status(before, TransitionType.APPROVED, "approve", "PENDING_APPROVAL")
    for what, until in (("end", before.end_at), ("time to be approved", row["approve_by"])):
        if until is not None and until <= now:
            raise InvalidTransition(f"Campaign's {what} is past; it can only be rejected or withdrawn")
    tenant = await changes.lock_tenant(tx, before.tenant_id)
    after = suspending.scheduled(replace(before, status=status, status_reason=None, status_note=None), tenant)
    entry = asking.entry(TransitionType.APPROVED, caller, reason=caller.reason)
    transition = await changes.save(tx, before, after, entry, now)
    await suspending.note(tx, after, now)
    return [transition]


async def reject(tx: Tx, campaign_id: CampaignId, note: str, now: datetime, caller: Caller) -> list[Transition]:
    """Send a campaign that awaits approval back with a note; its hold is released and closed.

    Raises Invalid, InvalidTransition, NotFound.
    """
    before = changes.state(await asking.locked(tx, campaign_id, caller))
    status = asking.next_status(before, TransitionType.REJECTED, "reject", "PENDING_APPROVAL")
    if not drafts.note(note).strip():
        raise Invalid([("note", "is required")])
    return [await _close(tx, before, status, asking.entry(TransitionType.REJECTED, caller, caller.reason, note), now)]


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
    before = changes.state(await asking.locked(tx, campaign_id, caller))
    needs = "PENDING_APPROVAL, SCHEDULED, ACTIVE or PAUSED"
    status = asking.next_status(before, TransitionType.CANCELLED, "cancel", needs)
    entry = asking.entry(TransitionType.CANCELLED, caller, caller.reason, drafts.note(note) or None)
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
    row = await asking.locked(tx, campaign_id, caller)
    before = changes.state(row)
    asking.next_status(before, TransitionType.STARTED, "execute", "SCHEDULED")
    assert before.start_at is not None  # noqa: S101 - the database keeps what is scheduled whole
    assert before.end_at is not None  # noqa: S101 - as above
    if before.end_at <= now:
        raise InvalidTransition("Campaign's end is past")
    if before.distributed_at is None and row["start_deadline"] is not None and row["start_deadline"] < now:
        raise InvalidTransition("Campaign's start_deadline is past")
    tenant = await changes.lock_tenant(tx, before.tenant_id)
    await submission.within_running_limit(tx, before, now, before.end_at, tenant["running_limit"])
    return await lifecycle.start_now(tx, before, now, caller.reason, caller.actor, caller.correlation_id)


async def topup(tx: Tx, campaign_id: CampaignId, amount_micros: int, now: datetime, caller: Caller) -> list[Transition]:
    """Add to a campaign's budget with a further hold; it ends BUDGET_EXHAUSTED (SPEC 3).

    `draft.topup` reads the amount. Raises InsufficientFunds, InvalidTransition, NotFound.
    """
    before = changes.state(await asking.locked(tx, campaign_id, caller))
    asking.next_status(before, TransitionType.BUDGET_INCREASED, "topup", "SCHEDULED, ACTIVE or PAUSED")
    asking.require_before_end(before, now)
    assert before.budget_micros is not None  # noqa: S101 - the database keeps what is scheduled whole
    await changes.lock_tenant(tx, before.tenant_id)
    exhausted = Reason.BUDGET_EXHAUSTED in before.pause_causes
    causes = tuple(cause for cause in before.pause_causes if cause != Reason.BUDGET_EXHAUSTED)
    grown = replace(
        before, budget_micros=before.budget_micros + amount_micros, held_micros=before.held_micros + amount_micros
    )
    ended = exhausted and not causes
    topped = grown if ended or not exhausted else replace(grown, pause_causes=causes, status_reason=causes[-1])
    entry = asking.entry(TransitionType.BUDGET_INCREASED, caller, caller.reason, moved={"amount_micros": amount_micros})
    transition = await changes.save(tx, before, topped, entry, now)
    await ledger.hold(tx, before, transition.sequence, amount_micros, now)
    if not ended:
        if exhausted:
            await changes.end_pauses(tx, campaign_id, [Reason.BUDGET_EXHAUSTED], now)
        return [transition]
    raised = replace(topped, version=before.version + 1, sequence=transition.sequence)
    entry = asking.entry(TransitionType.RESUMED, caller, Reason.BUDGET_EXHAUSTED)
    return [transition, await halting.resumed(tx, raised, Status.ACTIVE, entry, now)]
