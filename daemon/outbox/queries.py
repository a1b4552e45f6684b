"""The outbox's SQL: appending in a change's transaction, reading in order, settling after the ack."""

from collections.abc import Sequence
from datetime import datetime

from daemon.outbox.message import Message, shard
from playlists.queries import Tx

# the arrays come in the order of the changes and the ids follow it
APPEND = """
INSERT INTO outbox (topic, key, sequence, type, body, shard, created_at)
SELECT topic, key, sequence, type, body, shard, $7
FROM unnest($1::text[], $2::uuid[], $3::integer[], $4::text[], $5::bytea[], $6::smallint[])
     WITH ORDINALITY AS message (topic, key, sequence, type, body, shard, n)
ORDER BY n"""


async def append(tx: Tx, messages: Sequence[Message], now: datetime) -> None:
    """Add messages (one or more), in their order. What orders a key's messages, such as its row, must be locked."""
    topics, keys, sequences, types, bodies = zip(*messages, strict=True)
    await tx.execute(APPEND, topics, keys, sequences, types, bodies, [shard(key) for key in keys], now)
