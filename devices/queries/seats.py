"""Statements of the planner over the network: which screens marks touch, what stale ones are, who is meant."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from devices.audience import AUDIENCE_SIZES, target_of
from devices.targets import Seat, Target
from playlists.daypart import Daypart, parse
from playlists.ids import CampaignId, CreativeId, StoreId
from playlists.queries import Row, Tx

SLICE = 300  # rows

# A campaign touches all it includes, whether excluded, blocked or disabled now: it may have been there before. What it
# includes only grows once it is distributed (SPEC 3), so whoever has it in a playlist is among them.
SPREAD = """
WITH marked AS MATERIALIZED (
    SELECT stores, devices, include_tags FROM targets WHERE campaign_id = ANY($1::uuid[])
), named AS MATERIALIZED (
    SELECT coalesce(array_agg(DISTINCT tag), '{}') AS tags FROM marked, unnest(include_tags) AS tag
), touched AS (
    SELECT id FROM devices WHERE id = ANY($2::uuid[])
    UNION
    SELECT id FROM devices WHERE store_id = ANY($3::uuid[])
    UNION
    SELECT id FROM devices WHERE id IN (SELECT unnest(devices) FROM marked)
    UNION
    SELECT id FROM devices WHERE store_id IN (SELECT unnest(stores) FROM marked)
    UNION
    SELECT d.id FROM devices d JOIN stores s ON s.id = d.store_id
    WHERE (SELECT tags <> '{}' FROM named) AND (d.tags || s.tags) && (SELECT tags FROM named)
    UNION
    SELECT id FROM devices
    WHERE (SELECT $4 OR EXISTS (SELECT FROM marked
                                WHERE cardinality(stores) + cardinality(devices) + cardinality(include_tags) = 0))
)
INSERT INTO stale_screens AS w (device_id, urgent, stale_at)
SELECT id, $5, $6 FROM touched
ON CONFLICT (device_id) DO UPDATE
SET urgent = w.urgent OR EXCLUDED.urgent, stale_at = least(w.stale_at, EXCLUDED.stale_at)
WHERE (EXCLUDED.urgent AND NOT w.urgent) OR w.stale_at > EXCLUDED.stale_at
"""


async def spread(tx: Tx, marks: Sequence[Row], now: datetime) -> None:
    """Make the screens stale that these marks touch, urgent ones as urgent."""
    for urgent in (True, False):
        refs: dict[str, list[UUID]] = {"campaign": [], "device": [], "store": [], "network": []}
        for mark in marks:
            if mark["urgent"] is urgent:
                refs[mark["kind"]].append(mark["ref"])
        if any(refs.values()):
            network = bool(refs.pop("network"))
            await tx.execute(SPREAD, refs["campaign"], refs["device"], refs["store"], network, urgent, now)


UNSEEN = """
INSERT INTO stale_screens (device_id, urgent, stale_at)
SELECT id, false, $1 FROM devices d WHERE NOT EXISTS (SELECT FROM screens s WHERE s.device_id = d.id)
ON CONFLICT (device_id) DO NOTHING
"""


async def notice_unseen(tx: Tx, now: datetime) -> None:
    """Make every device stale that has no playlist, however it came into the network."""
    await tx.execute(UNSEEN, now)


class Shop(NamedTuple):
    """What of a store bears on its playlists; `fallback` is its own house content."""

    timezone: str
    tags: frozenset[str]
    blocked_keys: frozenset[str]
    opening_hours: tuple[Daypart, ...]
    fallback: tuple[CreativeId, ...]


STALE = """
SELECT w.device_id, w.urgent, d.store_id, d.tags, d.slots_per_hour, d.disabled
FROM stale_screens w JOIN devices d ON d.id = w.device_id
WHERE w.stale_at <= $1
ORDER BY w.urgent DESC, w.stale_at, w.device_id LIMIT $2
"""
SHOPS = "SELECT id, timezone, tags, blocked_keys, opening_hours, fallback FROM stores WHERE id = ANY($1::uuid[])"


async def stale_seats(tx: Tx, now: datetime, limit: int) -> tuple[list[Seat], dict[StoreId, Shop]]:
    """Screens to be planned anew, those alone that are urgent if any is, in the order to do it in; their stores."""
    stale = [row async for row in _in_slices(tx, STALE, now, limit)]
    if stale and stale[0]["urgent"]:
        stale = [row for row in stale if row["urgent"]]
    shops = {
        row["id"]: Shop(
            row["timezone"],
            frozenset(row["tags"]),
            frozenset(row["blocked_keys"]),
            tuple(map(parse, row["opening_hours"])),
            tuple(row["fallback"]),
        )
        async for row in _in_slices(tx, SHOPS, list({row["store_id"] for row in stale}))
    }
    seats = [
        Seat(
            device_id=row["device_id"],
            store_id=row["store_id"],
            device_tags=frozenset(row["tags"]),
            store_tags=shops[row["store_id"]].tags,
            blocked_keys=shops[row["store_id"]].blocked_keys,
            slots_per_hour=row["slots_per_hour"],
            disabled=row["disabled"],
        )
        for row in stale
    ]
    return seats, shops


async def _in_slices(tx: Tx, statement: str, *values: object) -> AsyncIterator[Row]:
    """A statement's rows, some hundred at a time, so that decoding them never holds the event loop for long."""
    cursor = await tx.cursor(statement, *values)
    while rows := await cursor.fetch(SLICE):
        for row in rows:
            yield row


TARGETS = "SELECT * FROM targets WHERE campaign_id = ANY($1::uuid[])"


async def targets(tx: Tx, ids: Sequence[CampaignId]) -> dict[CampaignId, Target]:
    """Who each campaign is for."""
    return {row["campaign_id"]: target_of(row) for row in await tx.fetch(TARGETS, ids)}


OPEN_CAMPAIGNS = """
SELECT c.id FROM campaigns c JOIN targets t ON t.campaign_id = c.id
WHERE c.status IN ('PENDING_APPROVAL', 'SCHEDULED', 'ACTIVE', 'PAUSED') ORDER BY c.id
"""


async def open_campaigns(tx: Tx) -> list[CampaignId]:
    """The submitted campaigns whose audience may still change."""
    return [row["id"] for row in await tx.fetch(OPEN_CAMPAIGNS)]


# Counting may take long, so the rows are locked after it, and none that changed meanwhile is written: what was counted
# may be older. A row that somebody holds is left for the next time: a count is no reason to make a start or a charge
# wait. Locked and written by two statements: one alone would queue for older versions of rows, a deadlock.
MISCOUNTED = f"""
WITH counted AS MATERIALIZED ({AUDIENCE_SIZES})
SELECT c.id, c.version, counted.devices FROM campaigns c JOIN counted ON counted.campaign_id = c.id
WHERE c.status IN ('PENDING_APPROVAL', 'SCHEDULED', 'ACTIVE', 'PAUSED') AND c.total_recipients <> counted.devices
"""  # noqa: S608 - constants
LOCK_COUNTED = """
SELECT c.id FROM campaigns c JOIN unnest($1::uuid[], $2::integer[]) AS n (id, version) ON n.id = c.id
WHERE c.id = ANY ($1::uuid[]) AND c.version = n.version ORDER BY c.id FOR NO KEY UPDATE OF c SKIP LOCKED
"""
RECOUNT = """
UPDATE campaigns c SET total_recipients = n.devices FROM unnest($1::uuid[], $2::integer[]) AS n (id, devices)
WHERE c.id = n.id AND c.id = ANY ($1::uuid[])
"""


async def recount(tx: Tx, ids: Sequence[CampaignId]) -> list[CampaignId]:
    """Write anew how many recipients open campaigns have; returns those that somebody else held or has changed."""
    wrong = {row["id"]: row for row in await tx.fetch(MISCOUNTED, ids)}
    if not wrong:
        return []
    versions = [row["version"] for row in wrong.values()]
    held = [row["id"] for row in await tx.fetch(LOCK_COUNTED, list(wrong), versions)]
    await tx.execute(RECOUNT, held, [wrong[one]["devices"] for one in held])
    return [one for one in wrong if one not in held]
