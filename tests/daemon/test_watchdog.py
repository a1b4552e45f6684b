"""The watchdog: systemd hears of us only while every loop goes round."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from daemon.metrics import Metrics
from daemon.watchdog import Heartbeats, Systemd, feed, measure_lag


@pytest.fixture
def manager(tmp_path: Path) -> tuple[socket.socket, dict[str, str]]:
    """A service manager's socket, and what it puts into the environment."""
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "notify"))
    heard.setblocking(False)
    return heard, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "90000"}


def messages(heard: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(heard.recv(100))
        except BlockingIOError:
            return found


@asynccontextmanager
async def running(coroutine: "asyncio.Future[None]") -> AsyncIterator[None]:
    yield
    coroutine.cancel()
    await asyncio.gather(coroutine, return_exceptions=True)


async def test_watchdog_is_fed_only_while_all_loops_are_fresh(manager: tuple[socket.socket, dict[str, str]]) -> None:
    heard, environ = manager
    heartbeats = Heartbeats()
    beat, idle = heartbeats.register("ticker", 0.1), heartbeats.register("relay", 60)
    async with running(asyncio.ensure_future(feed(Systemd.of(environ), heartbeats))):
        for _ in range(5):
            beat()
            idle()
            await asyncio.sleep(0.04)
        assert set(messages(heard)) == {b"WATCHDOG=1"}
        await asyncio.sleep(0.15)
        messages(heard)
        await asyncio.sleep(0.1)
        assert heartbeats.stale() == ["ticker"]
        assert messages(heard) == []
        beat()
        await asyncio.sleep(0.05)
        assert heartbeats.stale() == []
        assert messages(heard)
    heard.close()


def test_manager_is_told_and_its_absence_is_no_fault(manager: tuple[socket.socket, dict[str, str]]) -> None:
    heard, environ = manager
    Systemd.of(environ).notify("READY=1")
    assert messages(heard) == [b"READY=1"]
    heard.close()
    Systemd.of(environ).notify("STOPPING=1")
    Systemd.of({}).notify("READY=1")
    assert Systemd.of({}) == Systemd(None, None)


async def test_lag_is_the_longest_delay_of_late() -> None:
    gauge = Metrics.create(CollectorRegistry()).loop_lag_seconds
    async with running(asyncio.ensure_future(measure_lag(gauge))):
        await asyncio.sleep(0.05)
        time.sleep(0.3)  # noqa: ASYNC251 - it is the fault that is measured
        await asyncio.sleep(0.15)
        assert 0.1 < gauge._value.get() < 1
