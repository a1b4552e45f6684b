"""A tick with full effects against one bare SQL statement per kind that writes the same rows, in the same run.

10,000 starts, 10,000 completions and 10,000 settlements over 2,000 tenants, each time on a fresh copy of one
database, on one connection, by turns.
"""

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import prometheus_client
import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from config.settings import DatabaseSettings
from daemon import announce, logs
from daemon.database import Connection, Database
from daemon.dev.embedded import embedded_postgres
from daemon.ground import Ground, Rules
from daemon.metrics import Metrics
from daemon.migrate import migrate
from daemon.tick import LIFE, tick

TENANTS = 2_000
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RULES = Rules(1000, (timedelta(seconds=5),), timedelta(minutes=5), timedelta(hours=24))
KINDS = ("complete", "start", "settle")
TABLES = ("transitions", "ledger", "outbox", "mails")

SEED = """
INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, funded_micros,
                     available_micros, created_at, updated_at)
SELECT 'Tenant ' || n, 'EUR', 'Europe/Berlin', 'ads' || n || '@example.org', 100, 0, 0, 0, '{now}', '{now}'
FROM generate_series(1, {tenants}) n;
INSERT INTO campaigns (tenant_id, name, channel, status, sequence, timezone, start_at, end_at, tzdata_version,
                       budget_micros, held_micros, spent_micros, impressions, total_recipients, distributed_at,
                       activated_at, completed_at, settle_at, correlation_id, created_by, created_at, updated_at)
SELECT t.id, s.status || ' sale number ' || n, 'signage', s.status, 3, 'Europe/Berlin',
       timestamptz '{now}' - CASE WHEN s.status = 'SCHEDULED' THEN interval '1 s' ELSE interval '1 day' END,
       timestamptz '{now}' + CASE s.status WHEN 'SCHEDULED' THEN interval '1 day' WHEN 'ACTIVE' THEN interval '-1 s'
                             ELSE interval '-301 s' END,
       '2026f', 500000000, 400000000, 100000000, 20000, 150, timestamptz '{now}' - interval '2 days',
       CASE WHEN s.status <> 'SCHEDULED' THEN timestamptz '{now}' - interval '1 day' END,
       CASE WHEN s.status = 'COMPLETED' THEN timestamptz '{now}' - interval '301 s' END,
       CASE WHEN s.status = 'COMPLETED' THEN timestamptz '{now}' - interval '1 s' END,
       gen_random_uuid()::text, 'token:' || gen_random_uuid(), '{now}', '{now}'
FROM generate_series(1, {each}) n
CROSS JOIN (VALUES ('SCHEDULED'), ('ACTIVE'), ('COMPLETED')) s (status)
JOIN (SELECT id, row_number() OVER () AS number FROM tenants) t ON t.number = n % {tenants} + 1;
-- others that are not due, so that an index is worth something
INSERT INTO campaigns (tenant_id, name, channel, status, sequence, timezone, start_at, end_at, tzdata_version,
                       budget_micros, held_micros, correlation_id, created_by, created_at, updated_at, distributed_at)
SELECT tenant_id, 'Later ' || name, channel, 'SCHEDULED', 3, timezone, timestamptz '{now}' + interval '9 days',
       timestamptz '{now}' + interval '19 days', tzdata_version, 500000000, 500000000, correlation_id, created_by,
       created_at, updated_at, created_at
FROM campaigns;
"""

# What announces a change, built in the server: the same members as ours, instants as the server writes them.
_BODY = """convert_to(json_build_object(
    'specversion', '1.0', 'id', id || '/' || sequence, 'source', 'urn:signaged', 'type', 'campaign.{type}',
    'subject', id, 'time', now, 'datacontenttype', 'application/json',
    'dataschema', 'urn:signaged:schema:campaign.{type}:1', 'tenantid', tenant_id, 'correlationid', correlation_id,
    'sequence', sequence, 'data', json_build_object(
        'campaign_id', id, 'campaign_name', name, 'channel', channel, 'status_from', from_status,
        'status_to', status, 'reason', NULL, 'note', NULL, 'actor', 'signaged', 'due_at', due_at,
        'executed_at', now, 'lateness_ms', floor(extract(epoch FROM now - due_at) * 1000)::int,
        'scheduled_at', start_at, 'started_at', activated_at, 'total_recipients', total_recipients{moved})
)::text, 'UTF8')"""
_REST = """, logged AS (
    INSERT INTO transitions (campaign_id, sequence, occurrence, tenant_id, type, from_status, to_status, moved, due_at,
                             executed_at, total_recipients, actor, correlation_id)
    SELECT id, sequence, occurrence, tenant_id, '{type}', from_status, status, {logged}, due_at, now,
           total_recipients, 'signaged', correlation_id FROM moved
), told AS (
    INSERT INTO outbox (shard, topic, key, sequence, type, body, created_at)
    SELECT abs(uuid_hash(id)) % 8, 'campaigns', id, sequence, '{type}', {body}, now FROM moved
){mailed}
SELECT count(*) FROM moved"""
_MAILED = """, mailed AS (
    INSERT INTO mails (kind, tenant_id, campaign_id, sequence, facts, created_at, next_attempt_at)
    SELECT '{kind}', tenant_id, id, sequence, jsonb_build_object('campaign_name', name), now, now FROM moved
)"""


def bare(kind: str) -> str:
    """The one statement that does all of a kind; $1 is now."""
    moved = """WITH moved AS (
    UPDATE campaigns c SET {change}, version = c.version + 1, sequence = c.sequence + 1, updated_at = $1
    WHERE {due}
    RETURNING c.*, old.status AS from_status, $1::timestamptz AS now, {due_at} AS due_at, old.held_micros AS amount
)"""
    if kind == "start":
        change, due, due_at = (
            "status = 'ACTIVE', activated_at = $1",
            "status = 'SCHEDULED' AND start_at <= $1",
            "c.start_at",
        )
        kind_of, type_, logged, more = "started", "started", "'{}'::jsonb", ""
    elif kind == "complete":
        change = "status = 'COMPLETED', completed_at = $1, settle_at = end_at + interval '5 min'"
        due, due_at = "status IN ('ACTIVE', 'PAUSED') AND end_at <= $1", "c.end_at"
        kind_of, type_, logged, more = "", "completed", "'{}'::jsonb", ""
    else:
        change = "settled_at = $1, released_micros = released_micros + held_micros, held_micros = 0"
        due = "settled_at IS NULL AND status IN ('COMPLETED', 'CANCELLED', 'FAILED') AND settle_at <= $1"
        due_at, kind_of, type_ = "c.settle_at", "completed", "settled"
        logged = (
            "jsonb_build_object('released_micros', amount, 'spent_micros', spent_micros, 'impressions', impressions)"
        )
        # these are whole units, so that telling them costs no more than it must
        more = """, 'released', amount / 1000000 || '.00', 'spent', spent_micros / 1000000 || '.00',
        'impressions', impressions"""
        moved += """, posted AS (
    INSERT INTO ledger (tenant_id, campaign_id, sequence, kind, debit, credit, amount_micros, at)
    SELECT tenant_id, id, sequence, 'release', 'held', 'available', amount, now FROM moved
), paid AS (
    UPDATE tenants t SET available_micros = t.available_micros + r.amount
    FROM (SELECT tenant_id, sum(amount)::bigint AS amount FROM moved GROUP BY tenant_id) r WHERE t.id = r.tenant_id
)"""
    rest = _REST.format(
        type=type_,
        logged=logged,
        body=_BODY.format(type=type_, moved=more),
        mailed=_MAILED.format(kind=kind_of) if kind_of else "",
    )
    return moved.format(change=change, due=due, due_at=due_at) + rest


class StandingClock:
    """NOW, always: both sides write the same instants."""

    held = False

    def now(self) -> datetime:
        return NOW


@dataclass(frozen=True, slots=True)
class Server:
    """Where the databases are: the owner's URL, and the seeded one that all are copies of."""

    url: str
    template: str


class Round(NamedTuple):
    """Seconds by kind, and the rows written by table."""

    seconds: dict[str, float]
    rows: dict[str, int]


@asynccontextmanager
async def copied(server: Server) -> AsyncIterator[str]:
    """The owner's URL of a fresh copy of the seeded database, with nothing left to be flushed."""
    admin = await asyncpg.connect(server.url)
    name = f"bench_{time.monotonic_ns()}"
    try:
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{server.template}" STRATEGY file_copy')
        await admin.execute("CHECKPOINT")
        yield urlsplit(server.url)._replace(path=f"/{name}").geturl()
    finally:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await admin.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Database, Connection]]:
    """The daemon's own seam to a database, and a connection as its ticker has it."""
    settings = DatabaseSettings(url=url, statement_timeout=timedelta(minutes=2))
    async with Database.open(settings) as database, database.dedicated("bench") as connection:
        yield database, connection


async def ours(url: str) -> Round:
    """The real steps, log line and metrics of each change included."""
    metrics = Metrics.create(prometheus_client.CollectorRegistry())
    report = partial(announce.report, metrics=metrics, log=structlog.get_logger("daemon.bench"))
    async with opened(url) as (database, connection):
        begin = partial(database.transaction, timeout=120.0, on=connection)
        ground = Ground(begin, StandingClock(), metrics, RULES, report)
        await connection.fetchval("SELECT count(*) FROM campaigns")  # caches as warm as the other's
        seconds = {}
        for kind in KINDS:
            gc.collect()
            began = time.perf_counter()
            if not await tick(ground, LIFE, [kind]):
                raise RuntimeError(f"{kind} failed")
            seconds[kind] = time.perf_counter() - began
        return Round(seconds, await written(connection))


async def theirs(url: str) -> Round:
    """The bare statements, one a kind."""
    async with opened(url) as (_, connection):
        await connection.fetchval("SELECT count(*) FROM campaigns")
        seconds = {}
        for kind in KINDS:
            statement = await connection.prepare(bare(kind))
            began = time.perf_counter()
            await statement.fetchval(NOW, timeout=120)
            seconds[kind] = time.perf_counter() - began
        return Round(seconds, await written(connection))


async def written(connection: Connection) -> dict[str, int]:
    rows = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    return rows | {"released": await connection.fetchval("SELECT sum(available_micros)::bigint FROM tenants")}


async def seeded(url: str, each: int) -> Server:
    """Migrate and fill a database that all rounds are copies of."""
    admin = await asyncpg.connect(url)
    name = f"bench_template_{os.getpid()}"
    await admin.execute(f'CREATE DATABASE "{name}"')
    await admin.close()
    template_url = urlsplit(url)._replace(path=f"/{name}").geturl()
    await migrate(template_url)
    connection = await asyncpg.connect(template_url)
    await connection.execute(SEED.format(now=NOW.isoformat(), tenants=TENANTS, each=each))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return Server(url, name)


async def measured(url: str, each: int, rounds: int) -> None:
    server = await seeded(url, each)
    sides = {"tick": ours, "bare": theirs}
    results: dict[str, list[Round]] = {side: [] for side in sides}
    try:
        for number in range(rounds + 1):
            for side, run in sides.items():
                async with copied(server) as copy:
                    result = await run(copy)
                print(f"# {side} {sum(result.seconds.values()):.3f} s {result.seconds}", file=sys.stderr)
                if number:  # the first is for warming up
                    results[side].append(result)
    finally:
        admin = await asyncpg.connect(url)
        await admin.execute(f'DROP DATABASE "{server.template}" WITH (FORCE)')
        await admin.close()
    if results["tick"][0].rows != results["bare"][0].rows:
        raise RuntimeError(f"not the same rows: {results['tick'][0].rows}, {results['bare'][0].rows}")
    tell(results, each)


def tell(results: dict[str, list[Round]], each: int) -> None:
    """Print rates and their ratio, medians of the rounds."""
    print("| Tick, full effects | campaigns/s | bare SQL statement | ratio | goal |")
    print("|---|---|---|---|---|")
    named = {"complete": "completions", "start": "starts", "settle": "settlements"}
    for kind in KINDS:
        ours_s, bare_s = _median(results["tick"], (kind,)), _median(results["bare"], (kind,))
        row(f"{each:,} {named[kind]}", each, ours_s, bare_s, "")
    ours_s, bare_s = _median(results["tick"], KINDS), _median(results["bare"], KINDS)
    row(f"all {3 * each:,}, over {TENANTS:,} tenants", 3 * each, ours_s, bare_s, "0.8 (0.6)")


def row(name: str, count: int, ours_s: float, bare_s: float, goal: str) -> None:
    print(f"| {name} | {count / ours_s:,.0f} | {count / bare_s:,.0f} | {bare_s / ours_s:.2f} | {goal} |")


def _median(rounds: list[Round], kinds: tuple[str, ...]) -> float:
    return statistics.median(sum(each.seconds[kind] for kind in kinds) for each in rounds)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=10_000, help="campaigns of each kind")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, after one that does not")
    options = parser.parse_args()
    logs.configure("info", open(os.devnull, "w"))  # noqa: SIM115, ASYNC230, PTH123 - written for real, read by nobody
    if url := os.environ.get("SIGNAGED_TEST_DATABASE_URL"):
        await measured(url, options.each, options.rounds)
        return
    with tempfile.TemporaryDirectory(prefix="signaged-bench-") as folder:
        async with embedded_postgres(Path(folder) / "postgres") as url:
            await measured(url, options.each, options.rounds)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
