"""Sorting owed mails: the first of a tenant's hour go alone, the others into one digest at the hour's end (SPEC 10).

Sets of thousands in one statement, by one sorter at a time over all instances. A digest is closed by its first
claim: what turns up after that goes alone. So every mail is told once, whoever dies when.
"""

from collections import Counter
from datetime import datetime, timedelta

from playlists.queries import Tx

BATCH = 5000
HOUR = timedelta(hours=1)
LOCK = 0x6D61696C  # "mail": who holds this advisory lock sorts; it goes with the transaction

TURN = "SELECT pg_try_advisory_xact_lock($1)"
# a digest that was claimed before is closed: who reads it may have read it
SORT = """
WITH fresh AS MATERIALIZED (
    SELECT id, tenant_id FROM mails
    WHERE hour IS NULL AND sent_at IS NULL AND parked_at IS NULL
    ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
), alone AS MATERIALIZED (
    SELECT tenant_id, count(*) AS mails FROM mails
    WHERE hour = $2 AND digest_id IS NULL AND kind <> 'digest'
      AND tenant_id = ANY (ARRAY(SELECT DISTINCT tenant_id FROM fresh))
    GROUP BY tenant_id
), placed AS MATERIALIZED (
    SELECT fresh.id, tenant_id,
           row_number() OVER (PARTITION BY tenant_id ORDER BY fresh.id) + coalesce(alone.mails, 0) > $4 AS over
    FROM fresh LEFT JOIN alone USING (tenant_id)
), digests AS (
    INSERT INTO mails AS digest (kind, tenant_id, facts, created_at, next_attempt_at, hour)
    SELECT DISTINCT 'digest', tenant_id, '{}'::jsonb, $1::timestamptz, $2::timestamptz + $5::interval, $2::timestamptz
    FROM placed WHERE over
    ON CONFLICT (tenant_id, hour) WHERE kind = 'digest' DO UPDATE SET facts = excluded.facts
    WHERE digest.attempts = 0 AND digest.next_attempt_at = excluded.next_attempt_at
      AND digest.sent_at IS NULL AND digest.parked_at IS NULL
    RETURNING id, tenant_id
), sorted AS (
    UPDATE mails SET hour = $2, digest_id = digests.id
    FROM placed LEFT JOIN digests ON placed.over AND digests.tenant_id = placed.tenant_id
    WHERE mails.id = placed.id AND mails.id = ANY (ARRAY(SELECT id FROM fresh))
    RETURNING mails.kind, mails.digest_id
)
SELECT kind, digest_id IS NOT NULL AS digested, count(*) FROM sorted GROUP BY 1, 2"""


async def sort(tx: Tx, now: datetime, above: int) -> Counter[tuple[str, bool]]:
    """Sort a batch of owed mails: the first `above` of each tenant and UTC hour go alone, now; says how many did what.

    Counts (kind, whether it went into a digest); empty when there is nothing to sort or somebody else sorts.
    """
    if not await tx.fetchval(TURN, LOCK):
        return Counter()
    hour = now.replace(minute=0, second=0, microsecond=0)
    rows = await tx.fetch(SORT, now, hour, BATCH, above, HOUR)
    return Counter({(row["kind"], row["digested"]): row["count"] for row in rows})
