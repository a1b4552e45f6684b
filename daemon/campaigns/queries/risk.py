"""Statements over campaigns that their tenants should be warned about before it is too late."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from playlists.ids import CampaignId, TenantId
from playlists.queries import Row, Tx


class Due(NamedTuple):
    """A locked campaign whose screens are to be looked at, and since when."""

    id: CampaignId
    due_at: datetime


# The last check whose time has come, counted back from the start as it is now: one moved later is checked anew.
# What was distributed after that instant could not be ready by then.
_CHECK_AT = "(SELECT max(c.start_at - lead) FROM unnest($2::interval[]) AS lead WHERE c.start_at - lead <= $1)"
LOCK_TO_START = f"""
SELECT c.id, {_CHECK_AT} AS due_at FROM campaigns c
WHERE c.status = 'SCHEDULED' AND c.start_at > $1 AND c.start_at <= $1 + (SELECT max(lead) FROM unnest($2) AS lead)
  AND c.pause_causes = '{{}}' AND c.distributed_at < {_CHECK_AT}
  AND (c.risk_checked_at IS NULL OR c.risk_checked_at < {_CHECK_AT})
ORDER BY c.start_at, c.id LIMIT $3 FOR NO KEY UPDATE OF c SKIP LOCKED"""  # noqa: S608 - constants of this module
LOCK_STARTED = """
SELECT id, activated_at + $2::interval AS due_at FROM campaigns
WHERE status = 'ACTIVE' AND end_at > $1 AND activated_at <= $1 - $2::interval
  AND (risk_checked_at IS NULL OR risk_checked_at < activated_at + $2::interval)
ORDER BY activated_at, id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED"""


async def lock_to_start(tx: Tx, now: datetime, leads: Sequence[timedelta], limit: int) -> list[Due]:
    """Lock SCHEDULED campaigns in playlists whose last check before the start is due, the soonest to start first."""
    return [Due(*row) for row in await tx.fetch(LOCK_TO_START, now, leads, limit)]


async def lock_started(tx: Tx, now: datetime, after: timedelta, limit: int) -> list[Due]:
    """Lock ACTIVE campaigns whose check so long after their start is due, the longest running first."""
    return [Due(*row) for row in await tx.fetch(LOCK_STARTED, now, after, limit)]


NOTE_CHECKED = "UPDATE campaigns SET risk_checked_at = $2 WHERE id = ANY ($1::uuid[])"


async def note_checked(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> None:
    """Note that locked campaigns were looked at."""
    await tx.execute(NOTE_CHECKED, ids, now)


LOG_AT_RISK = """
WITH found AS MATERIALIZED (
    SELECT (risk ->> 'id')::uuid AS id, (risk ->> 'due_at')::timestamptz AS due_at, risk ->> 'reason' AS reason,
           risk -> 'moved' AS moved
    FROM jsonb_array_elements($2::jsonb) AS risk
), noted AS (
    UPDATE campaigns c SET sequence = c.sequence + 1 FROM found
    WHERE c.id = found.id AND c.id = ANY (ARRAY(SELECT id FROM found))
    RETURNING c.*, found.due_at, found.reason, found.moved
), logged AS (
    INSERT INTO transitions (campaign_id, sequence, occurrence, tenant_id, type, from_status, to_status, reason,
                             moved, due_at, executed_at, total_recipients, actor, correlation_id)
    SELECT id, sequence, occurrence, tenant_id, 'at_risk', status, status, reason, moved, due_at, $1,
           total_recipients, 'signaged', correlation_id
    FROM noted
)
SELECT * FROM noted ORDER BY id"""


async def log_at_risk(tx: Tx, risks: Sequence[dict[str, Any]], now: datetime) -> list[Row]:
    """Log risks `{id, due_at, reason, moved}` of locked campaigns: whole rows, with `due_at reason moved`."""
    return await tx.fetch(LOG_AT_RISK, now, list(risks))


class NearlySpent(NamedTuple):
    """A campaign that has used nine tenths of its budget, and its last change."""

    tenant_id: TenantId
    campaign_id: CampaignId
    sequence: int
    name: str


# Used up, it is PAUSED, which tells more. No index: one over what plays change would make every charge dearer.
LOCK_NEARLY_SPENT = """
SELECT id FROM campaigns
WHERE status IN ('ACTIVE', 'PAUSED') AND end_at > $1 AND spent_micros * 10 >= budget_micros * 9 AND held_micros > 0
  AND budget_told_micros IS DISTINCT FROM budget_micros
ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED"""
NOTE_TOLD = """
UPDATE campaigns SET budget_told_micros = budget_micros WHERE id = ANY ($1::uuid[])
RETURNING tenant_id, id, sequence, name"""


async def note_nearly_spent(tx: Tx, now: datetime, limit: int) -> list[NearlySpent]:
    """Note campaigns as told of that have used 90 % of their budget as it is now; a top-up lets it happen again."""
    ids: list[UUID] = [row["id"] for row in await tx.fetch(LOCK_NEARLY_SPENT, now, limit)]
    return [NearlySpent(*row) for row in await tx.fetch(NOTE_TOLD, ids)] if ids else []
