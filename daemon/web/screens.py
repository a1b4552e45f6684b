"""The device side of the API: activation, playlist, heartbeat, readiness, plays and media (SPEC 7, 11)."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from aiohttp import hdrs, web

from daemon import intake, readiness
from daemon.announce import report
from daemon.campaigns.money import decimal
from daemon.campaigns.rates import Prices
from daemon.clock import Clock, ClockUnset
from daemon.database import Database
from daemon.failpoints import failpoint
from daemon.feed import Feed, TokenEntry
from daemon.media import MediaFolder
from daemon.metrics import Metrics, precreate
from daemon.sightings import Sightings
from daemon.stops import concerned
from daemon.web import media, polls, strict
from daemon.web.delivered import Deliveries
from daemon.web.keys import Keys
from daemon.web.problems import Problem, internal, problem_of, unavailable
from daemon.web.reports import (
    Activated,
    Activation,
    DeliveryState,
    Heard,
    Heartbeat,
    PlayReport,
    PlayResult,
    PlaysReply,
    PlaysReport,
    ReadinessReply,
    ReadinessReport,
    Report,
    decode,
)
from daemon.web.screendoc import described
from daemon.web.server import CORRELATION, correlation_of
from devices.contents import Library
from devices.delivery import Status
from devices.enrolment import CodeRefused, redeem, token_digest
from devices.plays import HOUSE, Play, Verdict
from devices.presence import Beat, skewed
from devices.readiness import FileState, reported
from playlists.ids import CampaignId, CreativeId, Digest, Sha256

log = structlog.get_logger("daemon.web.screens")

ACTIVATE: Final = "/v1/devices/activate"
HEARTBEAT: Final = "/v1/devices/{id}/heartbeat"
READINESS: Final = "/v1/devices/{id}/readiness"
PLAYS: Final = "/v1/devices/{id}/plays"
_MILLISECOND: Final = timedelta(milliseconds=1)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = Callable[["Screens", web.Request], Awaitable[msgspec.Struct]]


@dataclass(slots=True)
class Rhythm:
    """How often screens come, and what their plays cost; a reload replaces the prices."""

    poll_after: timedelta
    heartbeat: timedelta
    prices: Prices
    max_body_bytes: int


@dataclass(frozen=True, slots=True)
class Screens:
    """What the device side stands on; `woken` is called after a commit that changed a campaign."""

    database: Database
    clock: Clock
    metrics: Metrics
    feed: Feed
    sightings: Sightings
    library: Library
    deliveries: Deliveries
    keys: Keys
    rhythm: Rhythm
    woken: Callable[[], None]


def register(app: web.Application, screens: Screens, folder: MediaFolder) -> dict[str, Any]:
    """Add the routes of the device side to the API; what the OpenAPI document says of them."""
    precreate(screens.metrics.plays_total, Verdict)
    poll = polls.polling(
        screens.keys, screens.feed, screens.sightings, screens.clock, screens.metrics, screens.rhythm.poll_after
    )
    app.router.add_get(polls.ROUTE, _guarded(screens, polls.ROUTE, poll))
    app.on_shutdown.append(partial(_dismiss, screens.feed))
    for route, answer in ((ACTIVATE, activate), (HEARTBEAT, hear), (READINESS, take_readiness), (PLAYS, take_plays)):
        app.router.add_post(route, _guarded(screens, route, _answering(screens, route, answer)))
    serve = media.serving(screens.keys, screens.deliveries, screens.database, screens.clock, screens.metrics, folder)
    app.router.add_get(media.ROUTE, _guarded(screens, media.ROUTE, serve))
    return described()


async def _dismiss(feed: Feed, _: web.Application) -> None:
    feed.dismiss()


async def activate(screens: Screens, request: web.Request) -> Activated:
    """POST /v1/devices/activate: a code for a token."""
    body = await _body(screens, request, Activation)
    now = screens.clock.now()
    try:
        async with screens.database.transaction(resolve=True) as tx:
            enrolled = await redeem(tx, body.code, now)
    except CodeRefused as error:
        raise Problem("not-found", error.detail) from error
    screens.feed.tokens[token_digest(enrolled.token)] = TokenEntry(enrolled.device_id, used=False, expires_at=None)
    return Activated(enrolled.device_id, enrolled.token, now)


async def hear(screens: Screens, request: web.Request) -> Heard:
    """POST /v1/devices/{id}/heartbeat: how the screen is, and whether its playlist is still the one."""
    device_id = await screens.keys.device_at(request)
    body = await _body(screens, request, Heartbeat)
    now = screens.clock.now()
    skew_ms = (body.device_time - now) // _MILLISECOND
    if skewed(skew_ms):
        log.debug("device clock is off", device_id=str(device_id), skew_ms=skew_ms)
    screen, digest = screens.feed.screens.get(device_id), Digest(body.digest) if body.digest else None
    if screen and digest == screen.digest:
        screens.sightings.showed(device_id, now, (screen.digest, screen.digest))
    await screens.sightings.beat(Beat(device_id, now, body.digest, body.screen, skew_ms, body.errors or []))
    stop = await concerned(screens.database, screens.library, screens.sightings.stopped, device_id, digest)
    screen = screens.feed.screens.get(device_id)  # as it is by now
    changed = screen is not None and screen.digest != digest
    actions = ["stop", "sync"] if stop else ["sync"] if changed else []
    return Heard(now, changed, actions, int(screens.rhythm.heartbeat.total_seconds()) or 1)


async def take_readiness(screens: Screens, request: web.Request) -> ReadinessReply:
    """POST /v1/devices/{id}/readiness: what the screen holds, as far as it was seen to be delivered."""
    device_id = await screens.keys.device_at(request)
    body = await _body(screens, request, ReadinessReport)
    now = screens.clock.now()
    screens.sightings.saw(device_id, now)
    await screens.deliveries.settled(device_id)
    await screens.sightings.written()
    said = reported((Sha256(one.sha256), FileState(one.state)) for one in body.creatives)
    async with screens.database.transaction() as tx:
        found = await readiness.accept(tx, device_id, Digest(body.digest), said, screens.library, now)
        failpoint("readiness.before_commit")
    failpoint("readiness.after_commit")
    screens.sightings.acknowledged(c for c, status in found.deliveries.items() if status is Status.READY)
    deliveries = [DeliveryState(campaign, status) for campaign, status in sorted(found.deliveries.items())]
    return ReadinessReply(found.verified, deliveries)


async def take_plays(screens: Screens, request: web.Request) -> PlaysReply:
    """POST /v1/devices/{id}/plays: what was played, judged and charged once it is durable."""
    device_id = await screens.keys.device_at(request)
    body = await _body(screens, request, PlaysReport)
    now = screens.clock.now()
    screens.sightings.saw(device_id, now)
    given = intake.Report(body.device_time, [_play(one) for one in body.plays])
    async with screens.database.transaction(resolve=True) as tx:
        receipt = await intake.accept(tx, device_id, given, screens.library, screens.rhythm.prices, screens.clock.now())
        failpoint("plays.before_commit")
    failpoint("plays.after_commit")
    for verdict, count in Counter(judged.verdict for judged in receipt.results).items():
        screens.metrics.plays_total.labels(verdict).inc(count)
    if receipt.transitions:
        report(receipt.transitions, screens.metrics, log)
    if receipt.moved:
        screens.woken()
    return PlaysReply(
        [PlayResult(one.play.play_id, one.verdict, decimal(one.charged_micros)) for one in receipt.results]
    )


def _play(one: PlayReport) -> Play:
    campaign = HOUSE if one.campaign_id is None else CampaignId(one.campaign_id)
    creative, digest = CreativeId(one.creative_id), Digest(one.digest)
    return Play(one.play_id, campaign, creative, one.variant, one.started_at, one.duration_ms, digest)


async def _body(screens: Screens, request: web.Request, kind: type[Report]) -> Report:
    raw = await strict.read_body(request, screens.rhythm.max_body_bytes)
    strict.require_json(request)
    return decode(raw, kind)


def _answering(screens: Screens, route: str, answer: Answer) -> Handler:
    """The handler of a report: its answer as JSON, counted and timed."""
    counted = screens.metrics.http_requests_total.labels("api", route, hdrs.METH_POST, "200")
    timed = screens.metrics.http_request_seconds.labels("api")

    async def handle(request: web.Request) -> web.StreamResponse:
        began = time.perf_counter()
        reply = await answer(screens, request)
        response = web.Response(body=msgspec.json.encode(reply), content_type="application/json")
        _stamp(response, screens.clock.now(), request)
        counted.inc()
        timed.observe(time.perf_counter() - began)
        return response

    return handle


def _guarded(screens: Screens, route: str, handler: Handler) -> Handler:
    """A handler whose every failure is a problem; it adds nothing to the way of a success."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:  # noqa: BLE001 - the boundary: what nobody foresaw is a 500 and a log line
            return _refusal(screens, route, request, error)

    return handle


def _refusal(screens: Screens, route: str, request: web.Request, error: Exception) -> web.Response:
    correlation_id = correlation_of(request)
    problem = unavailable("Starting up") if isinstance(error, ClockUnset) else problem_of(error)
    if problem is None:
        log.error("request failed", correlation_id=correlation_id, route=route, exc_info=error)
        problem = internal(correlation_id)
    if route == polls.ROUTE and problem.status in (401, 404):
        screens.metrics.polls_total.labels("refused").inc()
    response = problem.response()
    response.headers[CORRELATION] = correlation_id
    with suppress(ClockUnset):
        _stamp(response, screens.clock.now(), request)
    screens.metrics.http_requests_total.labels("api", route, request.method, str(problem.status)).inc()
    return response


def _stamp(response: web.Response, now: datetime, request: web.Request) -> None:
    headers = response.headers
    headers[hdrs.SERVER] = polls.SERVER
    headers[hdrs.CACHE_CONTROL] = "no-store"
    headers[hdrs.DATE] = polls.http_date(now)
    if CORRELATION in request.headers:
        headers[CORRELATION] = correlation_of(request)
