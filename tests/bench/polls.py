"""Unchanged polls of the running daemon against a bare aiohttp handler that answers the same 304, in the same run.

Each is a process of its own under uvloop, driven by turns over the same number of connections by this one, which
writes the same bytes and counts answers. Then the daemon at half of the bare rate, for its latencies, and the
statements that PostgreSQL saw while it was polled.
"""

import argparse
import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, cast
from uuid import UUID

import asyncpg
import orjson
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from daemon.dev.embedded import embedded_postgres
from daemon.migrate import migrate

CONNECTIONS = 64
NOWHERE = "127.0.0.1:1"  # Kafka and SMTP are not what is measured, and polls do not need them

SEED = """
WITH shops AS (
    INSERT INTO stores (code, name, timezone, country, created_at, updated_at)
    SELECT 'S' || n, 'Store ' || n, 'Europe/Berlin', 'DE', now(), now() FROM generate_series(1, 100) n RETURNING id
), placed AS (
    INSERT INTO devices (store_id, name, created_at, updated_at)
    SELECT id, 'till ' || n, now(), now() FROM shops, generate_series(1, {each}) n RETURNING id
), marked AS (INSERT INTO marks (kind, marked_at) VALUES ('network', now()))
SELECT id FROM placed"""
TOKENS = """
INSERT INTO device_tokens (token_sha256, device_id, created_at, first_used_at)
SELECT token, device, now(), now() FROM unnest($1::bytea[], $2::uuid[]) AS t (token, device)"""
# What the database ran for the daemon's polls would show here: rows touched in these tables by any statement.
TOUCHED = """
SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::bigint FROM pg_stat_user_tables
WHERE relname IN ('screens', 'device_tokens', 'playlists', 'devices', 'grants')"""

BARE = """
import uvloop
from aiohttp import web

async def main():
    async def unchanged(request):
        return web.Response(status=304, headers={"ETag": '"bare"'})
    app = web.Application()
    app.router.add_get("/v1/devices/{id}/playlist", unchanged)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await __import__("asyncio").Event().wait()

uvloop.run(main())
"""


class Screen(NamedTuple):
    """A device and its token."""

    device_id: UUID
    token: str


class Client(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the one before has come."""

    def __init__(self, requests: list[bytes], expected: bytes) -> None:
        self._requests, self._expected = deque(requests), expected
        self._asked: deque[float] = deque()
        self._rest = b""
        self.running = self.paced = False
        self.answers = 0
        self.latencies: list[float] = []
        self.failure = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        self._asked.append(time.perf_counter())
        self.transport.write(self._requests[0])
        self._requests.rotate(-1)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        heads = data.split(b"\r\n\r\n")
        self._rest = heads.pop()
        for head in heads:
            if not head.startswith(self._expected):
                self.failure = head.decode(errors="replace")
            self.answers += 1
            self.latencies.append(time.perf_counter() - self._asked.popleft())
            if self.running and not self.paced:
                self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self.running:
            self.failure = f"connection lost: {error}"


@asynccontextmanager
async def connected(port: int, requests: list[bytes], expected: bytes) -> AsyncIterator[list[Client]]:
    """The same connections for a whole measurement; each asks for its own share of the screens."""
    loop, clients = asyncio.get_running_loop(), []
    for number in range(CONNECTIONS):
        own = requests[number::CONNECTIONS] or requests
        _, client = await loop.create_connection(partial(Client, own, expected), "127.0.0.1", port)
        clients.append(client)
    try:
        yield clients
    finally:
        for client in clients:
            client.running = False
            client.transport.close()
    if failure := next((client.failure for client in clients if client.failure), ""):
        raise SystemExit(f"unexpected answer: {failure}")


class Round(NamedTuple):
    """Requests a second, and what one cost the server's process in microseconds of CPU."""

    rate: float
    cpu_us: float


async def full_speed(clients: list[Client], pid: int, seconds: float) -> Round:
    """Every connection busy all the time."""
    for client in clients:
        client.answers, client.running, client.paced = 0, True, False
        client.ask()
    began, used = time.perf_counter(), cpu_seconds(pid)
    await asyncio.sleep(seconds)
    answers, passed, used = sum(c.answers for c in clients), time.perf_counter() - began, cpu_seconds(pid) - used
    for client in clients:
        client.running = False
    await asyncio.sleep(0.2)
    return Round(answers / passed, used / answers * 1e6)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def at_rate(clients: list[Client], rate: float, seconds: float) -> list[float]:
    """Latencies in seconds, sorted, at an even rate that does not wait for answers."""
    for client in clients:
        client.running, client.paced = True, True
        client.latencies.clear()
    began, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        while sent < passed * rate:
            clients[sent % len(clients)].ask()
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(1)
    return sorted(latency for client in clients for latency in client.latencies)


@asynccontextmanager
async def process(*arguments: str, environ: dict[str, str] | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child of ours that speaks on its standard output; ended with the block."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**os.environ, **(environ or {})},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()
        await child.wait()


@asynccontextmanager
async def daemon(url: str) -> AsyncIterator[tuple[int, int]]:
    """The port and the process of a whole daemon on that database."""
    environ = {
        "SIGNAGED_DATABASE__URL": url,
        "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": NOWHERE,
        "SIGNAGED_SMTP__URL": f"smtp://{NOWHERE}",
        "SIGNAGED_HTTP__LISTEN": "127.0.0.1:0",
        "SIGNAGED_OPS__LISTEN": "127.0.0.1:0",
    }
    async with process("-m", "daemon", "run", environ=environ) as child:
        assert child.stderr is not None
        while line := await child.stderr.readline():
            told = orjson.loads(line)
            if told["event"] == "listening" and told["listener"] == "http":
                reader = asyncio.create_task(drained_of(child.stderr))
                yield int(told["address"].rpartition(":")[2]), child.pid
                reader.cancel()
                return
        raise SystemExit("the daemon ended before it listened")


async def drained_of(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass


async def seeded(url: str, each: int) -> list[Screen]:
    """A network of 100 stores whose screens are all enrolled."""
    connection = await asyncpg.connect(url)
    ids = [row["id"] for row in await connection.fetch(SEED.format(each=each))]
    screens = [Screen(UUID(str(device)), secrets.token_urlsafe(32)) for device in ids]
    await connection.execute(TOKENS, [sha256(screen.token.encode()).digest() for screen in screens], ids)
    await connection.close()
    return screens


async def polls_of(url: str, screens: list[Screen]) -> list[bytes]:
    """The requests of screens that have what they are given, once all have a playlist."""
    connection = await asyncpg.connect(url)
    while await connection.fetchval("SELECT count(*) FROM screens") < len(screens):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.2)
    digests = {row["device_id"]: row["digest"] for row in await connection.fetch("SELECT * FROM screens")}
    await connection.close()
    await asyncio.sleep(1.5)  # until every instance has taken them in
    return [
        f"GET /v1/devices/{device}/playlist HTTP/1.1\r\nHost: signaged\r\nAuthorization: Bearer {token}\r\n"
        f'Accept-Encoding: gzip, br\r\nIf-None-Match: "{digests[device]}"\r\n\r\n'.encode()
        for device, token in screens
    ]


async def touched(url: str) -> int:
    connection = await asyncpg.connect(url)
    await asyncio.sleep(1.5)  # the server writes its statistics once a second
    count: int = await connection.fetchval(TOUCHED)
    await connection.close()
    return count


async def measured(url: str, each: int, rounds: int, seconds: float) -> None:
    """Seed, measure by turns, print."""
    await migrate(url)
    screens = await seeded(url, each)
    async with daemon(url) as (port, pid), process("-c", BARE) as bare:
        assert bare.stdout is not None
        bare_port = int(await bare.stdout.readline())
        requests = await polls_of(url, screens)
        ours: list[Round] = []
        theirs: list[Round] = []
        async with (
            connected(port, requests, b"HTTP/1.1 304") as clients,
            connected(bare_port, requests, b"HTTP/1.1 304") as bare_clients,
        ):
            for number in range(rounds + 1):
                their_round = await full_speed(bare_clients, bare.pid, seconds)
                our_round = await full_speed(clients, pid, seconds)
                if number:  # the first warms caches and code
                    theirs.append(their_round)
                    ours.append(our_round)
            idle = await touched(url)
            await asyncio.sleep(seconds)
            idle = await touched(url) - idle
            busy = await touched(url)
            latencies = await at_rate(clients, statistics.median(one.rate for one in theirs) / 2, seconds)
            busy = await touched(url) - busy
    _print(ours, theirs, latencies, len(screens))
    print(f"\nLooks into tables of screens, tokens and playlists in {seconds:g} s: {idle} idle, {busy} while polled.")


def _print(ours: list[Round], theirs: list[Round], latencies: list[float], devices: int) -> None:
    ratios = sorted(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))
    costs = sorted(b.cpu_us / a.cpu_us for a, b in zip(ours, theirs, strict=True))
    p50, p99 = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    print(f"\n{devices:,} devices over {CONNECTIONS} connections, medians of {len(ours)} rounds\n")
    print("| Unchanged polls | signaged | bare aiohttp | ratio of medians (worst, best round) |")
    print("|---|---:|---:|---:|")
    for name, values, goal in (("requests/s", "rate", ratios), ("CPU a request, \u00b5s", "cpu_us", costs)):
        a, b = (statistics.median(getattr(one, values) for one in rounds) for rounds in (ours, theirs))
        ratio = a / b if values == "rate" else b / a
        print(f"| {name} | {a:,.0f} | {b:,.0f} | **{ratio:.2f}** ({goal[0]:.2f}, {goal[-1]:.2f}) |")
    print(f"| at half of bare: p50, p99 | {p50 * 1000:.1f} ms, {p99 * 1000:.1f} ms | | |")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=30, help="devices in each of 100 stores")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count, after one that does not")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options = parser.parse_args()
    if url := os.environ.get("SIGNAGED_TEST_DATABASE_URL"):
        await measured(url, options.each, options.rounds, options.seconds)
        return
    with tempfile.TemporaryDirectory(prefix="signaged-bench-") as folder:
        async with embedded_postgres(Path(folder) / "postgres") as url:
            await measured(url, options.each, options.rounds, options.seconds)


if __name__ == "__main__":
    uvloop.run(main())
