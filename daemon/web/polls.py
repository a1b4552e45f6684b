"""The poll of a playlist: token, digest, headers, all from memory; 304 or the stored bytes, nothing else happens."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from email.utils import formatdate
from functools import lru_cache
from hashlib import sha256
from math import ceil
from typing import Final, NamedTuple, cast

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict
from prometheus_client import Counter, Histogram

from daemon.clock import Clock
from daemon.feed import Feed, ScreenEntry
from daemon.metrics import Metrics, precreate
from daemon.sightings import Sightings
from daemon.web.keys import Keys
from daemon.web.problems import invalid, unavailable
from daemon.web.server import CORRELATION, correlation_of
from playlists.ids import DeviceId, Digest

ROUTE: Final = "/v1/devices/{id}/playlist"
CONTENT_TYPE: Final = "application/vnd.signaged.playlist+json"
SERVER: Final = "signaged"
LEAST_WAIT: Final = 5  # seconds; nothing is won by asking more often
LONGEST_WAIT: Final = 60  # seconds that a poll may be held open

_BEARER: Final = "Bearer "
_ETAGS: Final = re.compile(r'(?:W/)?"([^"]*)"|(\*)')
_DIGEST: Final = re.compile(r'"([0-9a-f]{64})"')
_CODINGS: Final = ("br", "gzip", "identity")  # best first

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Tally(NamedTuple):
    """The counters of polls, resolved once: looking one up by its labels costs more than counting."""

    unchanged: tuple[Counter, Counter]
    changed: tuple[Counter, Counter]
    waiting: Counter
    timed: Histogram

    @classmethod
    def of(cls, metrics: Metrics) -> "Tally":
        """The counters of polls among all metrics."""
        precreate(metrics.polls_total, ("unchanged", "changed", "waiting", "refused"))
        of, answered = metrics.polls_total.labels, metrics.http_requests_total.labels
        return cls(
            unchanged=(of("unchanged"), answered("api", ROUTE, "GET", "304")),
            changed=(of("changed"), answered("api", ROUTE, "GET", "200")),
            waiting=of("waiting"),
            timed=metrics.http_request_seconds.labels("api"),
        )


def polling(
    keys: Keys, feed: Feed, sightings: Sightings, clock: Clock, metrics: Metrics, poll_after: timedelta
) -> Handler:
    """The handler of polls. A poll of a known token touches neither the database nor JSON (SPEC 7)."""
    wait, tally = poll_after.total_seconds(), Tally.of(metrics)

    async def poll(request: web.Request) -> web.StreamResponse:
        began = time.perf_counter()
        now, headers = clock.now(), request.headers
        device_id = _known(feed, headers.get("Authorization", ""), request) or await keys.device_at(request)
        screen = feed.screens.get(device_id)
        held = headers.get("If-None-Match")
        if request.rel_url.raw_query_string and (patience := _patience(request)) and screen and _same(held, screen):
            sightings.showed(device_id, now, (screen.digest, screen.digest))
            await feed.another(device_id, screen.digest, patience)
            began, now = time.perf_counter(), clock.now()
            device_id = _known(feed, headers.get("Authorization", ""), request) or await keys.device_at(request)
            screen = feed.screens.get(device_id)
        if screen is None:
            sightings.saw(device_id, now)
            tally.waiting.inc()
            raise unavailable("No playlist has been compiled for this device yet; try again")
        after = come_back(device_id, now, wait, feed.next_change_at(screen.digest, now))
        if _same(held, screen):
            sightings.showed(device_id, now, (screen.digest, screen.digest))
            response, counters = _unchanged(request, screen, after, now), tally.unchanged
        else:
            sightings.showed(device_id, now, (_shown(held) or screen.digest, screen.digest))
            accepted = headers.get("Accept-Encoding", "")
            response, counters = await _whole(feed, screen, after, now, accepted), tally.changed
        if CORRELATION in headers:
            response.headers[CORRELATION] = correlation_of(request)
        for counter in counters:
            counter.inc()
        tally.timed.observe(time.perf_counter() - began)
        return response

    return poll


def _known(feed: Feed, authorization: str, request: web.Request) -> DeviceId | None:
    """The device in the path when the token is plainly its own; None where a closer look is needed."""
    if not authorization.startswith(_BEARER):
        return None
    entry = feed.tokens.get(sha256(authorization[7:].encode("utf-8", "surrogateescape")).digest())
    if entry is None or not entry.used or entry.expires_at is not None:
        return None
    return entry.device_id if str(entry.device_id) == request.match_info["id"] else None


def _same(held: str | None, screen: ScreenEntry) -> bool:
    return held is not None and (held == f'"{screen.digest}"' or matches(held, screen.digest))


def _shown(held: str | None) -> Digest | None:
    """The digest that an If-None-Match header names first, None where it is no digest."""
    found = _DIGEST.search(held or "")
    return Digest(found[1]) if found else None


def _patience(request: web.Request) -> int:
    """For how many seconds an unchanged poll waits for a change, as `?wait=` asks. Raises Problem validation."""
    text = request.query.get("wait", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid([("wait", "must be a whole number of seconds")])
    return min(int(text), LONGEST_WAIT)


class Unchanged:
    """A 304 whose bytes are ready: aiohttp's own response costs more than all the rest of a poll.

    Of a response it has what aiohttp's protocol asks for: `prepare`, `write_eof`, `keep_alive`.
    """

    __slots__ = ("_head", "_transport")
    status = 304
    keep_alive = True

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._transport: asyncio.Transport | None = None

    async def prepare(self, request: web.BaseRequest) -> None:
        """Take the connection that it goes out on."""
        self._transport = request.transport

    async def write_eof(self) -> None:
        """Write it. Raises ConnectionResetError when the device has gone."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the device has gone")
        self._transport.write(self._head)


def _unchanged(request: web.Request, screen: ScreenEntry, after: int, now: datetime) -> web.StreamResponse:
    transport = request.transport
    plain = request.keep_alive and request.version == HttpVersion11 and CORRELATION not in request.headers
    if plain and transport and not transport.get_write_buffer_size():
        head = (
            f'HTTP/1.1 304 Not Modified\r\nETag: "{screen.digest}"\r\nPoll-After: {after}\r\n'
            f"Date: {http_date(now)}\r\nServer: {SERVER}\r\nVary: Accept-Encoding\r\n"
            "Cache-Control: private, no-cache\r\n\r\n"
        )
        return cast("web.StreamResponse", Unchanged(head.encode("ascii")))
    return web.Response(status=304, headers=_told(screen, after, now))


def _told(screen: ScreenEntry, after: int, now: datetime) -> CIMultiDict[str]:
    """The headers that a 304 and a 200 share."""
    return CIMultiDict({
        "ETag": f'"{screen.digest}"',
        "Poll-After": str(after),
        "Date": http_date(now),
        "Server": SERVER,
        "Vary": "Accept-Encoding",
        "Cache-Control": "private, no-cache",
    })  # fmt: skip


async def _whole(feed: Feed, screen: ScreenEntry, after: int, now: datetime, accepted: str) -> web.Response:
    bodies = await feed.body(screen.digest)
    if bodies is None:  # replaced and swept since we looked: the next look finds the new one
        raise unavailable("The playlist has just changed; try again")
    coding = coding_for(accepted)
    headers = _told(screen, after, now)
    headers["Content-Type"] = CONTENT_TYPE
    headers["Playlist-Version"] = str(screen.version)
    headers["Playlist-Expires"] = screen.valid_until.strftime("%Y-%m-%dT%H:%M:%SZ")
    if coding != "identity":
        headers["Content-Encoding"] = coding
    return web.Response(status=200, body=getattr(bodies, coding), headers=headers)


def come_back(device_id: DeviceId, now: datetime, wait: float, change_at: datetime | None) -> int:
    """The whole seconds after which a device should poll again (SPEC 7).

    More than half of `wait`, at most `wait`, and such that the devices' polls spread evenly over time whatever
    made them ask at once. Once more before a change of what is planned, spread over a part of `wait` before it:
    what was cancelled late is then gone in time.
    """
    phase = (device_id.int & 0xFFFF) / 0x10000
    half = wait / 2
    after = ceil(half + half - (now.timestamp() - phase * half) % half)
    if change_at is not None:
        rest = (change_at - now).total_seconds()
        if rest <= after:
            lead = (0.1 + 0.4 * phase) * wait
            after = int(rest - lead if rest > lead + 1 else rest * (0.5 + 0.3 * phase))
    return max(min(LEAST_WAIT, int(wait)), after, 1)


@lru_cache(maxsize=4)
def _written_second(second: int) -> str:
    return formatdate(second, usegmt=True)


def http_date(now: datetime) -> str:
    """An instant as HTTP writes it."""
    return _written_second(int(now.timestamp()))


@lru_cache(maxsize=1024)
def matches(if_none_match: str, digest: str) -> bool:
    """Whether an If-None-Match header names the digest: a list, weak or not, or `*` (RFC 9110)."""
    return any(star or tag == digest for tag, star in _ETAGS.findall(if_none_match))


@lru_cache(maxsize=1024)
def coding_for(accept_encoding: str) -> str:
    """The best of br, gzip and identity that an Accept-Encoding header allows; identity when it allows none."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        name, _, parameters = part.partition(";")
        weights[name.strip()] = _weight(parameters)
    anything = weights.get("*", 0.0)
    allowed = [coding for coding in _CODINGS if weights.get(coding, anything) > 0]
    return max(allowed, key=lambda coding: (weights.get(coding, anything), -_CODINGS.index(coding)), default="identity")


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
