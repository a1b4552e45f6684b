"""Statements over all campaigns of a tenant that is suspended, or that may go on."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from daemon.campaigns.queries.due import LOG, TOLD
from playlists.ids import CampaignId, TenantId
from playlists.queries import Row, Tx


class Word(NamedTuple):
    """Who said so, as the log tells it."""

    actor: str
    correlation_id: str


# Those that suspension concerns: what is to play, without the cause; and what it holds, with it.
TO_SUSPEND = """tenant_id = $1 AND status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
  AND NOT 'TENANT_SUSPENDED' = ANY (pause_causes)"""
TO_RELEASE = """tenant_id = $1 AND status IN ('SCHEDULED', 'PAUSED') AND 'TENANT_SUSPENDED' = ANY (pause_causes)"""

_LOCK = "SELECT id FROM campaigns WHERE {which} ORDER BY id FOR NO KEY UPDATE"
LOCK_TO_SUSPEND = _LOCK.format(which=TO_SUSPEND)
LOCK_TO_RELEASE = _LOCK.format(which=TO_RELEASE)
# Those that are locked stay what they are, so more than that many are others; to look for each would be quadratic.
_LEFT_OUT = "SELECT count(*) > $2 FROM campaigns WHERE {which}"
LEFT_OUT_TO_SUSPEND = _LEFT_OUT.format(which=TO_SUSPEND)
LEFT_OUT_TO_RELEASE = _LEFT_OUT.format(which=TO_RELEASE)


async def lock_concerned(tx: Tx, tenant_id: TenantId, suspended: bool) -> list[CampaignId]:
    """Lock, in order of id, what a suspension of the tenant, or its end, would change."""
    rows = await tx.fetch(LOCK_TO_SUSPEND if suspended else LOCK_TO_RELEASE, tenant_id)
    return [CampaignId(row["id"]) for row in rows]


async def left_out(tx: Tx, tenant_id: TenantId, suspended: bool, locked: Sequence[CampaignId]) -> bool:
    """Whether it would change more than was locked: what was committed since."""
    more: bool = await tx.fetchval(LEFT_OUT_TO_SUSPEND if suspended else LEFT_OUT_TO_RELEASE, tenant_id, len(locked))
    return more


# What is SCHEDULED stays so and is out of the playlists all the same; only what runs changes its status and is logged.
SUSPEND = f"""
WITH halted AS (
    UPDATE campaigns c
    SET status = CASE WHEN c.status = 'SCHEDULED' THEN c.status ELSE 'PAUSED' END,
        sequence = c.sequence + CASE WHEN c.status = 'SCHEDULED' THEN 0 ELSE 1 END,
        status_reason = 'TENANT_SUSPENDED', status_note = NULL,
        pause_causes = c.pause_causes || 'TENANT_SUSPENDED'::text, version = c.version + 1, updated_at = $1
    WHERE c.id = ANY ($2::uuid[])
    RETURNING {TOLD}
), paused AS (
    INSERT INTO pauses (campaign_id, cause, began_at) SELECT id, 'TENANT_SUSPENDED', $1 FROM halted
), logged AS (
    INSERT INTO {LOG}
    SELECT id, sequence, occurrence, tenant_id, 'paused', from_status, 'PAUSED', 'TENANT_SUSPENDED', '[]', '{{}}', $1,
           $1, total_recipients, $3, $4
    FROM halted WHERE from_status <> 'SCHEDULED'
)
SELECT * FROM halted"""  # noqa: S608 - constants of ours


async def suspend(tx: Tx, ids: Sequence[CampaignId], now: datetime, word: Word) -> list[Row]:
    """Add the cause to locked campaigns that have it not: what `lifecycle.fact` reads, and `from_status`."""
    return await tx.fetch(SUSPEND, now, ids, *word)


SET_STATUS = "UPDATE tenants SET status = $2, updated_at = $3 WHERE id = $1 AND status <> $2"


async def set_status(tx: Tx, tenant_id: TenantId, status: str, now: datetime) -> None:
    """Write a locked tenant's status."""
    await tx.execute(SET_STATUS, tenant_id, status, now)


# A start has found a cause that stands since before: what was SCHEDULED runs not for a moment.
HOLD = f"""
WITH held AS (
    UPDATE campaigns c
    SET status = 'PAUSED', status_reason = c.pause_causes[cardinality(c.pause_causes)], version = c.version + 1,
        sequence = c.sequence + 1, updated_at = $1
    WHERE c.id = ANY ($2::uuid[]) AND c.status = 'ACTIVE' AND c.pause_causes <> '{{}}'
    RETURNING {TOLD}
), logged AS (
    INSERT INTO {LOG}
    SELECT id, sequence, occurrence, tenant_id, 'paused', 'ACTIVE', 'PAUSED', status_reason, '[]', '{{}}', $1, $1,
           total_recipients, 'signaged', correlation_id
    FROM held
)
SELECT * FROM held"""  # noqa: S608 - constants of ours


async def hold(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> list[Row]:
    """Pause those of the campaigns just started for which a cause stands already: as `suspend`."""
    return await tx.fetch(HOLD, now, ids)
