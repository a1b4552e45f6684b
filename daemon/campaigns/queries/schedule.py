"""What will happen and what has happened, over all campaigns."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from playlists.ids import TenantId
from playlists.queries import Row, Tx


class After(NamedTuple):
    """The last row of a page: the next one begins behind it."""

    at: datetime
    campaign_id: UUID
    part: str | int  # the kind of an upcoming row, the sequence of an execution


COMING = ("distribute", "start", "end")  # the kinds of upcoming rows
UPCOMING = """
SELECT c.id AS campaign_id, c.name, c.tenant_id, c.channel, c.status, k.kind, k.due_at, c.timezone
FROM campaigns c
CROSS JOIN LATERAL (
    SELECT 'distribute' AS kind, greatest(c.start_at - $3::interval, c.submitted_at) AS due_at
    WHERE c.distributed_at IS NULL AND c.status IN ('SCHEDULED', 'ACTIVE') AND c.pause_causes = '{}'
    UNION ALL SELECT 'start', c.start_at WHERE c.status = 'SCHEDULED'
    UNION ALL SELECT 'end', c.end_at WHERE c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
) k
WHERE c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED') AND ($1::uuid IS NULL OR c.tenant_id = $1) AND k.due_at <= $2
  AND ($4::timestamptz IS NULL OR (k.due_at, c.id, k.kind) > ($4, $5::uuid, $6::text))
ORDER BY k.due_at, c.id, k.kind LIMIT $7"""


async def upcoming(
    tx: Tx, tenant_id: TenantId | None, until: datetime, lead: timedelta, after: After | None, limit: int
) -> list[Row]:
    """What is due up to `until`, soonest first, what is overdue included.

    `lead` is how long before its start a campaign is distributed. `campaign_id name tenant_id channel status kind
    due_at timezone`; kind is `distribute`, `start` or `end`, timezone the campaign's.
    """
    at, campaign_id, kind = after or (None, None, None)
    return await tx.fetch(UPCOMING, tenant_id, until, lead, at, campaign_id, kind, limit)


EXECUTIONS = """
SELECT t.*, c.name FROM transitions t JOIN campaigns c ON c.id = t.campaign_id
WHERE t.type IN ('content.distributed', 'started', 'completed', 'missed', 'expired', 'failed')
  AND ($1::uuid IS NULL OR t.tenant_id = $1)
  AND ($2::timestamptz IS NULL OR (t.executed_at, t.campaign_id, t.sequence) < ($2, $3::uuid, $4::integer))
ORDER BY t.executed_at DESC, t.campaign_id DESC, t.sequence DESC LIMIT $5"""

KINDS = {
    "content.distributed": "distribute",
    "started": "start",
    "completed": "complete",
    "missed": "miss",
    "expired": "expire",
    "failed": "fail",
}  # a transition's type -> what an execution calls it


async def executions(tx: Tx, tenant_id: TenantId | None, after: After | None, limit: int) -> list[Row]:
    """What the daemon did, newest first: whole rows of the log and the campaign's `name`; see KINDS."""
    at, campaign_id, sequence = after or (None, None, None)
    return await tx.fetch(EXECUTIONS, tenant_id, at, campaign_id, sequence, limit)
