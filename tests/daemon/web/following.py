"""Playlists that follow what was asked over HTTP: what a running daemon does by itself, done when told."""

from datetime import timedelta

from daemon.compiling import Compiler
from daemon.distribute import distribute
from daemon.planner import step
from playlists import playlist
from playlists.ids import CampaignId
from playlists.playlist import Playlist
from playlists.queries import screens
from tests.daemon.web.caller import Api


async def planned(api: Api, compiler: Compiler) -> None:
    """Let the playlists follow everything that is marked."""
    now = api.clock.now()
    while True:
        async with api.platform.database.transaction() as tx:
            if not await screens.work_waits(tx, now, now + compiler.reach.renewal):
                return
            assert await step(tx, now, compiler, api.platform.metrics) is not None


async def distributed(api: Api, campaign_id: str) -> None:
    """Let a campaign into the playlists, if it is due there."""
    async with api.platform.database.transaction() as tx:
        await distribute(tx, [CampaignId(campaign_id)], api.clock.now(), timedelta(days=1))  # type: ignore[arg-type]


async def on_screen(api: Api, device_id: str) -> Playlist:
    """The playlist that a device is given."""
    async with api.platform.database.transaction() as tx:
        body = await tx.fetchval(
            "SELECT p.body FROM screens s JOIN playlists p ON p.digest = s.digest WHERE s.device_id = $1", device_id
        )
    return playlist.parse(body)
