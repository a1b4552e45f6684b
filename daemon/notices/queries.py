"""The mail queue's SQL: owed in a change's transaction, claimed when due, settled after the server's answer."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from daemon.campaigns.events import Transition
from daemon.notices.kinds import Kind
from daemon.notices.mail import Notice, StoreLine, Summary
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx


class Mail(NamedTuple):
    """A mail that is owed; the name is what the log's row of the change does not keep."""

    kind: str
    tenant_id: TenantId
    campaign_id: CampaignId
    sequence: int
    campaign_name: str


class Claim(NamedTuple):
    """A mail to send, ours until its lease ends."""

    id: int
    created_at: datetime
    attempts: int
    notice: Notice


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


# the lease keeps others off; when its holder dies, they send the mail after it
CLAIM = """
WITH due AS (
    SELECT id FROM mails
    WHERE sent_at IS NULL AND parked_at IS NULL AND next_attempt_at <= $1
    ORDER BY next_attempt_at, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
), mail AS (
    UPDATE mails SET next_attempt_at = $1 + $2::interval
    WHERE id = (SELECT id FROM due)
    RETURNING id, kind, tenant_id, campaign_id, sequence, facts, created_at, attempts
)
SELECT mail.id, mail.created_at, mail.attempts, mail.kind, mail.campaign_id, mail.sequence,
       tenant.email, tenant.name AS tenant_name, tenant.timezone, tenant.currency,
       mail.facts ->> 'campaign_name' AS campaign_name, change.reason, change.note, change.due_at, change.executed_at,
       campaign.start_at, campaign.end_at, campaign.activated_at, campaign.completed_at,
       campaign.budget_micros, campaign.spent_micros, campaign.released_micros, campaign.impressions,
       change.total_recipients
FROM mail
JOIN tenants AS tenant ON tenant.id = mail.tenant_id
JOIN campaigns AS campaign ON campaign.id = mail.campaign_id
JOIN transitions AS change ON change.campaign_id = mail.campaign_id AND change.sequence = mail.sequence"""


async def claim(tx: Tx, now: datetime, lease: timedelta) -> Claim | None:
    """Take the mail that has been due longest, for as long as the lease; None when there is none."""
    record = await tx.fetchrow(CLAIM, now, lease)
    if record is None:
        return None
    mail_id, created_at, attempts, kind, *facts = record
    return Claim(mail_id, created_at, attempts, Notice._make((Kind(kind), *facts, None)))


LATENESS = """
SELECT type, greatest(0, extract(epoch FROM executed_at - due_at) * 1000)::bigint AS late_ms
FROM transitions
WHERE campaign_id = $1 AND type IN ('started', 'completed')"""
STORES = """
SELECT store.id, store.name, store.city, count(*) AS impressions, sum(play.charged_micros)::bigint AS spent_micros
FROM plays AS play
JOIN devices AS device ON device.id = play.device_id
JOIN stores AS store ON store.id = device.store_id
WHERE play.campaign_id = $1 AND play.verdict IN ('accepted', 'unpaid')
GROUP BY store.id
ORDER BY impressions DESC, store.name, store.id"""


async def summary(tx: Tx, campaign_id: CampaignId, listed: int) -> Summary:
    """Sum up a settled campaign: how late it was, and its plays by store, the first `listed` one by one."""
    late = {record["type"]: record["late_ms"] for record in await tx.fetch(LATENESS, campaign_id)}
    lines = [StoreLine(*record[1:]) for record in await tx.fetch(STORES, campaign_id)]
    rest = lines[listed:]
    further = None
    if rest:
        further = StoreLine("", None, sum(line.impressions for line in rest), sum(line.spent_micros for line in rest))
    return Summary(late.get("started"), late.get("completed"), lines[:listed], len(rest), further)


SENT = "UPDATE mails SET sent_at = $2, error = NULL WHERE id = $1"


async def mark_sent(tx: Tx, mail_id: int, now: datetime) -> None:
    """Note that the server has taken a mail."""
    await tx.execute(SENT, mail_id, now)


PUT_OFF = "UPDATE mails SET next_attempt_at = $2, attempts = attempts + $3, error = $4 WHERE id = $1"


async def put_off(tx: Tx, mail_id: int, until: datetime, error: str, *, counted: bool) -> None:
    """Try a mail again later; `counted` when the server refused this very mail."""
    await tx.execute(PUT_OFF, mail_id, until, int(counted), error)


PARK = "UPDATE mails SET parked_at = $2, attempts = attempts + 1, error = $3 WHERE id = $1"


async def park(tx: Tx, mail_id: int, now: datetime, error: str) -> None:
    """Give a mail up; it stays in the table for a person to see."""
    await tx.execute(PARK, mail_id, now, error)


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
