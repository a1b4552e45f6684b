"""The whole job as outsiders see it: three daemons on one database, one of them killed again and again.

Two hundred screens, forty campaigns that come and go, a Kafka consumer and a mail server of our own.
"""

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer

from daemon.dev.mailbox import Mailbox
from tests.events import read as read_event
from tests.whole import checks
from tests.whole.daemons import Api, Daemon, created_token, signaged, until
from tests.whole.network import EVERY_DAY, Network
from tests.whole.player import Body, Player, rfc3339

Json = dict[str, Any]
STORES, DEVICES, CAMPAIGNS, CANCELLED, DAEMONS = 50, 200, 40, 3, 3
FUNDED = "20000.00"
SETTLE_AFTER = 7.0
SMTP_TIMEOUT = 5
START_IN, SPREAD, SHORTEST, LONGEST = 25.0, 12, 25, 40  # seconds
ZONES = [
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Europe/Berlin",
    "Europe/London",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Africa/Cairo",
]
DAYPARTS: list[list[Json]] = [
    [],
    [{"days": EVERY_DAY, "from": "00:00", "to": "12:00"}, {"days": EVERY_DAY, "from": "12:00", "to": "24:00"}],
    [],
    [{"days": EVERY_DAY, "from": "06:00", "to": "22:00"}],
]


async def test_the_main_job_under_kills(
    tmp_path: Path, empty_database_url: str, kafka_bootstrap: str, smtp: Mailbox
) -> None:
    topic = f"whole-{secrets.token_hex(4)}"
    sections: Json = {
        "database": {"url": empty_database_url, "pool_size": 6},
        "kafka": {"bootstrap_servers": kafka_bootstrap, "topic": topic, "devices_topic": f"{topic}.devices"},
        "smtp": {"url": smtp.url, "timeout": SMTP_TIMEOUT},
        "plays": {"settle_after": SETTLE_AFTER},
        "devices": {"poll_after": 2, "heartbeat": 5},
    }
    daemons = [Daemon(tmp_path, sections, f"daemon-{number}") for number in range(DAEMONS)]
    events: list[checks.Event] = []
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(started(daemons))
        await stack.enter_async_context(consumed(kafka_bootstrap, topic, events))
        job = Job(session, daemons)
        await job.build(created_token(daemons[0].config))
        kills = await job.live()
        await asyncio.sleep(2)  # the last events

        async def mailed() -> bool:
            return checks.mails_owed(job.network, job.cancelled) <= set(checks.mails_by_kind(smtp.messages))

        await until(mailed, SMTP_TIMEOUT + 15)  # a killed daemon's claim on a mail lasts longer than sending may
        await job.check(events)
        checks.check_mails(smtp.messages, job.network, job.cancelled, kills=kills)
        proved = await asyncio.to_thread(signaged, daemons[0].config, "verify")
        assert proved.returncode == 0, proved.stdout + proved.stderr
        for daemon in daemons:
            assert await daemon.stop() == 0, daemon.last_words()


@asynccontextmanager
async def started(daemons: Sequence[Daemon]) -> AsyncIterator[aiohttp.ClientSession]:
    """All at once on an empty database; none is left running."""
    connector, timeout = aiohttp.TCPConnector(limit=400), aiohttp.ClientTimeout(total=15)
    async with AsyncExitStack() as stack, aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        for daemon in daemons:
            stack.push_async_callback(daemon.end)
            daemon.start()
        for daemon in daemons:
            await daemon.ready(session)
        yield session


@asynccontextmanager
async def consumed(bootstrap: str, topic: str, events: list[checks.Event]) -> AsyncIterator[None]:
    """Put what arrives on a topic into `events`."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", metadata_max_age_ms=1000
    )
    await consumer.start()

    async def consume() -> None:
        while True:
            record = await consumer.getone()
            said = read_event(record.key, record.value, record.headers)
            events.append(checks.Event(record.partition, record.offset, record.key, said))

    task = asyncio.create_task(consume())
    try:
        yield
    finally:
        task.cancel()
        await consumer.stop()


class Job:
    """The network, its screens and what was booked on it."""

    def __init__(self, session: aiohttp.ClientSession, daemons: Sequence[Daemon]) -> None:
        self.session, self.daemons = session, daemons
        self.urls = [daemon.url for daemon in daemons]
        self.network = Network()
        self.chance = random.Random(7)
        self.players: list[Player] = []
        self.tenants: dict[str, Api] = {}
        self.creatives: dict[str, list[str]] = {}
        self.cancelled: set[str] = set()
        self.begins = 0.0

    @property
    def over(self) -> float:
        return max(float(one["ends"]) for one in self.network.campaigns.values())

    async def build(self, token: str) -> None:
        admin = Api(self.session, self.urls, token)
        for name, zone in (("Nordmilch", "Europe/Berlin"), ("Cold Brew Co", "America/New_York")):
            tenant = await self.network.add_tenant(admin, name, zone, FUNDED)
            self.tenants[tenant["id"]] = Api(self.session, self.urls, tenant["token"])
        for number in range(STORES):
            await self.network.add_store(admin, self.store(number))
        stores = list(self.network.stores)
        devices = [self.device(number, stores[number % STORES]) for number in range(DEVICES)]
        enrolled = await asyncio.gather(*(self.network.add_device(admin, body) for body in devices))
        self.players = [Player(self.session, self.urls, device) for device, _ in enrolled]
        await asyncio.gather(*(p.activate(code) for p, (_, code) in zip(self.players, enrolled, strict=True)))
        for (tenant_id, api), number in itertools.product(self.tenants.items(), range(6)):
            more = {"keywords": ["sugar"]} if number == 5 else {}
            made = await self.network.add_creative(api, f"spot {number}", [5000, 8000, 10000][number % 3], **more)
            self.creatives.setdefault(tenant_id, []).append(made)
        self.begins = time.time() + START_IN
        for number in range(CAMPAIGNS):
            await self.book(number)

    def store(self, number: int) -> Json:
        hours = [{"days": EVERY_DAY, "from": "09:00", "to": "21:00"}] if number % 5 == 4 else []
        blocked = [{"brands": ["Fizz"]}, {"keywords": ["sugar"]}][number % 2] if number % 7 == 0 else {}
        return {
            "code": f"S{number:03}",
            "name": f"Store {number} of the test",
            "timezone": ZONES[number % len(ZONES)],
            "tags": self.chance.sample(["city", "mall", "station", "rural"], 2),
            "opening_hours": hours,
            "blocked": blocked,
        }

    def device(self, number: int, store_id: str) -> Json:
        return {
            "store_id": store_id,
            "name": f"screen {number}",
            "tags": ["entrance"] if number % 3 == 0 else ["aisle"],
            "slots_per_hour": self.chance.choice([360, 360, 180, 12]),
            "cpm": self.chance.choice(["5.00", "750.00", "60000.00"]),
        }

    async def book(self, number: int) -> None:
        tenant, api = list(self.tenants.items())[number % 2]
        starts = self.begins + self.chance.randrange(SPREAD)
        ends = starts + self.chance.randrange(SHORTEST, LONGEST)
        body = {
            "name": f"Campaign {number}",
            "start_at": rfc3339(starts),
            "end_at": rfc3339(ends),
            "budget": self.chance.choice(["100.00", "100.00", "500.00"]),
            "creatives": self.chance.sample(self.creatives[tenant], 1 + number % 2),
            "target": self.target(number % 5),
            "priority": 1 + number % 10,
            "dayparts": DAYPARTS[number % 4],
            **({"brand": "Fizz"} if number % 4 == 0 else {}),
        }
        await self.network.book(api, body, starts, ends)

    def target(self, number: int) -> Json:
        stores, devices = list(self.network.stores), list(self.network.devices)
        targets: list[Json] = [
            {},
            {"include_tags": ["mall"]},
            {"include_tags": ["entrance"], "exclude_tags": ["rural"]},
            {"stores": stores[:20], "devices": devices[30:35]},
            {"exclude_devices": devices[:5], "exclude_stores": stores[-3:]},
        ]
        return targets[number]

    async def live(self) -> int:
        """Let the screens live while campaigns come and go and daemons die; give the number of kills."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as fleet:
            for player in self.players:
                fleet.create_task(player.live(stop))
            await self.planned()
            kills = await self.under_kills()
            await asyncio.sleep(SETTLE_AFTER + 1)
            stop.set()
        return kills

    async def planned(self) -> None:
        """See that the screens hold what was booked, and nothing else."""
        await until(self.distributed, 10)
        while True:
            await asyncio.sleep(2)
            await asyncio.gather(*(player.poll() for player in self.players))
            try:
                checks.check_screens(self.network, self.players, random.Random(3), (time.time(), self.over))
                checks.check_sequences(self.network, self.players)
            except AssertionError:
                if time.time() > self.begins - 5:  # not even a slow machine takes that long
                    raise
            else:
                break
        assert time.time() < self.begins, "this machine was too slow to prove anything"

    async def distributed(self) -> bool:
        campaigns = [one for api in self.tenants.values() for one in await api.every("/v1/campaigns")]
        return all(one["distributed_at"] for one in campaigns)

    async def under_kills(self) -> int:
        """Kill and cancel until the last campaign has ended; give the number of kills."""
        gone: list[float] = []
        for kills in itertools.count(1):
            victim = self.daemons[kills % DAEMONS]
            await victim.kill()
            if len(gone) < CANCELLED and time.time() > self.begins + SPREAD + 2:
                gone.append(await self.cancel_one())
            await asyncio.sleep(self.chance.uniform(0.2, 1.0))
            victim.start()
            await victim.ready(self.session, 15)
            if time.time() > self.over:
                break
            await asyncio.sleep(self.chance.uniform(0.5, 2.5))
        assert len(gone) == CANCELLED
        assert min(gone) < 2, gone
        assert max(gone) < 6, gone  # a machine may be busy with other things at times
        return kills

    async def cancel_one(self) -> float:
        """Seconds until what is cancelled is gone from every poll, whoever has just died."""
        campaigns = [one for one in self.network.campaigns.values() if one["id"] not in self.cancelled]
        doomed = max(campaigns, key=lambda one: float(one["ends"]))
        await self.tenants[doomed["tenant"]]("POST", f"/v1/campaigns/{doomed['id']}/cancel", {"note": "recall"})
        self.cancelled.add(doomed["id"])
        said = time.monotonic()
        while True:
            asked = time.monotonic() - said
            bodies = [body for body in await asyncio.gather(*map(self.pulled, self.players[:40])) if body]
            if bodies and not any(one["campaign_id"] == doomed["id"] for body in bodies for one in body.creatives):
                return asked
            assert asked < 10
            await asyncio.sleep(0.1)

    async def pulled(self, player: Player) -> Body | None:
        """What one daemon, taken by chance, serves a screen just now; none if it is down."""
        url = f"{self.chance.choice(self.urls)}/v1/devices/{player.device_id}/playlist"
        with suppress(aiohttp.ClientError, OSError):
            async with self.session.get(url, headers={"Authorization": f"Bearer {player.token}"}) as reply:
                if reply.status == 200:
                    return Body(await reply.read())
        return None

    async def check(self, events: Sequence[checks.Event]) -> None:
        plays = checks.plays_of(self.players)
        assert sum(map(len, plays.values())) > 300
        exhausted = 0
        for tenant, api in self.tenants.items():
            campaigns = await api.every("/v1/campaigns")
            assert {one["id"] for one in campaigns} == {
                one["id"] for one in self.network.campaigns.values() if one["tenant"] == tenant
            }
            for campaign in campaigns:
                log = sorted(
                    await api.every(f"/v1/campaigns/{campaign['id']}/transitions"), key=lambda row: row["sequence"]
                )
                cancelled = campaign["id"] in self.cancelled
                exhausted += campaign["spent"] == campaign["budget"]
                checks.check_history(campaign, log, cancelled=cancelled)
                checks.check_verdicts(campaign, plays.get(campaign["id"], []), cancelled=cancelled)
                checks.check_money(campaign, self.network, plays.get(campaign["id"], []))
                checks.check_events(campaign, log, events)
            checks.check_wallet(await api("GET", "/v1/wallet"), campaigns, FUNDED)
        assert exhausted > 1, "too few to prove that a budget is never exceeded"
