"""Servers that are absent, go and come back, and a daemon that is told to end or killed in the middle of its work."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from daemon.dev.embedded import embedded_kafka
from daemon.dev.mailbox import Mailbox, mailbox
from playlists.queries import Tx
from tests.events import read as read_event
from tests.whole import checks
from tests.whole.daemons import Api, Daemon, created_token, free_port, signaged, until
from tests.whole.network import Network
from tests.whole.player import Player, rfc3339
from tests.whole.postgres import Postgres

Json = dict[str, Any]
FUNDED = "5000.00"
SETTLE_AFTER = 1.0


@dataclass
class Shop:
    """One tenant, one screen and one creative on one daemon, and what was booked there."""

    session: aiohttp.ClientSession
    daemon: Daemon
    network: Network = field(default_factory=Network)
    tenant: Json = field(default_factory=dict)

    @property
    def api(self) -> Api:
        return Api(self.session, [self.daemon.url], self.tenant["token"])

    async def open(self) -> Player:
        admin = Api(self.session, [self.daemon.url], await asyncio.to_thread(created_token, self.daemon.config))
        self.tenant = await self.network.add_tenant(admin, "Night Shop", "Europe/Berlin", FUNDED)
        store_id = await self.network.add_store(admin, {"code": "one", "name": "The one", "timezone": "Europe/Berlin"})
        screen = {"store_id": store_id, "name": "door", "slots_per_hour": 360, "cpm": "1000.00"}
        device_id, code = await self.network.add_device(admin, screen)
        await self.network.add_creative(self.api, "spot", 1000)
        player = Player(self.session, [self.daemon.url], device_id)
        await player.activate(code)
        return player

    async def book(self, name: str, begins: float, seconds: float) -> str:
        """Book a campaign that begins so many seconds from now; its id."""
        starts = round(time.time() + begins, 3)
        times = {"start_at": rfc3339(starts), "end_at": rfc3339(starts + seconds)}
        body: Json = {
            "name": name,
            "budget": "100.00",
            "creatives": list(self.network.creatives),
            "target": {},
            **times,
        }
        booked = await self.network.book(self.api, body, starts, starts + seconds)
        return str(booked["id"])

    async def log(self, campaign_id: str) -> list[Json]:
        return sorted(await self.api.every(f"/v1/campaigns/{campaign_id}/transitions"), key=lambda row: row["sequence"])

    async def status(self, campaign_id: str) -> str:
        return str((await self.api("GET", f"/v1/campaigns/{campaign_id}"))["status"])

    async def check(self, *cancelled: str) -> None:
        """All went through its life once, and the money is right."""
        campaigns = await self.api.every("/v1/campaigns")
        for campaign in campaigns:
            checks.check_history(campaign, await self.log(campaign["id"]), cancelled=campaign["id"] in cancelled)
        checks.check_wallet(await self.api("GET", "/v1/wallet"), campaigns, FUNDED)
        proved = await asyncio.to_thread(signaged, self.daemon.config, "verify")
        assert proved.returncode == 0, proved.stdout + proved.stderr


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as opened:
        yield opened


@pytest.fixture
async def stoppable(tmp_path: Path) -> AsyncIterator[Postgres]:
    """Initialised and stopped."""
    server = Postgres(tmp_path / "postgres")
    await server.start()
    await server.stop()
    yield server
    await server.stop()


async def test_all_that_it_needs_comes_late_goes_and_comes_back(
    tmp_path: Path, stoppable: Postgres, session: aiohttp.ClientSession
) -> None:
    kafka, smtp, topic = free_port(), free_port(), f"faults-{secrets.token_hex(4)}"
    sections: Json = {
        "database": {"url": stoppable.url},
        "kafka": {"bootstrap_servers": f"127.0.0.1:{kafka}", "topic": topic},
        "smtp": {"url": f"smtp://127.0.0.1:{smtp}"},
        "plays": {"settle_after": SETTLE_AFTER},
    }
    async with running(tmp_path, sections) as daemon:
        await until(lambda: answers(session, daemon, 200, 503), 10)
        await stoppable.start()
        assert await daemon.ready(session, 10) < 5
        shop = Shop(session, daemon)
        player = await shop.open()
        before = await shop.book("starts before", 1.5, 60)
        during = await shop.book("starts while it is away", 6, 12)
        await until(lambda: is_planned(player, {before, during}), 5)
        await until(lambda: is_status(shop, before, "ACTIVE"), 5)
        await stoppable.crash()
        await until(lambda: answers(session, daemon, 200, 503), 5)
        assert (await player.poll()).status == 304, "a screen is served whatever the database does"
        await asyncio.sleep(max(0, shop.network.campaigns[during]["starts"] + 0.5 - time.time()))
        await stoppable.start()
        assert await daemon.ready(session, 10) < 5
        await until(lambda: is_status(shop, during, "ACTIVE"), 5)
        started = next(row for row in await shop.log(during) if row["type"] == "started")
        assert 500 <= started["lateness_ms"] < 10_000
        await shop.api("POST", f"/v1/campaigns/{before}/cancel")
        async with embedded_kafka(kafka) as bootstrap, mailbox(smtp) as box:
            await until(lambda: is_settled(shop, 2), 20)
            await shop.check(before)
            await told_late(shop, bootstrap, topic, box)
        assert await daemon.stop() == 0, daemon.last_words()


async def told_late(shop: Shop, bootstrap: str, topic: str, box: Mailbox) -> None:
    """What was held back while nobody took it is told, whole and in order."""
    campaigns = await shop.api.every("/v1/campaigns")
    logs = {one["id"]: await shop.log(one["id"]) for one in campaigns}
    events = await consumed(bootstrap, topic, sum(map(len, logs.values())))
    for campaign in campaigns:
        checks.check_events(campaign, logs[campaign["id"]], events)
    async with asyncio.timeout(20):
        mails = await box.until(3)
    kinds = sorted(str(mail.message["X-Signaged-Kind"]) for mail in mails)
    assert kinds == ["completed", "started", "started"]


async def test_told_to_end_in_mid_tick_with_nobody_answering_it_ends_in_order(
    tmp_path: Path, empty_database_url: str, session: aiohttp.ClientSession
) -> None:
    async with silent() as kafka, silent() as smtp:
        sections: Json = {
            "database": {"url": empty_database_url},
            "kafka": {"bootstrap_servers": f"127.0.0.1:{kafka}"},
            "smtp": {"url": f"smtp://127.0.0.1:{smtp}"},
            "plays": {"settle_after": 0},
        }
        async with running(tmp_path, sections) as daemon:
            await daemon.ready(session)
            shop = Shop(session, daemon)
            player = await shop.open()
            campaign = await shop.book("starts in the tick", 1, 11)
            await until(lambda: is_planned(player, {campaign}), 5)
            held = await asyncpg.connect(empty_database_url)
            async with held.transaction():
                await held.execute("SELECT FROM tenants FOR UPDATE")
                await until(lambda: waits_for_a_lock(held), 20)  # the tick, at its start
                began = time.monotonic()
                assert await daemon.stop() == 0, daemon.last_words()
                assert time.monotonic() - began < 20
            await held.close()
            daemon.start()
            assert await daemon.ready(session) < 10
            assert (await player.poll()).status == 304, "not the same playlist after a restart"
            await until(lambda: is_settled(shop, 1), 20)
            await shop.check()
            await daemon.kill()
            daemon.start()
            assert await daemon.ready(session) < 10
            assert (await player.poll()).status == 304
            await shop.check()


@asynccontextmanager
async def running(folder: Path, sections: Json) -> AsyncIterator[Daemon]:
    daemon = Daemon(folder, sections)
    try:
        daemon.start()
        yield daemon
    finally:
        await daemon.end()


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """The port of a server that takes every connection and never says a word."""
    kept: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)
        await reader.read()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in kept:
            writer.transport.abort()
        await server.wait_closed()


async def consumed(bootstrap: str, topic: str, count: int) -> list[checks.Event]:
    """So many records of a topic from its beginning."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", metadata_max_age_ms=500
    )
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            records = [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()
    return [
        checks.Event(one.partition, one.offset, one.key, read_event(one.key, one.value, one.headers)) for one in records
    ]


async def answers(session: aiohttp.ClientSession, daemon: Daemon, livez: int, readyz: int) -> bool:
    return (await daemon.probe(session, "livez"), await daemon.probe(session, "readyz")) == (livez, readyz)


async def is_planned(player: Player, campaigns: set[str]) -> bool:
    await player.poll()
    return campaigns <= {one["campaign_id"] for one in player.body.creatives}


async def is_status(shop: Shop, campaign_id: str, status: str) -> bool:
    return await shop.status(campaign_id) == status


async def is_settled(shop: Shop, count: int) -> bool:
    return sum(bool(one["settled_at"]) for one in await shop.api.every("/v1/campaigns")) == count


async def waits_for_a_lock(connection: Tx) -> bool:
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())"
    )
    return bool(await connection.fetchval(waiting))
