"""How devices stand to a campaign: all that decides whether it plays there, counted where it is alike."""

import json
from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Final

from devices.audience import EXCLUDED, INCLUDED
from devices.delivery import PATIENCE
from devices.obstacles import Alike
from devices.queries.deliveries import REASON, STATUS
from playlists.daypart import parse
from playlists.ids import CampaignId, DeviceId, Digest, StoreId
from playlists.queries import Tx

_BODIES_AT_ONCE: Final = 50

# What a device had at an instant that is past: its playlist of now if it had it then, else the last one given before.
_STANDING = f"""
WITH given AS MATERIALIZED (
    SELECT DISTINCT ON (g.device_id) g.device_id, g.digest
    FROM playlists y JOIN grants g ON g.digest = y.digest
    WHERE $5::timestamptz < $2 AND y.valid_from <= $5 AND y.valid_until > $5 AND g.given_at <= $5 AND {{given}}
    ORDER BY g.device_id, g.given_at DESC
), seats AS (
    SELECT s.timezone, s.opening_hours::text AS opening_hours, d.disabled,
           {INCLUDED} AS included, {EXCLUDED} AS excluded,
           CASE WHEN s.blocked_keys && t.block_keys
                THEN ARRAY(SELECT unnest(s.blocked_keys) INTERSECT SELECT unnest(t.block_keys) ORDER BY 1)
                ELSE '{{{{}}}}' END AS blocked,
           t.longest_ms::bigint * d.slots_per_hour > 3600000 AS too_long,
           CASE WHEN $5 >= $2 OR sc.assigned_at <= $5 THEN sc.digest ELSE g.digest END AS digest,
           p.digest AS held, w.device_id IS NOT NULL AS stale, coalesce(p.last_seen_at < $6, true) AS silent,
           p.last_seen_at, {STATUS} AS delivery, {REASON} AS delivery_reason
    FROM campaigns c JOIN targets t ON t.campaign_id = c.id
    CROSS JOIN devices d JOIN stores s ON s.id = d.store_id
    LEFT JOIN deliveries v ON v.campaign_id = c.id AND v.device_id = d.id
    LEFT JOIN presence p ON p.device_id = d.id
    LEFT JOIN screens sc ON sc.device_id = d.id
    LEFT JOIN stale_screens w ON w.device_id = d.id
    LEFT JOIN given g ON g.device_id = d.id
    WHERE c.id = $1 AND {{scope}}
)
SELECT count(*)::int AS devices, timezone, opening_hours, disabled, included, excluded, blocked, too_long, digest,
       held, stale, silent, max(last_seen_at) AS last_seen_at, delivery, delivery_reason
FROM seats
GROUP BY timezone, opening_hours, disabled, included, excluded, blocked, too_long, digest, held, stale, silent,
         delivery, delivery_reason"""  # noqa: S608 - constants of ours

# One statement each: with the choice inside, a single device would be looked for among all.
_OF_AUDIENCE = _STANDING.format(scope=f"{INCLUDED} AND $4::uuid IS NULL", given="true")
_OF_STORE = _STANDING.format(
    scope="d.store_id = $4", given="g.device_id IN (SELECT id FROM devices WHERE store_id = $4)"
)
_OF_DEVICE = _STANDING.format(scope="d.id = $4", given="g.device_id = $4")
_BODIES = "SELECT digest, body FROM playlists WHERE digest = ANY ($1::text[])"


async def standing(
    tx: Tx,
    campaign_id: CampaignId,
    place: StoreId | DeviceId | None,
    single: bool,
    at: datetime,
    now: datetime,
    online_since: datetime,
) -> list[Alike]:
    """How devices stand to a campaign that has a target: one device or those of a store, or with no place those
    that it includes. `at` in the past asks for the playlist of then; who was last seen before `online_since` is
    offline.
    """
    statement = _OF_AUDIENCE if place is None else _OF_DEVICE if single else _OF_STORE
    rows = await tx.fetch(statement, campaign_id, now, PATIENCE, place, at, online_since)
    # most shops keep the same hours: each is read once
    hours = {text: tuple(map(parse, json.loads(text))) for text in {row["opening_hours"] for row in rows}}
    return [
        Alike(**{**row, "opening_hours": hours[row["opening_hours"]], "blocked": tuple(row["blocked"])}) for row in rows
    ]


_STORE = "SELECT EXISTS (SELECT FROM stores WHERE id = $1)"
_SEAT = "SELECT store_id FROM devices WHERE id = $1"


async def store_exists(tx: Tx, store_id: StoreId) -> bool:
    """Whether there is such a store."""
    found: bool = await tx.fetchval(_STORE, store_id)
    return found


async def seat_of(tx: Tx, device_id: DeviceId) -> StoreId | None:
    """The store that a device is in; None when there is no such device."""
    found: StoreId | None = await tx.fetchval(_SEAT, device_id)
    return found


async def bodies(tx: Tx, digests: Collection[Digest]) -> AsyncIterator[tuple[Digest, bytes]]:
    """The stored playlists of these digests as native JSON, some at a time."""
    wanted = sorted(digests)
    for first in range(0, len(wanted), _BODIES_AT_ONCE):
        for row in await tx.fetch(_BODIES, wanted[first : first + _BODIES_AT_ONCE]):
            yield row["digest"], row["body"]
