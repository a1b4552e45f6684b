"""Statements over who was seen when, and over the times in which nobody served."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from devices.presence import Beat, Watch
from playlists.ids import DeviceId
from playlists.queries import Tx

_UNTIL = "SELECT coalesce((SELECT last_at FROM service), now())"
# Older ones change nothing: who was silent before so many is offline by the time served since.
_OUTAGES = "SELECT began_at, ended_at FROM outages ORDER BY began_at DESC LIMIT 100"

# Rows are taken in the order of ids by all who write them, so that two instances never wait for each other.
_SEEN = """
INSERT INTO presence (device_id, last_seen_at)
SELECT id, at FROM unnest($1::uuid[], $2::timestamptz[]) AS seen (id, at) ORDER BY id
ON CONFLICT (device_id) DO UPDATE SET last_seen_at = excluded.last_seen_at
WHERE presence.last_seen_at < excluded.last_seen_at
"""
_BEATS = """
INSERT INTO presence (device_id, last_seen_at, beat_at, digest, screen, skew_ms, errors)
SELECT id, at, at, digest, screen, skew_ms, errors::jsonb
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::text[])
     AS beat (id, at, digest, screen, skew_ms, errors) ORDER BY id
ON CONFLICT (device_id) DO UPDATE SET
    last_seen_at = greatest(presence.last_seen_at, excluded.last_seen_at), beat_at = excluded.beat_at,
    digest = CASE WHEN excluded.beat_at >= presence.last_seen_at THEN coalesce(excluded.digest, presence.digest)
                  ELSE presence.digest END, -- a poll that came later shows more
    screen = excluded.screen, skew_ms = excluded.skew_ms, errors = excluded.errors
WHERE presence.beat_at IS NULL OR presence.beat_at <= excluded.beat_at
"""
# One row of service for all instances: a gap in it is a time in which none of them served. Two that see the same
# gap at once write it once: it is known by its beginning.
_SERVED = """
WITH before AS (SELECT last_at FROM service),
     gap AS (INSERT INTO outages (began_at, ended_at)
             SELECT last_at, $1 FROM before WHERE last_at < $1::timestamptz - $2::interval
             ON CONFLICT DO NOTHING)
INSERT INTO service (last_at) VALUES ($1)
ON CONFLICT (singleton) DO UPDATE SET last_at = greatest(service.last_at, excluded.last_at)
"""
# The rule of presence.silence in SQL: not only those seen lately can change, but only those that did are written.
_ANNOUNCE = """
WITH watched AS (SELECT last_at FROM service),
     changed AS (
         SELECT p.device_id FROM watched w, presence p JOIN devices d ON d.id = p.device_id
         WHERE p.online IS DISTINCT FROM (NOT d.disabled AND w.last_at - p.last_seen_at - coalesce((
             SELECT sum(greatest(least(o.ended_at, w.last_at) - greatest(o.began_at, p.last_seen_at), '0'))
             FROM outages o WHERE o.ended_at > p.last_seen_at), '0') <= $1::interval)
         ORDER BY p.device_id LIMIT $2 FOR NO KEY UPDATE OF p SKIP LOCKED)
UPDATE presence p SET online = NOT p.online, announcements = p.announcements + 1
FROM changed c WHERE p.device_id = c.device_id
RETURNING p.device_id, p.online, p.announcements, p.last_seen_at
"""


class Announcement(NamedTuple):
    """A device's `number`th change between online and offline."""

    device_id: DeviceId
    online: bool
    number: int
    last_seen_at: datetime


async def watch(tx: Tx, patience: timedelta) -> Watch:
    """How devices are watched now; before anybody has ever served, up to the transaction's instant."""
    until = await tx.fetchval(_UNTIL)
    outages = [(row["began_at"], row["ended_at"]) for row in await tx.fetch(_OUTAGES)]
    return Watch(until, outages, patience)


async def record_sightings(tx: Tx, seen: Iterable[tuple[DeviceId, datetime]]) -> None:
    """Note when devices were seen, each at most once; what is older than what is known changes nothing."""
    if rows := list(seen):
        await tx.execute(_SEEN, [row[0] for row in rows], [row[1] for row in rows])


async def record_beats(tx: Tx, beats: Sequence[Beat]) -> None:
    """Keep the last heartbeat of each device, each device at most once."""
    if beats:
        *columns, errors = (list(column) for column in zip(*beats, strict=True))
        await tx.execute(_BEATS, *columns, [json.dumps(said) for said in errors])


async def record_service(tx: Tx, now: datetime, longest_gap: timedelta) -> None:
    """Note that somebody serves at `now`; if the last such note is older than the gap, nobody did in between."""
    await tx.execute(_SERVED, now, longest_gap)


async def announce_changes(tx: Tx, patience: timedelta, limit: int) -> list[Announcement]:
    """Turn online and offline what has become so (see devices.presence); at most `limit`, those that changed."""
    return [Announcement(*row) for row in await tx.fetch(_ANNOUNCE, patience, limit)]
