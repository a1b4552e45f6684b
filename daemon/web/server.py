"""The listener of the API: from a request to an operation, inside one transaction, and back."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from email.utils import format_datetime
from functools import partial
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog
from aiohttp import hdrs, web

from daemon.announce import announce, report
from daemon.clock import ClockUnset
from daemon.failpoints import failpoint
from daemon.media import sweep
from daemon.web import auth, campaigns, creatives, idempotency, network, openapi, schedule, strict, tenants, wallet
from daemon.web import explain as explaining
from daemon.web.bodies import Empty
from daemon.web.operations import Call, Operation, Platform, Reply
from daemon.web.problems import Problem, internal, not_found, problem_of, unavailable
from playlists.fields import Body

log = structlog.get_logger("daemon.web")

CORRELATION: Final = "X-Correlation-Id"
_SANE = re.compile(r"[\x21-\x7e]{1,128}")

OPERATIONS: Final = (
    *tenants.OPERATIONS,
    *network.OPERATIONS,
    *creatives.OPERATIONS,
    *campaigns.OPERATIONS,
    *explaining.OPERATIONS,
    *schedule.OPERATIONS,
    *wallet.OPERATIONS,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Register = Callable[[web.Application], Mapping[str, Any]]  # gives the paths of the OpenAPI document


def correlation_of(request: web.Request) -> str:
    """The caller's correlation id, or a new one when it gave none that can be logged and sent on."""
    given = request.headers.get(CORRELATION, "")
    return given if _SANE.fullmatch(given) else str(uuid4())


def endpoint(operation: Operation, platform: Platform) -> Handler:
    """The handler of an operation: every way out of it is a JSON answer that is counted and can be traced."""
    counted = platform.metrics.http_requests_total
    timed = platform.metrics.http_request_seconds.labels("api")
    counted.labels("api", operation.path, operation.method, str(operation.status))  # there from the first scrape

    async def handle(request: web.Request) -> web.StreamResponse:
        began = time.perf_counter()
        correlation_id = correlation_of(request)
        try:
            response = _response(await _answer(operation, platform, request, correlation_id))
        except Exception as error:  # noqa: BLE001 - the boundary: what nobody foresaw is a 500 and a log line
            response = _refusal(error, correlation_id, operation.path)
        _stamp(response, platform, correlation_id)
        counted.labels("api", operation.path, operation.method, str(response.status)).inc()
        timed.observe(time.perf_counter() - began)
        return response

    return handle


async def _answer(operation: Operation, platform: Platform, request: web.Request, correlation_id: str) -> Reply:
    token = auth.bearer(request.headers.get(hdrs.AUTHORIZATION))
    async with platform.database.transaction() as tx:
        caller = await auth.caller_of(tx, token)
    auth.permit(caller, operation.roles, operation.writes)
    strict.require_text(request.query.items())
    if operation.stream is not None:
        return await operation.stream(platform, caller, request)
    body = await _body(operation, platform, request)
    async with platform.database.transaction(resolve=operation.writes) as tx:
        call = Call(platform, tx, platform.clock.now(), caller, correlation_id, request, body)
        reply = await _once(operation, call)
        failpoint("request.before_commit")
    failpoint("request.after_commit")
    if reply.status < 400:
        _tell(call)
    failpoint("request.before_reply")
    return reply


async def _body(operation: Operation, platform: Platform, request: web.Request) -> dict[str, Any]:
    """The object sent; empty when the operation takes none or lets it be left out, and for a POST of nothing at all."""
    if operation.body is None:
        return {}
    raw = await strict.read_body(request, platform.max_body_bytes)
    nothing = operation.method == hdrs.METH_POST and request.content_type != "application/json"
    if not raw and (operation.empty or nothing):
        return {}  # what it was to say is then missing, field by field
    strict.require_json(request)
    body = strict.parse_object(raw)
    if operation.body is Empty:
        Body(body, ()).done()
    return body


async def _once(operation: Operation, call: Call) -> Reply:
    """The operation's answer with its transitions announced; under an Idempotency-Key, once."""

    async def answer() -> Reply:
        reply = await operation.answer(call)
        await announce(call.tx, call.transitions, call.now)
        return reply

    given = call.request.headers.get("Idempotency-Key")
    if given is None or not operation.once:
        return await answer()
    key = idempotency.Key(
        call.caller.token_id,
        operation.method,
        call.request.path.removeprefix("/api"),
        idempotency.read_key(given),
        strict.fingerprint(call.body),
    )
    return await idempotency.once(call.tx, key, call.now, call.platform.keys_kept, answer)


def _tell(call: Call) -> None:
    if call.transitions:
        report(call.transitions, call.platform.metrics, log)
        call.platform.woken()


def _response(reply: Reply) -> web.Response:
    if reply.body is None:
        return web.Response(status=reply.status, headers=reply.headers)
    headers = {hdrs.CONTENT_TYPE: "application/json", **reply.headers}
    return web.Response(status=reply.status, body=msgspec.json.encode(reply.body), headers=headers)


def _refusal(error: Exception, correlation_id: str, route: str) -> web.Response:
    """The problem that an error is; one that nobody foresaw goes into the log whole and out as a number alone."""
    problem = unavailable("Starting up") if isinstance(error, ClockUnset) else problem_of(error)
    if problem is None:
        log.error("request failed", correlation_id=correlation_id, route=route, exc_info=error)
        problem = internal(correlation_id)
    return problem.response()


def _stamp(response: web.Response, platform: Platform, correlation_id: str) -> None:
    response.headers[CORRELATION] = correlation_id
    response.headers[hdrs.SERVER] = "signaged"
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    with suppress(ClockUnset):
        response.headers[hdrs.DATE] = format_datetime(platform.clock.now(), usegmt=True)


def application(platform: Platform, registrations: Iterable[Register] = ()) -> web.Application:
    """The API as one aiohttp application; each of `registrations` adds routes of its own (the screens')
    and says what the OpenAPI document tells of them.

    Every path under /v1 answers under /api/v1 as well; what is not there is a problem like any other.
    """
    app = web.Application(client_max_size=platform.max_body_bytes)
    more: dict[str, Any] = {}
    for register in registrations:  # first: the router tries routes in order, and most requests are the screens'
        more.update(register(app))
    for operation in OPERATIONS:
        handle = endpoint(operation, platform)
        if operation.method == hdrs.METH_GET:
            app.router.add_get(operation.path, handle)  # answers HEAD as well
        else:
            app.router.add_route(operation.method, operation.path, handle)
    app.router.add_get("/openapi.json", _document(openapi.document(OPERATIONS, more, platform.version), platform))
    _mirror(app)
    _refuse_the_rest(app, platform)
    app.on_startup.append(partial(_sweep, platform))
    return app


async def _sweep(platform: Platform, _: web.Application) -> None:
    """Delete what uploads left that a kill ended; a folder that cannot be used is told by the first upload."""
    with suppress(OSError):
        if swept := await asyncio.to_thread(sweep, platform.media):
            log.info("unfinished uploads deleted", count=swept)


def _document(told: dict[str, Any], platform: Platform) -> Handler:
    body = msgspec.json.encode(told)

    async def show(request: web.Request) -> web.StreamResponse:
        response = web.Response(body=body, content_type="application/json")
        _stamp(response, platform, correlation_of(request))
        return response

    return show


def _mirror(app: web.Application) -> None:
    for resource in list(app.router.resources()):
        if resource.canonical.startswith("/v1/"):
            for route in resource:
                app.router.add_route(route.method, "/api" + resource.canonical, route.handler)


def _refuse_the_rest(app: web.Application, platform: Platform) -> None:
    """405 on every known path and 404 everywhere else, told as problems."""
    methods: dict[str, set[str]] = {}
    for resource in app.router.resources():
        methods.setdefault(resource.canonical, set()).update(route.method for route in resource)
    for path, known in methods.items():
        refuse = _refusing("method-not-allowed", path.removeprefix("/api"), platform, ", ".join(sorted(known)))
        app.router.add_route("*", path, refuse)
    app.router.add_route("*", "/{tail:.*}", _refusing("not-found", "unmatched", platform))


def _refusing(kind: str, route: str, platform: Platform, allowed: str = "") -> Handler:
    async def refuse(request: web.Request) -> web.StreamResponse:
        if kind == "method-not-allowed":
            problem = Problem(kind, f"{request.method} is none of {allowed}", headers={hdrs.ALLOW: allowed})
        else:
            problem = not_found("Route")
        response = problem.response()
        _stamp(response, platform, correlation_of(request))
        method = request.method if request.method in hdrs.METH_ALL else "other"
        platform.metrics.http_requests_total.labels("api", route, method, str(problem.status)).inc()
        return response

    return refuse
