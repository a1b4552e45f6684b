"""Wallets and their entries. A wallet's held and spent are sums over its campaigns (SPEC 5)."""

from collections.abc import Sequence
from uuid import UUID

from playlists.ids import TenantId
from playlists.queries import Row, Tx

WALLETS = """
SELECT n.id AS tenant_id, n.currency, n.funded_micros, n.available_micros,
       coalesce(c.held, 0)::bigint AS held_micros, coalesce(c.spent, 0)::bigint AS spent_micros
FROM tenants n
LEFT JOIN LATERAL (
    SELECT sum(held_micros) AS held, sum(spent_micros) AS spent FROM campaigns WHERE tenant_id = n.id
) c ON true
WHERE n.id = ANY($1::uuid[])
ORDER BY n.id"""


async def wallets(tx: Tx, tenant_ids: Sequence[TenantId]) -> list[Row]:
    """Wallets of tenants, in order of id: `tenant_id currency` and `funded available held spent` in `*_micros`."""
    return await tx.fetch(WALLETS, tenant_ids)


async def wallet(tx: Tx, tenant_id: TenantId) -> Row | None:
    """One tenant's wallet, as `wallets` has it."""
    rows = await wallets(tx, [tenant_id])
    return rows[0] if rows else None


ENTRIES = "SELECT * FROM ledger WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"


async def ledger_entries(tx: Tx, tenant_id: TenantId, after: UUID | None, limit: int) -> list[Row]:
    """A wallet's entries after id `after`, oldest first, whole rows of `ledger`."""
    return await tx.fetch(ENTRIES, tenant_id, after, limit)
