"""The invariants of money and of the log, proved on a live database without stopping anything (SPEC 3, 5)."""

from dataclasses import dataclass
from typing import NamedTuple

from daemon.campaigns.campaign import ONCE, legal_changes
from playlists.queries import Tx

MOST_TOLD = 20  # violations of one invariant


class Violation(NamedTuple):
    """One row that breaks an invariant: which invariant, whose row, and the numbers."""

    invariant: str
    subject: str
    detail: str


class Checked(NamedTuple):
    """An invariant and how many rows it was held against."""

    invariant: str
    rows: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, in order, and what was found."""

    checked: list[Checked]
    violations: list[Violation]


# One snapshot for all, however long it takes; nothing is written and nobody waits.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
PATIENCE = "SET LOCAL statement_timeout = 0"


# Each yields (subject, detail) of what breaks it; $1 bounds how many. The second statement counts what it looked at.
CHECKS: dict[str, tuple[str, str]] = {
    "a wallet adds up and no part of it is negative": (
        """SELECT id, format('available %s + held %s + spent %s, funded %s', available, held, spent, funded)
        FROM (
            SELECT n.id, n.funded_micros AS funded, n.available_micros AS available,
                   coalesce(sum(c.held_micros), 0) AS held, coalesce(sum(c.spent_micros), 0) AS spent
            FROM tenants n LEFT JOIN campaigns c ON c.tenant_id = n.id GROUP BY n.id) w
        WHERE available + held + spent <> funded OR least(available, held, spent, funded) < 0 LIMIT $1""",
        "SELECT count(*) FROM tenants",
    ),
    "a wallet is the sum of its entries": (
        """SELECT n.id, format('funded %s of entries %s, available %s of entries %s', n.funded_micros,
                             coalesce(e.funded, 0), n.available_micros, coalesce(e.available, 0))
        FROM tenants n LEFT JOIN (
            SELECT tenant_id,
                   sum(CASE WHEN debit = 'cash' THEN amount_micros
                            WHEN credit = 'cash' THEN -amount_micros END) AS funded,
                   sum(CASE WHEN credit = 'available' THEN amount_micros
                            WHEN debit = 'available' THEN -amount_micros END) AS available
            FROM ledger GROUP BY tenant_id) e ON e.tenant_id = n.id
        WHERE n.funded_micros <> coalesce(e.funded, 0) OR n.available_micros <> coalesce(e.available, 0) LIMIT $1""",
        "SELECT count(*) FROM ledger",
    ),
    "a campaign's money is the sum of its entries": (
        """SELECT c.id, format('held %s of entries %s, spent %s of entries %s', c.held_micros, coalesce(e.held, 0),
                             c.spent_micros, coalesce(e.spent, 0))
        FROM campaigns c LEFT JOIN (
            SELECT campaign_id,
                   sum(CASE WHEN credit = 'held' THEN amount_micros
                            WHEN debit = 'held' THEN -amount_micros END) AS held,
                   sum(CASE WHEN credit = 'spent' THEN amount_micros END) AS spent
            FROM ledger WHERE campaign_id IS NOT NULL GROUP BY campaign_id) e ON e.campaign_id = c.id
        WHERE c.held_micros <> coalesce(e.held, 0) OR c.spent_micros <> coalesce(e.spent, 0) LIMIT $1""",
        "SELECT count(*) FROM ledger WHERE campaign_id IS NOT NULL",
    ),
    # a rejection closes the earlier hold with an equal release: the money counts from the last submit
    "since its last submit, held + spent + released is a campaign's budget": (
        """SELECT c.id, format('held %s + spent %s + released %s, budget %s; entries held %s, released %s',
                             c.held_micros, c.spent_micros, c.released_micros, c.budget_micros, e.held, e.released)
        FROM campaigns c LEFT JOIN (
            SELECT s.campaign_id,
                   coalesce(sum(l.amount_micros) FILTER (WHERE l.kind = 'hold'), 0) AS held,
                   coalesce(sum(l.amount_micros) FILTER (WHERE l.kind = 'release'), 0) AS released
            FROM (SELECT campaign_id, max(sequence) AS sequence FROM transitions
                  WHERE type IN ('submitted', 'scheduled') GROUP BY campaign_id) s
            LEFT JOIN ledger l ON l.campaign_id = s.campaign_id AND l.sequence >= s.sequence
            GROUP BY s.campaign_id) e ON e.campaign_id = c.id
        WHERE c.status <> 'DRAFT'
          AND (c.held_micros + c.spent_micros + c.released_micros IS DISTINCT FROM c.budget_micros
               OR e.held IS DISTINCT FROM c.budget_micros OR e.released IS DISTINCT FROM c.released_micros)
        LIMIT $1""",
        "SELECT count(*) FROM campaigns WHERE status <> 'DRAFT'",
    ),
    "what is settled holds nothing": (
        """SELECT id, format('holds %s', held_micros) FROM campaigns
        WHERE settled_at IS NOT NULL AND held_micros <> 0 LIMIT $1""",
        "SELECT count(*) FROM campaigns WHERE settled_at IS NOT NULL",
    ),
    "a campaign's spend and impressions are those of its plays": (
        """SELECT c.id, format('spent %s, plays charged %s; impressions %s, plays counted %s', c.spent_micros,
                             coalesce(p.charged, 0), c.impressions, coalesce(p.counted, 0))
        FROM campaigns c LEFT JOIN (
            SELECT campaign_id, sum(charged_micros) AS charged, count(*) AS counted
            FROM plays WHERE verdict IN ('accepted', 'unpaid') GROUP BY campaign_id) p ON p.campaign_id = c.id
        WHERE c.spent_micros <> coalesce(p.charged, 0) OR c.impressions <> coalesce(p.counted, 0) LIMIT $1""",
        "SELECT count(*) FROM plays WHERE verdict IN ('accepted', 'unpaid')",
    ),
    "a charged play lies in its campaign's window and costs at most its price": (
        """SELECT p.campaign_id, format('play %s of device %s at %s for %s ms, charged %s of %s', p.play_id,
                                      p.device_id, p.started_at, p.duration_ms, p.charged_micros, p.price_micros)
        FROM plays p LEFT JOIN campaigns c ON c.id = p.campaign_id
        WHERE p.charged_micros <> 0
          AND (p.verdict <> 'accepted' OR p.charged_micros > p.price_micros OR c.id IS NULL
               OR p.started_at < c.start_at
               OR p.started_at + p.duration_ms * interval '1 millisecond' > c.end_at) LIMIT $1""",
        "SELECT count(*) FROM plays WHERE charged_micros <> 0",
    ),
    "a log's sequence has no gap and ends with its campaign's": (
        """SELECT c.id, format('%s rows from %s to %s, campaign at %s', count(t.sequence), min(t.sequence),
                             max(t.sequence), c.sequence)
        FROM campaigns c LEFT JOIN transitions t ON t.campaign_id = c.id GROUP BY c.id
        HAVING count(t.sequence) <> c.sequence OR min(t.sequence) IS DISTINCT FROM 1
            OR max(t.sequence) IS DISTINCT FROM c.sequence LIMIT $1""",
        "SELECT count(*) FROM transitions",
    ),
    "each change is one that there is, and begins where the one before ended": (
        """SELECT campaign_id, format('%s: %s from %s to %s after %s', sequence, type, from_status, to_status, before)
        FROM (SELECT t.*, lag(to_status) OVER (PARTITION BY campaign_id ORDER BY sequence) AS before
              FROM transitions t) t
        WHERE from_status IS DISTINCT FROM before
           OR NOT (type, coalesce(from_status, ''), to_status) IN (
               SELECT * FROM unnest($2::text[], $3::text[], $4::text[])) LIMIT $1""",
        "SELECT count(*) FROM transitions",
    ),
    "a campaign's status is where its log ends": (
        """SELECT c.id, format('is %s, log ends at %s', c.status, t.to_status)
        FROM campaigns c LEFT JOIN transitions t ON t.campaign_id = c.id AND t.sequence = c.sequence
        WHERE t.to_status IS DISTINCT FROM c.status LIMIT $1""",
        "SELECT count(*) FROM campaigns",
    ),
    "what happens once happened once": (
        """SELECT campaign_id, format('%s %s times', type, count(*)) FROM transitions
        WHERE type = ANY($2::text[]) GROUP BY campaign_id, occurrence, type HAVING count(*) > 1 LIMIT $1""",
        "SELECT count(*) FROM transitions WHERE type IN ('started', 'completed', 'settled', 'missed', 'expired')",
    ),
    "what ran has its start in the log, what is over its end and settlement": (
        """SELECT c.id, format('is %s, settled %s; log has %s', c.status, c.settled_at, l.types)
        FROM campaigns c
        CROSS JOIN LATERAL (
            SELECT array_agg(type) AS types,
                   bool_or(type = 'cancelled' AND from_status = 'PENDING_APPROVAL') AS withdrawn
            FROM transitions WHERE campaign_id = c.id) l
        WHERE (c.activated_at IS NOT NULL) <> ('started' = ANY(l.types))
           OR (c.status = 'COMPLETED') <> ('completed' = ANY(l.types))
           OR (c.settled_at IS NOT NULL AND c.status IN ('COMPLETED', 'CANCELLED', 'FAILED') AND NOT l.withdrawn)
              <> ('settled' = ANY(l.types)) LIMIT $1""",
        "SELECT count(*) FROM campaigns WHERE status <> 'DRAFT'",
    ),
    "a campaign is paused by what stands": (
        """SELECT c.id, format('is %s by %s, standing %s', c.status, c.pause_causes, p.causes)
        FROM campaigns c
        LEFT JOIN (SELECT campaign_id, array_agg(cause ORDER BY cause) AS causes
                   FROM pauses WHERE ended_at IS NULL GROUP BY campaign_id) p ON p.campaign_id = c.id
        WHERE c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
          AND ARRAY(SELECT unnest(c.pause_causes) ORDER BY 1) <> coalesce(p.causes, '{}') LIMIT $1""",
        "SELECT count(*) FROM campaigns WHERE status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')",
    ),
}


async def verify(tx: Tx) -> Report:
    """Check every invariant on one snapshot of the database; `tx` is a transaction in which nothing was done yet.

    At most MOST_TOLD violations of each are told.
    """
    await tx.execute(SNAPSHOT)
    await tx.execute(PATIENCE)
    report = Report([], [])
    for invariant, (broken, counted) in CHECKS.items():
        found = await tx.fetch(broken, MOST_TOLD, *_arguments(broken))
        report.violations.extend(Violation(invariant, str(row[0]), row[1]) for row in found)
        report.checked.append(Checked(invariant, await tx.fetchval(counted)))
    return report


def _arguments(statement: str) -> list[list[str]]:
    """What a check asks of the tables of `campaign`: the legal changes in three columns, or what happens once."""
    if "$4" in statement:
        return [list(column) for column in zip(*((k, b or "", a) for k, b, a in sorted_changes()), strict=True)]
    return [sorted(ONCE)] if "$2" in statement else []


def sorted_changes() -> list[tuple[str, str | None, str]]:
    """Every (type, from, to) that there is, in a fixed order."""
    return sorted(legal_changes(), key=lambda change: (change[0], change[1] or "", change[2]))
