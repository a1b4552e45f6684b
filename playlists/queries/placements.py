"""Statements that read what playlists are made of."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from playlists.daypart import parse
from playlists.ids import CampaignId, CreativeId
from playlists.placement import Media, Placement
from playlists.queries.transaction import Row, Tx

# A campaign that ended stays in: what was planned does not change by its end. The index is campaigns_in_playlists.
# One that has used up its day comes back by itself: its window begins then, so that nothing happens at midnight.
PLACED = """
SELECT c.id, greatest(c.start_at, c.capped_until) AS start_at, c.end_at, c.priority * c.pace AS weight, c.dayparts
FROM campaigns c
WHERE c.distributed_at IS NOT NULL AND c.status IN ('SCHEDULED', 'ACTIVE', 'COMPLETED') AND c.pause_causes = '{}'
  AND c.end_at > $1 AND greatest(c.start_at, c.capped_until) < least(c.end_at, $2)
ORDER BY c.id
"""
PLACED_MEDIA = """
SELECT cc.campaign_id, k.id, k.sha256, k.size, k.mime, k.duration_ms, cc.variant
FROM campaign_creatives cc JOIN creatives k ON k.id = cc.creative_id
WHERE cc.campaign_id = ANY($1::uuid[])
ORDER BY cc.campaign_id, cc.position
"""


async def placements(tx: Tx, begin: datetime, end: datetime) -> list[Placement]:
    """The campaigns that are in playlists with a window that overlaps [begin, end), by id (SPEC 6)."""
    rows = await tx.fetch(PLACED, begin, end)
    media: defaultdict[CampaignId, list[Media]] = defaultdict(list)
    for row in await tx.fetch(PLACED_MEDIA, [row["id"] for row in rows]):
        media[row["campaign_id"]].append(_media(row, row["variant"]))
    return [
        Placement(
            campaign_id=row["id"],
            creatives=tuple(media[row["id"]]),
            start_at=row["start_at"],
            end_at=row["end_at"],
            dayparts=tuple(map(parse, row["dayparts"])),
            weight=row["weight"],
        )
        for row in rows
    ]


STORED = "SELECT id, sha256, size, mime, duration_ms FROM creatives WHERE id = ANY($1::uuid[]) AND state = 'STORED'"


async def stored(tx: Tx, ids: Iterable[CreativeId]) -> dict[CreativeId, Media]:
    """Those of the creatives whose files are here, as screens need them."""
    return {row["id"]: _media(row, None) for row in await tx.fetch(STORED, list(ids))}


def _media(row: Row, variant: str | None) -> Media:
    return Media(row["id"], row["sha256"], row["size"], row["mime"], row["duration_ms"], variant)
