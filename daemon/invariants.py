"""What must hold of money, plays, log and outbox at every instant, a statement each (SPEC 3, 5, 9)."""

from typing import NamedTuple

from daemon.campaigns.campaign import ONCE, legal_changes
from daemon.outbox.message import Topic


class Invariant(NamedTuple):
    """A rule in words, the statement that yields what breaks it, and the one that counts what it is held against.

    `broken` yields (subject, detail), at most $1 rows, and sees one snapshot: it is one statement on purpose.
    `arguments` are its $2 and on.
    """

    rule: str
    broken: str
    counted: str
    arguments: tuple[list[str], ...] = ()


_CHANGES = sorted((kind, before or "", after) for kind, before, after in legal_changes())

WALLETS = Invariant(
    "a wallet adds up and no part of it is negative",
    """SELECT id, format('available %s + held %s + spent %s, funded %s', available, held, spent, funded)
    FROM (
        SELECT n.id, n.funded_micros AS funded, n.available_micros AS available,
               coalesce(sum(c.held_micros), 0) AS held, coalesce(sum(c.spent_micros), 0) AS spent
        FROM tenants n LEFT JOIN campaigns c ON c.tenant_id = n.id GROUP BY n.id) w
    WHERE available + held + spent <> funded OR least(available, held, spent, funded) < 0 LIMIT $1""",
    "SELECT count(*) FROM tenants",
)
WALLET_ENTRIES = Invariant(
    "a wallet is the sum of its entries",
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
)
CAMPAIGN_ENTRIES = Invariant(
    "a campaign's money is the sum of its entries",
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
)
# a rejection closes the earlier hold with an equal release: the money counts from the last submit
BUDGETS = Invariant(
    "since its last submit, held + spent + released is a campaign's budget",
    """SELECT c.id, format('held %s + spent %s + released %s, budget %s; entries held %s, released %s',
                         c.held_micros, c.spent_micros, c.released_micros, c.budget_micros, e.held, e.released)
    FROM campaigns c LEFT JOIN (
        SELECT s.campaign_id,
               coalesce(sum(l.amount_micros) FILTER (WHERE l.kind = 'hold'), 0) AS held,
               coalesce(sum(l.amount_micros) FILTER (WHERE l.kind = 'release'), 0) AS released
        FROM (SELECT campaign_id, max(sequence) AS sequence FROM transitions
              WHERE type IN ('submitted', 'scheduled') GROUP BY campaign_id) s
        LEFT JOIN ledger l ON l.campaign_id = s.campaign_id AND l.sequence IS NOT NULL AND l.sequence >= s.sequence
        GROUP BY s.campaign_id) e ON e.campaign_id = c.id
    WHERE c.status <> 'DRAFT'
      AND (c.held_micros + c.spent_micros + c.released_micros IS DISTINCT FROM c.budget_micros
           OR e.held IS DISTINCT FROM c.budget_micros OR e.released IS DISTINCT FROM c.released_micros)
    LIMIT $1""",
    "SELECT count(*) FROM campaigns WHERE status <> 'DRAFT'",
)
LOGGED_MONEY = Invariant(
    "a hold or release stands in the log as the change that moved it",
    """SELECT coalesce(l.campaign_id, t.campaign_id),
              format('%s: %s of %s in the ledger, %s %s in the log', coalesce(l.sequence, t.sequence), l.kind,
                     l.amount_micros, t.type, t.amount)
    FROM (SELECT * FROM ledger WHERE sequence IS NOT NULL) l
    FULL JOIN (
        SELECT campaign_id, sequence, type,
               coalesce(moved ->> 'held_micros', moved ->> 'amount_micros', moved ->> 'released_micros')::bigint
                   AS amount,
               CASE WHEN moved ? 'released_micros' THEN 'release' ELSE 'hold' END AS kind
        FROM transitions) t USING (campaign_id, sequence)
    WHERE (l.kind IS NULL AND t.amount > 0) OR (l.kind IS NOT NULL AND t.type IS NULL)
       OR (t.amount IS NOT NULL AND l.kind IS NOT NULL AND (t.amount, t.kind) <> (l.amount_micros, l.kind))
    LIMIT $1""",
    "SELECT count(*) FROM ledger WHERE sequence IS NOT NULL",
)
SETTLED = Invariant(
    "what is settled holds nothing",
    """SELECT id, format('holds %s', held_micros) FROM campaigns
    WHERE settled_at IS NOT NULL AND held_micros <> 0 LIMIT $1""",
    "SELECT count(*) FROM campaigns WHERE settled_at IS NOT NULL",
)
# those that retention has taken stand as their sums
_IMPRESSIONS = """(
        SELECT campaign_id, counted_on, count(*) AS impressions, sum(charged_micros) AS charged_micros FROM plays
        WHERE verdict IN ('accepted', 'unpaid') GROUP BY campaign_id, counted_on
        UNION ALL
        SELECT campaign_id, counted_on, impressions, charged_micros FROM purged_plays)"""
SPENDS = Invariant(
    "a campaign's spend and impressions are those of its plays",
    f"""SELECT c.id, format('spent %s, plays charged %s; impressions %s, plays counted %s', c.spent_micros,
                         coalesce(p.charged, 0), c.impressions, coalesce(p.counted, 0))
    FROM campaigns c LEFT JOIN (
        SELECT campaign_id, sum(charged_micros) AS charged, sum(impressions) AS counted
        FROM {_IMPRESSIONS} p GROUP BY campaign_id) p ON p.campaign_id = c.id
    WHERE c.spent_micros <> coalesce(p.charged, 0) OR c.impressions <> coalesce(p.counted, 0) LIMIT $1""",  # noqa: S608
    "SELECT count(*) FROM plays WHERE verdict IN ('accepted', 'unpaid')",
)
PLAYS = Invariant(
    "a charged play lies in its campaign's window and costs at most its price",
    """SELECT p.campaign_id, format('play %s of device %s at %s for %s ms, charged %s of %s', p.play_id,
                                  p.device_id, p.started_at, p.duration_ms, p.charged_micros, p.price_micros)
    FROM plays p LEFT JOIN campaigns c ON c.id = p.campaign_id
    WHERE p.charged_micros <> 0
      AND (p.verdict <> 'accepted' OR p.charged_micros > p.price_micros OR c.id IS NULL
           OR p.started_at < c.start_at
           OR p.started_at + p.duration_ms * interval '1 millisecond' > c.end_at) LIMIT $1""",
    "SELECT count(*) FROM plays WHERE charged_micros <> 0",
)
# the play's own date is the one its campaign's zone had when it came; here it only must be near
DAYS = Invariant(
    "a day's spend is that of its plays and no more than its cap",
    f"""SELECT campaign_id, format('%s: spent %s, plays charged %s, cap %s', on_, d.spent_micros, p.charged, c.cap)
    FROM (SELECT campaign_id, spent_on AS on_, spent_micros FROM daily_spends) d
    FULL JOIN (
        SELECT campaign_id, counted_on AS on_, sum(charged_micros) AS charged
        FROM {_IMPRESSIONS} i GROUP BY campaign_id, counted_on) p USING (campaign_id, on_)
    LEFT JOIN (SELECT id AS campaign_id, daily_cap_micros AS cap FROM campaigns) c USING (campaign_id)
    WHERE (on_ IS NULL) <> (c.cap IS NULL)
       OR (on_ IS NOT NULL AND coalesce(d.spent_micros, 0) <> coalesce(p.charged, 0)) OR d.spent_micros > c.cap
    LIMIT $1""",  # noqa: S608 - a constant of this module
    "SELECT count(*) FROM daily_spends",
)
DATES = Invariant(
    "a play counts towards the date it began on",
    """SELECT campaign_id, format('play %s of device %s at %s counts towards %s', play_id, device_id, started_at,
                                counted_on)
    FROM plays WHERE counted_on IS NOT NULL AND abs(counted_on - started_at::date) > 1 LIMIT $1""",
    "SELECT count(*) FROM plays WHERE counted_on IS NOT NULL",
)
CAPPED = Invariant(
    "what is off the screens for a day has used that day up",
    """SELECT c.id, format('off until %s, cap %s', c.capped_until, c.daily_cap_micros) FROM campaigns c
    WHERE c.capped_until IS NOT NULL AND NOT EXISTS (
        SELECT FROM daily_spends d
        WHERE d.campaign_id = c.id AND d.spent_micros = c.daily_cap_micros
          AND d.spent_on BETWEEN c.capped_until::date - 2 AND c.capped_until::date) LIMIT $1""",
    "SELECT count(*) FROM campaigns WHERE capped_until IS NOT NULL",
)
SEQUENCES = Invariant(
    "a log's sequence has no gap and ends with its campaign's",
    """SELECT c.id, format('%s rows from %s to %s, campaign at %s', count(t.sequence), min(t.sequence),
                         max(t.sequence), c.sequence)
    FROM campaigns c LEFT JOIN transitions t ON t.campaign_id = c.id GROUP BY c.id
    HAVING count(t.sequence) <> c.sequence OR min(t.sequence) IS DISTINCT FROM 1
        OR max(t.sequence) IS DISTINCT FROM c.sequence LIMIT $1""",
    "SELECT count(*) FROM transitions",
)
CHANGES = Invariant(
    "each change is one that there is, and begins where the one before ended",
    """SELECT campaign_id, format('%s: %s from %s to %s after %s', sequence, type, from_status, to_status, before)
    FROM (SELECT t.*, lag(to_status) OVER (PARTITION BY campaign_id ORDER BY sequence) AS before
          FROM transitions t) t
    WHERE from_status IS DISTINCT FROM before
       OR NOT (type, coalesce(from_status, ''), to_status) IN (
           SELECT * FROM unnest($2::text[], $3::text[], $4::text[])) LIMIT $1""",
    "SELECT count(*) FROM transitions",
    tuple(list(column) for column in zip(*_CHANGES, strict=True)),
)
STATUSES = Invariant(
    "a campaign's status is where its log ends",
    """SELECT c.id, format('is %s, log ends at %s', c.status, t.to_status)
    FROM campaigns c LEFT JOIN transitions t ON t.campaign_id = c.id AND t.sequence = c.sequence
    WHERE t.to_status IS DISTINCT FROM c.status LIMIT $1""",
    "SELECT count(*) FROM campaigns",
)
REPEATS = Invariant(
    "what happens once happened once",
    """SELECT campaign_id, format('%s %s times', type, count(*)) FROM transitions
    WHERE type = ANY($2::text[]) GROUP BY campaign_id, occurrence, type HAVING count(*) > 1 LIMIT $1""",
    "SELECT count(*) FROM transitions WHERE type IN ('started', 'completed', 'settled', 'missed', 'expired')",
    (sorted(ONCE),),
)
LIVES = Invariant(
    "what ran has its start in the log, what is over its end and settlement",
    """SELECT c.id, format('is %s, settled %s; log has %s', c.status, c.settled_at, l.types)
    FROM campaigns c
    LEFT JOIN (
        SELECT campaign_id, array_agg(type ORDER BY sequence) AS types,
               bool_or(type = 'cancelled' AND from_status = 'PENDING_APPROVAL') AS withdrawn
        FROM transitions GROUP BY campaign_id) l ON l.campaign_id = c.id
    WHERE (c.activated_at IS NOT NULL) <> ('started' = ANY(l.types))
       OR (c.status = 'COMPLETED') <> ('completed' = ANY(l.types))
       OR (c.settled_at IS NOT NULL AND c.status IN ('COMPLETED', 'CANCELLED', 'FAILED') AND NOT l.withdrawn)
          <> ('settled' = ANY(l.types)) LIMIT $1""",
    "SELECT count(*) FROM campaigns WHERE status <> 'DRAFT'",
)
PAUSES = Invariant(
    "a campaign is paused by what stands",
    """SELECT c.id, format('is %s by %s, standing %s', c.status, c.pause_causes, p.causes)
    FROM campaigns c
    LEFT JOIN (SELECT campaign_id, array_agg(cause ORDER BY cause) AS causes
               FROM pauses WHERE ended_at IS NULL GROUP BY campaign_id) p ON p.campaign_id = c.id
    WHERE c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
      AND (ARRAY(SELECT unnest(c.pause_causes) ORDER BY 1) <> coalesce(p.causes, '{}')
           OR (c.status = 'ACTIVE' AND c.pause_causes <> '{}')
           OR (c.status = 'PAUSED' AND NOT coalesce(c.status_reason = ANY(c.pause_causes), false))) LIMIT $1""",
    "SELECT count(*) FROM campaigns WHERE status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')",
)
SUSPENDED = Invariant(
    "a campaign is held back exactly while its tenant is suspended",
    """SELECT c.id, format('is %s by %s, its tenant %s', c.status, c.pause_causes, n.status)
    FROM campaigns c JOIN tenants n ON n.id = c.tenant_id
    WHERE c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
      AND ('TENANT_SUSPENDED' = ANY (c.pause_causes)) <> (n.status = 'SUSPENDED') LIMIT $1""",
    "SELECT count(*) FROM campaigns WHERE status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')",
)
# what was acknowledged is gone; of each campaign the last changes wait, in one piece
MESSAGES = Invariant(
    "what waits for Kafka is the end of each campaign's log, a message for each change",
    """SELECT w.key, format('%s messages from %s on for %s changes, %s foreign; log ends at %s', w.waiting, w.lowest,
                         w.changes, w.foreign_, c.sequence)
    FROM (
        SELECT o.key, min(o.sequence) AS lowest, count(*) AS waiting, count(DISTINCT o.sequence) AS changes,
               count(*) FILTER (WHERE t.type IS DISTINCT FROM o.type) AS foreign_
        FROM outbox o LEFT JOIN transitions t ON t.campaign_id = o.key AND t.sequence = o.sequence
        WHERE o.topic = ANY($2::text[]) GROUP BY o.key) w
    LEFT JOIN campaigns c ON c.id = w.key
    WHERE w.foreign_ > 0 OR w.waiting <> w.changes OR w.waiting IS DISTINCT FROM c.sequence - w.lowest + 1
    LIMIT $1""",
    "SELECT count(*) FROM outbox",
    ([Topic.CAMPAIGNS.value],),
)

INVARIANTS = (
    WALLETS, WALLET_ENTRIES, CAMPAIGN_ENTRIES, BUDGETS, LOGGED_MONEY, SETTLED, SPENDS, PLAYS, DAYS, DATES, CAPPED,
    SEQUENCES, CHANGES, STATUSES, REPEATS, LIVES, PAUSES, SUSPENDED, MESSAGES,
)  # fmt: skip
