"""Whether the daemon is alive: heartbeats of its loops, the lag of the event loop, and what systemd is told."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog
from prometheus_client import Gauge

log = structlog.get_logger("daemon.watchdog")

LAG_SAMPLE = 0.1  # seconds
LAG_WINDOW = 100  # samples


@dataclass(slots=True)
class Heartbeats:
    """When each loop last went round; a loop beats on every round, also while what it needs is down."""

    _beats: dict[str, tuple[float, float]] = field(default_factory=dict)  # name -> limit, last beat

    def register(self, name: str, limit: float) -> Callable[[], None]:
        """Return what a loop must call at least every `limit` seconds; it is watched from its first beat on."""

        def beat() -> None:
            self._beats[name] = limit, time.monotonic()

        return beat

    def forget(self, name: str) -> None:
        """Watch a loop no longer: it is ended on purpose."""
        self._beats.pop(name, None)

    def stale(self) -> list[str]:
        """Return the names of the loops that are overdue."""
        now = time.monotonic()
        return [name for name, (limit, last) in self._beats.items() if now - last > limit]


@dataclass(frozen=True, slots=True)
class Systemd:
    """The service manager, if there is one: messages go to its datagram socket."""

    address: str | None
    watchdog_seconds: float | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Systemd":
        """Read what systemd put into the environment."""
        microseconds = environ.get("WATCHDOG_USEC", "")
        return cls(environ.get("NOTIFY_SOCKET"), int(microseconds) / 1e6 if microseconds.isdigit() else None)

    def notify(self, message: str) -> None:
        """Tell systemd, for example `READY=1`; does nothing without it."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode(), address)
        except OSError as error:
            log.warning("service manager not reached", reason=str(error))

    def reloading(self) -> None:
        """Tell systemd that settings are read anew; `READY=1` says that it is done."""
        self.notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


async def feed(systemd: Systemd, heartbeats: Heartbeats) -> None:
    """Feed systemd's watchdog as long as every loop is fresh; that this runs shows that the event loop does."""
    interval = (systemd.watchdog_seconds or 20.0) / 3
    reported: list[str] = []
    while True:
        stale = heartbeats.stale()
        if not stale:
            systemd.notify("WATCHDOG=1")
        elif stale != reported:
            log.error("loops are stale", loops=stale)
        reported = stale
        await asyncio.sleep(interval)


async def measure_lag(gauge: Gauge) -> None:
    """Keep the gauge at the longest delay (seconds) that a wake-up suffered in the last ten seconds."""
    recent = [0.0] * LAG_WINDOW
    number = 0
    while True:
        before = time.monotonic()
        await asyncio.sleep(LAG_SAMPLE)
        recent[number % LAG_WINDOW] = max(0.0, time.monotonic() - before - LAG_SAMPLE)
        gauge.set(max(recent))
        number += 1
