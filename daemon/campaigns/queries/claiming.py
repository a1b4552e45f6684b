"""Who may claim, and claims: up to so many due campaigns, locked, in the order in which they fell due.

A claim takes $1 = now, $2 = how many at most, and the place ($3, $4) behind which it begins: rows that were changed
leave dead entries in the indexes for as long as somebody holds an old snapshot, and a claim that began at the first
one would walk over all of them. What is skipped by it, because another holds it, is found by the next look.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from daemon.campaigns.queries.due import TO_COMPLETE, TO_EXPIRE, TO_MISS, TO_SETTLE, TO_START
from playlists.ids import CampaignId
from playlists.queries import Row, Tx

SLOTS = 0x7469636B  # "tick": first half of the names of the two advisory locks under which is claimed
AT_MOST = timedelta(hours=1)  # between two attempts at what is in quarantine
FARTHER = 16  # times as many are looked at, where some belong to tenants whom others hold


class Place(NamedTuple):
    """A place in the order of what is due: behind this instant and id."""

    at: datetime = datetime(1, 1, 1, tzinfo=UTC)
    id: UUID = UUID(int=0)


FIRST = Place()


class Claimed(NamedTuple):
    """Campaigns that are locked now, and the place of the last of them; ids are in order of their due instants."""

    ids: list[CampaignId]
    last: Place


class Admission(NamedTuple):
    """What a transaction that wants to claim has to know.

    `admitted`: fewer than two others claim at this moment. `held`: the clock jumped, so nothing may happen that
    cannot be undone (SPEC 4). `quarantined`: there are campaigns in quarantine.
    """

    admitted: bool
    held: bool
    quarantined: bool


HELD = "EXISTS (SELECT FROM clock_jumps WHERE ended_at IS NULL)"
IS_HELD = f"SELECT {HELD}"
# Three claimers are slower than two. The slot is given back with the transaction, also by a crash.
ADMIT = f"""
SELECT CASE WHEN pg_try_advisory_xact_lock($1, 0) THEN true ELSE pg_try_advisory_xact_lock($1, 1) END AS admitted,
       {HELD} AS held, EXISTS (SELECT FROM quarantine) AS quarantined,
       set_config('lock_timeout', '2s', true) AS waits"""  # noqa: S608 - constants of this module


async def held(tx: Tx) -> bool:
    """Whether the clock jumped and nobody has accepted it: nothing may happen that cannot be undone."""
    is_held: bool = await tx.fetchval(IS_HELD)
    return is_held


async def admit(tx: Tx) -> Admission:
    """Take one of the two places at which campaigns are claimed, until the transaction ends, if one is free.

    The transaction waits two seconds at most for a lock that somebody holds.
    """
    row = await tx.fetchrow(ADMIT, SLOTS)
    assert row is not None  # noqa: S101 - a SELECT without FROM is one row
    return Admission(row["admitted"], row["held"], row["quarantined"])


# A campaign whose transition failed alone waits for its retry, here or in quarantine.
RESTED = """(retry_at IS NULL OR retry_at <= $1)
      AND id <> ALL (ARRAY(SELECT campaign_id FROM quarantine q WHERE q.retry_at > $1))"""


def _claim(due: str, at: str) -> str:
    return f"""
WITH due AS MATERIALIZED (
    SELECT id, {at} AS at FROM campaigns
    WHERE {due} AND ({at}, id) > ($3, $4) AND {RESTED} ORDER BY {at}, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
)
SELECT array_agg(id) AS ids, max(at) AS at FROM due"""  # noqa: S608 - constants of this module


def _claim_with_wallets(due: str, at: str) -> str:
    return f"""
WITH due AS MATERIALIZED (
    SELECT id, tenant_id, {at} AS at FROM campaigns
    WHERE {due} AND ({at}, id) > ($3, $4) AND {RESTED} ORDER BY {at}, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), wallets AS MATERIALIZED (
    SELECT id FROM tenants WHERE id = ANY (ARRAY(SELECT tenant_id FROM due)) ORDER BY id FOR NO KEY UPDATE
)
SELECT array_agg(id) AS ids, max(at) AS at FROM due WHERE (SELECT count(*) FROM wallets) > 0"""  # noqa: S608 - as above


def _claim_around_wallets(due: str, at: str) -> str:
    """Claim what belongs to tenants whom nobody holds, waiting for none: for when waiting was in vain."""
    return f"""
WITH candidates AS MATERIALIZED (
    SELECT id, tenant_id, {at} AS at FROM campaigns
    WHERE {due} AND ({at}, id) > ($3, $4) AND {RESTED} ORDER BY {at}, id LIMIT $2 * {FARTHER}
), wallets AS MATERIALIZED (
    SELECT id FROM tenants WHERE id = ANY (ARRAY(SELECT tenant_id FROM candidates)) ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
), free AS MATERIALIZED (
    SELECT c.id FROM candidates c JOIN wallets w ON w.id = c.tenant_id ORDER BY c.at, c.id LIMIT $2
), due AS MATERIALIZED (
    SELECT id, {at} AS at FROM campaigns WHERE id = ANY (ARRAY(SELECT id FROM free)) AND {due}
    ORDER BY {at}, id FOR NO KEY UPDATE SKIP LOCKED
)
SELECT array_agg(id) AS ids, max(at) AS at FROM due"""  # noqa: S608 - as above


_EXPIRES = "least(approve_by, end_at)"
CLAIM_TO_COMPLETE = _claim(TO_COMPLETE, "end_at")
CLAIM_TO_START = _claim(TO_START, "start_at")
CLAIM_TO_START_BEFORE_END = _claim(f"{TO_START} AND end_at > $1", "start_at")
CLAIM_TO_MISS = _claim_with_wallets(TO_MISS, "start_at")
CLAIM_TO_MISS_AROUND = _claim_around_wallets(TO_MISS, "start_at")
CLAIM_TO_SETTLE = _claim_with_wallets(TO_SETTLE, "settle_at")
CLAIM_TO_SETTLE_AROUND = _claim_around_wallets(TO_SETTLE, "settle_at")
CLAIM_TO_EXPIRE = _claim_with_wallets(TO_EXPIRE, _EXPIRES)
CLAIM_TO_EXPIRE_AROUND = _claim_around_wallets(TO_EXPIRE, _EXPIRES)


async def claim(statement: str, tx: Tx, now: datetime, limit: int, after: Place) -> Claimed:
    """Lock up to `limit` due campaigns behind a place by one of the CLAIM statements, and where money moves wallets."""
    return claimed(await tx.fetchrow(statement, now, limit, *after), after)


def claimed(row: Row | None, after: Place) -> Claimed:
    """What a claim's row of `ids` and the last one's `at` says; nothing claimed leaves the place where it was."""
    if row is None or row["ids"] is None:
        return Claimed([], after)
    return Claimed(row["ids"], Place(row["at"], row["ids"][-1]))


QUARANTINE = """
INSERT INTO quarantine AS q (campaign_id, change, attempts, since, retry_at, error)
VALUES ($1, $2, 1, $3, $3::timestamptz + $4::interval, $5)
ON CONFLICT (campaign_id) DO UPDATE
SET change = $2, attempts = q.attempts + 1, error = $5,
    retry_at = $3::timestamptz + least($4::interval * power(2, least(q.attempts, 20)), $6)
RETURNING attempts, retry_at"""


async def quarantine(
    tx: Tx, campaign_id: CampaignId, change: str, error: str, now: datetime, pause: timedelta
) -> tuple[int, datetime]:
    """Put a campaign aside that no transition gets through, its failure neither: how often so far, and until when.

    It is tried again after `pause`, then after twice as long each time, up to AT_MOST.
    """
    row = await tx.fetchrow(QUARANTINE, campaign_id, change, now, pause, error, AT_MOST)
    assert row is not None  # noqa: S101 - both ways return it
    return row["attempts"], row["retry_at"]


HEAL = "DELETE FROM quarantine WHERE campaign_id = ANY ($1::uuid[])"
FORGET_QUARANTINED = "DELETE FROM quarantine WHERE retry_at <= $1"
COUNT_QUARANTINED = "SELECT count(*) FROM quarantine"


async def heal(tx: Tx, ids: Sequence[CampaignId]) -> None:
    """Take campaigns out of quarantine that could be changed again."""
    await tx.execute(HEAL, ids)


async def count_quarantined(tx: Tx, untried_since: datetime) -> int:
    """How many campaigns are in quarantine; those leave it that are due no longer: untried though they rested."""
    await tx.execute(FORGET_QUARANTINED, untried_since)
    number: int = await tx.fetchval(COUNT_QUARANTINED)
    return number
