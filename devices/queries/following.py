"""Statements by which every instance keeps all device tokens in memory."""

from playlists.queries import Tx
from playlists.queries.transaction import Cursor

# A first reading, from transaction 0 on, has no use for tokens that were revoked before it.
TOKENS_SINCE = """
SELECT token_sha256, device_id, first_used_at IS NOT NULL AS used, expires_at, revoked_at IS NOT NULL AS revoked
FROM device_tokens
WHERE changed_xid >= $1::bigint::text::xid8 AND ($1::bigint > 0 OR revoked_at IS NULL)
"""


async def tokens_since(tx: Tx, transaction: int) -> Cursor:
    """Tokens that transactions from this number on changed: `token_sha256, device_id, used, expires_at, revoked`."""
    return await tx.cursor(TOKENS_SINCE, transaction)
