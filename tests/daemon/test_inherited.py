"""Inherited sockets: taken by name, never guessed, and a restart that refuses nobody."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from daemon.inherited import BadSockets, descriptors, take
from tests.daemon.process import daemon, signaged

PID = {"LISTEN_PID": "7"}
BOTH = PID | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "ops:http"}


@pytest.fixture
def sockets() -> Iterator[dict[str, socket.socket]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in ("ops", "http")}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({}, {}),
        (BOTH, {"ops": 3, "http": 4}),
        (PID | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"}, {"http": 3}),
        (PID | {"LISTEN_FDS": "0"}, {}),
        (BOTH | {"LISTEN_PID": "8"}, {}),
    ],
)
def test_sockets_go_by_their_names(told: dict[str, str], found: dict[str, int]) -> None:
    assert descriptors(told, 7) == found


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (PID | {"LISTEN_FDS": "two", "LISTEN_FDNAMES": "http"}, "LISTEN_FDS: must be a number"),
        (PID, "LISTEN_FDS: must be a number"),
        (PID | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http"}, "must name each of 2 sockets, names 1"),
        (PID | {"LISTEN_FDS": "1"}, "must name each of 1 sockets, names 0"),
        (PID | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "signaged.socket"}, "'signaged.socket': no such listener"),
        (BOTH | {"LISTEN_FDNAMES": "http:http"}, "'http': given more than once"),
    ],
)
def test_what_is_no_answer_is_refused_with_words(told: dict[str, str], words: str) -> None:
    with pytest.raises(BadSockets, match=words):
        descriptors(told, 7)


@pytest.mark.parametrize("pid", ["7", "8"])
def test_variables_are_not_left_for_children(pid: str) -> None:
    environ = {"HOME": "/", "LISTEN_PID": pid, "LISTEN_FDS": "0", "LISTEN_FDNAMES": "", "LISTEN_PIDFDID": "1"}
    assert take(environ, 7) == {}
    assert environ == {"HOME": "/"}


async def test_a_socket_that_does_not_listen_is_wrong_configuration() -> None:
    with closing(socket.socket()) as idle, closing(socket.socket(type=socket.SOCK_DGRAM)) as datagrams:
        for wrong in (idle, datagrams):
            ended = await signaged("run", sockets={"http": wrong})
            assert (ended.code, ended.err) == (78, "signaged: socket 'http': descriptor 3 is no listening TCP socket\n")
    read, write = os.pipe()
    os.close(write)
    ended = await signaged("run", sockets={"ops": read})
    os.close(read)
    assert ended.code == 78
    assert "descriptor 3 is no socket" in ended.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_refuses_nobody(sockets: dict[str, socket.socket], number: signal.Signals) -> None:
    async with daemon({}, sockets=sockets) as running:
        assert (await running.get("/livez"))[0] == 200
        assert (await running.get("/openapi.json", "http"))[0] == 200
        assert [line["inherited"] for line in running.lines if line["event"] == "listening"] == [True, True]
        await running.end(number)
    asked = [await _ask(held, path) for held, path in zip(sockets.values(), ("/livez", "/openapi.json"), strict=True)]
    async with daemon({}, sockets=sockets) as running:
        assert running.addresses == {name: "{}:{}".format(*held.getsockname()) for name, held in sockets.items()}
        for reader, writer in asked:
            async with asyncio.timeout(10):
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()


async def test_the_other_listener_is_bound_as_configured(sockets: dict[str, socket.socket]) -> None:
    async with daemon({}, sockets={"http": sockets["http"]}) as running:
        assert {line["listener"]: line["inherited"] for line in running.lines if line["event"] == "listening"} == {
            "ops": False,
            "http": True,
        }
        assert (await running.get("/livez"))[0] == 200


async def _ask(held: socket.socket, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect and ask while nobody is there to answer."""
    reader, writer = await asyncio.open_connection(*held.getsockname())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await writer.drain()
    return reader, writer
