"""What people change of a campaign that is booked: what the edit table of SPEC 3 lets them, as one logged edit."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg

from daemon.campaigns import asking, submission
from daemon.campaigns import draft as drafts
from daemon.campaigns.asking import Caller
from daemon.campaigns.campaign import EDITABLE, FIELDS, Campaign, Status, TransitionType
from daemon.campaigns.draft import BookingLimits, Draft
from daemon.campaigns.errors import EditNotAllowed, Invalid, NameTaken
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import changes
from playlists.ids import CampaignId
from playlists.queries import Tx


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
    row = await asking.locked(tx, campaign_id, caller)
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
    entry = asking.entry(TransitionType.UPDATED, caller, changes=drafts.changes(old, draft))
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
