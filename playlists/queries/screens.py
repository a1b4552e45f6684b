"""Statements over compiled playlists: who is given which, what is kept, and what readers follow.

Playlists, screens, grants and stale screens are written by the holder of the planner's lock alone.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from playlists.ids import DeviceId, Digest
from playlists.queries.transaction import Cursor, Row, Tx

PLANNER = 0x7369676E_706C616E  # "signplan": the advisory lock of whoever compiles
# A planner that stands still must not keep the others waiting: the server ends its transaction.
LOCK = """
SELECT pg_try_advisory_xact_lock($1), set_config('idle_in_transaction_session_timeout', '8s', true)
"""


async def lock_planner(tx: Tx) -> bool:
    """Become the only planner until the transaction ends; False while another one is."""
    held: bool = await tx.fetchval(LOCK, PLANNER)
    return held


TAKE_MARKS = "DELETE FROM marks RETURNING kind, ref, urgent"


async def take_marks(tx: Tx) -> list[Row]:
    """All marks that are committed, `kind, ref, urgent`, and gone with this transaction.

    What is read after this sees every change that they stand for.
    """
    return await tx.fetch(TAKE_MARKS)


WAITING = """
SELECT EXISTS (SELECT FROM marks)
    OR EXISTS (SELECT FROM stale_screens WHERE stale_at <= $1)
    OR EXISTS (SELECT FROM screens WHERE valid_until <= $2)
"""


async def work_waits(tx: Tx, now: datetime, renew_until: datetime) -> bool:
    """Whether there are marks, stale screens or screens whose playlist ends by `renew_until`."""
    waits: bool = await tx.fetchval(WAITING, now, renew_until)
    return waits


RENEW = """
INSERT INTO stale_screens (device_id, urgent, stale_at)
SELECT device_id, false, $2 FROM screens WHERE valid_until <= $1 ORDER BY valid_until LIMIT $3
ON CONFLICT (device_id) DO NOTHING
"""


async def renew(tx: Tx, renew_until: datetime, now: datetime, limit: int) -> None:
    """Make those screens stale whose playlist ends by `renew_until`, the first to end first."""
    await tx.execute(RENEW, renew_until, now, limit)


SHELVED = """
SELECT p.input_digest, p.valid_from, p.digest
FROM unnest($1::text[], $2::timestamptz[]) AS wanted (input_digest, valid_from)
JOIN playlists p ON p.input_digest = wanted.input_digest AND p.valid_from = wanted.valid_from
"""


async def shelved(tx: Tx, wanted: Sequence[tuple[Digest, datetime]]) -> dict[tuple[Digest, datetime], Digest]:
    """The digests of playlists that are stored already, by (input digest, valid_from)."""
    rows = await tx.fetch(SHELVED, [digest for digest, _ in wanted], [begins for _, begins in wanted])
    return {(row["input_digest"], row["valid_from"]): row["digest"] for row in rows}


class Shelf(NamedTuple):
    """A compiled playlist to be stored: its body plain and compressed."""

    digest: Digest
    input_digest: Digest
    valid_from: datetime
    valid_until: datetime
    body: bytes
    br: bytes
    gzip: bytes


SHELVE = """
INSERT INTO playlists (digest, input_digest, valid_from, valid_until, body, body_br, body_gzip, created_at)
SELECT new.*, $8
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bytea[], $6::bytea[], $7::bytea[]) AS new
ON CONFLICT (digest) DO NOTHING
"""


async def shelve(tx: Tx, made: Sequence[Shelf], now: datetime) -> None:
    """Store compiled playlists; different inputs may have made the same one."""
    if made:
        await tx.execute(SHELVE, *map(list, zip(*made, strict=True)), now)


class Assignment(NamedTuple):
    """The playlist that a screen is to have."""

    device_id: DeviceId
    digest: Digest
    input_digest: Digest
    valid_until: datetime


ASSIGN = """
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
        AS given (device_id, digest, input_digest, valid_until)
), changed AS (
    INSERT INTO screens AS s (device_id, digest, input_digest, version, valid_until, assigned_at)
    SELECT device_id, digest, input_digest, 1, valid_until, $5 FROM given
    ON CONFLICT (device_id) DO UPDATE
    SET digest = EXCLUDED.digest, input_digest = EXCLUDED.input_digest, version = s.version + 1,
        valid_until = EXCLUDED.valid_until, assigned_at = EXCLUDED.assigned_at, changed_xid = pg_current_xact_id()
    WHERE s.digest <> EXCLUDED.digest
    RETURNING device_id, digest
), granted AS (
    INSERT INTO grants (device_id, digest, given_at) SELECT device_id, digest, $5 FROM changed
    ON CONFLICT (digest, device_id) DO NOTHING
), worked_off AS (
    DELETE FROM stale_screens WHERE device_id = ANY($1)
)
SELECT count(*) FROM changed
"""


async def assign(tx: Tx, assignments: Sequence[Assignment], now: datetime) -> int:
    """Give screens their playlists, which are stored; how many it changed. They are no longer stale.

    Only a screen that gets another playlist is touched; its version rises by one (SPEC 6).
    """
    if not assignments:
        return 0
    changed: int = await tx.fetchval(ASSIGN, *map(list, zip(*assignments, strict=True)), now)
    return changed


POSTPONE = "UPDATE stale_screens SET stale_at = $2 WHERE device_id = ANY($1::uuid[])"


async def postpone(tx: Tx, ids: Iterable[DeviceId], until: datetime) -> None:
    """Look at these stale screens again at `until`."""
    await tx.execute(POSTPONE, list(ids), until)


FORGET = """
WITH old AS MATERIALIZED (
    SELECT p.digest FROM playlists p
    WHERE p.valid_until < $1 AND NOT EXISTS (SELECT FROM screens s WHERE s.digest = p.digest)
    ORDER BY p.valid_until LIMIT $2
), given AS (
    DELETE FROM grants WHERE digest = ANY (ARRAY(SELECT digest FROM old)) RETURNING digest
)
SELECT digest FROM old
"""
FORGET_BODIES = "DELETE FROM playlists WHERE digest = ANY($1::text[])"


async def forget(tx: Tx, ended_before: datetime, limit: int) -> int:
    """Delete playlists that ended before that and are on no screen, and who was given them; how many (SPEC 6)."""
    digests = [row["digest"] for row in await tx.fetch(FORGET, ended_before, limit)]
    if digests:
        await tx.execute(FORGET_BODIES, digests)
    return len(digests)


# What readers follow -------------------------------------------------------------------------------------------------

SNAPSHOT = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


async def snapshot(tx: Tx) -> int:
    """A transaction number: all that is not visible yet has this one or a higher one."""
    number: int = await tx.fetchval(SNAPSHOT)
    return number


SCREENS_SINCE = """
SELECT device_id, digest, version, valid_until FROM screens WHERE changed_xid >= $1::bigint::text::xid8
"""


async def screens_since(tx: Tx, transaction: int) -> Cursor:
    """Screens that transactions from this number on changed: `device_id, digest, version, valid_until`."""
    return await tx.cursor(SCREENS_SINCE, transaction)


BODIES = "SELECT digest, body, body_br, body_gzip FROM playlists WHERE digest = ANY($1::text[])"


async def bodies(tx: Tx, digests: Iterable[Digest]) -> list[Row]:
    """The stored playlists of these digests: `digest, body, body_br, body_gzip`."""
    return await tx.fetch(BODIES, list(digests))
