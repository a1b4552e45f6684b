"""Statements over the media that screens were seen to download, byte range by byte range."""

from collections.abc import Sequence
from datetime import datetime

from devices.readiness import Fetched, Held
from playlists.ids import DeviceId, Sha256
from playlists.queries import Tx

# What went to an earlier player does not count for this one, also when it is written late.
_RECORD = """
INSERT INTO fetches (device_id, sha256, ranges, completed_at, updated_at)
SELECT f.device_id, f.sha256, f.ranges::int8multirange,
       CASE WHEN f.ranges::int8multirange @> int8range(0, f.size) THEN $6::timestamptz END, $6
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
     AS f (device_id, sha256, ranges, size, began_at)
JOIN devices d ON d.id = f.device_id AND (d.player_since IS NULL OR f.began_at >= d.player_since)
ORDER BY f.device_id, f.sha256
ON CONFLICT (device_id, sha256) DO UPDATE SET
    ranges = fetches.ranges + excluded.ranges, updated_at = excluded.updated_at,
    completed_at = coalesce(fetches.completed_at, CASE WHEN fetches.ranges + excluded.ranges @> (
        SELECT int8range(0, max(f.size)) FROM unnest($2::text[], $4::bigint[]) AS f (sha256, size)
        WHERE f.sha256 = excluded.sha256) THEN excluded.updated_at END)
"""
_CORRUPT = """
INSERT INTO fetches (device_id, sha256, ranges, corruptions, updated_at)
SELECT $1, sha256, '{}', 1, $3 FROM unnest($2::text[]) AS sha256 ORDER BY sha256
ON CONFLICT (device_id, sha256) DO UPDATE SET
    ranges = '{}', completed_at = NULL, corruptions = fetches.corruptions + 1, updated_at = excluded.updated_at
"""
# The two statements of one report take rows each in order; the writer of deliveries takes all of a device in one.
_LOCK = """
SELECT FROM fetches WHERE device_id = $1 AND sha256 = ANY ($2::text[]) ORDER BY sha256 FOR NO KEY UPDATE
"""
_SOUND = """
UPDATE fetches SET corruptions = 0, updated_at = $3
WHERE device_id = $1 AND sha256 = ANY ($2::text[]) AND completed_at IS NOT NULL AND corruptions > 0
"""
_OF_DEVICE = """
SELECT sha256, completed_at IS NOT NULL AS whole, corruptions FROM fetches
WHERE device_id = $1 AND sha256 = ANY ($2::text[])
"""


async def record_fetches(tx: Tx, fetched: Sequence[Fetched], now: datetime) -> None:
    """Unite what was delivered just now with what was before; a file is complete when every byte was."""
    if fetched:
        devices, files, ranges, sizes, begins = (list(column) for column in zip(*fetched, strict=True))
        spans = ["{" + ",".join(f"[{begin},{end})" for begin, end in some) + "}" for some in ranges]
        await tx.execute(_RECORD, devices, files, spans, sizes, begins, now)


async def record_told(
    tx: Tx, device_id: DeviceId, corrupt: Sequence[Sha256], sound: Sequence[Sha256], now: datetime
) -> None:
    """Keep what a device says of its files.

    What was delivered of a CORRUPT one is worth nothing, and is counted; a sound one that is held in full was never so.
    """
    if corrupt and sound:
        await tx.execute(_LOCK, device_id, [*corrupt, *sound])
    if corrupt:
        await tx.execute(_CORRUPT, device_id, corrupt, now)
    if sound:
        await tx.execute(_SOUND, device_id, sound, now)


async def holdings(tx: Tx, device_id: DeviceId, files: Sequence[Sha256]) -> dict[Sha256, Held]:
    """For each file that the device ever fetched: whether it was delivered in full, and the reports of CORRUPT."""
    rows = await tx.fetch(_OF_DEVICE, device_id, files)
    return {Sha256(row["sha256"]): Held(row["whole"], row["corruptions"]) for row in rows}
