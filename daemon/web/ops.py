"""The operator's listener on a port of its own: /livez, /readyz and /metrics."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from daemon.metrics import Metrics
from daemon.watchdog import Heartbeats

Check = Callable[[], bool]
WORDS = {True: "up", False: "down", None: "unknown"}


@dataclass(frozen=True, slots=True)
class Probes:
    """What the answers are made of; `conditions` must all hold before the daemon is ready for callers."""

    registry: CollectorRegistry
    metrics: Metrics
    heartbeats: Heartbeats
    conditions: Mapping[str, Check]


def application(probes: Probes) -> web.Application:
    """The ops listener as an aiohttp application (SPEC 13)."""
    app = web.Application()
    for path, answer in (("/livez", livez), ("/readyz", readyz), ("/metrics", scrape)):
        app.router.add_get(path, _counted(path, answer, probes))
    return app


def livez(probes: Probes, _: web.Request) -> web.Response:
    """200 while every loop beats; that it answers at all says that the event loop runs. No dependency is asked."""
    stale = probes.heartbeats.stale()
    return _json(503 if stale else 200, {"status": "stale" if stale else "ok", "stale": stale})


def readyz(probes: Probes, _: web.Request) -> web.Response:
    """200 when database and schema are there; a component that is down degrades the daemon, no more."""
    checks = {name: check() for name, check in probes.conditions.items()}
    components = {name: WORDS[up] for name, up in probes.metrics.components.items()}
    ready = all(checks.values())
    status = "unready" if not ready else "degraded" if "down" in components.values() else "ready"
    return _json(200 if ready else 503, {"status": status, "checks": checks, "components": components})


def scrape(probes: Probes, request: web.Request) -> web.Response:
    """All metrics, in the format that the scraper accepts."""
    encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=encode(probes.registry), headers={hdrs.CONTENT_TYPE: content_type})


def _json(status: int, told: object) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(status=status, body=orjson.dumps(told), content_type="application/json", headers=headers)


def _counted(
    path: str, answer: Callable[[Probes, web.Request], web.Response], probes: Probes
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    timed = probes.metrics.http_request_seconds.labels("ops")
    counted = {code: probes.metrics.http_requests_total.labels("ops", path, "GET", code) for code in ("200", "503")}

    async def handle(request: web.Request) -> web.StreamResponse:
        began = time.perf_counter()
        response = answer(probes, request)
        counted[str(response.status)].inc()
        timed.observe(time.perf_counter() - began)
        return response

    return handle
