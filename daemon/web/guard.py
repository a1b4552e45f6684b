"""The connection guard: header, body, idle and write deadlines and a cap on connections, which aiohttp has not.

One look a second over all connections; nothing is added to the way of a request.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, cast

import structlog
from aiohttp import http_exceptions, web
from aiohttp.web_protocol import RequestHandler

log = structlog.get_logger("daemon.web.guard")

BACKLOG: Final = 1024  # connections that wait to be accepted
EVERY: Final = 1.0  # seconds between looks
AT_ONCE: Final = 1_000  # connections looked at before others have the loop
THEIRS: Final = (http_exceptions.HttpProcessingError, web.RequestPayloadError)  # failures of who sends
SLOWEST: Final = 1024  # bytes a second that a long body must keep up on the whole


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost: seconds until a request's head is there, for a body to begin and between requests."""

    header: timedelta
    body: timedelta
    idle: timedelta
    connections: int


@dataclass(slots=True)
class Watched:
    """A connection as it was last looked at; times are the loop's."""

    opened_at: float
    request: object | None = None
    request_at: float = 0.0
    unsent: int = 0
    unsent_at: float = 0.0


class Guard:
    """Makes the protocols of one listener and closes those connections that overstay."""

    def __init__(self, server: web.Server, limits: Limits) -> None:
        self._server, self._limits = server, limits
        self._watched: dict[RequestHandler, Watched] = {}
        self.refused = 0

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection; one too many is closed before it has said anything."""
        if len(self._watched) >= self._limits.connections:
            self.refused += 1
            return _Refusal()
        handler = self._server()
        self._watched[handler] = Watched(asyncio.get_running_loop().time())
        return handler

    async def run(self) -> None:
        """Look at every connection once a second until cancelled."""
        told = 0
        while True:
            await asyncio.sleep(EVERY)
            for position, (handler, watched) in enumerate(list(self._watched.items())):
                if position % AT_ONCE == AT_ONCE - 1:
                    await asyncio.sleep(0)
                self._look(handler, watched, asyncio.get_running_loop().time())
            if self.refused > told:
                log.warning("connections refused", number=self.refused - told, limit=self._limits.connections)
                told = self.refused

    def _look(self, handler: RequestHandler, watched: Watched, now: float) -> None:
        transport = handler.transport
        if transport is None or transport.is_closing():
            if now - watched.opened_at > EVERY:  # until then it may not be connected yet
                self._watched.pop(handler, None)
        elif self._overstays(handler, transport, watched, now):
            transport.abort()
            self._watched.pop(handler, None)

    def _overstays(self, handler: RequestHandler, transport: asyncio.Transport, watched: Watched, now: float) -> bool:
        request = handler._current_request  # noqa: SLF001 - aiohttp has no public word for it
        if request is not watched.request:
            watched.request, watched.request_at = request, now
        unsent = transport.get_write_buffer_size()
        if unsent != watched.unsent:
            watched.unsent, watched.unsent_at = unsent, now
        if unsent and now - watched.unsent_at > self._limits.idle.total_seconds():
            return True
        if request is None:
            # between requests aiohttp's own keep-alive time-out counts
            unheard = handler._request_count == 0  # noqa: SLF001 - as above
            return unheard and now - watched.opened_at > self._limits.header.total_seconds()
        body = request.content
        patience = self._limits.body.total_seconds() + body.total_bytes / SLOWEST
        return not body.is_eof() and now - watched.request_at > patience


class _Refusal(asyncio.Protocol):
    """Closes its connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


@asynccontextmanager
async def listening(
    runner: web.AppRunner, host: str, port: int, limits: Limits, inherited: socket.socket | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Serve a runner that was set up with `keepalive_timeout` on an address, guarded; yields the address with its port.

    A socket that was inherited goes before the address. At the end nothing new is accepted; the runner's own clean-up
    ends what is under way. Raises OSError.
    """
    if runner.server is None:
        raise RuntimeError("the runner was not set up")
    logging.getLogger("aiohttp.server").addFilter(_ours)
    guard = Guard(runner.server, limits)
    loop = asyncio.get_running_loop()
    if inherited:
        server = await loop.create_server(guard, sock=inherited, backlog=BACKLOG)
    else:
        server = await loop.create_server(guard, host, port, backlog=BACKLOG)
    sweeping = asyncio.create_task(guard.run())
    try:
        address = server.sockets[0].getsockname()
        yield address[0], address[1]
    finally:
        server.close()
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping


def _ours(record: logging.LogRecord) -> bool:
    """Whether a failure may be ours: that a client sends what is no HTTP is told to it, not to the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], THEIRS))
