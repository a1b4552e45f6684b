"""Statements over devices; what a change may take off the screens marks their playlists in its transaction."""

from datetime import datetime, timedelta
from typing import Any

import asyncpg

from devices.device import Device, DeviceFields, check
from devices.presence import Status, Watch, status
from devices.queries.presence import watch
from playlists.faults import Faulty
from playlists.ids import DeviceId, StoreId
from playlists.queries import Tx, mark_device

_COLUMNS = """d.id, d.store_id, d.name, d.tags, d.slots_per_hour, d.cpm_micros, d.disabled, d.created_at, d.updated_at,
    p.last_seen_at, sc.digest"""
_FROM = "devices d LEFT JOIN presence p ON p.device_id = d.id LEFT JOIN screens sc ON sc.device_id = d.id"
# Fields that no playlist depends on.
_UNSEEN = {"name", "cpm_micros"}

_CREATE = """
INSERT INTO devices (store_id, name, tags, slots_per_hour, cpm_micros, disabled, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
RETURNING id
"""
_CHANGE = """
UPDATE devices SET store_id = $1, name = $2, tags = $3, slots_per_hour = $4, cpm_micros = $5, disabled = $6,
       updated_at = $7
WHERE id = $8
"""
_ONE = f"SELECT {_COLUMNS} FROM {_FROM} WHERE d.id = $1"  # noqa: S608 - constants of ours
_PAGE = f"""
SELECT {_COLUMNS} FROM {_FROM}
WHERE ($1::uuid IS NULL OR d.id > $1) AND ($2::uuid IS NULL OR d.store_id = $2)
  AND ($3::text IS NULL OR d.tags @> ARRAY[$3])
ORDER BY d.id LIMIT $4
"""  # noqa: S608 - as above
_STORE_EXISTS = "SELECT EXISTS (SELECT FROM stores WHERE id = $1)"


async def create_device(tx: Tx, fields: DeviceFields, now: datetime) -> Device:
    """Add a device; its first playlist is compiled soon after. Raises Faulty when its store is unknown."""
    await _require_store(tx, fields)
    device_id = DeviceId(await tx.fetchval(_CREATE, *_values(fields), now))
    await mark_device(tx, device_id, now)
    new = Status.DISABLED if fields.disabled else Status.NEW
    return Device(device_id, fields, now, now, new, None, None)


async def patch_device(
    tx: Tx, device_id: DeviceId, patch: dict[str, Any], now: datetime, patience: timedelta
) -> Device | None:
    """Change what the patch names, `null` clearing; None when there is no such device. Raises Faulty."""
    row = await tx.fetchrow(_ONE + " FOR NO KEY UPDATE OF d", device_id)
    if row is None:
        return None
    seen = await watch(tx, patience)
    before = _device(row, seen)
    fields = check({**before.fields.as_json(), **patch})
    if fields == before.fields:
        return before
    await _require_store(tx, fields)
    await tx.execute(_CHANGE, *_values(fields), now, device_id)
    changed = {name for name in DeviceFields.__slots__ if getattr(fields, name) != getattr(before.fields, name)}
    if changed - _UNSEEN:
        await mark_device(tx, device_id, now, urgent=True)
    known = status(fields.disabled, before.last_seen_at, seen)
    return Device(device_id, fields, before.created_at, now, known, before.last_seen_at, before.digest)


async def device_row(tx: Tx, device_id: DeviceId, patience: timedelta) -> Device | None:
    """One device; None when there is no such device. `patience`: see devices.presence.patience."""
    row = await tx.fetchrow(_ONE, device_id)
    return None if row is None else _device(row, await watch(tx, patience))


async def list_devices(
    tx: Tx,
    after: DeviceId | None,
    limit: int,
    patience: timedelta,
    store_id: StoreId | None = None,
    tag: str | None = None,
) -> list[Device]:
    """At most `limit` devices in order of id, from behind `after`; with `store_id` or `tag`, those that have it."""
    seen = await watch(tx, patience)
    return [_device(row, seen) for row in await tx.fetch(_PAGE, after, store_id, tag, limit)]


async def _require_store(tx: Tx, fields: DeviceFields) -> None:
    if not await tx.fetchval(_STORE_EXISTS, fields.store_id):
        raise Faulty([("store_id", "is no store")])


def _values(fields: DeviceFields) -> tuple[Any, ...]:
    return (
        fields.store_id, fields.name, fields.tags, fields.slots_per_hour, fields.cpm_micros, fields.disabled,
    )  # fmt: skip


def _device(row: asyncpg.Record, seen: Watch) -> Device:
    fields = DeviceFields(
        store_id=StoreId(row["store_id"]),
        name=row["name"],
        tags=tuple(row["tags"]),
        slots_per_hour=row["slots_per_hour"],
        cpm_micros=row["cpm_micros"],
        disabled=row["disabled"],
    )
    return Device(
        id=DeviceId(row["id"]),
        fields=fields,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        status=status(fields.disabled, row["last_seen_at"], seen),
        last_seen_at=row["last_seen_at"],
        digest=row["digest"],
    )
