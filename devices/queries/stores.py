"""Statements over stores; what a change may take off the screens marks their playlists in its transaction."""

from datetime import datetime
from typing import Any

import asyncpg

from devices.store import Blocked, Store, StoreFields, check
from playlists.daypart import as_json, parse
from playlists.faults import Faulty
from playlists.ids import CreativeId, StoreId
from playlists.queries import Tx, mark_store

_COLUMNS = """s.id, s.code, s.name, s.timezone, s.country, s.region, s.city, s.latitude, s.longitude, s.category,
    s.tags, s.opening_hours, s.blocked, s.fallback, s.created_at, s.updated_at"""
# Fields that no playlist depends on.
_UNSEEN = {"code", "name", "country", "region", "city", "latitude", "longitude", "category"}

_CREATE = """
INSERT INTO stores (code, name, timezone, country, region, city, latitude, longitude, category, tags, opening_hours,
                    blocked, blocked_keys, fallback, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
RETURNING id
"""
_CHANGE = """
UPDATE stores SET code = $1, name = $2, timezone = $3, country = $4, region = $5, city = $6, latitude = $7,
       longitude = $8, category = $9, tags = $10, opening_hours = $11, blocked = $12, blocked_keys = $13,
       fallback = $14, updated_at = $15
WHERE id = $16
"""
_ONE = f"SELECT {_COLUMNS} FROM stores s WHERE s.id = $1"  # noqa: S608 - a constant of ours
_PAGE = f"""
SELECT {_COLUMNS} FROM stores s
WHERE ($1::uuid IS NULL OR s.id > $1) AND ($2::text IS NULL OR s.tags @> ARRAY[$2])
ORDER BY s.id LIMIT $3
"""  # noqa: S608 - as above
_STRANGE_FALLBACK = """
SELECT f.id FROM unnest($1::uuid[]) AS f (id)
WHERE NOT EXISTS (SELECT FROM creatives c WHERE c.id = f.id AND c.tenant_id IS NULL)
"""


async def create_store(tx: Tx, fields: StoreFields, now: datetime) -> Store:
    """Add a store. Raises Faulty when its code is taken or its house content is not the network's own."""
    await _require_house_content(tx, fields)
    try:
        async with tx.transaction():
            store_id = StoreId(await tx.fetchval(_CREATE, *_values(fields), now))
    except asyncpg.UniqueViolationError as error:
        raise _code_taken() from error
    return Store(store_id, fields, now, now)


async def patch_store(tx: Tx, store_id: StoreId, patch: dict[str, Any], now: datetime) -> Store | None:
    """Change what the patch names, `null` clearing; None when there is no such store. Raises Faulty."""
    row = await tx.fetchrow(_ONE + " FOR NO KEY UPDATE", store_id)
    if row is None:
        return None
    before = _store(row)
    fields = check({**before.fields.as_json(), **patch})
    if fields == before.fields:
        return before
    await _require_house_content(tx, fields)
    try:
        async with tx.transaction():
            await tx.execute(_CHANGE, *_values(fields), now, store_id)
    except asyncpg.UniqueViolationError as error:
        raise _code_taken() from error
    changed = {name for name in StoreFields.__slots__ if getattr(fields, name) != getattr(before.fields, name)}
    if changed - _UNSEEN:
        await mark_store(tx, store_id, now, urgent=True)
    return Store(store_id, fields, before.created_at, now)


async def store_row(tx: Tx, store_id: StoreId) -> Store | None:
    """One store; None when there is no such store."""
    row = await tx.fetchrow(_ONE, store_id)
    return None if row is None else _store(row)


async def list_stores(tx: Tx, after: StoreId | None, limit: int, tag: str | None = None) -> list[Store]:
    """At most `limit` stores in order of id, from behind `after`; with `tag`, those that have it."""
    return [_store(row) for row in await tx.fetch(_PAGE, after, tag, limit)]


async def _require_house_content(tx: Tx, fields: StoreFields) -> None:
    if fields.fallback and (strange := await tx.fetchval(_STRANGE_FALLBACK, fields.fallback)):
        raise Faulty([("fallback", f"{strange} is no creative of the network's own")])


def _code_taken() -> Faulty:
    return Faulty([("code", "is taken by another store")])


def _values(fields: StoreFields) -> tuple[Any, ...]:
    return (
        fields.code, fields.name, fields.timezone, fields.country, fields.region, fields.city, fields.latitude,
        fields.longitude, fields.category, fields.tags, [as_json(part) for part in fields.opening_hours],
        fields.blocked.as_json(), fields.blocked.keys(), fields.fallback,
    )  # fmt: skip


def _store(row: asyncpg.Record) -> Store:
    blocked = {name: tuple(words) for name, words in row["blocked"].items()}
    fields = StoreFields(
        code=row["code"],
        name=row["name"],
        timezone=row["timezone"],
        country=row["country"],
        region=row["region"],
        city=row["city"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        category=row["category"],
        tags=tuple(row["tags"]),
        opening_hours=tuple(parse(part) for part in row["opening_hours"]),
        blocked=Blocked(**blocked),
        fallback=tuple(CreativeId(creative) for creative in row["fallback"]),
    )
    return Store(StoreId(row["id"]), fields, row["created_at"], row["updated_at"])
