"""Daemons as processes of their own, and the platform that calls them: whichever answers."""

import asyncio
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

Sections = Mapping[str, Mapping[str, Any]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def signaged(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as an operator does."""
    command = [sys.executable, "-m", "daemon", *words, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


async def until(holds: Callable[[], Coroutine[Any, Any, bool]], seconds: float) -> None:
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() < began + seconds, f"not within {seconds} s"
        await asyncio.sleep(0.1)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SIGNAGED_")}


def created_token(config: Path, role: str = "platform_admin") -> str:
    made = signaged(config, "token", "create", "--role", role)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


class Daemon:
    """One `signaged run` on ports of its own; `sections` are its settings beyond the listeners and the media folder."""

    def __init__(self, folder: Path, sections: Sections, name: str = "daemon") -> None:
        self.http, self.ops = free_port(), free_port()
        self.url, self.probes = f"http://127.0.0.1:{self.http}", f"http://127.0.0.1:{self.ops}"
        self.config, self.log = folder / f"{name}.toml", folder / f"{name}.log"
        listeners = {
            "http": {"listen": f"127.0.0.1:{self.http}"},
            "ops": {"listen": f"127.0.0.1:{self.ops}"},
            "media": {"folder": str(folder / "media")},
        }
        self.config.write_text(toml({**listeners, **sections}))
        self.program = [sys.executable, "-m", "daemon"]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, more: Mapping[str, str] | None = None) -> None:
        """Start it, with `more` in its environment."""
        command = [*self.program, "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**environment(), **(more or {})})

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "never started"
        return self.process

    async def probe(self, session: aiohttp.ClientSession, name: str) -> int:
        """The status of `/livez` or `/readyz`; 0 while nobody listens."""
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.get(f"{self.probes}/{name}") as reply:
                return reply.status
        return 0

    async def ready(self, session: aiohttp.ClientSession, seconds: float = 20) -> float:
        """Wait until `/readyz` is 200 and give the seconds that it took."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            assert self.running.poll() is None, self.last_words()
            if await self.probe(session, "readyz") == 200:
                return time.monotonic() - began
            await asyncio.sleep(0.05)
        raise AssertionError(f"not ready within {seconds} s: {self.last_words()}")

    async def kill(self) -> None:
        self.running.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self.running.wait)

    async def stop(self) -> int:
        """End it as systemd does and give its exit code."""
        if self.running.poll() is None:
            self.running.terminate()
        return await asyncio.to_thread(self.running.wait, 25)

    async def end(self) -> None:
        """Leave nothing running, whatever happened."""
        if self.process is not None and self.process.poll() is None:
            await self.kill()

    def last_words(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@asynccontextmanager
async def running(folder: Path, sections: Sections) -> AsyncIterator[Daemon]:
    daemon = Daemon(folder, sections)
    try:
        daemon.start()
        yield daemon
    finally:
        await daemon.end()


def toml(sections: Sections) -> str:
    lines: list[str] = []
    for section, settings in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


class Api:
    """The platform's side, asking any daemon that answers; a POST is made safe to repeat by its key."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], token: str) -> None:
        self.session, self.urls, self.token = session, urls, token
        self.turn = itertools.count()
        self.tries = 60  # five a second

    async def __call__(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        data: bytes | None = None,
        expect: int = 0,
    ) -> Any:
        """The reply's JSON; fails on any status but `expect` (default: a good one)."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if method == "POST" and not path.endswith(("/tokens", "/token", "/activation")):
            headers["Idempotency-Key"] = secrets.token_hex(16)
        for _ in range(self.tries):
            url = self.urls[next(self.turn) % len(self.urls)]
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self.session.request(method, url + path, json=body, data=data, headers=headers) as reply:
                    raw = await reply.read()
                status = reply.status
                # the first try may still be at work behind a lost reply
                if status != 503 and not (status == 409 and b"idempotency-mismatch" in raw):
                    assert status in ([expect] if expect else [200, 201, 204]), (method, path, body, status, raw)
                    return json.loads(raw) if raw else None
            await asyncio.sleep(0.2)
        raise AssertionError(f"{method} {path}: nobody answered")

    async def every(self, path: str) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self("GET", f"{path}?limit=200{cursor}")
            items += page["items"]
            if not page["next_cursor"]:
                return items
            cursor = f"&cursor={page['next_cursor']}"
