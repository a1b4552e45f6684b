"""The entries of wallets; a wallet itself is part of its tenant (daemon.tenants)."""

from uuid import UUID

from playlists.ids import TenantId
from playlists.queries import Row, Tx

ENTRIES = "SELECT * FROM ledger WHERE tenant_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"


async def ledger_entries(tx: Tx, tenant_id: TenantId, after: UUID | None, limit: int) -> list[Row]:
    """A wallet's entries after id `after`, oldest first, whole rows of `ledger`."""
    return await tx.fetch(ENTRIES, tenant_id, after, limit)
