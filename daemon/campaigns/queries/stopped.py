"""Statements over campaigns that were stopped in an emergency."""

from datetime import datetime

from playlists.ids import CampaignId
from playlists.queries import Tx

# The cause stays when a stopped campaign is cancelled or fails; an operator's resume ends it.
STOPPED = """
SELECT id FROM campaigns
WHERE 'EMERGENCY_STOP' = ANY (pause_causes) AND status IN ('PAUSED', 'CANCELLED', 'FAILED') AND end_at > $1"""


async def stopped_campaigns(tx: Tx, now: datetime) -> frozenset[CampaignId]:
    """The campaigns that no screen may play any more although their windows last."""
    return frozenset(CampaignId(row["id"]) for row in await tx.fetch(STOPPED, now))
