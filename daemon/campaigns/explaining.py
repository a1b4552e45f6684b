"""Why a campaign is not running here: the reasons for a campaign, a store or a device, at any instant (SPEC 3)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.campaigns import obstacles as own
from daemon.campaigns.queries.explaining import whole_log, whole_pauses
from devices import obstacles
from devices.obstacles import Alike, Moment, Obstacle
from devices.presence import online_since
from devices.queries.presence import watch
from devices.queries.standing import bodies, standing
from playlists.daypart import parse
from playlists.ids import CampaignId, DeviceId, Digest, StoreId
from playlists.planned import Planned, planned
from playlists.queries import Row, Tx

_NOW = timedelta(minutes=1)  # so near, an instant is meant as now: what screens last said holds


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every reason in order, for all devices asked about or for so many; how many there are and how many play it."""

    reasons: list[Obstacle]
    devices: int
    devices_running: int
    next_play_at: datetime | None


async def explain(
    tx: Tx,
    row: Row,
    place: StoreId | DeviceId | None,
    single: bool,
    at: datetime,
    now: datetime,
    lead: timedelta,
    patience: timedelta,
) -> Explanation:
    """Why a campaign does or does not run at an instant: on a device (`single`), in a store, or where it is meant.

    `row` is that of `campaign_row`. `lead` is how long ahead of its start it is distributed, `patience` the silence
    after which a device is offline.
    """
    campaign_id = CampaignId(row["id"])
    present = abs(at - now) <= _NOW
    log, pauses = await whole_log(tx, campaign_id), await whole_pauses(tx, campaign_id)
    campaign = own.as_at(row, log, pauses, at, now, lead)
    reasons = own.obstacles(campaign, now)
    moment = Moment(
        at=at,
        past=at < now and not present,
        present=present,
        expected=campaign.expected,
        clear=not reasons,
        dayparts=tuple(map(parse, row["dayparts"])),
    )
    since = online_since(await watch(tx, patience))
    alike = await standing(tx, campaign_id, place, single, now if present else at, now, since)
    plans = await _plans(tx, campaign_id, alike, at) if campaign.expected else {}
    return await asyncio.to_thread(_explained, reasons, alike, moment, plans, single)


async def _plans(tx: Tx, campaign_id: CampaignId, alike: Sequence[Alike], at: datetime) -> dict[Digest, Planned]:
    """What each playlist that is on a screen plays of the campaign."""
    wanted = {digest for one in alike for digest in (one.digest, one.held) if digest}
    return {
        digest: await asyncio.to_thread(planned, body, campaign_id, at) async for digest, body in bodies(tx, wanted)
    }


def _explained(
    reasons: list[Obstacle], alike: Sequence[Alike], moment: Moment, plans: dict[Digest, Planned], single: bool
) -> Explanation:
    hours = obstacles.Hours(moment.at)
    found = [(one.devices, obstacles.obstacles(one, moment, plans, hours)) for one in alike]
    of_places = found[0][1] if single and found else obstacles.merged(found)
    if not alike and not any(one.code == own.Code.NO_ELIGIBLE_DEVICES for one in reasons):
        of_places = [Obstacle(own.Code.NO_ELIGIBLE_DEVICES, "There is no device here that it could be for")]
    playing = [one for one, (_, against) in zip(alike, found, strict=True) if not against]
    nexts = [plans[one.digest].next_at for one in playing if one.digest in plans]
    return Explanation(
        reasons=[*reasons, *of_places],
        devices=sum(one.devices for one in alike),
        devices_running=0 if reasons else sum(one.devices for one in playing),
        next_play_at=min((at for at in nexts if at), default=None),
    )
