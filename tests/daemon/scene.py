"""Two devices that were given a playlist of two campaigns, what they report, and what it came to."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.campaigns.rates import Prices
from daemon.intake import Receipt, Report, accept
from devices.contents import Library
from devices.plays import Play
from playlists.ids import CampaignId, CreativeId, DeviceId
from playlists.playlist import Playlist
from playlists.queries import Tx
from tests import world
from tests.daemon.web.screenside import published

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
PRICES = Prices(5_000_000)  # 5.00: a play of 10 s costs 3333 micros
PRICE = 3_333


class Scene:
    """Two devices that both have a playlist of two campaigns."""

    devices: list[DeviceId]
    campaigns: list[CampaignId]
    creatives: list[CreativeId]
    playlist: Playlist

    def plays(self, count: int, prefix: str = "p", campaign: int = 0) -> list[Play]:
        return [
            Play(
                f"{prefix}{number}", self.campaigns[campaign], self.creatives[campaign], None,
                NOW - 30 * SECOND - number * SECOND, 10_000, self.playlist.digest,
            )
            for number in range(count)
        ]  # fmt: skip


async def made(connection: Tx) -> Scene:
    scene = Scene()
    owner = await world.tenant(connection, NOW)
    shop = await world.store(connection, NOW)
    scene.devices = [await world.device(connection, shop, NOW) for _ in range(2)]
    scene.creatives = [await world.creative(connection, owner, NOW) for _ in range(2)]
    scene.campaigns = [
        await world.campaign(connection, owner, NOW, creatives=[one], begins=-5 * HOUR, ends=100 * HOUR)
        for one in scene.creatives
    ]
    scene.playlist = await published(connection, scene.devices, scene.campaigns, NOW, -timedelta(hours=1))
    return scene


async def report(
    tx: Tx, device: DeviceId, plays: Sequence[Play], library: Library, now: datetime = NOW, prices: Prices = PRICES
) -> Receipt:
    async with tx.transaction():
        return await accept(tx, device, Report(now, plays), library, prices, now)


async def money(tx: Tx, campaign: CampaignId) -> dict[str, Any]:
    row = await tx.fetchrow(
        """SELECT c.status, c.held_micros, c.spent_micros, c.impressions,
                  (SELECT coalesce(sum(amount_micros), 0)::bigint FROM ledger WHERE campaign_id = c.id) AS posted,
                  (SELECT coalesce(sum(charged_micros), 0)::bigint FROM plays WHERE campaign_id = c.id) AS charged
           FROM campaigns c WHERE c.id = $1""",
        campaign,
    )
    assert row is not None
    assert row["spent_micros"] == row["posted"] == row["charged"]
    return dict(row)


async def set_budget(tx: Tx, campaign: CampaignId, micros: int) -> None:
    await tx.execute(
        """UPDATE campaigns SET budget_micros = $2, held_micros = $2, spent_micros = 0, impressions = 0,
                                status = 'ACTIVE', pause_causes = '{}' WHERE id = $1""",
        campaign,
        micros,
    )
