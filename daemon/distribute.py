"""A day ahead of its start a campaign enters the playlists of its audience: where campaigns and screens meet."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from daemon.campaigns.campaign import TransitionType
from daemon.campaigns.events import Transition
from daemon.campaigns.lifecycle import log_unmoved
from daemon.campaigns.queries.distribution import claim_to_distribute, lock_to_distribute, note_distributed
from devices.audience import audience_sizes
from playlists.ids import CampaignId
from playlists.queries import Row, Tx, mark_campaigns


async def distribute_due(tx: Tx, now: datetime, lead: timedelta, limit: int) -> list[Transition]:
    """Distribute up to `limit` campaigns that start within `lead` (SPEC 6).

    A paused one waits until it is resumed. Its screens have the content as soon as their playlists have followed.
    """
    return await _distributed(tx, await claim_to_distribute(tx, now, lead, limit), now)


async def distribute(tx: Tx, ids: Sequence[CampaignId], now: datetime, lead: timedelta) -> list[Transition]:
    """Distribute those of the campaigns that are due."""
    return await _distributed(tx, await lock_to_distribute(tx, now, lead, ids), now)


async def _distributed(tx: Tx, due: Sequence[Row], now: datetime) -> list[Transition]:
    if not due:
        return []
    ids = [CampaignId(row["id"]) for row in due]
    recipients = await audience_sizes(tx, ids)
    await note_distributed(tx, ids, [recipients[campaign_id] for campaign_id in ids], now)
    await mark_campaigns(tx, ids, now)
    return await log_unmoved(tx, TransitionType.CONTENT_DISTRIBUTED, ids, [row["due_at"] for row in due], now)
