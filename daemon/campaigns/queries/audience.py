"""Statements over campaigns that have nobody to play to."""

from datetime import datetime

from playlists.ids import CampaignId
from playlists.queries import Tx

# The number of recipients follows every change of the network (daemon.planner); those that others hold wait.
LOCK_DESERTED = """
SELECT id FROM campaigns
WHERE status = 'ACTIVE' AND end_at > $1 AND total_recipients = 0
ORDER BY id LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED"""


async def lock_deserted(tx: Tx, now: datetime) -> list[CampaignId]:
    """Lock some of those campaigns that run and have no device left, by their stored numbers of recipients."""
    return [CampaignId(row["id"]) for row in await tx.fetch(LOCK_DESERTED, now)]
