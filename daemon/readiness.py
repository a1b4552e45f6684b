"""Where deliveries and campaigns meet: a screen's word on what it holds, and a campaign whose screens are ready."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.campaigns.campaign import Reason, TransitionType
from daemon.campaigns.events import Transition
from daemon.campaigns.lifecycle import fail, log_unmoved
from daemon.campaigns.queries.ready import lock_open, lock_unready, note_ready
from devices.contents import Library
from devices.delivery import PATIENCE, Status
from devices.queries.deliveries import (
    delivery_counts,
    nearly_failed,
    nearly_ready,
    open_campaigns,
    record_deliveries,
)
from devices.queries.fetches import holdings, record_told
from devices.queries.plays import given, lock_reporter
from devices.readiness import NOTHING, FileState, judge
from playlists.ids import CampaignId, DeviceId, Digest, Sha256
from playlists.queries import Tx


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a report came to: `verified` when the screen holds all that it says and all that campaigns need."""

    verified: bool
    deliveries: Mapping[CampaignId, Status]


async def accept(
    tx: Tx,
    device_id: DeviceId,
    digest: Digest,
    said: Mapping[Sha256, FileState],
    library: Library,
    now: datetime,
) -> Receipt:
    """Take a screen's word on the files of a playlist that it was given, as far as it was seen (SPEC 7).

    What was delivered must be in the database by now. A playlist it was not given verifies nothing.
    """
    await lock_reporter(tx, device_id)
    granted = (await given(tx, device_id, [digest])).get(digest, False)
    if not granted:
        return Receipt(verified=False, deliveries={})
    contents = (await library.contents(tx, [digest]))[digest]
    of_playlist = {sha256: state for sha256, state in said.items() if sha256 in contents.files}
    await record_told(tx, device_id, _in(FileState.CORRUPT, of_playlist), _in(FileState.READY, of_playlist), now)
    held = await holdings(tx, device_id, sorted(contents.files))
    unsettled = await open_campaigns(tx, device_id, sorted(contents.campaigns))
    found = {
        campaign: judge(contents.campaigns[campaign], of_playlist, held)
        for campaign, eligible in unsettled.items()
        if eligible
    }
    await record_deliveries(tx, device_id, digest, found, now)
    deliveries = {
        campaign: found[campaign][0] if eligible else Status.REMOVED for campaign, eligible in unsettled.items()
    }
    sound = all(state is FileState.READY and held.get(file, NOTHING).whole for file, state in of_playlist.items())
    needed = {file for files in contents.campaigns.values() for file in files}
    return Receipt(verified=sound and needed <= of_playlist.keys(), deliveries=deliveries)


def _in(state: FileState, said: Mapping[Sha256, FileState]) -> list[Sha256]:
    return sorted(sha256 for sha256, told in said.items() if told is state)


async def ready_due(
    tx: Tx, now: datetime, threshold_percent: int, among: Sequence[CampaignId] | None = None
) -> list[Transition]:
    """Log `content.ready`, once, for campaigns of whose audience `threshold_percent` are READY (SPEC 7).

    `among` None means all. The caller announces the transitions in `tx`.
    """
    candidates = await nearly_ready(tx, threshold_percent, among)
    if not candidates:
        return []
    counts = await delivery_counts(tx, candidates, now)
    reached = [
        campaign
        for campaign, states in counts.items()
        if states[Status.READY] and states[Status.READY] * 100 >= threshold_percent * sum(states.values())
    ]
    unready = await lock_unready(tx, reached)
    await note_ready(tx, unready, now)
    return await log_unmoved(tx, TransitionType.CONTENT_READY, unready, [now] * len(unready), now)


async def fail_due(tx: Tx, now: datetime, settle_after: timedelta) -> list[Transition]:
    """Give up campaigns that every device of their audience has failed, half an hour after the offer (SPEC 3).

    Silence fails nothing. The caller announces the transitions in `tx`.
    """
    candidates = await nearly_failed(tx, now - PATIENCE)
    if not candidates:
        return []
    counts = await delivery_counts(tx, candidates, now)
    lost = [one for one, states in counts.items() if 0 < states[Status.FAILED] == sum(states.values())]
    if not lost:
        return []
    locked = await lock_open(tx, lost)
    still = set(await nearly_failed(tx, now - PATIENCE))  # counting may have taken long
    note = "every device of its audience has failed to take its content"
    return await fail(tx, [one for one in locked if one in still], Reason.DEVICES_FAILED, note, now, settle_after)
