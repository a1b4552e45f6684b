"""Statements over campaigns whose screens have become ready, or never will."""

from collections.abc import Sequence
from datetime import datetime

from playlists.ids import CampaignId
from playlists.queries import Tx

LOCK_UNREADY = """
SELECT id FROM campaigns
WHERE id = ANY ($1::uuid[]) AND ready_at IS NULL AND distributed_at IS NOT NULL
  AND status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"""
LOCK_OPEN = """
SELECT id FROM campaigns
WHERE id = ANY ($1::uuid[]) AND distributed_at IS NOT NULL AND status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"""
NOTE_READY = "UPDATE campaigns SET ready_at = $2 WHERE id = ANY ($1::uuid[])"


async def lock_unready(tx: Tx, ids: Sequence[CampaignId]) -> list[CampaignId]:
    """Lock those of the campaigns that nobody has called ready yet and nobody else holds."""
    return [CampaignId(row["id"]) for row in await tx.fetch(LOCK_UNREADY, ids)]


async def note_ready(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> None:
    """Note when locked campaigns first reached the threshold."""
    await tx.execute(NOTE_READY, ids, now)


async def lock_open(tx: Tx, ids: Sequence[CampaignId]) -> list[CampaignId]:
    """Lock those of the campaigns that are still to play and nobody else holds."""
    return [CampaignId(row["id"]) for row in await tx.fetch(LOCK_OPEN, ids)]
