"""Who is there: sightings, and online and offline as a function of now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from playlists.ids import DeviceId

Outage = tuple[datetime, datetime]  # [from, until) in which nobody served: silence then is not the device's

SKEWED = timedelta(seconds=30)  # a clock further off is flagged


class Status(StrEnum):
    """What a device is to those who watch the network."""

    NEW = "NEW"
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class Watch:
    """How devices are watched: up to when sightings are known, the outages of ours, the silence that is allowed."""

    until: datetime
    outages: Sequence[Outage]
    patience: timedelta


def patience(poll_after: timedelta, heartbeat: timedelta) -> timedelta:
    """The silence after which a device is offline: two heartbeats or one and a half polls, the longer (SPEC 7)."""
    return max(2 * heartbeat, 1.5 * poll_after)


def status(disabled: bool, last_seen_at: datetime | None, watch: Watch) -> Status:
    """What a device is, from when it was last seen (SPEC 7)."""
    if disabled:
        return Status.DISABLED
    if last_seen_at is None:
        return Status.NEW
    return Status.ONLINE if silence(last_seen_at, watch) <= watch.patience else Status.OFFLINE


def silence(last_seen_at: datetime, watch: Watch) -> timedelta:
    """How long somebody served and nothing came, since `last_seen_at`."""
    heard = max(watch.until - last_seen_at, timedelta())
    for began, ended in watch.outages:
        heard -= max(min(ended, watch.until) - max(began, last_seen_at), timedelta())
    return heard


def online_since(watch: Watch) -> datetime:
    """The earliest last sighting with which a device is not offline: the silence since is just what is allowed."""
    since = watch.until - watch.patience
    for began, ended in sorted(watch.outages, reverse=True):
        if ended >= since and began < watch.until:
            since -= min(ended, watch.until) - began
    return since


class Beat(NamedTuple):
    """One heartbeat: when it came and what it said; `skew_ms` is how far the device's clock is ahead."""

    device_id: DeviceId
    at: datetime
    digest: str | None
    screen: str
    skew_ms: int
    errors: list[str]


def skewed(skew_ms: int) -> bool:
    """Whether a device's clock is so far off that somebody should look at it (SPEC 7)."""
    return abs(timedelta(milliseconds=skew_ms)) > SKEWED
