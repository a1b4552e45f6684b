"""A whole daemon on the instant: its lateness idle and with 10,000 starts at once, 100,000 drained and published.

Real PostgreSQL, Kafka and SMTP. Idle, the yardstick is a bare asyncio loop that sleeps to the same instants and
updates a row; with a burst it is one bare SQL statement that writes the same rows. A burst is drained when its last
start is committed, and published when its last message was acknowledged and deleted. Lateness is `executed_at - due_at`
as the log has it.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from daemon.database import Connection
from daemon.dev.embedded import embedded_kafka, embedded_postgres
from daemon.dev.mailbox import Mailbox, mailbox
from daemon.migrate import migrate
from tests.bench.polls import drained_of, process
from tests.bench.relay import bare as bare_kafka
from tests.bench.relay import messages
from tests.bench.tick import TENANTS, bare

AHEAD = timedelta(seconds=5)  # from the seeding to the first that is due
APART = timedelta(milliseconds=237)
LONGEST = 180.0  # seconds for a burst

SEED = f"""
WITH owners AS (
    INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, created_at, updated_at)
    SELECT 'Tenant ' || n, 'EUR', 'Europe/Berlin', 'ads' || n || '@example.org', 100, 0, $1, $1
    FROM generate_series(1, least($4::integer, {TENANTS})) n RETURNING id
), numbered AS (SELECT id, row_number() OVER () AS number FROM owners)
INSERT INTO campaigns (tenant_id, name, channel, status, sequence, timezone, start_at, end_at, tzdata_version,
                       budget_micros, held_micros, total_recipients, distributed_at, correlation_id, created_by,
                       created_at, updated_at)
SELECT o.id, 'Sale number ' || n || ' at ' || $2::timestamptz, 'signage', 'SCHEDULED', 3, 'Europe/Berlin',
       $2::timestamptz + n * $3::interval, $2::timestamptz + interval '9 days', '2026f', 500000000, 500000000, 150, $1,
       gen_random_uuid()::text, 'token:' || gen_random_uuid(), $1, $1
FROM generate_series(1, $4) n JOIN numbered o ON o.number = n % least($4, {TENANTS}) + 1"""
LATENESS = """
SELECT array_agg(extract(epoch FROM executed_at - due_at)::float8 ORDER BY executed_at - due_at) FROM transitions
WHERE type = 'started' AND due_at >= $1"""
LEFT = "SELECT EXISTS (SELECT FROM campaigns WHERE status = 'SCHEDULED' AND start_at <= $1)"
UNSENT = "SELECT EXISTS (SELECT FROM outbox)"


class Burst(NamedTuple):
    """What became of a burst: lateness of each in seconds, sorted, and the seconds to the last commit and ack."""

    lateness: Sequence[float]
    drained: float
    published: float


@asynccontextmanager
async def daemon(url: str, bootstrap: str, box: Mailbox) -> AsyncIterator[None]:
    """A whole daemon on that database, ready."""
    environ = {
        "SIGNAGED_DATABASE__URL": url,
        "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "SIGNAGED_KAFKA__TOPIC": f"burst-{time.monotonic_ns()}",
        "SIGNAGED_SMTP__URL": box.url,
        "SIGNAGED_HTTP__LISTEN": "127.0.0.1:0",
        "SIGNAGED_OPS__LISTEN": "127.0.0.1:0",
    }
    async with process("-m", "daemon", "run", environ=environ) as child:
        assert child.stderr is not None
        reading = asyncio.create_task(drained_of(child.stderr))
        await asyncio.sleep(5)
        yield
        reading.cancel()


@asynccontextmanager
async def database(server: str) -> AsyncIterator[tuple[str, Connection]]:
    """A migrated database of its own, and a connection to it."""
    admin = await asyncpg.connect(server)
    name = f"bench_{time.monotonic_ns()}"
    await admin.execute(f'CREATE DATABASE "{name}"')
    url = urlsplit(server)._replace(path=f"/{name}").geturl()
    try:
        await migrate(url)
        connection = await asyncpg.connect(url, server_settings={"jit": "off"})
        yield url, connection
        await connection.close()
    finally:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await admin.close()


async def booked(connection: Connection, count: int, apart: timedelta) -> datetime:
    """So many campaigns that start from the instant given back on, so far apart."""
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    first = now + AHEAD + timedelta(seconds=count / 20_000)
    await connection.execute(SEED, now, first, apart, count)
    await connection.execute("ANALYZE campaigns")
    return first


async def until_none(connection: Connection, statement: str, *arguments: object) -> None:
    async with asyncio.timeout(LONGEST):
        while await connection.fetchval(statement, *arguments):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)


async def burst(connection: Connection, count: int, apart: timedelta = timedelta()) -> Burst:
    """Book campaigns, let the daemon that runs on the database start them, and see how it went."""
    first = await booked(connection, count, apart)
    last = first + count * apart
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    began = time.perf_counter() + (last - now).total_seconds()
    await asyncio.sleep((last - now).total_seconds())
    await until_none(connection, LEFT, last)
    drained = time.perf_counter() - began
    await until_none(connection, UNSENT)
    published = time.perf_counter() - began
    return Burst(await connection.fetchval(LATENESS, first), drained, published)


async def bare_idle(connection: Connection, count: int) -> list[float]:
    """What a loop of five lines makes of the same instants."""
    await connection.execute("CREATE TABLE bare (id integer PRIMARY KEY, started_at timestamptz)")
    await connection.execute("INSERT INTO bare SELECT generate_series(1, $1)", count)
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    base, lateness = time.monotonic(), []
    for number in range(1, count + 1):
        await asyncio.sleep(base + number * APART.total_seconds() - time.monotonic())
        statement = "UPDATE bare SET started_at = clock_timestamp() WHERE id = $1 RETURNING started_at"
        at: datetime = await connection.fetchval(statement, number)
        lateness.append((at - now - number * APART).total_seconds())
    return sorted(max(0.0, each) for each in lateness)


async def bare_burst(server: str, count: int) -> float:
    """Seconds of the one statement that writes what so many starts write."""
    async with database(server) as (_, connection):
        first = await booked(connection, count, timedelta())
        statement = await connection.prepare(bare("start"))
        began = time.perf_counter()
        await statement.fetchval(first + timedelta(seconds=1), timeout=LONGEST)
        return time.perf_counter() - began


def told(name: str, ours: Sequence[float], theirs: str, goal: str) -> None:
    p50, p99 = ours[len(ours) // 2], ours[len(ours) * 99 // 100]
    print(f"| {name} | {milliseconds(p50)} | {milliseconds(p99)} | {milliseconds(ours[-1])} | {theirs} | {goal} |")


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


async def measured(server: str, idle: int, rounds: int, sizes: tuple[int, int]) -> None:
    async with embedded_kafka() as bootstrap, mailbox() as box:
        async with database(server) as (url, connection):
            plain = await bare_idle(connection, idle)
            async with daemon(url, bootstrap, box):
                quiet = await burst(connection, idle, APART)
        runs: dict[int, list[Burst]] = {size: [] for size in sizes}
        statements: dict[int, list[float]] = {size: [] for size in sizes}
        for size in sizes:
            for _ in range(rounds):
                statements[size].append(await bare_burst(server, size))
                async with database(server) as (url, connection), daemon(url, bootstrap, box):
                    runs[size].append(await burst(connection, size))
                one = runs[size][-1]
                print(f"# {size}: drained {one.drained:.2f} s, published {one.published:.2f} s", file=sys.stderr)
        sent = [await bare_kafka(bootstrap, messages(sizes[1])) for _ in range(rounds)]
    report(plain, quiet, runs, statements, sent)


def report(
    plain: list[float],
    quiet: Burst,
    runs: dict[int, list[Burst]],
    statements: dict[int, list[float]],
    sent: list[float],
) -> None:
    """Print lateness, then what the bursts took, medians of the rounds."""
    few, many = runs
    print("| Lateness of starts | p50 | p99 | max | yardstick | goal |\n|---|---:|---:|---:|---|---:|")
    loop = f"bare loop: {milliseconds(plain[len(plain) // 2])}, {milliseconds(plain[len(plain) * 99 // 100])}"
    told(f"{len(plain)}, {APART // timedelta(milliseconds=1)} ms apart", quiet.lateness, loop, "p99 50 ms")
    for size, goal in ((few, "p99 1 s"), (many, "")):
        middle = sorted(runs[size], key=lambda one: one.drained)[len(runs[size]) // 2]
        statement = statistics.median(statements[size])
        told(f"{size:,} at one instant", middle.lateness, f"bare statement: {milliseconds(statement)}", goal)
    print("\n| Burst | seconds | yardstick | seconds | ratio | goal |\n|---|---:|---|---:|---:|---:|")
    for size, goal in ((few, ""), (many, "5 s")):
        ours, bare_s = statistics.median(one.drained for one in runs[size]), statistics.median(statements[size])
        print(f"| {size:,} drained | {ours:.2f} | bare statement | {bare_s:.2f} | {bare_s / ours:.2f} | {goal} |")
    ours, bare_s = statistics.median(one.published for one in runs[many]), statistics.median(sent)
    name = "aiokafka from memory"
    print(f"| {many:,} drained and published | {ours:.2f} | {name} | {bare_s:.2f} | {bare_s / ours:.2f} | 10 s |")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=200, help="campaigns that start one by one")
    parser.add_argument("--rounds", type=int, default=3, help="of each burst")
    parser.add_argument("--sizes", type=int, nargs=2, default=(10_000, 100_000), help="campaigns of the two bursts")
    options = parser.parse_args()
    sizes = options.sizes[0], options.sizes[1]
    with tempfile.TemporaryDirectory(prefix="signaged-bench-") as folder:
        async with embedded_postgres(Path(folder) / "postgres") as url:
            await measured(url, options.idle, options.rounds, sizes)


if __name__ == "__main__":
    uvloop.run(main())
