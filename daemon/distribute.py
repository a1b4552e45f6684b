"""A day ahead of its start a campaign enters the playlists of its audience: where campaigns and screens meet."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from daemon.campaigns.campaign import TransitionType
from daemon.campaigns.events import Transition
from daemon.campaigns.lifecycle import log_unmoved
from daemon.campaigns.queries.distribution import lock_to_distribute, note_distributed
from devices.audience import audience_sizes
from playlists.ids import CampaignId
from playlists.queries import Tx, mark_campaigns


async def distribute(tx: Tx, ids: Sequence[CampaignId], now: datetime, lead: timedelta) -> list[Transition]:
    """Distribute those of the campaigns that start within `lead` (SPEC 6); a paused one waits until it is resumed.

    Its screens have the content as soon as their playlists have followed.
    """
    due = await lock_to_distribute(tx, now, lead, ids)
    if not due:
        return []
    meant = [CampaignId(row["id"]) for row in due]
    recipients = await audience_sizes(tx, meant)
    await note_distributed(tx, meant, [recipients[campaign_id] for campaign_id in meant], now)
    await mark_campaigns(tx, meant, now)
    return await log_unmoved(tx, TransitionType.CONTENT_DISTRIBUTED, meant, [row["due_at"] for row in due], now)
