"""Sorting owed mails: the first of a tenant's hour go alone, the others into one digest at the hour's end (SPEC 10).

Thousands in one transaction, by one sorter at a time over all instances. A digest is closed by its first claim: what
turns up after that goes alone. So every mail is told once, whoever dies when.
"""

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta

from daemon.notices.queries import KINDS
from playlists.ids import TenantId
from playlists.queries import Tx

BATCH = 2000
HOUR = timedelta(hours=1)
LOCK = 0x6D61696C  # "mail": who holds this advisory lock sorts; it goes with the transaction

TURN = "SELECT pg_try_advisory_xact_lock($1)"
FRESH = """
SELECT id, tenant_id, kind FROM mails
WHERE hour IS NULL AND sent_at IS NULL AND parked_at IS NULL AND kind = ANY ($2::text[])
ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"""
ALONE = """
SELECT tenant_id, count(*) AS mails FROM mails
WHERE hour = $1 AND digest_id IS NULL AND kind <> 'digest' AND tenant_id = ANY ($2::uuid[])
GROUP BY tenant_id"""
# a digest that was claimed before is closed: who reads it may have read it
DIGESTS = """
INSERT INTO mails AS digest (kind, tenant_id, facts, created_at, next_attempt_at, hour)
SELECT 'digest', tenant_id, '{}', $1, $2::timestamptz + $3::interval, $2 FROM unnest($4::uuid[]) AS told (tenant_id)
ON CONFLICT (tenant_id, hour) WHERE kind = 'digest' DO UPDATE SET facts = excluded.facts
WHERE digest.attempts = 0 AND digest.next_attempt_at = excluded.next_attempt_at
  AND digest.sent_at IS NULL AND digest.parked_at IS NULL
RETURNING tenant_id, id"""
SORTED = """
UPDATE mails SET hour = $1, digest_id = place.digest_id
FROM unnest($2::bigint[], $3::bigint[]) AS place (id, digest_id)
WHERE mails.id = place.id"""


async def sort(tx: Tx, now: datetime, above: int) -> Counter[tuple[str, bool]]:
    """Sort a batch of owed mails: the first `above` of each tenant and UTC hour go alone, now; says how many did what.

    Counts (kind, whether it went into a digest); empty when there is nothing to sort or somebody else sorts.
    """
    if not await tx.fetchval(TURN, LOCK):
        return Counter()
    fresh = await tx.fetch(FRESH, BATCH, KINDS)
    if not fresh:
        return Counter()
    hour = now.replace(minute=0, second=0, microsecond=0)
    tenants = list({row["tenant_id"] for row in fresh})
    places: Counter[TenantId] = Counter(
        {row["tenant_id"]: row["mails"] for row in await tx.fetch(ALONE, hour, tenants)}
    )
    over = set()
    for row in fresh:
        places[row["tenant_id"]] += 1
        if places[row["tenant_id"]] > above:
            over.add(row["id"])
    digests = await _digests(tx, {row["tenant_id"] for row in fresh if row["id"] in over}, hour, now)
    digest_ids = [digests.get(row["tenant_id"]) if row["id"] in over else None for row in fresh]
    await tx.execute(SORTED, hour, [row["id"] for row in fresh], digest_ids)
    return Counter((row["kind"], digest is not None) for row, digest in zip(fresh, digest_ids, strict=True))


async def _digests(tx: Tx, tenants: Collection[TenantId], hour: datetime, now: datetime) -> dict[TenantId, int]:
    """The digest of each tenant's hour that is still open, made where there is none."""
    if not tenants:
        return {}
    rows = await tx.fetch(DIGESTS, now, hour, HOUR, sorted(tenants))
    return {row["tenant_id"]: row["id"] for row in rows}
