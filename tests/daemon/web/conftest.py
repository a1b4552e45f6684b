"""The real API over real HTTP on a port of its own, on a real database; only the clock goes when told."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from prometheus_client import CollectorRegistry

from config.settings import DatabaseSettings
from daemon.campaigns.rates import Prices
from daemon.database import Database
from daemon.feed import Feed
from daemon.media import MediaFolder
from daemon.metrics import Metrics
from daemon.sightings import Sightings
from daemon.tenants import TenantDefaults, create_token
from daemon.web.delivered import Deliveries
from daemon.web.keys import Keys
from daemon.web.operations import Platform
from daemon.web.screens import Rhythm, Screens, register
from daemon.web.server import application
from devices.contents import Library
from tests.daemon.web.caller import UNIT, Api, limits
from tests.doubles import FakeClock


def screens_of(platform: Platform) -> Screens:
    feed, sightings = Feed(platform.database), Sightings()
    return Screens(
        database=platform.database,
        clock=platform.clock,
        metrics=platform.metrics,
        feed=feed,
        sightings=sightings,
        library=Library(),
        deliveries=Deliveries(sightings),
        keys=Keys(feed, platform.database, platform.clock),
        rhythm=Rhythm(timedelta(minutes=5), timedelta(minutes=1), Prices(5 * UNIT), platform.max_body_bytes),
        woken=platform.woken,
    )


@pytest.fixture
async def api(database_url: str, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Api]:
    registry = CollectorRegistry()
    woken: list[int] = []
    async with Database.open(DatabaseSettings(url=database_url)) as database:
        database.schema_ready = True
        platform = Platform(
            database=database,
            clock=clock,
            metrics=Metrics.create(registry),
            media=MediaFolder(tmp_path / "media"),
            limits=limits(),
            defaults=TenantDefaults("EUR", running_limit=5, approval_limit=10_000 * UNIT),
            patience=timedelta(minutes=8),
            lead=timedelta(days=1),
            activation_life=timedelta(days=30),
            rotation_overlap=timedelta(days=1),
            max_media_bytes=10_000_000,
            max_body_bytes=65_536,
            version="0.1.0",
            woken=lambda: woken.append(1),
        )
        screens = screens_of(platform)
        app = application(platform, [lambda app: register(app, screens, platform.media)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            async with ClientSession() as session:
                url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                caller = Api(url, session, app, platform, clock, registry, woken=woken)
                async with database.transaction() as tx:
                    _, caller.admin = await create_token(tx, "platform_admin", None, None, clock.now())
                    _, caller.operator = await create_token(tx, "operator", None, None, clock.now())
                yield caller
        finally:
            await runner.cleanup()
