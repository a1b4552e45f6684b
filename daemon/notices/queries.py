"""The mail queue's SQL: owed in a change's transaction, claimed when due, settled after the server's answer."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from daemon.campaigns.events import Transition
from daemon.notices.kinds import Kind
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx


class Mail(NamedTuple):
    """A mail that is owed; the name is what the log's row of the change does not keep."""

    kind: str
    tenant_id: TenantId
    campaign_id: CampaignId
    sequence: int
    campaign_name: str


class State(StrEnum):
    """Where a mail is that was not sent."""

    QUEUED = "queued"  # it goes as soon as the server takes it
    GATHERED = "gathered"  # a digest that is still to go tells it
    PARKED = "parked"  # the server refused it for good


class Claim(NamedTuple):
    """A mail to send, ours until its lease ends; a digest is of no single campaign."""

    id: int
    kind: Kind
    created_at: datetime
    attempts: int
    campaign_id: CampaignId | None


def owed(kind: str, transition: Transition) -> Mail:
    """The mail of one kind that a transition owes."""
    return Mail(kind, transition.tenant_id, transition.campaign_id, transition.sequence, transition.campaign_name)


APPEND = """
INSERT INTO mails (kind, tenant_id, campaign_id, sequence, facts, created_at, next_attempt_at)
SELECT kind, tenant_id, campaign_id, sequence, jsonb_build_object('campaign_name', name), $6, $6
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::integer[], $5::text[])
     AS mail (kind, tenant_id, campaign_id, sequence, name)"""


async def append(tx: Tx, mails: Sequence[Mail], now: datetime) -> None:
    """Owe mails (one or more); they are due at once."""
    await tx.execute(APPEND, *zip(*mails, strict=True), now)


KINDS = list(Kind)  # what a newer version beside us may owe besides is its own to send
# the lease keeps others off; when its holder dies, they send the mail after it
CLAIM = """
WITH due AS (
    SELECT id FROM mails
    WHERE hour IS NOT NULL AND digest_id IS NULL AND sent_at IS NULL AND parked_at IS NULL AND next_attempt_at <= $1
      AND kind = ANY ($3::text[])
    ORDER BY next_attempt_at, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
UPDATE mails SET next_attempt_at = $1 + $2::interval
WHERE id = (SELECT id FROM due)
RETURNING id, kind, created_at, attempts, campaign_id"""


async def claim(tx: Tx, now: datetime, lease: timedelta) -> Claim | None:
    """Take the sorted mail that has been due longest, for as long as the lease; None when there is none."""
    record = await tx.fetchrow(CLAIM, now, lease, KINDS)
    if record is None:
        return None
    mail_id, kind, created_at, attempts, campaign_id = record
    return Claim(mail_id, Kind(kind), created_at, attempts, campaign_id)


# what a digest tells has the fate of the digest
SENT = "UPDATE mails SET sent_at = $2, error = NULL WHERE id = $1"
SENT_WITH_IT = "UPDATE mails SET sent_at = $2 WHERE digest_id = $1 AND sent_at IS NULL AND parked_at IS NULL"


async def mark_sent(tx: Tx, claim: Claim, now: datetime) -> None:
    """Note that the server has taken a mail, and with it what it tells of."""
    await tx.execute(SENT, claim.id, now)
    if claim.kind is Kind.DIGEST:
        await tx.execute(SENT_WITH_IT, claim.id, now)


PUT_OFF = "UPDATE mails SET next_attempt_at = $2, attempts = attempts + $3, error = $4 WHERE id = $1"


async def put_off(tx: Tx, mail_id: int, until: datetime, error: str, *, counted: bool) -> None:
    """Try a mail again later; `counted` when the server refused this very mail."""
    await tx.execute(PUT_OFF, mail_id, until, int(counted), error)


PARK = "UPDATE mails SET parked_at = $2, attempts = attempts + 1, error = $3 WHERE id = $1"
PARK_WITH_IT = """
UPDATE mails SET parked_at = $2, error = $3 WHERE digest_id = $1 AND sent_at IS NULL AND parked_at IS NULL"""


async def park(tx: Tx, claim: Claim, now: datetime, error: str) -> None:
    """Give a mail up, and with it what it tells of; both stay in the table for a person to see."""
    await tx.execute(PARK, claim.id, now, error)
    if claim.kind is Kind.DIGEST:
        await tx.execute(PARK_WITH_IT, claim.id, now, error)


COUNT = """
SELECT 'queued' AS status, count(*) AS number FROM (
    SELECT FROM mails WHERE hour IS NULL AND sent_at IS NULL AND parked_at IS NULL
    UNION ALL
    SELECT FROM mails
    WHERE hour IS NOT NULL AND digest_id IS NULL AND sent_at IS NULL AND parked_at IS NULL AND kind <> 'digest') AS one
UNION ALL
SELECT 'gathered', count(*) FROM mails WHERE digest_id IS NOT NULL AND sent_at IS NULL AND parked_at IS NULL
UNION ALL
SELECT 'parked', count(*) FROM mails WHERE parked_at IS NOT NULL"""


# looks at the oldest alone: whether any may go is then told at once, however many are kept
PURGE = """
DELETE FROM mails
WHERE id IN (
    SELECT id FROM (SELECT id, sent_at, parked_at FROM mails ORDER BY id LIMIT $2) AS oldest
    WHERE sent_at < $1 OR parked_at < $1
)"""


async def purge(tx: Tx, before: datetime, limit: int) -> None:
    """Forget those of the `limit` oldest mails that were sent or given up before an instant."""
    await tx.execute(PURGE, before, limit)
