"""Statements over creatives and the network's house content."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from playlists.creatives import CreativeFields, block_key
from playlists.ids import CampaignId, CreativeId, TenantId
from playlists.queries.marks import mark_campaigns, mark_network, mark_stores
from playlists.queries.transaction import Row, Tx

CREATE_CREATIVE = """
INSERT INTO creatives (tenant_id, name, sha256, size, mime, duration_ms, keywords, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
RETURNING *
"""


async def create_creative(tx: Tx, tenant_id: TenantId | None, creative: CreativeFields, now: datetime) -> Row:
    """Register a creative, its media still MISSING; without a tenant it is house content. Returns the whole row."""
    row = await tx.fetchrow(
        CREATE_CREATIVE,
        tenant_id,
        creative.name,
        creative.sha256,
        creative.size,
        creative.mime,
        creative.duration_ms,
        creative.keywords,
        now,
    )
    assert row is not None  # noqa: S101 - an INSERT without a condition returns its row
    return row


CREATIVE_ROWS = "SELECT * FROM creatives WHERE id = ANY($1::uuid[]) ORDER BY id"


async def creative_rows(tx: Tx, ids: Iterable[CreativeId]) -> dict[CreativeId, Row]:
    """The creatives of these ids that there are, whole rows by id."""
    return {row["id"]: row for row in await tx.fetch(CREATIVE_ROWS, list(ids))}


async def creative_row(tx: Tx, creative_id: CreativeId) -> Row | None:
    """One creative's whole row, if there is one."""
    return (await creative_rows(tx, [creative_id])).get(creative_id)


HOLD_CREATIVES = "SELECT * FROM creatives WHERE id = ANY($1::uuid[]) ORDER BY id FOR SHARE"


async def hold_creatives(tx: Tx, ids: Iterable[CreativeId]) -> dict[CreativeId, Row]:
    """As `creative_rows`, and none of them changes before this transaction ends.

    Who writes `targets.block_keys` from keywords reads them so: else a change of keywords in between is lost.
    Lock order: campaigns, creatives, targets, tenants.
    """
    return {row["id"]: row for row in await tx.fetch(HOLD_CREATIVES, list(ids))}


LIST_CREATIVES = """
SELECT * FROM creatives
WHERE ($1::uuid IS NULL OR tenant_id = $1) AND ($2::uuid IS NULL OR id > $2)
ORDER BY id LIMIT $3
"""


async def list_creatives(tx: Tx, tenant_id: TenantId | None, after: CreativeId | None, limit: int) -> list[Row]:
    """Creatives after id `after`, oldest first: a tenant's, or with None everybody's and the house's."""
    return await tx.fetch(LIST_CREATIVES, tenant_id, after, limit)


PATCH_CREATIVE = """
UPDATE creatives SET name = coalesce($2, name), keywords = coalesce($3, keywords), flags = coalesce($4, flags),
                     updated_at = $5
WHERE id = $1
RETURNING *
"""


async def patch_creative(tx: Tx, creative_id: CreativeId, patch: Mapping[str, Any], now: datetime) -> Row | None:
    """Change `name`, `keywords`, `flags` as `creatives.check_patch` gives them; the whole row, None without one.

    Keywords decide where its campaigns are blocked: those are given their keys anew, and marked.
    """
    row = await tx.fetchrow(
        PATCH_CREATIVE, creative_id, patch.get("name"), patch.get("keywords"), patch.get("flags"), now
    )
    if row is not None and "keywords" in patch:
        changed = await _renew_keywords(tx, creative_id)
        await mark_campaigns(tx, changed, now, urgent=True)
    return row


# Locked first and read then: a statement that does both sees keywords as they were before it waited.
LOCK_KEYED = """
SELECT campaign_id FROM targets
WHERE campaign_id IN (SELECT campaign_id FROM campaign_creatives WHERE creative_id = $1)
ORDER BY campaign_id FOR NO KEY UPDATE
"""
KEYED = """
SELECT t.campaign_id, t.block_keys,
       (SELECT coalesce(array_agg(DISTINCT word), '{}')
        FROM campaign_creatives cc JOIN creatives k ON k.id = cc.creative_id, unnest(k.keywords) AS word
        WHERE cc.campaign_id = t.campaign_id) AS keywords
FROM targets t
WHERE t.campaign_id = ANY ($1::uuid[])
ORDER BY t.campaign_id
"""
SET_KEYS = "UPDATE targets SET block_keys = $2 WHERE campaign_id = $1"


async def _renew_keywords(tx: Tx, creative_id: CreativeId) -> list[CampaignId]:
    changed = []
    concerned = [row["campaign_id"] for row in await tx.fetch(LOCK_KEYED, creative_id)]
    for row in await tx.fetch(KEYED, concerned):
        others = {key for key in row["block_keys"] if not key.startswith("keyword:")}
        keys = sorted(others | {block_key("keyword", word) for word in row["keywords"]})
        if keys != sorted(row["block_keys"]):
            await tx.execute(SET_KEYS, row["campaign_id"], keys)
            changed.append(CampaignId(row["campaign_id"]))
    return changed


STORE_CREATIVE = """
UPDATE creatives SET state = 'STORED', updated_at = $2 WHERE id = $1 AND state = 'MISSING' RETURNING tenant_id
"""
HOUSE_USERS = """
SELECT s.id AS store_id FROM stores s WHERE $1 = ANY(s.fallback)
UNION ALL
SELECT NULL FROM house WHERE $1 = ANY(fallback)
"""


async def mark_stored(tx: Tx, creative_id: CreativeId, now: datetime) -> bool:
    """Note that the media of a creative lie whole in the media folder; False if it was known.

    A campaign is not booked before that, but house content begins to count by it: its screens are marked.
    """
    if await tx.fetchrow(STORE_CREATIVE, creative_id, now) is None:
        return False
    users = [row["store_id"] for row in await tx.fetch(HOUSE_USERS, creative_id)]
    if None in users:
        await mark_network(tx, now)
    else:
        await mark_stores(tx, users, now)
    return True


HOUSE = "SELECT fallback FROM house"
SET_HOUSE = "UPDATE house SET fallback = $1, updated_at = $2 RETURNING fallback"


async def house_fallback(tx: Tx) -> list[CreativeId]:
    """The network's house content, in the order it plays."""
    fallback: list[CreativeId] = await tx.fetchval(HOUSE)
    return fallback


async def set_house_fallback(tx: Tx, fallback: Sequence[CreativeId], now: datetime) -> None:
    """Replace the network's house content (ids that the caller has checked) and mark the network."""
    await tx.execute(SET_HOUSE, fallback, now)
    await mark_network(tx, now)
