"""What time does to campaigns, a batch at a time: claimed by state, then changed, logged and paid in one statement.

Each takes $1 = now. A claim skips what others hold, so its order is free; tenants are waited for, by id ascending.
Claim and change are two statements on purpose: the change must see the rows as they were locked. In one statement
it sees older versions and queues for those behind whoever waits for our locks: a deadlock, seen where
foreign keys share-lock the same rows. `= ANY` keeps the planner from joining a whole index to a batch.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from playlists.ids import CampaignId
from playlists.queries import Row, Tx

# What is due; `queries.claiming` locks it, `queries.agenda` says when.
TO_COMPLETE = "status IN ('ACTIVE', 'PAUSED') AND end_at <= $1"
MISSED = "(end_at <= $1 OR start_deadline < $1) AND distributed_at IS NULL"  # what starts at its deadline is in time
TO_START = f"status = 'SCHEDULED' AND start_at <= $1 AND NOT coalesce({MISSED}, false)"
TO_MISS = f"status = 'SCHEDULED' AND start_at <= $1 AND {MISSED}"
TO_EXPIRE = "status = 'PENDING_APPROVAL' AND least(approve_by, end_at) <= $1"
UNSETTLED = "settled_at IS NULL AND status IN ('COMPLETED', 'CANCELLED', 'FAILED')"
TO_SETTLE = f"{UNSETTLED} AND settle_at <= $1"
UNDISTRIBUTED = "distributed_at IS NULL AND status IN ('SCHEDULED', 'ACTIVE') AND pause_causes = '{}' AND end_at > $1"

LOG = """transitions (campaign_id, sequence, occurrence, tenant_id, type, from_status, to_status, reason,
                             changes, moved, due_at, executed_at, total_recipients, actor, correlation_id)"""

# What transitions, marks and the log are made of; a tenant may have thousands.
TOLD = """c.id, c.tenant_id, c.sequence, c.occurrence, c.name, c.channel, old.status AS from_status, c.status,
              c.status_reason, c.status_note, c.pause_causes, c.start_at, c.activated_at, c.distributed_at,
              c.total_recipients, c.correlation_id"""

COMPLETE = f"""
WITH completed AS (
    UPDATE campaigns c
    SET status = 'COMPLETED', status_reason = NULL, status_note = NULL, completed_at = $1,
        settle_at = c.end_at + $3::interval, attempts = 0, retry_at = NULL,
        version = c.version + 1, sequence = c.sequence + 1, updated_at = $1
    WHERE c.id = ANY ($2::uuid[]) AND c.status IN ('ACTIVE', 'PAUSED')
    RETURNING c.id, c.tenant_id, c.sequence, c.occurrence, c.name, c.channel, old.status AS from_status, c.start_at,
              c.end_at, c.activated_at, c.total_recipients, c.correlation_id
), logged AS (
    INSERT INTO {LOG}
    SELECT id, sequence, occurrence, tenant_id, 'completed', from_status, 'COMPLETED', NULL, '[]', '{{}}', end_at, $1,
           total_recipients, 'signaged', correlation_id
    FROM completed
)
SELECT id, tenant_id, sequence, name, channel, from_status, start_at, end_at AS due_at, activated_at,
       total_recipients, correlation_id
FROM completed"""  # noqa: S608 - constants of this module


async def complete(tx: Tx, ids: Sequence[CampaignId], now: datetime, settle_after: timedelta) -> list[Row]:
    """Complete those of the locked campaigns that run."""
    return await tx.fetch(COMPLETE, now, ids, settle_after)


START = f"""
WITH started AS (
    UPDATE campaigns c
    SET status = 'ACTIVE', status_reason = NULL, status_note = NULL, activated_at = $1, attempts = 0, retry_at = NULL,
        version = c.version + 1, sequence = c.sequence + 1, updated_at = $1
    WHERE c.id = ANY ($2::uuid[]) AND c.status = 'SCHEDULED'
    RETURNING c.id, c.tenant_id, c.sequence, c.occurrence, c.name, c.channel, c.start_at, c.end_at,
              c.total_recipients, coalesce($5, c.correlation_id) AS correlation_id, c.held_micros, c.pause_causes
), logged AS (
    INSERT INTO {LOG}
    SELECT id, sequence, occurrence, tenant_id, 'started', 'SCHEDULED', 'ACTIVE', $3, $6::jsonb, '{{}}', start_at, $1,
           total_recipients, $4, correlation_id
    FROM started
)
SELECT id, tenant_id, sequence, name, channel, start_at, end_at, total_recipients, correlation_id, held_micros,
       pause_causes
FROM started"""  # noqa: S608 - constants of this module


async def start(
    tx: Tx,
    ids: Sequence[CampaignId],
    now: datetime,
    reason: str | None = None,
    actor: str = "signaged",
    correlation_id: str | None = None,
    changes: Sequence[object] = (),
) -> list[Row]:
    """Start those of the locked campaigns that are SCHEDULED; `correlation_id` None means each one's own."""
    return await tx.fetch(START, now, ids, reason, actor, correlation_id, list(changes))


MOVE_START = "UPDATE campaigns SET start_at = $2, start_local = NULL WHERE id = $1"


async def move_start(tx: Tx, campaign_id: CampaignId, start_at: datetime) -> None:
    """Give a locked campaign another start, as an instant; the change that follows logs it."""
    await tx.execute(MOVE_START, campaign_id, start_at)


# What a campaign still holds goes back; the wallet and the campaign are locked.
_RELEASE = """
WITH released AS (
    UPDATE campaigns c
    SET held_micros = 0, released_micros = c.released_micros + c.held_micros, settled_at = $1, attempts = 0,
        retry_at = NULL, version = c.version + 1, sequence = c.sequence + 1, updated_at = $1, {change}
    WHERE c.id = ANY ($2::uuid[]) AND {state}
    RETURNING c.id, c.tenant_id, c.sequence, c.occurrence, c.name, c.channel, old.status AS from_status, c.status,
              c.status_reason, c.start_at, c.end_at, c.start_deadline, c.approve_by, c.settle_at, c.activated_at,
              c.total_recipients, c.correlation_id,
              old.held_micros AS amount, c.spent_micros, c.impressions
), posted AS (
    INSERT INTO ledger (tenant_id, campaign_id, sequence, kind, debit, credit, amount_micros, at)
    SELECT tenant_id, id, sequence, 'release', 'held', 'available', amount, $1 FROM released WHERE amount > 0
), amounts AS MATERIALIZED (
    SELECT tenant_id, sum(amount)::bigint AS amount FROM released WHERE amount > 0 GROUP BY tenant_id
), paid AS (
    UPDATE tenants t SET available_micros = t.available_micros + a.amount
    FROM amounts a WHERE t.id = a.tenant_id AND t.id = ANY (ARRAY(SELECT tenant_id FROM amounts))
), logged AS (
    INSERT INTO {log}
    SELECT id, sequence, occurrence, tenant_id, {log_values}, $1, total_recipients, 'signaged', correlation_id
    FROM released
)
SELECT id, tenant_id, sequence, name, channel, from_status, start_at, {due_at} AS due_at, activated_at,
       total_recipients, correlation_id, amount, spent_micros, impressions, status_reason
FROM released"""
SETTLE = _RELEASE.format(
    change="status = c.status",
    state=UNSETTLED,
    log=LOG,
    log_values="""'settled', status, status, NULL, '[]', jsonb_build_object(
           'released_micros', amount, 'spent_micros', spent_micros, 'impressions', impressions), settle_at""",
    due_at="settle_at",
)
_LATEST = "least(start_deadline, end_at)"  # that it may have started, and why it was missed then
_WHY = "CASE WHEN start_deadline < end_at THEN 'START_DEADLINE' ELSE 'NEVER_DISTRIBUTED' END"
MISS = _RELEASE.format(
    change=f"status = 'MISSED', status_reason = {_WHY}, status_note = NULL",
    state=TO_MISS,
    log=LOG,
    log_values=f"""'missed', 'SCHEDULED', 'MISSED', status_reason, '[]',
           jsonb_build_object('released_micros', amount), {_LATEST}""",
    due_at=_LATEST,
)
EXPIRE = _RELEASE.format(
    change="status = 'EXPIRED', status_reason = 'NOT_APPROVED', status_note = NULL",
    state=TO_EXPIRE,
    log=LOG,
    log_values="""'expired', 'PENDING_APPROVAL', 'EXPIRED', 'NOT_APPROVED', '[]',
           jsonb_build_object('released_micros', amount), least(approve_by, end_at)""",
    due_at="least(approve_by, end_at)",
)


async def settle(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> list[Row]:
    """Settle those of the campaigns that are over; they and their tenants are locked."""
    return await tx.fetch(SETTLE, now, ids)


async def expire(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> list[Row]:
    """Close those of the campaigns that nobody approved in time; they and their tenants are locked."""
    return await tx.fetch(EXPIRE, now, ids)


async def miss(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> list[Row]:
    """Give those of the campaigns up that missed their window; they and their tenants are locked."""
    return await tx.fetch(MISS, now, ids)


FAIL = f"""
WITH failed AS (
    UPDATE campaigns c
    SET status = 'FAILED', status_reason = $3, status_note = $4, settle_at = $1::timestamptz + $5::interval,
        attempts = 0, retry_at = NULL, version = c.version + 1, sequence = c.sequence + 1, updated_at = $1
    WHERE c.id = ANY($2::uuid[]) AND c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
    RETURNING c.*, old.status AS from_status
), logged AS (
    INSERT INTO {LOG}
    SELECT id, sequence, occurrence, tenant_id, 'failed', from_status, 'FAILED', $3, '[]', '{{}}', $1, $1,
           total_recipients, 'signaged', correlation_id
    FROM failed
)
SELECT * FROM failed"""  # noqa: S608 - constants of this module


async def fail(
    tx: Tx, ids: Sequence[CampaignId], reason: str, note: str, now: datetime, settle_after: timedelta
) -> list[Row]:
    """Give those of the campaigns up that are SCHEDULED, ACTIVE or PAUSED: whole rows and `from_status`."""
    return await tx.fetch(FAIL, now, ids, reason, note, settle_after)


NOTE_ATTEMPT = """
UPDATE campaigns
SET attempts = least(attempts + 1, 1000), retry_at = $2::timestamptz + ($3::interval[])[least(attempts + 1, $4)]
WHERE id = $1 RETURNING attempts"""


async def note_attempt(tx: Tx, campaign_id: CampaignId, now: datetime, pauses: Sequence[timedelta]) -> int:
    """Note that a campaign's transition failed alone and when it is tried again; says how often it has failed."""
    attempts: int = await tx.fetchval(NOTE_ATTEMPT, campaign_id, now, pauses, len(pauses))
    return attempts


HALT = f"""
WITH halted AS (
    UPDATE campaigns c
    SET status = 'PAUSED', status_reason = $3, status_note = NULL, pause_causes = c.pause_causes || $3::text,
        version = c.version + 1, sequence = c.sequence + 1, updated_at = $1
    WHERE c.id = ANY($2::uuid[]) AND c.status IN ('ACTIVE', 'PAUSED') AND NOT $3 = ANY(c.pause_causes)
      AND (c.held_micros = 0 OR $3 <> 'BUDGET_EXHAUSTED')
    RETURNING c.*, old.status AS from_status
), paused AS (
    INSERT INTO pauses (campaign_id, cause, began_at) SELECT id, $3, $1 FROM halted
), logged AS (
    INSERT INTO {LOG}
    SELECT id, sequence, occurrence, tenant_id, 'paused', from_status, 'PAUSED', $3, '[]', '{{}}', $1, $1,
           total_recipients, 'signaged', correlation_id
    FROM halted
)
SELECT * FROM halted"""  # noqa: S608 - constants of this module


async def halt(tx: Tx, ids: Sequence[CampaignId], cause: str, now: datetime) -> list[Row]:
    """Pause those of the locked campaigns that run, for a cause of the system: whole rows and `from_status`.

    One that is PAUSED already gets the cause added; none is BUDGET_EXHAUSTED that still holds something.
    """
    return await tx.fetch(HALT, now, ids, cause)


# The number of recipients follows every change of the network (daemon.planner); those that others hold wait.
LOCK_FOUND = """
SELECT id FROM campaigns
WHERE status = 'PAUSED' AND end_at > $1 AND 'NO_ELIGIBLE_DEVICES' = ANY (pause_causes) AND total_recipients > 0
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"""
# What is SCHEDULED stays so and is in the playlists again; only what runs again changes its status and is logged.
_RUNS_AGAIN = "c.pause_causes = ARRAY[$3::text] AND c.status = 'PAUSED'"
END_CAUSE = f"""
WITH freed AS (
    UPDATE campaigns c
    SET status = CASE WHEN {_RUNS_AGAIN} THEN 'ACTIVE' ELSE c.status END,
        sequence = c.sequence + CASE WHEN {_RUNS_AGAIN} THEN 1 ELSE 0 END,
        status_reason = (array_remove(c.pause_causes, $3))[cardinality(c.pause_causes) - 1],
        pause_causes = array_remove(c.pause_causes, $3), version = c.version + 1, updated_at = $1
    WHERE c.id = ANY ($2::uuid[]) AND c.status IN ('SCHEDULED', 'PAUSED') AND $3 = ANY (c.pause_causes)
    RETURNING {TOLD}
), ended AS (
    UPDATE pauses SET ended_at = greatest($1, began_at)
    WHERE campaign_id = ANY (ARRAY(SELECT id FROM freed)) AND cause = $3 AND ended_at IS NULL
), logged AS (
    INSERT INTO {LOG}
    SELECT id, sequence, occurrence, tenant_id, 'resumed', 'PAUSED', 'ACTIVE', $3, '[]', '{{}}', $1, $1,
           total_recipients, $4, coalesce($5, correlation_id)
    FROM freed WHERE status = 'ACTIVE'
)
SELECT * FROM freed"""  # noqa: S608 - constants of this module


async def lock_found(tx: Tx, now: datetime) -> list[CampaignId]:
    """Lock campaigns that are paused for want of devices and have some now."""
    return [CampaignId(row["id"]) for row in await tx.fetch(LOCK_FOUND, now)]


async def end_cause(
    tx: Tx,
    ids: Sequence[CampaignId],
    cause: str,
    now: datetime,
    actor: str = "signaged",
    correlation_id: str | None = None,
) -> list[Row]:
    """End a cause of the system for locked campaigns, SCHEDULED or PAUSED: what `lifecycle.fact` reads, `from_status`.

    A PAUSED one that had no other is ACTIVE now. `correlation_id` None means each one's own.
    """
    return await tx.fetch(END_CAUSE, now, ids, cause, actor, correlation_id)


LOG_UNMOVED = f"""
WITH noted AS (
    UPDATE campaigns c SET sequence = c.sequence + 1
    FROM unnest($2::uuid[], $3::timestamptz[]) AS n (id, due_at)
    WHERE c.id = n.id AND c.id = ANY($2::uuid[])
    RETURNING c.*, n.due_at
), logged AS (
    INSERT INTO {LOG}
    SELECT id, sequence, occurrence, tenant_id, $4, status, status, NULL, '[]', '{{}}', due_at, $1,
           total_recipients, 'signaged', correlation_id
    FROM noted
)
SELECT * FROM noted"""  # noqa: S608 - constants of this module


async def log_unmoved(
    tx: Tx, kind: str, ids: Sequence[CampaignId], due_ats: Sequence[datetime], now: datetime
) -> list[Row]:
    """Log a change that leaves the status as it is, for locked campaigns: whole rows and `due_at`."""
    return await tx.fetch(LOG_UNMOVED, now, ids, due_ats, kind)
