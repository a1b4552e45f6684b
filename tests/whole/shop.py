"""One shop on one daemon: the smallest network that a campaign can live through."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer

from tests.events import read as read_event
from tests.whole import checks
from tests.whole.daemons import Api, Daemon, created_token, signaged
from tests.whole.network import Network
from tests.whole.player import Player, rfc3339

Json = dict[str, Any]
FUNDED = "5000.00"


@dataclass
class Shop:
    """One tenant, one screen and one creative on one daemon, and what was booked there."""

    session: aiohttp.ClientSession
    daemon: Daemon
    network: Network = field(default_factory=Network)
    tenant: Json = field(default_factory=dict)
    player: Player = field(init=False)

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
        self.player = player
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


async def is_planned(player: Player, campaigns: set[str]) -> bool:
    await player.poll()
    return campaigns <= {one["campaign_id"] for one in player.body.creatives}


async def is_status(shop: Shop, campaign_id: str, status: str) -> bool:
    return await shop.status(campaign_id) == status


async def is_settled(shop: Shop, count: int) -> bool:
    return sum(bool(one["settled_at"]) for one in await shop.api.every("/v1/campaigns")) == count
