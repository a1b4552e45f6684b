"""The outbox's SQL: appending in a change's transaction, reading in order, settling after the ack."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from daemon.outbox.message import Message, shard
from playlists.queries import Tx

LOCK_SPACE = 1_936_287_589  # first half of the advisory locks' names, the shard is the second
WAKE_CHANNEL = "signaged_outbox"
DOUBTS = 5  # tries that a message gets which may be at fault, before a person must look
FIRST_RETRY = timedelta(seconds=2)  # doubled each time


class Row(NamedTuple):
    """A message as the relay reads it."""

    id: int
    shard: int
    topic: str
    key: UUID
    body: bytes


class Backlog(NamedTuple):
    """What waits: messages that will go by themselves, since when the oldest does, and those a person must look at."""

    pending: int
    oldest_at: datetime | None
    parked: int


class Parked(NamedTuple):
    """A message that Kafka refused, and how many of its key wait behind it."""

    id: int
    topic: str
    key: UUID
    sequence: int
    type: str
    size: int
    created_at: datetime
    parked_at: datetime
    next_attempt_at: datetime | None
    attempts: int
    error: str | None
    held_back: int


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


BY_INDEX = """
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET enable_material = off"""


async def go_by_index(tx: Tx) -> None:
    """Bind this connection's plans to the order of the indexes: the table is empty now and huge in a moment.

    Statistics always tell of another moment, and a plan that sorts or scans is paid at every portion.
    """
    await tx.execute(BY_INDEX)


TAKE_SHARDS = """
SELECT shard FROM unnest($2::integer[]) AS wanted (shard) WHERE pg_try_advisory_lock($1, shard)"""


async def take_shards(tx: Tx, shards: Iterable[int]) -> set[int]:
    """Lock shards for as long as this connection lives; those that another relay serves are left out."""
    return {record["shard"] for record in await tx.fetch(TAKE_SHARDS, LOCK_SPACE, list(shards))}


# no cursor: a row with a lower id may commit after one with a higher, so what is there is read from the beginning.
# BETWEEN where = would do: else the planner may walk the primary key past all rows of other shards
READ = """
SELECT message.id, message.shard, message.topic, message.key, message.body
FROM unnest($1::smallint[]) AS wanted (shard)
CROSS JOIN LATERAL (
    SELECT id, shard, topic, key, body
    FROM outbox
    WHERE outbox.shard BETWEEN wanted.shard AND wanted.shard
      AND parked_at IS NULL
      AND NOT EXISTS (SELECT FROM outbox AS before WHERE before.key = outbox.key AND before.parked_at IS NOT NULL)
    ORDER BY outbox.shard, id
    LIMIT $2
) AS message"""


async def read(tx: Tx, shards: Iterable[int], limit: int) -> list[Row]:
    """Read the first `limit` messages of each shard, each shard's in order; none of a key that is held back."""
    return [Row(*record) for record in await tx.fetch(READ, list(shards), limit)]


DELETE = "DELETE FROM outbox WHERE id = ANY ($1::bigint[])"


async def delete(tx: Tx, ids: Sequence[int]) -> None:
    """Forget messages that Kafka has acknowledged."""
    await tx.execute(DELETE, ids)


# a doubted one is parked with the time at which it is tried again by itself
PARK = """
UPDATE outbox
SET parked_at = $3::timestamptz, attempts = attempts + 1, error = $2,
    next_attempt_at = CASE WHEN $4 OR attempts + 1 >= $5 THEN NULL
                           ELSE $3::timestamptz + $6::interval * 2 ^ attempts END
WHERE id = $1"""


async def park(tx: Tx, message_id: int, error: str, now: datetime, *, final: bool) -> None:
    """Take a refused message out of the flow, and by that its key; tried again by itself unless `final`."""
    await tx.execute(PARK, message_id, error, now, final, DOUBTS, FIRST_RETRY)


RETRY = """
UPDATE outbox SET parked_at = NULL, next_attempt_at = NULL
WHERE parked_at IS NOT NULL AND next_attempt_at <= $1"""


async def retry_doubted(tx: Tx, now: datetime) -> None:
    """Put doubted messages whose time has come back into the flow."""
    await tx.execute(RETRY, now)


BACKLOG = """
SELECT count(*) FILTER (WHERE parked_at IS NULL OR next_attempt_at IS NOT NULL) AS pending,
       min(created_at) FILTER (WHERE parked_at IS NULL OR next_attempt_at IS NOT NULL) AS oldest_at,
       count(*) FILTER (WHERE parked_at IS NOT NULL AND next_attempt_at IS NULL) AS parked
FROM outbox"""


async def backlog(tx: Tx) -> Backlog:
    """Count what waits; reads the whole table."""
    return Backlog(*(await tx.fetch(BACKLOG))[0])


LIST_PARKED = """
SELECT id, topic, key, sequence, type, length(body) AS size, created_at, parked_at, next_attempt_at, attempts, error,
       (SELECT count(*) FROM outbox AS later WHERE later.shard = parked.shard AND later.key = parked.key
        AND later.id > parked.id) AS held_back
FROM outbox AS parked
WHERE parked_at IS NOT NULL
ORDER BY id
LIMIT $1"""


async def list_parked(tx: Tx, limit: int) -> list[Parked]:
    """List refused messages, oldest first, with how many wait behind each."""
    return [Parked(*record) for record in await tx.fetch(LIST_PARKED, limit)]


REQUEUE = """
UPDATE outbox SET parked_at = NULL, next_attempt_at = NULL, attempts = 0, error = NULL
WHERE id = ANY ($1::bigint[]) AND parked_at IS NOT NULL
RETURNING id"""


async def requeue(tx: Tx, ids: Sequence[int]) -> list[int]:
    """Let refused messages be tried again, their keys with them; answers which of the ids were parked."""
    return [record["id"] for record in await tx.fetch(REQUEUE, ids)]


SKIP = "DELETE FROM outbox WHERE id = ANY ($1::bigint[]) AND parked_at IS NOT NULL RETURNING id"


async def skip(tx: Tx, ids: Sequence[int]) -> list[int]:
    """Drop refused messages for good, so that their keys flow on with a gap; answers which of the ids were parked."""
    return [record["id"] for record in await tx.fetch(SKIP, ids)]


async def wake_relays(tx: Tx) -> None:
    """Tell all instances' relays that there is work; never in a change's own transaction, as its commits serialize."""
    await tx.execute(f"NOTIFY {WAKE_CHANNEL}")
