"""Three daemons on one database, killed again and again at their worst moments while campaigns fall due in bursts.

Deaths come from inside, at named failpoints, and from outside at any moment; PostgreSQL is ended at once and the way
to the broker cut. What is left is read as a history.
"""

import asyncio
import json
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from daemon.dev.embedded import embedded_kafka
from daemon.dev.mailbox import Mailbox, mailbox
from daemon.failpoints import NAMES, VARIABLE
from tests.conftest import connected
from tests.gate import Gate, gate_to
from tests.torture.customer import Customer
from tests.torture.history import History, Model
from tests.torture.plan import Plan, ground
from tests.torture.reading import read
from tests.whole.daemons import Daemon, environment, free_port
from tests.whole.postgres import Postgres

DAEMONS = 3
FUNDED_MICROS = 10**15
SMTP_TIMEOUT = 2.0  # a killed daemon's claim on a mail ends five seconds later
SHORTEST, LONGEST = 0.1, 6.0  # seconds that a daemon serves that meets no failpoint
UNBORN, LONGEST_BIRTH = 0.15, 30.0  # share of those that die before they serve, and seconds until each would
TRAPS, LATEST_PASS = 5, 3  # that kill, armed in each life, and at which pass at the latest one springs
AHEAD = timedelta(seconds=1.5)  # from the writing of a burst to its instant
OUTAGE = 4.0  # seconds without a broker
QUIET = 300.0  # seconds until all is done that was due
POINTS = sorted(name for name in NAMES if not name.startswith("migrate."))
# where an error is one that the daemon must live with; elsewhere its caller is told, or a loop ends and with it all
SOFT = ("tick.", "step.", "planner.", "relay.sent", "relay.acked")

UNDONE = """
SELECT split_part(name, ' ', 1) AS kind, count(*) FROM campaigns
WHERE created_by = 'tests' AND CASE split_part(name, ' ', 1)
    WHEN 'starting' THEN status <> 'ACTIVE'
    WHEN 'ending' THEN status <> 'COMPLETED'
    WHEN 'living' THEN status <> 'COMPLETED'
    WHEN 'distributing' THEN distributed_at IS NULL
    WHEN 'moving' THEN tzdata_version = '2020.1'
    ELSE settled_at IS NULL END
GROUP BY 1"""
WAITING = """
SELECT (SELECT count(*) FROM outbox) AS messages,
       (SELECT count(*) FROM mails WHERE sent_at IS NULL) AS mails"""


class Size(NamedTuple):
    """How much of a storm: kills, campaigns in so many bursts, and at which shares of the kills servers go.

    PostgreSQL is ended, the way to the broker shut, or a black hole; `seed` is that of the traps and of their victims.
    """

    rounds: int
    campaigns: int
    bursts: int
    crashes: tuple[float, ...] = ()
    cuts: tuple[float, ...] = ()
    holes: tuple[float, ...] = ()
    seed: int = 11


@dataclass
class Servers:
    """What the daemons lean on; Kafka is reached through the gate alone."""

    postgres: Postgres
    gate: Gate
    box: Mailbox
    topic: str = field(default_factory=lambda: f"torture-{secrets.token_hex(4)}")

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.gate.port}"

    def sections(self) -> dict[str, dict[str, Any]]:
        return {
            "database": {"url": self.postgres.url, "pool_size": 6},
            "kafka": {
                "bootstrap_servers": self.bootstrap,
                "topic": self.topic,
                "devices_topic": f"{self.topic}.devices",
                "request_timeout": 5,
            },
            "smtp": {"url": self.box.url, "timeout": SMTP_TIMEOUT},
            "notices": {"digest_above": 1_000_000},
            "plays": {"settle_after": 3600},
            "devices": {"poll_after": 2, "heartbeat": 5},
        }


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[Servers]:
    """A PostgreSQL that forgets nothing, a broker behind a gate, and a mailbox."""
    async with AsyncExitStack() as stack:
        postgres = Postgres(folder / "postgres")
        await postgres.start()
        stack.push_async_callback(postgres.stop)
        kafka = free_port()
        gate = await stack.enter_async_context(gate_to("127.0.0.1", kafka))
        await stack.enter_async_context(embedded_kafka(kafka, f"127.0.0.1:{gate.port}"))
        yield Servers(postgres, gate, await stack.enter_async_context(mailbox()))


@dataclass
class Storm:
    """One storm: its daemons, what was planned for them, and how each of them died."""

    servers: Servers
    daemons: list[Daemon]
    plan: Plan
    customer: Customer
    size: Size
    tell: Callable[[str], None]
    chance: random.Random = field(init=False)
    before: int = 0  # kills before it blew
    kills: int = 0
    deaths: Counter[str] = field(default_factory=Counter)  # by failpoint, or by signal
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)  # a burst must not lose its server
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Draw by the seed."""
        self.chance = random.Random(self.size.seed)

    async def blow(self) -> None:
        """Kill until the rounds are over and every burst is written; then let all daemons live."""
        over = asyncio.Event()
        async with self.customer.shopping():
            async with asyncio.TaskGroup() as lives:
                for daemon in self.daemons:
                    lives.create_task(self._live(daemon, over))
                async with asyncio.TaskGroup() as deeds:
                    deeds.create_task(self.feed())
                    for share in self.size.crashes:
                        deeds.create_task(self._at(share, self._crash))
                    for share in self.size.cuts:
                        deeds.create_task(self._at(share, self._cut))
                    for share in self.size.holes:
                        deeds.create_task(self._at(share, self._swallow))
                    deeds.create_task(self._reached(1))
                over.set()
            self.revive()

    def revive(self) -> None:
        """Start the dead daemons, unarmed."""
        for daemon in self.daemons:
            if daemon.process is None or daemon.process.poll() is not None:
                daemon.start()

    async def calm(self) -> None:
        """Wait until nothing is due, to be told or to be mailed, then end all daemons in order."""
        while True:
            await self.done()
            for daemon in self.daemons:
                assert await daemon.stop() == 0, daemon.last_words()
            if not await self._left():  # a minute's tick may have told something new meanwhile
                return

    async def done(self) -> None:
        """Wait until nothing is left to do; who dies meanwhile is started again, unarmed."""
        ends = time.monotonic() + QUIET
        while left := await self._left():
            assert time.monotonic() < ends, f"not done within {QUIET} s: {left}"
            self.revive()
            await asyncio.sleep(0.2)

    async def history(self) -> History:
        """All that is left."""
        async with connected(self.servers.postgres.url) as tx:
            history = await read(tx, self.servers.bootstrap, self.servers.topic, self.servers.box.messages)
        history.funded = {tenant: FUNDED_MICROS for tenant, _ in self.plan.ground.tenants} | self.customer.funded()
        history.kills = self.before + self.kills
        return history

    def model(self) -> Model:
        """What must be left."""
        return self.plan.model() | self.customer.model()

    async def _live(self, daemon: Daemon, over: asyncio.Event) -> None:
        """Life after life of one daemon, each ended by a failpoint or, where it meets none, from outside."""
        while not over.is_set():
            daemon.start({VARIABLE: ",".join(self._traps())})
            if self.chance.random() > UNBORN:
                await self._while_alive(daemon, LONGEST_BIRTH, over, until_ready=True)
            await self._while_alive(daemon, self.chance.uniform(SHORTEST, LONGEST), over)
            if daemon.running.poll() is None:
                await daemon.kill()
                self.deaths["(signal)"] += 1
            else:
                self.deaths[died_at(daemon)] += 1
            assert daemon.running.returncode == -signal.SIGKILL, daemon.last_words()
            self.kills += 1

    async def _while_alive(
        self, daemon: Daemon, seconds: float, over: asyncio.Event, *, until_ready: bool = False
    ) -> None:
        ends = time.monotonic() + seconds
        while daemon.running.poll() is None and time.monotonic() < ends and not over.is_set():
            if until_ready and await daemon.probe(self.customer.session, "readyz") == 200:
                return
            await asyncio.sleep(0.05)

    def _traps(self) -> list[str]:
        """What to arm in a life: where the fewest have died, and for a second or an error where any may pass."""
        rare = sorted(POINTS, key=lambda name: (self.deaths[name], self.chance.random()))[:TRAPS]
        gentle = self.chance.choice([name for name in POINTS if name not in rare])
        action = "error" if gentle.startswith(SOFT) else "sleep(1)"
        traps = [*((name, "kill") for name in rare), (gentle, action)]
        return [f"{name}={action}@{self.chance.randint(1, LATEST_PASS)}" for name, action in traps]

    async def feed(self) -> None:
        """Write the bursts, each when its share of the kills is reached."""
        size = self.size
        for number in range(size.bursts):
            await self._reached(number / size.bursts)
            async with self.writing, connected(self.servers.postgres.url) as tx, tx.transaction():
                now: datetime = await tx.fetchval("SELECT clock_timestamp()")
                await self.plan.burst(tx, size.campaigns // size.bursts, now + AHEAD)
            seconds = time.monotonic() - self.began
            self.tell(f"{seconds:5.0f} s: {len(self.plan.campaigns):,} campaigns, {self.kills} kills")

    async def _at(self, share: float, deed: Callable[[], Awaitable[None]]) -> None:
        await self._reached(share)
        await deed()

    async def _reached(self, share: float) -> None:
        while self.kills < share * self.size.rounds:  # noqa: ASYNC110 - deaths set no event
            await asyncio.sleep(0.05)

    async def _crash(self) -> None:
        async with self.writing:
            await self.servers.postgres.crash(signal.SIGQUIT)
            await self.servers.postgres.start()
        self.tell("       PostgreSQL ended at once and is back")

    async def _cut(self) -> None:
        self.servers.gate.shut()
        await asyncio.sleep(OUTAGE)
        self.servers.gate.open()
        self.tell("       the broker was away and is back")

    async def _swallow(self) -> None:
        self.servers.gate.freeze()
        await asyncio.sleep(OUTAGE)
        self.servers.gate.open()
        self.tell("       the broker was silent and answers again")

    async def _left(self) -> dict[str, int]:
        """What is still to be done, by what it is."""
        async with connected(self.servers.postgres.url) as tx:
            waiting = await tx.fetchrow(WAITING)
            due = await tx.fetch(UNDONE)
        left = {**dict(waiting or ()), **{row["kind"]: row["count"] for row in due}}
        return {what: count for what, count in left.items() if count}


@asynccontextmanager
async def storm(folder: Path, size: Size, tell: Callable[[str], None]) -> AsyncIterator[Storm]:
    """A storm about to blow: servers up, the schema there, tenants with money, daemons not yet started."""
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(servers(folder))
        daemons = [Daemon(folder, ours.sections(), f"daemon-{number}") for number in range(DAEMONS)]
        for daemon in daemons:
            stack.push_async_callback(daemon.end)
        killed = await migrated(daemons[0])
        async with connected(ours.postgres.url) as tx, tx.transaction():
            now = await tx.fetchval("SELECT clock_timestamp()")
            there = await ground(tx, max(20, size.campaigns // 50), 20, FUNDED_MICROS, now)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        customer = Customer(session, daemons)
        daemons[0].start()
        await customer.open()
        await daemons[0].kill()
        yield Storm(ours, daemons, Plan(there), customer, size, tell, before=killed + 1)


async def migrated(daemon: Daemon) -> int:
    """Migrate the way it may go worst: killed before the first commit, then after it; how often."""
    traps = ("migrate.before_commit=kill@1", "migrate.after_commit=kill@1", "")
    for trap in traps:
        process = await asyncio.create_subprocess_exec(
            *daemon.program, "migrate", "--config", str(daemon.config), env=environment() | {VARIABLE: trap},
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await process.wait() == (-signal.SIGKILL if trap else 0)
    return len(traps) - 1


def died_at(daemon: Daemon) -> str:
    """The failpoint that a daemon said it died at."""
    with daemon.log.open("rb") as log:
        log.seek(-min(600, log.seek(0, os.SEEK_END)), os.SEEK_END)
        last = log.read().splitlines()[-1]
    told = json.loads(last)
    assert (told["event"], told["action"]) == ("failpoint", "kill"), daemon.last_words()  # and nobody outlives it
    return str(told["name"])


def summary(storm: Storm, history: History) -> str:
    """What a storm was, in lines."""
    seconds = time.monotonic() - storm.began
    events = Counter(json.loads(record.value)["id"] for record in history.records)
    letters = Counter(letter.message_id for letter in history.letters)
    deaths = ", ".join(f"{name} {count}" for name, count in sorted(storm.deaths.items()))
    return (
        f"{storm.kills} kills, {len(storm.plan.campaigns):,} campaigns due, {len(history.log):,} transitions,"
        f" {len(events):,} messages ({len(history.records) - len(events):,} repeats), {len(letters):,} mails"
        f" ({len(history.letters) - len(letters)} repeats) in {seconds:.0f} s:"
        f" {len(storm.plan.campaigns) / seconds:,.0f} due/s\n  {storm.customer.summary()}\n  deaths: {deaths}"
    )
