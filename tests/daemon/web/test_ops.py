"""Probes and scrapes on the real listener."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from config.settings import Address
from daemon.app import serve
from daemon.metrics import Metrics
from daemon.watchdog import Heartbeats
from daemon.web import ops
from daemon.web.guard import Limits

SOON = timedelta(seconds=10)
LIMITS = Limits(SOON, SOON, SOON, connections=100)


@dataclass
class Listener:
    """The ops listener, and what its answers are made of."""

    session: aiohttp.ClientSession
    url: str
    metrics: Metrics
    heartbeats: Heartbeats
    facts: dict[str, bool] = field(default_factory=dict)

    async def get(self, path: str) -> tuple[int, dict[str, object]]:
        async with self.session.get(self.url + path) as response:
            return response.status, await response.json()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    registry, facts = CollectorRegistry(), {"database": True, "schema": True}
    metrics, heartbeats = Metrics.create(registry), Heartbeats()
    conditions = {name: lambda name=name: facts[name] for name in facts}
    app = ops.application(ops.Probes(registry, metrics, heartbeats, conditions))
    async with (
        serve("ops", app, Address("127.0.0.1", 0), LIMITS) as address,
        aiohttp.ClientSession() as session,
    ):
        yield Listener(session, f"http://{address}", metrics, heartbeats, facts)


async def test_livez_asks_the_loops_and_no_dependency(listener: Listener) -> None:
    listener.facts["database"] = False
    assert await listener.get("/livez") == (200, {"status": "ok", "stale": []})
    listener.heartbeats.register("ticker", -1.0)()
    listener.heartbeats.register("not begun yet", -1.0)
    assert await listener.get("/livez") == (503, {"status": "stale", "stale": ["ticker"]})


async def test_readyz_needs_the_database_and_is_degraded_by_others(listener: Listener) -> None:
    assert (await listener.get("/readyz"))[0] == 200
    listener.metrics.note("kafka", up=False)
    status, told = await listener.get("/readyz")
    assert (status, told["status"]) == (200, "degraded")
    assert told["components"] == {"database": "unknown", "kafka": "down", "smtp": "unknown"}
    listener.facts["schema"] = False
    status, told = await listener.get("/readyz")
    assert (status, told["status"], told["checks"]) == (503, "unready", {"database": True, "schema": False})


async def test_metrics_count_their_own_readers(listener: Listener) -> None:
    await listener.get("/livez")
    async with listener.session.get(listener.url + "/metrics") as response:
        text = await response.text()
        assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert 'signaged_http_requests_total{code="200",listener="ops",method="GET",route="/livez"} 1.0' in text


async def test_metrics_speak_openmetrics_to_who_asks(listener: Listener) -> None:
    wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with listener.session.get(listener.url + "/metrics", headers=wanted) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await response.text()).endswith("# EOF\n")
