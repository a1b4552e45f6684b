"""What people change of a campaign: what the edit table lets them, checked as at a submit, one logged edit (SPEC 3)."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg

from daemon.campaigns import asking, submission
from daemon.campaigns import draft as drafts
from daemon.campaigns.asking import Caller
from daemon.campaigns.campaign import (
    EDITABLE,
    FIELDS,
    SUBMITTED,
    Campaign,
    Status,
    TransitionType,
    leaves_playlists,
)
from daemon.campaigns.draft import BookingLimits, Draft, Edge
from daemon.campaigns.errors import EditNotAllowed, Invalid, NameTaken
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import changes
from devices.targets import covers
from playlists.ids import CampaignId
from playlists.localtime import release, tzdata_version
from playlists.queries import Row, Tx, mark_campaigns

_PLAYED_BY = frozenset({"priority", "start_at", "end_at", "target", "creatives"})  # what playlists are made of


async def edit(
    tx: Tx,
    campaign_id: CampaignId,
    patch: Mapping[str, Any],
    now: datetime,
    caller: Caller,
    limits: BookingLimits,
) -> list[Transition]:
    """Change what may be changed of a campaign in its status; null clears. A REJECTED one becomes a DRAFT by it.

    One row of the log, whether or not anything differs. Raises Invalid, EditNotAllowed, NameTaken, RunningLimit,
    NoEligibleDevices, NotFound; nothing is changed then.
    """
    row = await asking.locked(tx, campaign_id, caller)
    before = changes.state(row)
    _require_editable(before, patch, now)
    old = await submission.stored_draft(tx, row)
    draft = await _patched(tx, row, old, patch, limits)
    try:
        async with tx.transaction():
            if before.status in SUBMITTED:
                version = _rules(row["tzdata_version"], old, draft)
                after = await _rebooked(tx, before, old, draft, version, now, caller, limits)
            else:
                after = await _redrafted(tx, before, draft)
    except asyncpg.UniqueViolationError:
        raise NameTaken(draft.name) from None
    told = drafts.changes(old, draft)
    if before.distributed_at is not None and after.distributed_at is None:
        told.append({"field": "distributed_at", "old": drafts.zulu(before.distributed_at), "new": None})
    entry = asking.entry(TransitionType.UPDATED, caller, changes=told)
    return [await changes.save(tx, before, after, entry, now)]


def _require_editable(before: Campaign, patch: Mapping[str, Any], now: datetime) -> None:
    """Whether all that is to change is in the edit table at all."""
    allowed = EDITABLE.get(before.status, frozenset())
    refused = sorted(set(patch) & FIELDS - allowed)
    if not allowed:
        raise EditNotAllowed(f"Campaign is {before.status}; nothing of it can be edited")
    if refused:
        raise EditNotAllowed(
            f"Campaign is {before.status}; of {', '.join(refused)} nothing can be edited, only of "
            + ", ".join(sorted(allowed))
        )
    if before.status in SUBMITTED and before.end_at is not None and before.end_at <= now:
        raise EditNotAllowed("Campaign's end is past; nothing of it can be edited")


async def _patched(tx: Tx, row: Row, old: Draft, patch: Mapping[str, Any], limits: BookingLimits) -> Draft:
    """What the campaign would say; raises Invalid. Of a booked one, wall times that are not given stay resolved."""
    tenant = await changes.tenant(tx, row["tenant_id"])
    assert tenant is not None  # noqa: S101 - campaigns refer to their tenant
    booked = row["status"] in SUBMITTED
    base = replace(old, start=_instant_of(old.start), end=_instant_of(old.end)) if booked else old
    draft, errors = drafts.patched(base, patch, tenant["timezone"], limits)
    errors.update(await submission.unknown_references(tx, row["tenant_id"], draft, errors))
    if errors:
        raise Invalid(list(errors.items()))
    if booked and patch.keys().isdisjoint(("start_at", "start_local")):
        draft = replace(draft, start=old.start)
    if booked and patch.keys().isdisjoint(("end_at", "end_local")):
        draft = replace(draft, end=old.end)
    return draft


def _instant_of(edge: Edge | None) -> Edge | None:
    return edge and Edge(edge.at)


async def _redrafted(tx: Tx, before: Campaign, draft: Draft) -> Campaign:
    await changes.edit(tx, before.id, draft)
    await submission.save_parts(tx, before.id, draft)
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


async def _rebooked(
    tx: Tx,
    before: Campaign,
    old: Draft,
    draft: Draft,
    version: str,
    now: datetime,
    caller: Caller,
    limits: BookingLimits,
) -> Campaign:
    """Write an edit of a booked campaign; the playlists that it touches follow."""
    errors = await submission.edit_errors(tx, old, draft, caller.operator, now, limits)
    if errors or draft.start is None or draft.end is None:
        raise Invalid(list(errors.items()))
    changed = {change["field"] for change in drafts.changes(old, draft)}
    _require_growth(before, old, draft, now)
    lead = limits.distribution_lead
    withdrawn = leaves_playlists(before.distributed_at, before.start_at, draft.start.at, now, lead)
    await changes.edit_booked(tx, before.id, draft, version, withdrawn)
    if changed & {"target", "creatives"}:
        await submission.save_parts(tx, before.id, draft)
    recipients = before.total_recipients
    if changed & {"target", "creatives", "start_at", "end_at"}:
        window = max(draft.start.at, now), draft.end.at
        recipients = await submission.audience_with_slot(tx, before.id, draft, window, limits)
    if before.distributed_at is not None and not before.pause_causes and changed & _PLAYED_BY:
        await mark_campaigns(tx, [before.id], now, urgent=bool(changed & {"start_at", "end_at"}))
    if before.end_at is not None and draft.end.at > before.end_at:
        await _require_room(tx, before, max(draft.start.at, before.end_at), draft.end.at)
    return replace(
        before,
        name=draft.name,
        start_at=draft.start.at,
        end_at=draft.end.at,
        start_local=draft.start.local,
        total_recipients=recipients,
        distributed_at=None if withdrawn else before.distributed_at,
    )


async def _require_room(tx: Tx, campaign: Campaign, begin: datetime, end: datetime) -> None:
    """See that the tenant may run the campaign in [begin, end) too: only what a window gains can break its limit."""
    tenant = await changes.lock_tenant(tx, campaign.tenant_id)
    await submission.within_running_limit(tx, campaign, begin, end, tenant["running_limit"])


def _rules(version: str, old: Draft, draft: Draft) -> str:
    """The tzdata version of an edited campaign's wall times: the older, as one edge may still be by that alone."""
    given = any(
        edge and edge.local and edge != before for edge, before in ((draft.start, old.start), (draft.end, old.end))
    )
    return min(version, tzdata_version(), key=release) if given else version


def _require_growth(before: Campaign, old: Draft, draft: Draft, now: datetime) -> None:
    """What of a booked campaign may only become later or more; raises EditNotAllowed.

    What was played was paid, and stays inside the window: a screen's clock may be ahead of ours.
    """
    faults = []
    if old.start and draft.start and draft.start != old.start:
        if old.start.at <= now or before.impressions:
            faults.append("its start has come and stands")
        elif draft.start.at < old.start.at:
            faults.append("its start can only be moved to later")
    ran = before.status is not Status.SCHEDULED or before.impressions
    if old.end and draft.end and draft.end.at < old.end.at and ran:
        faults.append("its end can only be moved to later")
    if old.target and draft.target and not covers(draft.target, old.target):
        faults.append("its target can only grow: more included, fewer excluded")
    if tuple(one for one in draft.creatives if one in old.creatives) != old.creatives:
        faults.append("its creatives stay in their order, others can be added")
    if faults:
        raise EditNotAllowed(f"Campaign is {before.status}; {'; '.join(faults)}")
