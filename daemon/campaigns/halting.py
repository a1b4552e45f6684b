"""What persons halt and let go on: pause, emergency stop, resume (SPEC 3, 7).

Causes of a pause add up; a campaign runs again when its last one has ended. As in `booking`, the campaign's row is
locked first, and the caller announces what is returned in the same transaction.
"""

from dataclasses import replace
from datetime import datetime

from daemon.campaigns import asking
from daemon.campaigns import draft as drafts
from daemon.campaigns.asking import Caller
from daemon.campaigns.campaign import OPERATORS, RESUMABLE, Campaign, Reason, Status, TransitionType
from daemon.campaigns.errors import InvalidTransition
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import changes
from daemon.campaigns.queries.changes import Entry
from playlists.ids import CampaignId
from playlists.queries import Tx, mark_campaigns


async def pause(tx: Tx, campaign_id: CampaignId, note: str | None, now: datetime, caller: Caller) -> list[Transition]:
    """Take an ACTIVE campaign from the screens; on a PAUSED one, add the person's cause to those that stand.

    Raises InvalidTransition (also when the person's cause stands already), NotFound.
    """
    return await _halt(tx, campaign_id, "pause", caller.reason, note, now, caller)


async def stop(tx: Tx, campaign_id: CampaignId, note: str | None, now: datetime, caller: Caller) -> list[Transition]:
    """Take an ACTIVE or PAUSED campaign from the screens in an emergency: only an operator lets it go on (SPEC 7).

    Every screen that holds it is told to stop, see `daemon.stops`. Raises InvalidTransition, NotFound.
    """
    return await _halt(tx, campaign_id, "stop", Reason.EMERGENCY_STOP, note, now, caller)


async def _halt(
    tx: Tx, campaign_id: CampaignId, action: str, cause: Reason, note: str | None, now: datetime, caller: Caller
) -> list[Transition]:
    before = changes.state(await asking.locked(tx, campaign_id, caller))
    status = asking.next_status(before, TransitionType.PAUSED, action, "ACTIVE or PAUSED")
    if cause in before.pause_causes:
        raise InvalidTransition(f"Campaign is PAUSED by {cause} already")
    asking.require_before_end(before, now)
    words = drafts.note(note) or None
    after = replace(
        before,
        status=status,
        status_reason=cause,
        status_note=words,
        pause_causes=(*before.pause_causes, str(cause)),
    )
    entry = asking.entry(TransitionType.PAUSED, caller, cause, words)
    transition = await changes.save(tx, before, after, entry, now)
    await changes.begin_pause(tx, campaign_id, cause, now)
    await mark_campaigns(tx, [campaign_id], now, urgent=True)
    return [transition]


async def resume(tx: Tx, campaign_id: CampaignId, now: datetime, caller: Caller) -> list[Transition]:
    """End what persons paused; an operator's pause or stop needs an operator (SPEC 3).

    Raises InvalidTransition after the end, by the wrong role and while a cause of the system stands; NotFound.
    """
    before = changes.state(await asking.locked(tx, campaign_id, caller))
    status = asking.next_status(before, TransitionType.RESUMED, "resume", "PAUSED")
    asking.require_before_end(before, now)
    if systems := [cause for cause in before.pause_causes if cause not in RESUMABLE]:
        raise InvalidTransition(f"Campaign is PAUSED by {', '.join(systems)}; resume ends only a person's pause")
    theirs = [cause for cause in before.pause_causes if cause in OPERATORS]
    if theirs and not caller.operator:
        raise InvalidTransition(f"Campaign is PAUSED by {', '.join(theirs)}; resume needs an operator")
    return [await resumed(tx, before, status, asking.entry(TransitionType.RESUMED, caller, caller.reason), now)]


async def resumed(tx: Tx, before: Campaign, status: Status, entry: Entry, now: datetime) -> Transition:
    """Write that a locked campaign goes on, all its causes ended; its screens get it back."""
    after = replace(before, status=status, status_reason=None, status_note=None, pause_causes=())
    transition = await changes.save(tx, before, after, entry, now)
    await changes.end_pauses(tx, before.id, before.pause_causes, now)
    await mark_campaigns(tx, [before.id], now)
    return transition
