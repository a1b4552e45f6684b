"""A TCP gate between the daemon and a server: it can pass, swallow, refuse, trickle, forget, or lose commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

COMMIT = b"COMMIT;\0"  # the end of the message in which asyncpg sends it


@dataclass(slots=True, eq=False)
class Pair:
    """A connection of the daemon's and its continuation to the server."""

    caller: asyncio.StreamWriter
    server: asyncio.StreamWriter
    meant: bool = False  # its next COMMIT is to be lost
    gone: bool = False  # neither end hears of the other any more, nor that it is so

    def abort(self) -> None:
        self.caller.transport.abort()
        self.server.transport.abort()


@dataclass(slots=True)
class Gate:
    """Where to connect instead (`host:port`), and what happens to those who do."""

    port: int = 0
    committed: list[bool] = field(default_factory=list)  # for each commit that was lost: whether it had arrived
    _passing: asyncio.Event = field(default_factory=asyncio.Event)
    _refusing: bool = False
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _pairs: set[Pair] = field(default_factory=set)
    _chunk: int = 65536
    _pause: float = 0.0
    _losing: list[tuple[bool, bytes]] = field(default_factory=list)

    def freeze(self) -> None:
        """Swallow what is sent and answer nothing, as a dead link does."""
        self._passing.clear()

    def shut(self) -> None:
        """Drop all connections and refuse new ones."""
        self._refusing = True
        for pair in list(self._pairs):
            pair.abort()

    def vanish(self) -> None:
        """Leave all connections half open for ever: the peer is gone and nobody said so; new ones pass."""
        for pair in self._pairs:
            pair.gone = True

    def trickle(self, chunk: int, pause: float) -> None:
        """Pass so many bytes, then nothing for so many seconds, and again."""
        self._chunk, self._pause = chunk, pause

    def lose_commit(self, *, arrives: bool, of: bytes = b"") -> None:
        """Cut the connection of the next COMMIT, once the server has answered it or before it sees it.

        `of` is what was sent on that connection before, such as the text of a statement.
        """
        self._losing.append((arrives, of))

    def hold_ends(self) -> None:
        """Pass bytes, but let nobody know when a connection ends."""
        self._ending.clear()

    def open(self) -> None:
        """Pass bytes both ways."""
        self._refusing = False
        self._passing.set()
        self._ending.set()
        self._chunk, self._pause = 65536, 0.0

    def url(self, url: str) -> str:
        """Point a URL at the gate."""
        parts = urlsplit(url)
        credentials = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{credentials}@127.0.0.1:{self.port}").geturl()

    async def _lost(self, pair: Pair, data: bytes) -> bool:
        """Whether this was the commit that is to be lost; it is, then."""
        if not self._losing:
            return False
        arrives, of = self._losing[0]
        pair.meant = pair.meant or of in data
        if not (pair.meant and data.endswith(COMMIT)):
            return False
        self._losing.pop(0)
        pair.gone = True  # from now on the server talks to nobody
        if arrives:
            pair.server.write(data)
            await asyncio.sleep(0.2)  # it has committed
        self.committed.append(arrives)
        pair.caller.transport.abort()
        return True


@asynccontextmanager
async def gate_to(host: str, port: int) -> AsyncIterator[Gate]:
    """Yield an open gate to a server."""
    gate = Gate()

    async def passed(pair: Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(gate._chunk):
                await gate._passing.wait()
                if gate._pause:
                    await asyncio.sleep(gate._pause)
                if pair.gone or (writer is pair.server and await gate._lost(pair, data)):
                    continue
                writer.write(data)
                await writer.drain()
        await gate._ending.wait()
        if not pair.gone:
            writer.transport.abort()
            gate._pairs.discard(pair)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if gate._refusing:
            writer.transport.abort()
            return
        await gate._passing.wait()
        try:
            there = await asyncio.open_connection(host, port)
        except OSError:  # no server
            writer.transport.abort()
            return
        pair = Pair(writer, there[1])
        gate._pairs.add(pair)
        await asyncio.gather(passed(pair, reader, there[1]), passed(pair, there[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    gate.port = server.sockets[0].getsockname()[1]
    gate.open()
    try:
        yield gate
    finally:
        gate.open()
        gate.shut()
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """The port of a server that takes every connection and never says a word."""
    kept: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)
        await reader.read()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in kept:
            writer.transport.abort()
        await server.wait_closed()
