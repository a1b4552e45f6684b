"""A TCP gate between the daemon and a server: open it passes bytes, frozen it is a black hole, shut it refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Gate:
    """Where to connect instead (`host:port`), and what happens to those who do."""

    port: int = 0
    _passing: asyncio.Event = field(default_factory=asyncio.Event)
    _refusing: bool = False
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def freeze(self) -> None:
        """Swallow what is sent and answer nothing, as a dead link does."""
        self._passing.clear()

    def shut(self) -> None:
        """Drop all connections and refuse new ones."""
        self._refusing = True
        for writer in list(self._writers):
            writer.transport.abort()

    def hold_ends(self) -> None:
        """Pass bytes, but let nobody know when a connection ends."""
        self._ending.clear()

    def open(self) -> None:
        """Pass bytes both ways."""
        self._refusing = False
        self._passing.set()
        self._ending.set()

    def url(self, url: str) -> str:
        """Point a URL at the gate."""
        parts = urlsplit(url)
        credentials = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{credentials}@127.0.0.1:{self.port}").geturl()


@asynccontextmanager
async def gate_to(host: str, port: int) -> AsyncIterator[Gate]:
    """Yield an open gate to a server."""
    gate = Gate()

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gate._writers.add(writer)
        with suppress(OSError):
            while data := await reader.read(65536):
                await gate._passing.wait()
                writer.write(data)
                await writer.drain()
        await gate._ending.wait()
        writer.transport.abort()
        gate._writers.discard(writer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if gate._refusing:
            writer.transport.abort()
            return
        there = await asyncio.open_connection(host, port)
        await asyncio.gather(passed(reader, there[1]), passed(there[0], writer))

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
