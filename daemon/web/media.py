"""Media for screens: immutable files, whole or by range, each byte range noted that reached a device."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, NamedTuple

import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDict

from daemon import house
from daemon.clock import Clock
from daemon.database import Database, DatabaseUnavailable
from daemon.media import MediaFolder
from daemon.metrics import Metrics
from daemon.web import auth
from daemon.web.delivered import Deliveries, Transfer
from daemon.web.keys import Keys
from daemon.web.polls import SERVER, http_date, matches
from daemon.web.problems import Problem, not_found
from playlists.ids import DeviceId, Sha256
from playlists.queries import Tx

log = structlog.get_logger("daemon.web.media")

ROUTE: Final = "/media/{sha256}"
CHUNK: Final = 256 * 1024
UNKNOWN_MIME: Final = "application/octet-stream"

_HEX: Final = re.compile("[0-9a-f]{64}")
_RANGE: Final = re.compile(r"bytes\s*=\s*(?:(\d{1,18})\s*-\s*(\d{1,18})?|-\s*(\d{1,18}))\s*")

# A tenant's token sees the media of its own creatives, an operator's all.
_MIME: Final = "SELECT mime FROM creatives WHERE sha256 = $1 AND ($2::uuid IS NULL OR tenant_id = $2) LIMIT 1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class File(NamedTuple):
    """An open file of the media folder; `size` in bytes."""

    sha256: Sha256
    handle: int
    size: int
    mime: str


def serving(
    keys: Keys, deliveries: Deliveries, database: Database, clock: Clock, metrics: Metrics, folder: MediaFolder
) -> Handler:
    """The handler of media, for devices' tokens and for the API's own (SPEC 7)."""
    mimes: dict[Sha256, str] = {house.SHIPPED.sha256: house.SHIPPED.mime}
    lost: set[Sha256] = set()

    def lose(sha256: Sha256) -> None:
        if sha256 not in lost:  # every screen asks again and again
            lost.add(sha256)
            log.error("media not in folder", sha256=sha256, folder=str(folder.folder))

    async def serve(request: web.Request) -> web.StreamResponse:
        began = time.perf_counter()
        device_id, caller = await _admitted(request, keys, database)
        sha256 = Sha256(request.match_info["sha256"])
        if not _HEX.fullmatch(sha256):
            raise not_found("Media")
        mime = await _mime(database, sha256, caller, mimes)
        try:
            handle = await asyncio.to_thread(_open, folder, sha256)
        except FileNotFoundError as error:
            if device_id and sha256 in mimes:  # it was stored: has every instance the same folder?
                lose(sha256)
            raise not_found("Media") from error
        try:
            file = File(sha256, handle, os.fstat(handle).st_size, mime)
            response = await _send(request, file, device_id, deliveries, clock.now())
        finally:
            os.close(handle)
        metrics.http_requests_total.labels("api", ROUTE, request.method, str(response.status)).inc()
        metrics.http_request_seconds.labels("api").observe(time.perf_counter() - began)
        return response

    return serve


async def _admitted(request: web.Request, keys: Keys, database: Database) -> tuple[DeviceId | None, auth.Caller | None]:
    """The device that asks, or else the caller of the API. Raises Problem unauthorized when it is neither."""
    try:
        return await keys.device_of(request), None
    except Problem as problem:
        if problem.status != 401:
            raise
    token = auth.bearer(request.headers.get(hdrs.AUTHORIZATION))
    async with database.transaction() as tx:
        return None, await auth.caller_of(tx, token)


async def _mime(database: Database, sha256: Sha256, caller: auth.Caller | None, mimes: dict[Sha256, str]) -> str:
    """The media type that the file was registered with; without a database, devices get it as mere bytes."""
    if sha256 in mimes and (caller is None or caller.staff):
        return mimes[sha256]
    try:
        async with database.transaction() as tx:
            found = await _registered(tx, sha256, caller)
    except DatabaseUnavailable:
        if caller is not None:
            raise
        return UNKNOWN_MIME
    if found is None:
        raise not_found("Media")
    mimes[sha256] = found
    return found


async def _registered(tx: Tx, sha256: Sha256, caller: auth.Caller | None) -> str | None:
    mime: str | None = await tx.fetchval(_MIME, sha256, caller.tenant_id if caller else None)
    return mime


def _open(folder: MediaFolder, sha256: Sha256) -> int:
    path = house.FILE if sha256 == house.SHIPPED.sha256 else folder.path(sha256)
    return os.open(path, os.O_RDONLY)


async def _send(
    request: web.Request, file: File, device_id: DeviceId | None, deliveries: Deliveries, now: datetime
) -> web.StreamResponse:
    headers = CIMultiDict({
        hdrs.ETAG: f'"{file.sha256}"',
        hdrs.CACHE_CONTROL: "private, max-age=31536000, immutable",
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.DATE: http_date(now),
        hdrs.SERVER: SERVER,
    })  # fmt: skip
    if (known := request.headers.get(hdrs.IF_NONE_MATCH)) and matches(known, file.sha256):
        return web.Response(status=304, headers=headers)
    span = wanted(request.headers.get(hdrs.RANGE), request.headers.get(hdrs.IF_RANGE), file)
    headers[hdrs.CONTENT_TYPE] = file.mime
    headers["X-Content-Type-Options"] = "nosniff"
    if span is not None:
        headers[hdrs.CONTENT_RANGE] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
    response = web.StreamResponse(status=200 if span is None else 206, headers=headers)
    span = range(file.size) if span is None else span
    response.content_length = len(span)
    try:
        await response.prepare(request)
    except ConnectionError:
        return response  # nobody waits any more: no failure of ours
    if request.method == hdrs.METH_HEAD or request.transport is None:
        return response
    link = request.transport
    try:
        if device_id is None:
            await _write(response, file, span, lambda _: None)
        else:
            transfer = deliveries.begin(device_id, file.sha256, file.size, span, link, now)
            await _deliver(response, file, span, deliveries, transfer)
    except ConnectionError:
        link.abort()  # the other end is gone; there is nobody to tell
    except Exception:
        log.exception("media broken off", sha256=file.sha256)
        link.abort()  # the headers are out: all that is left to say is that the body is not whole
    return response


async def _deliver(
    response: web.StreamResponse, file: File, span: range, deliveries: Deliveries, transfer: Transfer
) -> None:
    """Write a file's bytes to a device and note how far they come, also when the connection breaks."""
    try:
        await _write(response, file, span, lambda position: deliveries.progress(transfer, position))
    except BaseException:
        deliveries.broken_off(transfer)
        raise
    deliveries.all_sent(transfer)


async def _write(response: web.StreamResponse, file: File, span: range, written: Callable[[int], None]) -> None:
    """Write bytes `span` of a file, telling how far they went into the transport. Raises ConnectionError, OSError."""
    for position in range(span.start, span.stop, CHUNK):
        count = min(CHUNK, span.stop - position)
        chunk = await asyncio.to_thread(os.pread, file.handle, count, position)
        if len(chunk) < count:
            raise OSError(f"{file.sha256} ends before byte {position + count}")
        await response.write(chunk)
        written(position + count)
    await response.write_eof()


def wanted(ranges: str | None, if_range: str | None, file: File) -> range | None:
    """The byte range that is asked for, None for the whole file (RFC 9110).

    Only one range is served; several, and what is no range, mean the whole. Raises Problem range-not-satisfiable.
    """
    match = _RANGE.fullmatch(ranges) if ranges else None
    if match is None or (if_range is not None and if_range.strip() != f'"{file.sha256}"'):
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        span = range(max(file.size - int(suffix), 0), file.size)
    else:
        if last is not None and int(last) < int(first):
            return None
        span = range(int(first), file.size if last is None else min(int(last) + 1, file.size))
    if not span:
        headers = {"Content-Range": f"bytes */{file.size}", "Accept-Ranges": "bytes"}
        raise Problem("range-not-satisfiable", f"The file has {file.size} bytes", headers=headers)
    return span
