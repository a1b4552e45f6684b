"""What mails tell, read when they are sent: the change from its log row, the campaign and tenant as they are now."""

from daemon.notices.digest import LISTED, ORDER, Digest
from daemon.notices.kinds import Kind
from daemon.notices.mail import STORES, Notice, StoreLine, Summary
from daemon.notices.queries import Claim
from playlists.ids import CampaignId
from playlists.queries import Row, Tx

# A look at the budget is no change: the row before it in the log is another matter.
_NOTICE = """
SELECT mail.kind, mail.campaign_id, mail.sequence, tenant.email, tenant.name AS tenant_name, tenant.timezone,
       tenant.currency, mail.facts ->> 'campaign_name' AS campaign_name,
       CASE WHEN mail.kind <> 'budget_used' THEN change.reason END,
       CASE mail.kind WHEN 'budget_used' THEN NULL WHEN 'failed' THEN campaign.status_note ELSE change.note END,
       change.changes, change.moved,
       CASE WHEN mail.kind <> 'budget_used' THEN change.due_at ELSE mail.created_at END,
       CASE WHEN mail.kind <> 'budget_used' THEN change.executed_at ELSE mail.created_at END,
       campaign.start_at, campaign.end_at, campaign.activated_at, campaign.completed_at,
       campaign.budget_micros, campaign.spent_micros, campaign.released_micros, campaign.impressions,
       change.total_recipients
FROM mails AS mail
JOIN tenants AS tenant ON tenant.id = mail.tenant_id
JOIN campaigns AS campaign ON campaign.id = mail.campaign_id
JOIN transitions AS change ON change.campaign_id = mail.campaign_id AND change.sequence = mail.sequence"""
NOTICE = f"{_NOTICE} WHERE mail.id = $1"
TOLD_IN = f"""{_NOTICE}
WHERE mail.digest_id = $1 AND mail.sent_at IS NULL AND mail.parked_at IS NULL
ORDER BY array_position($2::text[], mail.kind), mail.id LIMIT $3"""


async def told(tx: Tx, claim: Claim) -> Notice | Digest:
    """All that a claimed mail says. Raises LookupError when its change is in no log."""
    if claim.kind is Kind.DIGEST:
        return await _digest(tx, claim.id)
    row = await tx.fetchrow(NOTICE, claim.id)
    if row is None:
        raise LookupError("its change is not in the log")
    found = _notice(row)
    if found.kind is Kind.COMPLETED:
        return found._replace(summary=await summary(tx, found.campaign_id, STORES))
    return found


def _notice(row: Row) -> Notice:
    kind, *facts = row
    return Notice._make((Kind(kind), *facts, None))


DIGEST = """
SELECT mail.tenant_id, tenant.email, tenant.name, tenant.timezone, mail.hour
FROM mails AS mail JOIN tenants AS tenant ON tenant.id = mail.tenant_id WHERE mail.id = $1"""
COUNTS = """
SELECT kind, count(*) FROM mails WHERE digest_id = $1 AND sent_at IS NULL AND parked_at IS NULL GROUP BY kind"""


async def _digest(tx: Tx, mail_id: int) -> Digest:
    row = await tx.fetchrow(DIGEST, mail_id)
    assert row is not None  # noqa: S101 - it was just claimed
    counts = {Kind(kind): count for kind, count in await tx.fetch(COUNTS, mail_id)}
    notices = [_notice(each) for each in await tx.fetch(TOLD_IN, mail_id, list(ORDER), LISTED)]
    return Digest._make((*row, counts, notices))


LATENESS = """
SELECT type, greatest(0, extract(epoch FROM executed_at - due_at) * 1000)::bigint AS late_ms
FROM transitions
WHERE campaign_id = $1 AND type IN ('started', 'completed')"""
# the last row is the sum of all that are not listed, and how many these are
STORE_TABLE = """
WITH played AS (
    SELECT device_id, count(*) AS impressions, sum(charged_micros)::bigint AS spent_micros
    FROM plays WHERE campaign_id = $1 AND verdict IN ('accepted', 'unpaid') GROUP BY device_id
), shown AS (
    SELECT store.id, store.name, store.city, sum(played.impressions)::bigint AS impressions,
           sum(played.spent_micros)::bigint AS spent_micros,
           row_number() OVER (ORDER BY sum(played.impressions) DESC, store.name, store.id) AS place
    FROM played
    JOIN devices AS device ON device.id = played.device_id
    JOIN stores AS store ON store.id = device.store_id
    GROUP BY store.id
)
SELECT name, city, impressions, spent_micros, 0 AS stores, place FROM shown WHERE place <= $2
UNION ALL
SELECT '', NULL, sum(impressions)::bigint, sum(spent_micros)::bigint, count(*), $2 + 1 FROM shown WHERE place > $2
HAVING count(*) > 0
ORDER BY place"""


async def summary(tx: Tx, campaign_id: CampaignId, listed: int) -> Summary:
    """Sum up a settled campaign: how late it was, and its plays by store, the first `listed` one by one."""
    late = {record["type"]: record["late_ms"] for record in await tx.fetch(LATENESS, campaign_id)}
    rows = await tx.fetch(STORE_TABLE, campaign_id, listed)
    lines = [StoreLine(*row[:4]) for row in rows]
    further = rows[-1]["stores"] if rows else 0
    return Summary(
        late.get("started"),
        late.get("completed"),
        lines[:-1] if further else lines,
        further,
        lines[-1] if further else None,
    )
