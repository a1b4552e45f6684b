"""Statements over campaigns as reported plays see them: locked, with what they are judged and paid by."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from devices.plays import CampaignFacts
from playlists.ids import CampaignId
from playlists.queries import Tx

LOCK_PLAYING = """
SELECT id, start_at, end_at, priority, held_micros, settled_at, status FROM campaigns
WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"""
# A budget that is used up stops no play: it leaves it unpaid.
STOPS = """
SELECT campaign_id, began_at, ended_at FROM pauses
WHERE campaign_id = ANY ($1::uuid[]) AND cause <> 'BUDGET_EXHAUSTED'"""
CLOSED = """
SELECT campaign_id, min(executed_at) AS closed_at FROM transitions
WHERE campaign_id = ANY ($1::uuid[]) AND type IN ('cancelled', 'failed') GROUP BY campaign_id"""


class Playing(NamedTuple):
    """A locked campaign: what its plays are judged by, its priority, and what of its budget is left, in micros."""

    facts: CampaignFacts
    priority: int
    rest_micros: int


async def lock_playing(tx: Tx, ids: Sequence[CampaignId]) -> dict[CampaignId, Playing]:
    """Lock campaigns in order of id and give what there is to know for their plays."""
    if not ids:
        return {}
    rows = await tx.fetch(LOCK_PLAYING, ids)
    pauses: dict[CampaignId, list[tuple[datetime, datetime | None]]] = defaultdict(list)
    for stop in await tx.fetch(STOPS, ids):
        pauses[stop["campaign_id"]].append((stop["began_at"], stop["ended_at"]))
    ended = [row["id"] for row in rows if row["status"] in ("CANCELLED", "FAILED")]
    closed = {row["campaign_id"]: row["closed_at"] for row in await tx.fetch(CLOSED, ended)} if ended else {}
    return {
        row["id"]: Playing(
            CampaignFacts(
                row["start_at"], row["end_at"], pauses[row["id"]], closed.get(row["id"]), row["settled_at"]
            ),
            row["priority"],
            row["held_micros"],
        )
        for row in rows
    }  # fmt: skip
