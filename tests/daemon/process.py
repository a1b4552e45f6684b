"""`signaged` as users have it: a process with arguments, an environment, an exit code and log lines."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

NOWHERE = {
    "SIGNAGED_DATABASE__URL": "postgresql://nobody@127.0.0.1:1/none",
    "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "SIGNAGED_SMTP__URL": "smtp://127.0.0.1:1",
    "SIGNAGED_HTTP__LISTEN": "127.0.0.1:0",
    "SIGNAGED_OPS__LISTEN": "127.0.0.1:0",
}


# what systemd does between fork and exec: sockets from descriptor 3 on, none beside them, and for whom they are
HAND_DOWN = """
import fcntl, os, sys
held = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in sys.argv[1].split(",")]
for number in sys.argv[1].split(","):
    os.close(int(number))
for position, number in enumerate(held):
    os.dup2(number, 3 + position)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


async def signaged(
    *arguments: str, environ: Mapping[str, str] | None = None, sockets: Mapping[str, socket.socket | int] | None = None
) -> Ended:
    """Run a command to its end; it sees no setting but those of `environ`, or those of nowhere with `sockets`."""
    process = await _start(
        *arguments,
        env=_environment(environ or (NOWHERE if sockets else {})),
        sockets=sockets,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return Ended(process.returncode or 0, out.decode(), err.decode())


@dataclass(slots=True)
class Running:
    """A daemon under way: its log so far, and its addresses once it has told them."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    lines: list[dict[str, Any]] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, listener: str = "ops", token: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.get(f"http://{self.addresses[listener]}{path}", headers=headers) as response:
            json = "json" in response.headers.get("Content-Type", "")
            return response.status, await response.json() if json else await response.text()

    async def ready(self, wanted: int = 200, seconds: float = 15) -> Any:
        """Wait until /readyz answers so; return what it tells."""
        async with asyncio.timeout(seconds):
            while True:
                status, told = await self.get("/readyz")
                if status == wanted:
                    return told
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


@asynccontextmanager
async def daemon(
    environ: Mapping[str, str], config: Path | None = None, sockets: Mapping[str, socket.socket | int] | None = None
) -> AsyncIterator[Running]:
    """Run `signaged run` on ports of its own choice, inherited sockets, or as a file says; both listeners answer."""
    process = await _start(
        *("run", *(("--config", str(config)) if config else ())),
        env=_environment(({} if config else NOWHERE) | dict(environ)),
        sockets=sockets,
        stderr=asyncio.subprocess.PIPE,
    )
    async with aiohttp.ClientSession() as session:
        running = Running(process, session)
        listening = asyncio.Event()
        reader = asyncio.create_task(_read(running, listening))
        try:
            await asyncio.wait_for(listening.wait(), 30)
            yield running
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reader


async def _start(
    *arguments: str, env: dict[str, str], sockets: Mapping[str, socket.socket | int] | None, **pipes: Any
) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "daemon", *arguments)
    if sockets is None:
        return await asyncio.create_subprocess_exec(*command, env=env, **pipes)
    numbers = [held if isinstance(held, int) else held.fileno() for held in sockets.values()]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HAND_DOWN, ",".join(map(str, numbers)), *command),
        env=env | {"LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": ":".join(sockets)},
        pass_fds=numbers,
        **pipes,
    )


async def _read(running: Running, listening: asyncio.Event) -> None:
    assert running.process.stderr is not None
    async for raw in running.process.stderr:
        line = orjson.loads(raw)
        running.lines.append(line)
        if line["event"] == "listening":
            running.addresses[line["listener"]] = line["address"]
        if len(running.addresses) == 2:
            listening.set()
    listening.set()


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNAGED_")}
    return kept | dict(environ)
