"""A caller of the real API over HTTP, and short ways to the things that tests begin with."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

from aiohttp import ClientSession, web
from multidict import CIMultiDict
from prometheus_client import CollectorRegistry

from daemon.campaigns.draft import BookingLimits
from daemon.web.operations import Platform
from tests.daemon.web import promises
from tests.doubles import FakeClock

UNIT = 1_000_000
PNG = b"\x89PNG not really, but these are bytes like others" * 40


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: CIMultiDict[str]
    body: Any
    raw: bytes

    @property
    def kind(self) -> str:
        """What a problem is, without its prefix."""
        return str(self.body["type"]).removeprefix("urn:signaged:")

    @property
    def fields(self) -> dict[str, str]:
        return {error["field"]: error["message"] for error in self.body.get("errors", [])}


@dataclass(slots=True)
class Api:
    """A caller of the API, and what it stands on."""

    url: str
    session: ClientSession
    app: web.Application
    platform: Platform
    clock: FakeClock
    registry: CollectorRegistry
    admin: str = ""
    operator: str = ""
    woken: list[int] = field(default_factory=list)
    made: int = 0

    async def call(self, method: str, path: str, token: str | None = None, **request: Any) -> Answer:
        headers = dict(request.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, self.url + path, headers=headers, **request) as response:
            raw = await response.read()
        kind = response.headers.get("Content-Type", "")
        told = json.loads(raw) if raw and "json" in kind else None
        promises.check(method, path, response.status, kind, told)
        return Answer(response.status, response.headers.copy(), told, raw)

    async def ok(self, method: str, path: str, token: str | None = None, **request: Any) -> Any:
        answer = await self.call(method, path, token or self.admin, **request)
        assert answer.status < 300, (method, path, answer.status, answer.raw)
        return answer.body

    async def tenant(self, funds: str | None = "10000.00", **more: Any) -> tuple[str, str]:
        """A tenant's id and an advertiser's token."""
        self.made += 1
        body = {"name": f"Tenant {self.made}", "currency": "EUR", "timezone": "Europe/Berlin", "email": "a@b.example"}
        tenant = (await self.ok("POST", "/v1/tenants", json={**body, **more}))["id"]
        if funds:
            await self.ok("POST", f"/v1/tenants/{tenant}/deposits", json={"amount": funds, "reference": "wire"})
        made = await self.ok("POST", f"/v1/tenants/{tenant}/tokens", json={"role": "advertiser"})
        return tenant, made["token"]

    async def screens(self, count: int = 1, **more: Any) -> list[str]:
        """So many devices in a new store."""
        self.made += 1
        store = {"code": f"S{self.made}", "name": "Shop", "timezone": "Europe/Berlin", "country": "DE"}
        store_id = (await self.ok("POST", "/v1/stores", json=store))["id"]
        devices = [{"store_id": store_id, "name": f"Screen {n}", **more} for n in range(count)]
        return [(await self.ok("POST", "/v1/devices", json=device))["id"] for device in devices]

    async def creative(self, token: str, content: bytes = PNG, **more: Any) -> str:
        """A creative whose media is stored."""
        body = {"name": "Spot", "sha256": sha256(content).hexdigest(), "size": len(content), "mime": "image/png"}
        made = await self.ok("POST", "/v1/creatives", token, json={**body, "duration_ms": 10_000, **more})
        await self.ok("PUT", f"/v1/creatives/{made['id']}/media", token, data=content)
        return str(made["id"])

    async def draft(self, token: str, creative: str, **more: Any) -> dict[str, Any]:
        """A campaign that only needs to be submitted: from 48 h ahead, for a day."""
        self.made += 1
        start = self.clock.now() + timedelta(hours=48)
        body = {
            "name": f"Campaign {self.made}",
            "channel": "signage",
            "start_at": start.isoformat(),
            "end_at": (start + timedelta(days=1)).isoformat(),
            "budget": "500.00",
            "creatives": [creative],
            "target": {},
        }
        made: dict[str, Any] = await self.ok("POST", "/v1/campaigns", token, json={**body, **more})
        return made


def limits() -> BookingLimits:
    return BookingLimits(
        min_lead=timedelta(days=1),
        max_lead=timedelta(days=365),
        max_duration=timedelta(days=365),
        min_budget=100 * UNIT,
        max_budget=1_000_000 * UNIT,
        min_topup=50 * UNIT,
        max_creatives=10,
        max_audience=1_000_000,
        settle_after=timedelta(minutes=5),
        distribution_lead=timedelta(days=1),
    )
