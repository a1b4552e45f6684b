"""A tenant who books over HTTP and a screen that plays what it booked, both while daemons die under them.

What was answered is what must be found afterwards: every call is repeated under its Idempotency-Key until it is.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import aiohttp

from tests.torture.history import Expected
from tests.whole.daemons import Api, Daemon, created_token
from tests.whole.network import Json, Network, micros
from tests.whole.player import Player, rfc3339

FUNDED = "1000000.00"
BUDGET, MORE = "200.00", "60.00"
MOST = 40  # campaigns; the tenant's limit is higher
PATIENCE = 900  # tries of a call, five a second
HOURS = 2.0


@dataclass
class Booking:
    """What was answered: money in micros."""

    budget: int
    cancelled: bool = False


@dataclass
class Customer:
    """One tenant with one screen; `daemons` are whom both ask."""

    session: aiohttp.ClientSession
    daemons: Sequence[Daemon]
    network: Network = field(default_factory=Network)
    bookings: dict[str, Booking] = field(default_factory=dict)
    tenant: Json = field(default_factory=dict)
    player: Player | None = None
    chance: random.Random = field(default_factory=lambda: random.Random(5))

    def api(self, token: str) -> Api:
        api = Api(self.session, [daemon.url for daemon in self.daemons], token)
        api.tries = PATIENCE
        return api

    async def open(self) -> Player:
        """Become a tenant with money, a creative and a screen."""
        admin = self.api(await asyncio.to_thread(created_token, self.daemons[0].config))
        self.tenant = await self.network.add_tenant(admin, "Night Shop", "Europe/Berlin", FUNDED)
        store = await self.network.add_store(
            admin, {"code": "live", "name": "Live", "timezone": "Europe/Berlin", "tags": ["live"]}
        )
        screen = {"store_id": store, "name": "door", "slots_per_hour": 360, "cpm": "1000.00"}
        device, code = await self.network.add_device(admin, screen)
        await self.network.add_creative(self.api(self.tenant["token"]), "spot", 1000)
        self.player = Player(self.session, [daemon.url for daemon in self.daemons], device)
        self.player.tries = PATIENCE
        await self.player.activate(code)
        return self.player

    @asynccontextmanager
    async def shopping(self) -> AsyncIterator[None]:
        """Book, change one's mind and play inside the block; all calls are answered at its end."""
        assert self.player is not None, "never opened"
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._shop(enough))
            tasks.create_task(self.player.live(enough, every=1.0))
            try:
                yield
            finally:
                enough.set()

    async def _shop(self, enough: asyncio.Event) -> None:
        api = self.api(self.tenant["token"])
        while not enough.is_set():
            if len(self.bookings) < MOST:
                await self.book(api)
            await self.reconsider(api, self.chance.choice(list(self.bookings)))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await enough.wait()

    async def book(self, api: Api) -> None:
        starts = round(time.time() + 3, 3)
        times = {"start_at": rfc3339(starts), "end_at": rfc3339(starts + 3600 * HOURS)}
        parts = {"creatives": list(self.network.creatives)[:2], "target": {"include_tags": ["live"]}}
        body = {"name": f"Night {len(self.bookings)}", "budget": BUDGET, **parts, **times}
        booked = await self.network.book(api, body, starts, starts + 3600 * HOURS)
        self.bookings[booked["id"]] = Booking(micros(BUDGET))

    async def reconsider(self, api: Api, one: str) -> None:
        """Pay more for a campaign, pause it for a moment, cancel it, or bring another creative."""
        booking, path = self.bookings[one], f"/v1/campaigns/{one}"
        now = await api("GET", path)
        if booking.cancelled:
            assert now["status"] == "CANCELLED", now
            return
        deed = self.chance.choice(("topup", "pause", "cancel", "upload", "nothing", "nothing"))
        if deed == "upload":
            await self.network.add_creative(api, "another spot", 1000)
        if deed == "topup":
            await api("POST", f"{path}/topup", {"amount": MORE})
            booking.budget += micros(MORE)
        if deed == "pause" and now["status"] == "ACTIVE":
            await api("POST", f"{path}/pause")
            await api("POST", f"{path}/resume")
        if deed == "cancel" and now["distributed_at"]:  # else it would be settled at once
            await api("POST", f"{path}/cancel")
            booking.cancelled = True

    def model(self) -> dict[UUID, Expected]:
        """What must be found of every booking: its money, wherever its life has brought it."""
        if not self.tenant:
            return {}
        tenant = UUID(self.tenant["id"])
        return {
            UUID(one): Expected(tenant, None, 0, booking.budget, 0, None, spent=None)
            for one, booking in self.bookings.items()
        }

    def funded(self) -> dict[UUID, int]:
        return {UUID(self.tenant["id"]): micros(FUNDED)} if self.tenant else {}

    def summary(self) -> str:
        verdicts = Counter(result["verdict"] for result, _ in self.player.verdicts.values()) if self.player else {}
        return f"{len(self.bookings)} booked over HTTP, plays: {dict(verdicts)}"
