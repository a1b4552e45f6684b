"""The database's clock jumps for real, by hours and days, under a daemon that is killed meanwhile (SPEC 4)."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.dev.embedded import FAST_AND_LOSSY, embedded_postgres
from tests.whole.daemons import Api, Daemon, created_token, free_port, signaged, until
from tests.whole.network import Network
from tests.whole.player import rfc3339
from tests.whole.test_nights import FAKETIME

HOUR, DAY = 3600.0, 86400.0
SOON = 15.0  # seconds within which a busy machine does what takes it one
QUIET = 4.0  # seconds in which something would have happened that must not


class Time:
    """The clock of one PostgreSQL: `ahead` seconds of this host's."""

    def __init__(self, file: Path) -> None:
        self.file, self.ahead = file, 0.0
        self.jump(0.0)

    def jump(self, ahead: float) -> None:
        """Set it."""
        self.ahead = ahead
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{ahead:+.0f}\n")
        fresh.chmod(0o644)
        fresh.replace(self.file)

    def now(self) -> float:
        return time.time() + self.ahead

    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


@pytest.mark.skipif(not FAKETIME.exists(), reason=f"{FAKETIME} is missing: apt-get install libfaketime")
async def test_a_jump_of_the_clock_ends_nothing_until_somebody_accepts_it(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        for seconds in (HOUR, -HOUR, DAY, -DAY):
            folder = tmp_path / f"jump{seconds:+.0f}"
            folder.mkdir()
            group.create_task(jumped(folder, seconds), name=f"{seconds:+.0f}")


async def jumped(folder: Path, seconds: float) -> None:
    """There and back again, then there for good."""
    try:
        async with world(folder) as (daemon, session, clock):
            there = There(daemon, session, clock, abs(seconds))
            await there.build()
            clock.jump(seconds)
            await there.until_held(1)
            await there.check_nothing_ends(forward=seconds > 0)
            await daemon.kill()
            daemon.start()
            await daemon.ready(session, 60)
            await there.until_held(1)
            await there.check_nothing_ends(forward=seconds > 0)
            clock.jump(0)
            await there.until_held(0)
            await asyncio.sleep(QUIET)
            assert await there.status("long") == "ACTIVE", "its end is not reached"
            clock.jump(seconds)
            await there.until_held(1)
            accepted = await asyncio.to_thread(signaged, daemon.config, "clock", "accept", "--json")
            assert accepted.returncode == 0, accepted.stderr
            await there.until_held(0)
            await there.check_life_goes_on(forward=seconds > 0)
            proved = await asyncio.to_thread(signaged, daemon.config, "verify")
            assert proved.returncode == 0, proved.stdout + proved.stderr
            assert "database clock jumped" in [line["event"] for line in daemon.logged()]
            assert await daemon.stop() == 0, daemon.last_words()
    except Exception as error:
        error.add_note(f"with a jump of {seconds:+.0f} s")
        raise


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[Daemon, aiohttp.ClientSession, Time]]:
    """A daemon on a PostgreSQL whose clock can be set; Kafka and SMTP are down."""
    async with embedded_postgres(folder / "postgres", settings=FAST_AND_LOSSY):
        pass  # the data folder is made in the present
    async with AsyncExitStack() as stack:
        # where the server's own user can read it
        public = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="signaged-time-")))
        os.chmod(public, 0o755)  # noqa: PTH101, S103 - nothing but the time is in it
        clock = Time(public / "time")
        server = embedded_postgres(folder / "postgres", settings=FAST_AND_LOSSY, environment=clock.environment())
        sections: dict[str, Any] = {
            "database": {"url": await stack.enter_async_context(server)},
            "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
            "smtp": {"url": f"smtp://127.0.0.1:{free_port()}"},
            "plays": {"settle_after": 1},
        }
        session = await stack.enter_async_context(aiohttp.ClientSession())
        daemon = Daemon(folder, sections)
        stack.push_async_callback(daemon.end)
        daemon.start()
        await daemon.ready(session, 60)
        yield daemon, session, clock


class There:
    """One screen and what is booked on it."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession, clock: Time, far: float) -> None:
        self.daemon, self.session, self.clock, self.far = daemon, session, clock, far
        self.network, self.api = Network(), Api(session, [daemon.url], "")
        self.ids: dict[str, str] = {}

    async def build(self) -> None:
        """A campaign that runs and ends within the jump, and one that would start within it."""
        token = await asyncio.to_thread(created_token, self.daemon.config)
        admin = Api(self.session, [self.daemon.url], token)
        tenant = await self.network.add_tenant(admin, "Jumper", "Europe/Berlin", "5000.00")
        self.api = Api(self.session, [self.daemon.url], tenant["token"])
        store_id = await self.network.add_store(admin, {"code": "s", "name": "Shop", "timezone": "Europe/Berlin"})
        await self.network.add_device(admin, {"store_id": store_id, "name": "till", "slots_per_hour": 360})
        self.creative = await self.network.add_creative(self.api, "spot", 5000)
        await self.book("long", 2, self.far / 2)
        await self.book("later", self.far / 2, self.far * 3)
        await self.until("long", "ACTIVE")

    async def book(self, name: str, begins: float, ends: float) -> None:
        """From and until so many seconds ahead, by the database's clock."""
        starts, ends = self.clock.now() + begins, self.clock.now() + ends
        body = {"name": name, "budget": "500.00", "creatives": [self.creative], "target": {}}
        body |= {"start_at": rfc3339(starts), "end_at": rfc3339(ends)}
        self.ids[name] = (await self.network.book(self.api, body, starts, ends))["id"]

    async def status(self, name: str) -> str:
        return str((await self.api("GET", f"/v1/campaigns/{self.ids[name]}"))["status"])

    async def until(self, name: str, status: str, seconds: float = SOON) -> None:
        async def reached() -> bool:
            return await self.status(name) == status

        await until(reached, seconds)

    async def until_held(self, held: int) -> None:
        """Wait until the gauge says so."""

        async def told() -> bool:
            async with self.session.get(f"{self.daemon.probes}/metrics") as reply:
                return f"\nsignaged_clock_held {held}.0\n" in await reply.text()

        await until(told, SOON)

    async def check_nothing_ends(self, *, forward: bool) -> None:
        """Starts go on, ends wait."""
        if forward:
            await self.until("later", "ACTIVE")
        await asyncio.sleep(QUIET)
        assert await self.status("long") == "ACTIVE", "ended by a clock that is in doubt"

    async def check_life_goes_on(self, *, forward: bool) -> None:
        """What is over by the accepted time ends; what is booked by it starts and ends in time."""
        if forward:
            await self.until("long", "COMPLETED")
        await self.book("next", 3, 20)
        await self.until("next", "COMPLETED", 17 + SOON)
        log = await self.api.every(f"/v1/campaigns/{self.ids['next']}/transitions")
        late = {row["type"]: row["lateness_ms"] for row in log if row["type"] in ("started", "completed")}
        assert late.keys() == {"started", "completed"}
        assert max(late.values()) < 1500, late
