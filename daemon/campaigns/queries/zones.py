"""Statements over campaigns whose edges were given as wall times, when newer zone rules come."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from daemon.campaigns.queries.claiming import RESTED
from playlists.ids import CampaignId
from playlists.queries import Row, Tx

# the index is campaigns_by_wall_time; what is REJECTED is resolved anew by the edit that it takes
_OPEN = """(start_local IS NOT NULL OR end_local IS NOT NULL) AND deleted_at IS NULL
  AND status IN ('DRAFT', 'PENDING_APPROVAL', 'SCHEDULED', 'ACTIVE', 'PAUSED')"""
# From one version to the next, instead of reading every campaign's.
VERSIONS = f"""
WITH RECURSIVE found AS (
    SELECT (SELECT tzdata_version FROM campaigns WHERE {_OPEN} ORDER BY tzdata_version LIMIT 1) AS version
    UNION ALL
    SELECT (SELECT tzdata_version FROM campaigns WHERE {_OPEN} AND tzdata_version > found.version
            ORDER BY tzdata_version LIMIT 1)
    FROM found WHERE found.version IS NOT NULL
)
SELECT array_agg(version) FROM found WHERE version IS NOT NULL"""  # noqa: S608 - constants of this module
CLAIM_TO_RESOLVE = f"""
WITH due AS MATERIALIZED (
    SELECT id FROM campaigns WHERE {_OPEN} AND tzdata_version = ANY ($3::text[]) AND {RESTED}
    ORDER BY tzdata_version, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
)
SELECT array_agg(id) FROM due"""  # noqa: S608 - constants of this module
WALL_TIMES = """
SELECT id, status, timezone, start_at, end_at, start_local, end_local, start_deadline, tzdata_version, distributed_at,
       impressions
FROM campaigns WHERE id = ANY ($1::uuid[])"""
KEEP = "UPDATE campaigns SET tzdata_version = $2 WHERE id = ANY ($1::uuid[])"
MOVE = """
WITH moved AS (
    UPDATE campaigns c
    SET start_at = n.start_at, end_at = n.end_at, tzdata_version = $2, attempts = 0, retry_at = NULL,
        distributed_at = CASE WHEN n.withdrawn THEN NULL ELSE c.distributed_at END,
        ready_at = CASE WHEN n.withdrawn THEN NULL ELSE c.ready_at END,
        version = c.version + 1, sequence = c.sequence + 1, updated_at = $1
    FROM unnest($3::uuid[], $4::timestamptz[], $5::timestamptz[], $6::boolean[], $7::text[], $8::jsonb[])
        AS n (id, start_at, end_at, withdrawn, note, said)
    WHERE c.id = n.id AND c.id = ANY ($3::uuid[])
    RETURNING c.*, n.withdrawn, n.note, n.said -> 'changes' AS changes
), logged AS (
    INSERT INTO transitions (campaign_id, sequence, occurrence, tenant_id, type, from_status, to_status, reason, note,
                             changes, moved, due_at, executed_at, total_recipients, actor, correlation_id)
    SELECT id, sequence, occurrence, tenant_id, 'updated', status, status, 'TZDATA', note, changes, '{}', $1, $1,
           total_recipients, 'signaged', correlation_id
    FROM moved
)
SELECT * FROM moved"""


async def versions(tx: Tx) -> list[str]:
    """The tzdata versions by which wall times of campaigns were resolved that are not over."""
    found: list[str] | None = await tx.fetchval(VERSIONS)
    return found or []


async def claim_to_resolve(tx: Tx, now: datetime, limit: int, older: Sequence[str]) -> list[CampaignId]:
    """Lock up to `limit` campaigns whose wall times were resolved by one of these versions."""
    claimed: list[CampaignId] | None = await tx.fetchval(CLAIM_TO_RESOLVE, now, limit, older)
    return claimed or []


async def wall_times(tx: Tx, ids: Sequence[CampaignId]) -> list[Row]:
    """What locked campaigns' edges are and how they were given."""
    return await tx.fetch(WALL_TIMES, ids)


async def keep(tx: Tx, ids: Sequence[CampaignId], version: str) -> None:
    """Note that a tzdata version leaves the edges of locked campaigns where they are."""
    await tx.execute(KEEP, ids, version)


class Move(NamedTuple):
    """A campaign's edges by other zone rules, whether they take it out of the playlists, and what the log says."""

    id: CampaignId
    start_at: datetime | None
    end_at: datetime | None
    withdrawn: bool
    note: str | None
    changes: list[Mapping[str, Any]]


async def move(tx: Tx, moves: Sequence[Move], version: str, now: datetime) -> list[Row]:
    """Give locked campaigns other edges and log it: whole rows and `withdrawn note changes`."""
    if not moves:
        return []
    ids, starts, ends, withdrawn, notes, changes = zip(*moves, strict=True)
    said = [{"changes": each} for each in changes]  # lists in a list would be an array of two dimensions
    return await tx.fetch(MOVE, now, version, ids, starts, ends, withdrawn, notes, said)
