"""What is known of one campaign's past: its whole log and every pause."""

from playlists.ids import CampaignId
from playlists.queries import Row, Tx

LOG = """
SELECT type, from_status, to_status, reason, note, changes, executed_at, actor FROM transitions
WHERE campaign_id = $1 ORDER BY sequence"""
PAUSES = "SELECT cause, began_at, ended_at FROM pauses WHERE campaign_id = $1 ORDER BY began_at, id"


async def whole_log(tx: Tx, campaign_id: CampaignId) -> list[Row]:
    """All rows of a campaign's log: `type from_status to_status reason note changes executed_at actor`."""
    return await tx.fetch(LOG, campaign_id)


async def whole_pauses(tx: Tx, campaign_id: CampaignId) -> list[Row]:
    """All pauses of a campaign, those that ended too: `cause began_at ended_at`."""
    return await tx.fetch(PAUSES, campaign_id)
