"""Statements that only read: campaigns as their owners see them, their log, what comes and what was."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from playlists.ids import CampaignId, TenantId
from playlists.queries import Row, Tx

_SHOWN = """
SELECT c.*, n.timezone AS tenant_timezone, t.campaign_id IS NOT NULL AS targeted, t.stores, t.devices, t.include_tags,
       t.exclude_stores, t.exclude_devices, t.exclude_tags, t.block_keys, t.longest_ms,
       ARRAY(SELECT k.creative_id FROM campaign_creatives k WHERE k.campaign_id = c.id ORDER BY k.position) AS creatives
FROM campaigns c JOIN tenants n ON n.id = c.tenant_id LEFT JOIN targets t ON t.campaign_id = c.id
"""
ONE = _SHOWN + "WHERE c.id = $1 AND c.deleted_at IS NULL AND ($2::uuid IS NULL OR c.tenant_id = $2)"


async def campaign_row(tx: Tx, campaign_id: CampaignId, tenant_id: TenantId | None) -> Row | None:
    """A campaign's whole row with its creatives, its target's columns (`targeted`: it has one) and `tenant_timezone`.

    With a tenant only if it is that one's; None also once it was deleted.
    """
    return await tx.fetchrow(ONE, campaign_id, tenant_id)


class Filter(NamedTuple):
    """Which campaigns a list shows; None and nothing mean all. `search` is found in a name in any case of letters."""

    tenant_id: TenantId | None = None
    statuses: Sequence[str] = ()
    channel: str | None = None
    search: str | None = None


# Case folding of Unicode, whatever the database's own collation; nothing in a search is a wildcard.
PAGE = (
    _SHOWN
    + """
WHERE c.deleted_at IS NULL
  AND ($1::uuid IS NULL OR c.tenant_id = $1)
  AND (cardinality($2::text[]) = 0 OR c.status = ANY($2))
  AND ($3::text IS NULL OR c.channel = $3)
  AND ($4::text IS NULL
       OR strpos(casefold(c.name COLLATE pg_unicode_fast), casefold($4 COLLATE pg_unicode_fast)) > 0)
  AND ($5::uuid IS NULL OR c.id > $5)
ORDER BY c.id LIMIT $6"""
)


async def list_campaigns(tx: Tx, wanted: Filter, after: CampaignId | None, limit: int) -> list[Row]:
    """Campaigns as `campaign_row` gives them, in the order of their booking, from behind `after`."""
    return await tx.fetch(
        PAGE, wanted.tenant_id, list(wanted.statuses), wanted.channel, wanted.search or None, after, limit
    )


LOG = """
SELECT sequence, type, from_status, to_status, reason, note, changes, due_at, executed_at, actor
FROM transitions WHERE campaign_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3"""


async def transitions(tx: Tx, campaign_id: CampaignId, after: int, limit: int) -> list[Row]:
    """A campaign's log in its order, from behind sequence `after`."""
    return await tx.fetch(LOG, campaign_id, after, limit)


class Place(NamedTuple):
    """Where a list by time goes on: behind this instant, campaign and number."""

    at: datetime
    campaign_id: UUID
    number: int


# What is due and has not happened, each kind on the partial index that its own step uses.
UPCOMING = """
WITH coming AS (
    SELECT id, 0 AS number, 'distribute' AS kind, greatest(start_at - $3::interval, submitted_at) AS due_at
    FROM campaigns
    WHERE distributed_at IS NULL AND status = 'SCHEDULED' AND start_at <= $2::timestamptz + $3::interval
    UNION ALL
    SELECT id, 1, 'start', start_at FROM campaigns WHERE status = 'SCHEDULED' AND start_at <= $2
    UNION ALL
    SELECT id, 2, 'end', end_at FROM campaigns WHERE status = 'SCHEDULED' AND start_at <= $2 AND end_at <= $2
    UNION ALL
    SELECT id, 2, 'end', end_at FROM campaigns WHERE status IN ('ACTIVE', 'PAUSED') AND end_at <= $2
)
SELECT c.id, c.name, c.tenant_id, c.channel, c.status, c.timezone, coming.kind, coming.number, coming.due_at
FROM coming JOIN campaigns c ON c.id = coming.id
WHERE ($1::uuid IS NULL OR c.tenant_id = $1)
  AND ($4::timestamptz IS NULL OR (coming.due_at, c.id, coming.number) > ($4, $5::uuid, $6::int))
ORDER BY coming.due_at, c.id, coming.number LIMIT $7"""


async def upcoming(
    tx: Tx, tenant_id: TenantId | None, until: datetime, lead: timedelta, after: Place | None, limit: int
) -> list[Row]:
    """What will happen up to `until`, soonest first: kinds distribute (`lead` before the start), start, end."""
    return await tx.fetch(UPCOMING, tenant_id, until, lead, *(after or (None, None, None)), limit)


EXECUTIONS = """
SELECT t.campaign_id, t.sequence, c.name, t.tenant_id, t.type, t.to_status, t.reason, t.due_at, t.executed_at,
       t.total_recipients
FROM transitions t JOIN campaigns c ON c.id = t.campaign_id
WHERE t.type IN ('content.distributed', 'started', 'completed', 'missed', 'expired', 'failed')
  AND ($1::uuid IS NULL OR t.tenant_id = $1)
  AND ($2::timestamptz IS NULL OR (t.executed_at, t.campaign_id, t.sequence) < ($2, $3::uuid, $4::int))
ORDER BY t.executed_at DESC, t.campaign_id DESC, t.sequence DESC LIMIT $5"""


async def executions(tx: Tx, tenant_id: TenantId | None, before: Place | None, limit: int) -> list[Row]:
    """What happened by time, newest first."""
    return await tx.fetch(EXECUTIONS, tenant_id, *(before or (None, None, None)), limit)


ENTRIES = """
SELECT id, kind, debit, amount_micros, campaign_id, reference, at FROM ledger
WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"""


async def entries(tx: Tx, tenant_id: TenantId, after: UUID | None, limit: int) -> list[Row]:
    """The movements of a tenant's money in their order, from behind `after`; amounts in micros, positive."""
    return await tx.fetch(ENTRIES, tenant_id, after, limit)
