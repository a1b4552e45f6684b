"""The device side over real HTTP: one instance with its feed and sightings, and a screen that talks to it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from aiohttp import ClientSession, web

from daemon import sightings as gathering
from daemon.campaigns.rates import Prices
from daemon.database import Connection, Database
from daemon.feed import Feed
from daemon.sightings import Sightings
from daemon.web import screens as side
from daemon.web.delivered import Deliveries
from daemon.web.keys import Keys
from daemon.web.operations import Platform
from daemon.web.screens import Rhythm, Screens
from daemon.web.server import application
from devices.contents import Library
from playlists.compile import compile_playlist
from playlists.ids import CampaignId, CreativeId, DeviceId, Sha256
from playlists.placement import Media, Placement, Screen
from playlists.playlist import Playlist
from playlists.queries import Tx
from tests.doubles import FakeClock

POLL_AFTER, HEARTBEAT = timedelta(minutes=5), timedelta(minutes=1)


@dataclass(slots=True)
class Instance:
    """One daemon as screens see it."""

    url: str
    session: ClientSession
    database: Database
    clock: FakeClock
    screens: Screens
    follower: Connection

    async def follow(self) -> None:
        """Take in what was committed, as the feed does four times a second."""
        await self.screens.feed.refresh(self.follower)

    async def call(self, method: str, path: str, token: str = "", **request: Any) -> tuple[int, Any, bytes]:
        """Status, headers and body."""
        headers = dict(request.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with self.session.request(method, self.url + path, headers=headers, **request) as response:
            return response.status, response.headers, await response.read()


@asynccontextmanager
async def instance(platform: Platform, database: Database, clock: FakeClock) -> AsyncIterator[Instance]:
    feed, sightings = Feed(database), Sightings()
    screens = Screens(
        database=database,
        clock=clock,
        metrics=platform.metrics,
        feed=feed,
        sightings=sightings,
        library=Library(),
        deliveries=Deliveries(sightings),
        keys=Keys(feed, database, clock),
        rhythm=Rhythm(POLL_AFTER, HEARTBEAT, Prices(5_000_000), 1_000_000),
        woken=lambda: None,
    )
    app = application(platform, [partial(side.register, screens=screens, folder=platform.media)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    writer = asyncio.create_task(gathering.run(sightings, database, clock, platform.metrics, 90, lambda: None))
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession(auto_decompress=False) as session, database.dedicated("feed") as follower:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            one = Instance(url, session, database, clock, screens, follower)
            await one.follow()
            yield one
    finally:
        await runner.cleanup()
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer


async def published(
    tx: Tx, devices: Sequence[DeviceId], campaigns: Sequence[CampaignId], now: datetime, begins: timedelta
) -> Playlist:
    """Give devices the playlist that these campaigns make on a screen of twelve slots in UTC."""
    placed = [await _placement(tx, campaign) for campaign in campaigns]
    hour = now.replace(minute=0, second=0, microsecond=0) + begins
    made = compile_playlist(placed, Screen("UTC", 12, (), ()), hour, hour + timedelta(hours=48))
    await tx.execute(
        """INSERT INTO playlists VALUES ($1, $1, $2, $3, $4, $4, $4, $2) ON CONFLICT DO NOTHING""",
        made.digest, made.valid_from, made.valid_until, made.body,
    )  # fmt: skip
    for device in devices:
        await tx.execute("INSERT INTO grants VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", device, made.digest, now)
        await tx.execute(
            """INSERT INTO screens (device_id, digest, input_digest, version, valid_until, assigned_at)
               VALUES ($1, $2, $2, 1, $3, $4)
               ON CONFLICT (device_id) DO UPDATE SET digest = excluded.digest, version = screens.version + 1,
                   changed_xid = pg_current_xact_id()""",
            device, made.digest, made.valid_until, now,
        )  # fmt: skip
    return made


async def _placement(tx: Tx, campaign: CampaignId) -> Placement:
    row = await tx.fetchrow("SELECT start_at, end_at, priority FROM campaigns WHERE id = $1", campaign)
    assert row is not None
    files = await tx.fetch(
        """SELECT c.id, c.sha256, c.size, c.mime, c.duration_ms FROM campaign_creatives cc
           JOIN creatives c ON c.id = cc.creative_id WHERE cc.campaign_id = $1 ORDER BY cc.position""",
        campaign,
    )
    media = tuple(
        Media(CreativeId(UUID(str(f["id"]))), Sha256(f["sha256"]), f["size"], f["mime"], f["duration_ms"])
        for f in files
    )
    return Placement(campaign, media, row["start_at"], row["end_at"], (), row["priority"])
