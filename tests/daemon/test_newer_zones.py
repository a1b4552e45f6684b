"""Two daemons with different tzdata on one database: the newer one's rules hold, whatever the older one does."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from playlists.localtime import tzdata_version
from playlists.queries import Tx, mark_network
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, column
from tests.daemon.process import daemon

HOURS = [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "09:00", "to": "21:00"}]
NEWER = "2099a"


@pytest.fixture
def newer(tmp_path: Path) -> str:
    """A folder with a tzdata package of later days, in which Berlin keeps the hours of London."""
    package = tmp_path / "tzdata"
    shutil.copytree(str(files("tzdata")), package, ignore=shutil.ignore_patterns("__pycache__"))
    init = package / "__init__.py"
    init.write_text(init.read_text().replace(tzdata_version(), NEWER))
    zones = package / "zoneinfo" / "Europe"
    shutil.copy(zones / "London", zones / "Berlin")
    return str(tmp_path)


async def opens(tx: Tx) -> set[int]:
    """The UTC hours at which the one screen's playlist has the shop open after it was closed."""
    body = await tx.fetchval("SELECT p.body FROM screens s JOIN playlists p ON p.digest = s.digest")
    segments = orjson.loads(body)["segments"] if body else []
    return {
        datetime.fromisoformat(part["from"]).hour
        for before, part in pairwise(segments)
        if part["sequence"] and not before["sequence"]
    }


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.1)


async def test_the_newer_rules_hold_while_an_older_daemon_still_runs(
    owner_connection: Tx, database_url: str, newer: str
) -> None:
    tx = owner_connection
    now: datetime = await tx.fetchval("SELECT clock_timestamp()")
    noon = (now + timedelta(days=3)).replace(hour=12, minute=0, second=0, microsecond=0, tzinfo=None)
    tenant_id = await world.tenant(tx)
    await world.device(tx, opening_hours=HOURS)
    given: dict[str, Any] = {"start_at": None, "end_at": None, "timezone": "Europe/Berlin"}
    given |= {"start_local": noon.isoformat(), "end_local": (noon + timedelta(days=1)).isoformat()}
    campaign_id = await world.submitted(tx, tenant_id, at=now, **given)
    start: datetime = await column(tx, campaign_id, "start_at")
    nine = {(start.hour - 3) % 24}

    async def opens_at(hours: set[int]) -> bool:
        return await opens(tx) == hours

    async def starts_at(instant: datetime) -> bool:
        return bool(await column(tx, campaign_id, "start_at") == instant)

    environ = {"SIGNAGED_DATABASE__URL": database_url}
    async with daemon(environ):
        await until(partial(opens_at, nine))
        assert await column(tx, campaign_id, "tzdata_version") == tzdata_version()
        async with daemon(environ | {"PYTHONPATH": newer}) as later:
            await until(partial(opens_at, {(start.hour - 2) % 24}))
            await until(partial(starts_at, start + HOUR))
            assert await column(tx, campaign_id, "tzdata_version") == NEWER
            assert (await later.get("/metrics"))[1].count(f'tzdata_info{{version="{NEWER}"}} 1.0') == 1
            await mark_network(tx, now)  # whoever takes it up, all is compiled anew
            await until(partial(worked_off, tx))
            assert await opens(tx) == {(start.hour - 2) % 24}
    assert await tx.fetchval("SELECT count(*) FROM transitions WHERE type = 'updated'") == 1


async def worked_off(tx: Tx) -> bool:
    waits: bool = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM marks) OR EXISTS (SELECT FROM stale_screens)",
    )
    return not waits
