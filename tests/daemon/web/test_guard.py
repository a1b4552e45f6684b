"""Connections that cost without bringing anything are closed; the others never notice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import ClientSession, web

from daemon.web import guard
from daemon.web.guard import Limits, listening

SHORT = timedelta(seconds=0.2)
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


async def _count(request: web.Request) -> web.Response:
    try:
        return web.Response(text=str(len(await request.read())))
    except web.RequestPayloadError:
        return web.Response(status=400)


async def _pour(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(1 << 20))


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(guard, "EVERY", 0.05)
    app = web.Application()
    app.router.add_post("/", _count)
    app.router.add_get("/pour", _pour)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, keepalive_timeout=0.3)
    await runner.setup()
    try:
        async with listening(runner, "127.0.0.1", 0, Limits(SHORT, SHORT, SHORT, 3)) as (_, bound):
            yield bound
    finally:
        await runner.cleanup()


async def closed(port: int, *sent: bytes, pause: float = 0.0) -> bool:
    """Whether the other end hangs up on someone who sends this and then waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for some in sent:
            writer.write(some)
            await asyncio.sleep(pause)
        async with asyncio.timeout(2):
            await reader.read()
            return True
    except (TimeoutError, ConnectionError) as error:
        return isinstance(error, ConnectionError)
    finally:
        writer.close()


async def test_silence_half_a_head_and_half_a_body_have_their_end(port: int) -> None:
    assert await closed(port)
    assert await closed(port, HEAD[:20])
    assert await closed(port, HEAD, b"x" * 50)


async def test_a_body_that_drips_is_no_better(port: int) -> None:
    assert await closed(port, HEAD, *[b"x"] * 20, pause=0.05)


async def test_idle_connections_end_and_whole_requests_are_answered(port: int) -> None:
    async with ClientSession() as session:
        for _ in range(3):
            async with session.post(f"http://127.0.0.1:{port}/", data=bytes(100_000)) as response:
                assert await response.text() == "100000"
    small = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    assert await closed(port, small)


async def keep_writing(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def test_who_does_not_read_is_not_waited_for(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /pour HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(keep_writing(writer), 3)


async def test_one_connection_too_many_is_closed_at_once(port: int) -> None:
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    await asyncio.sleep(0.02)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(0.15):
            await reader.readexactly(1)
    for _, one in [*held, (reader, writer)]:
        one.close()
    await asyncio.sleep(0.4)
    async with ClientSession() as session, session.post(f"http://127.0.0.1:{port}/", data=b"x") as response:
        assert response.status == 200, "room again once they are gone"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET \x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    ],
)
async def test_what_is_no_http_is_refused_and_fills_no_log(
    port: int, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    assert (await reader.read()).split(b" ")[1] == b"400"
    writer.close()
    assert not caplog.records
