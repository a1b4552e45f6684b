"""Statements that change one campaign: locked, changed and logged by whoever books, decides or stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from daemon.campaigns.campaign import Campaign, Status, TransitionType
from daemon.campaigns.draft import Draft, Edge
from daemon.campaigns.events import Transition
from daemon.campaigns.money import decimal
from playlists import localtime
from playlists.daypart import as_json
from playlists.ids import CampaignId, CreativeId, TenantId
from playlists.queries import Row, Tx

LOCK = """
SELECT * FROM campaigns
WHERE id = $1 AND deleted_at IS NULL AND ($2::uuid IS NULL OR tenant_id = $2)
FOR NO KEY UPDATE"""


async def lock(tx: Tx, campaign_id: CampaignId, tenant_id: TenantId | None) -> Row | None:
    """The whole row of a campaign that is not deleted, locked; with a tenant only if it is that one's."""
    return await tx.fetchrow(LOCK, campaign_id, tenant_id)


def state(row: Row) -> Campaign:
    """The part of a campaign's row that its life changes."""
    values = {column: row[column] for column in _STATE}
    return Campaign(**{
        **values, "status": Status(row["status"]), "pause_causes": tuple(row["pause_causes"])
    })  # fmt: skip


_STATE = [column.name for column in fields(Campaign)]

AWAIT_APPROVAL = "UPDATE campaigns SET approve_by = $2 WHERE id = $1"


async def await_approval(tx: Tx, campaign_id: CampaignId, until: datetime) -> None:
    """Note until when a locked campaign waits for approval at most; then it expires."""
    await tx.execute(AWAIT_APPROVAL, campaign_id, until)


LOCK_TENANT = "SELECT * FROM tenants WHERE id = $1 FOR NO KEY UPDATE"
TENANT = "SELECT * FROM tenants WHERE id = $1"


async def lock_tenant(tx: Tx, tenant_id: TenantId) -> Row:
    """A tenant's whole row, locked: its money and running campaigns stand still. Campaigns are locked first."""
    row = await tx.fetchrow(LOCK_TENANT, tenant_id)
    assert row is not None  # noqa: S101 - campaigns refer to their tenant
    return row


async def tenant(tx: Tx, tenant_id: TenantId) -> Row | None:
    """A tenant's whole row, if there is one."""
    return await tx.fetchrow(TENANT, tenant_id)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a row of the log says beside the states it lies between; money in `moved` in micros, named `*_micros`."""

    kind: TransitionType
    actor: str
    correlation_id: str
    reason: str | None = None
    note: str | None = None
    changes: Sequence[Mapping[str, Any]] = ()
    moved: Mapping[str, int] = field(default_factory=dict)


SAVE = """
WITH saved AS (
    UPDATE campaigns
    SET name = $3, status = $4, status_reason = $5, status_note = $6, start_at = $7, start_local = $8,
        budget_micros = $9, held_micros = $10, released_micros = $11, pause_causes = $12, submitted_at = $13,
        settle_at = $14, settled_at = $15, deleted_at = $16, total_recipients = $17, updated_at = $18,
        distributed_at = $19, attempts = 0, retry_at = NULL, version = version + 1, sequence = sequence + 1
    WHERE id = $1 AND version = $2
    RETURNING id, sequence, occurrence, tenant_id, status, total_recipients
), healed AS (
    DELETE FROM quarantine WHERE campaign_id = $1 -- it can be changed
)
INSERT INTO transitions (campaign_id, sequence, occurrence, tenant_id, type, from_status, to_status, reason, note,
                         changes, moved, due_at, executed_at, total_recipients, actor, correlation_id)
SELECT id, sequence, occurrence, tenant_id, $20, $21, status, $22, $23, $24, $25, $18, $18, total_recipients, $26, $27
FROM saved
RETURNING sequence"""


async def save(tx: Tx, before: Campaign, after: Campaign, entry: Entry, now: datetime) -> Transition:
    """Write a campaign's next state and the log's row of it; `before` is as it was locked."""
    sequence = await tx.fetchval(
        SAVE, before.id, before.version, after.name, after.status, after.status_reason, after.status_note,
        after.start_at, after.start_local, after.budget_micros, after.held_micros, after.released_micros,
        after.pause_causes, after.submitted_at, after.settle_at, after.settled_at, after.deleted_at,
        after.total_recipients, now, after.distributed_at, entry.kind, before.status, entry.reason, entry.note,
        list(entry.changes), dict(entry.moved), entry.actor, entry.correlation_id,
    )  # fmt: skip
    if sequence is None:
        raise RuntimeError(f"campaign {before.id} changed under its lock")
    return _fact(after, entry, sequence, before.status, now)


def _fact(after: Campaign, entry: Entry, sequence: int, before: Status | None, now: datetime) -> Transition:
    return Transition(
        campaign_id=after.id,
        tenant_id=after.tenant_id,
        sequence=sequence,
        type=str(entry.kind),
        campaign_name=after.name,
        channel=after.channel,
        from_status=None if before is None else str(before),
        to_status=str(after.status),
        reason=entry.reason,
        note=entry.note,
        changes=[dict(change) for change in entry.changes],
        moved=told(entry.moved),
        due_at=now,
        executed_at=now,
        scheduled_at=after.start_at,
        started_at=after.activated_at,
        total_recipients=after.total_recipients,
        actor=entry.actor,
        correlation_id=entry.correlation_id,
    )


def told(moved: Mapping[str, int]) -> dict[str, Any]:
    """What a change moved as messages say it: `held_micros` 1500000 becomes `held` "1.50", counts stay."""
    return {
        name.removesuffix("_micros"): decimal(amount) if name.endswith("_micros") else amount
        for name, amount in moved.items()
    }


# The columns that an advertiser fills, in the order of `_columns`.
CREATE = """
INSERT INTO campaigns (tenant_id, correlation_id, created_by, created_at, updated_at, sequence, tzdata_version,
                       name, channel, description, timezone, start_at, start_local, end_at, end_local, budget_micros,
                       daily_cap_micros, priority, dayparts, start_policy, start_deadline, allow_short_lead, brand,
                       category)
VALUES ($1, $2, $3, $4, $4, 1, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT (tenant_id, name) WHERE deleted_at IS NULL DO NOTHING
RETURNING *"""
LOG_CREATED = """
INSERT INTO transitions (campaign_id, sequence, occurrence, tenant_id, type, from_status, to_status, due_at,
                         executed_at, actor, correlation_id)
VALUES ($1, 1, 1, $2, 'created', NULL, 'DRAFT', $3, $3, $4, $5)"""


async def create(tx: Tx, tenant_id: TenantId, draft: Draft, entry: Entry, now: datetime) -> Transition | None:
    """Write a new campaign and the first row of its log; None when another of the tenant has the name."""
    row = await tx.fetchrow(
        CREATE, tenant_id, entry.correlation_id, entry.actor, now, localtime.tzdata_version(), *_columns(draft)
    )
    if row is None:
        return None
    campaign = state(row)
    await tx.execute(LOG_CREATED, campaign.id, tenant_id, now, entry.actor, entry.correlation_id)
    return _fact(campaign, entry, 1, None, now)


EDIT = """
UPDATE campaigns
SET tzdata_version = $2, name = $3, channel = $4, description = $5, timezone = $6, start_at = $7, start_local = $8,
    end_at = $9, end_local = $10, budget_micros = $11, daily_cap_micros = $12, priority = $13, dayparts = $14,
    start_policy = $15, start_deadline = $16, allow_short_lead = $17, brand = $18, category = $19,
    status = 'DRAFT', held_micros = 0, spent_micros = 0, released_micros = 0, submitted_at = NULL, settled_at = NULL
WHERE id = $1 AND status IN ('DRAFT', 'REJECTED')"""


async def edit(tx: Tx, campaign_id: CampaignId, draft: Draft) -> None:
    """Write what a DRAFT says now; a REJECTED campaign becomes a DRAFT, its closed hold forgotten. `save` logs it.

    Raises asyncpg.UniqueViolationError when another campaign of the tenant has the name.
    """
    await tx.execute(EDIT, campaign_id, localtime.tzdata_version(), *_columns(draft))


EDIT_BOOKED = """
UPDATE campaigns
SET name = $2, priority = $3, start_at = $4, start_local = $5, end_at = $6, end_local = $7,
    tzdata_version = $8, ready_at = CASE WHEN $9 THEN NULL ELSE ready_at END
WHERE id = $1"""


async def edit_booked(tx: Tx, campaign_id: CampaignId, draft: Draft, version: str, withdrawn: bool) -> None:
    """Write what a locked campaign that is booked says now, resolved by the rules of `version`; `save` logs it.

    What is `withdrawn` from the playlists becomes ready anew. Raises asyncpg.UniqueViolationError as `edit` does.
    """
    await tx.execute(
        EDIT_BOOKED, campaign_id, draft.name, draft.priority, *_edge(draft.start), *_edge(draft.end), version,
        withdrawn,
    )  # fmt: skip


def _columns(draft: Draft) -> tuple[Any, ...]:
    return (
        draft.name,
        draft.channel,
        draft.description,
        draft.timezone,
        *_edge(draft.start),
        *_edge(draft.end),
        draft.budget_micros,
        draft.daily_cap_micros,
        draft.priority,
        [as_json(part) for part in draft.dayparts],
        draft.start_policy,
        draft.start_deadline,
        draft.allow_short_lead,
        draft.brand,
        draft.category,
    )


def _edge(edge: Edge | None) -> tuple[datetime | None, datetime | None]:
    return (edge.at, edge.local) if edge else (None, None)


DROP_CREATIVES = "DELETE FROM campaign_creatives WHERE campaign_id = $1"
ADD_CREATIVES = """
INSERT INTO campaign_creatives (campaign_id, position, creative_id)
SELECT $1, position - 1, creative_id
FROM unnest($2::uuid[]) WITH ORDINALITY AS listed (creative_id, position)"""
DROP_TARGET = "DELETE FROM targets WHERE campaign_id = $1"


async def set_creatives(tx: Tx, campaign_id: CampaignId, creatives: Sequence[CreativeId]) -> None:
    """Replace a campaign's creatives, in the order in which they take turns."""
    await tx.execute(DROP_CREATIVES, campaign_id)
    await tx.execute(ADD_CREATIVES, campaign_id, creatives)


async def drop_target(tx: Tx, campaign_id: CampaignId) -> None:
    """Forget who a campaign is for."""
    await tx.execute(DROP_TARGET, campaign_id)


CREATIVES = "SELECT creative_id FROM campaign_creatives WHERE campaign_id = $1 ORDER BY position"
TARGET = "SELECT * FROM targets WHERE campaign_id = $1"


async def creatives(tx: Tx, campaign_id: CampaignId) -> list[CreativeId]:
    """A campaign's creatives in their order."""
    return [CreativeId(row["creative_id"]) for row in await tx.fetch(CREATIVES, campaign_id)]


async def target(tx: Tx, campaign_id: CampaignId) -> Row | None:
    """A campaign's row of `targets`, if it has said who it is for."""
    return await tx.fetchrow(TARGET, campaign_id)


WINDOWS = """
SELECT id, name, start_at, end_at FROM campaigns
WHERE tenant_id = $1 AND id <> $2 AND status IN ('PENDING_APPROVAL', 'SCHEDULED', 'ACTIVE', 'PAUSED')
  AND start_at < $4 AND end_at > $3
ORDER BY start_at, id"""


async def rivals(tx: Tx, campaign: Campaign, start_at: datetime, end_at: datetime) -> list[Row]:
    """The tenant's other submitted campaigns that overlap [start_at, end_at): `id name start_at end_at`."""
    return await tx.fetch(WINDOWS, campaign.tenant_id, campaign.id, start_at, end_at)


BEGIN_PAUSE = """
INSERT INTO pauses (campaign_id, cause, began_at) VALUES ($1, $2, $3)
ON CONFLICT (campaign_id, cause) WHERE ended_at IS NULL DO NOTHING"""
END_PAUSES = """
UPDATE pauses SET ended_at = greatest($3, began_at)
WHERE campaign_id = $1 AND cause = ANY($2::text[]) AND ended_at IS NULL"""


async def begin_pause(tx: Tx, campaign_id: CampaignId, cause: str, now: datetime) -> None:
    """Note that a cause of a pause stands from now on; plays begun meanwhile are judged by it."""
    await tx.execute(BEGIN_PAUSE, campaign_id, cause, now)


async def end_pauses(tx: Tx, campaign_id: CampaignId, causes: Sequence[str], now: datetime) -> None:
    """Note that these causes no longer stand; another instance's clock may be a moment ahead of ours."""
    await tx.execute(END_PAUSES, campaign_id, causes, now)
