"""Verdicts on reported plays: pure, in the order of SPEC 7."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from playlists.ids import CampaignId, CreativeId, Digest

TRUSTED_SKEW = timedelta(seconds=30)  # a clock no further off is taken at its word
LARGEST_SKEW = timedelta(hours=1)
AHEAD = timedelta(minutes=5)
OLDEST = timedelta(hours=4)
LEAST_PERCENT = 80  # of the creative's duration

HOUSE = CampaignId(UUID(int=0))  # stands for no campaign: a play of house content is nobody's

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)  # of the calendar
_MILLISECOND = timedelta(milliseconds=1)


class Verdict(StrEnum):
    """What a reported play is found to be; the last two are impressions."""

    DUPLICATE = "duplicate"
    UNKNOWN_PLAYLIST = "unknown_playlist"
    WRONG_DEVICE = "wrong_device"
    CLOCK_SKEW = "clock_skew"
    FUTURE = "future"
    TOO_OLD = "too_old"
    TOO_SHORT = "too_short"
    OUTSIDE_WINDOW = "outside_window"
    CAMPAIGN_CLOSED = "campaign_closed"
    LATE = "late"
    UNPAID = "unpaid"
    ACCEPTED = "accepted"


class Play(NamedTuple):
    """One playout as a device reports it; `started_at` by its own clock."""

    play_id: str
    campaign_id: CampaignId
    creative_id: CreativeId
    variant: str | None
    started_at: datetime
    duration_ms: int
    digest: Digest


# What a playlist's body holds for campaigns: the duration in milliseconds of each campaign's creatives.
Contents = Mapping[tuple[UUID, UUID], int]


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """What of a campaign bears on its plays, as it is now.

    `pauses` are the stretches that stop plays (an open one has no end), `closed_at` when it was CANCELLED or FAILED.
    """

    start_at: datetime
    end_at: datetime
    pauses: Sequence[tuple[datetime, datetime | None]] = ()
    closed_at: datetime | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What of the world bears on the plays of one report; `skew` is how far the device's clock is ahead."""

    skew: timedelta
    answered: Collection[str]  # play ids of this device that had a verdict before
    playlists: Mapping[Digest, Contents]  # those that there are
    granted: Collection[Digest]  # those that were given to this device
    campaigns: Mapping[CampaignId, CampaignFacts]


def corrected(started_at: datetime, skew: timedelta) -> datetime:
    """When a play began by our clock, in UTC: a device clock off by more than 30 s is put right."""
    try:
        return started_at.astimezone(UTC) - (timedelta() if abs(skew) <= TRUSTED_SKEW else skew)
    except OverflowError:  # beyond an end of the calendar: too old or in the future either way
        return _LAST if started_at.year > 1 else _FIRST


def judge(play: Play, facts: Facts, now: datetime) -> Verdict:
    """The first verdict that applies; ACCEPTED for every impression, whether or not its campaign can pay (SPEC 7)."""
    return _unattributed(play, facts) or _untimely(play, facts, now) or _closed(play, facts) or Verdict.ACCEPTED


def _unattributed(play: Play, facts: Facts) -> Verdict | None:
    if play.play_id in facts.answered:
        return Verdict.DUPLICATE
    if play.digest not in facts.playlists:
        return Verdict.UNKNOWN_PLAYLIST
    if play.digest not in facts.granted or _creative_ms(play, facts) is None or play.campaign_id not in facts.campaigns:
        return Verdict.WRONG_DEVICE
    return None


def _untimely(play: Play, facts: Facts, now: datetime) -> Verdict | None:
    if abs(facts.skew) > LARGEST_SKEW:
        return Verdict.CLOCK_SKEW
    began = corrected(play.started_at, facts.skew)
    if began - now > AHEAD:
        return Verdict.FUTURE
    if now - began > OLDEST:
        return Verdict.TOO_OLD
    if play.duration_ms * 100 < (_creative_ms(play, facts) or 0) * LEAST_PERCENT:
        return Verdict.TOO_SHORT
    return None


def _closed(play: Play, facts: Facts) -> Verdict | None:
    campaign = facts.campaigns[play.campaign_id]
    began = corrected(play.started_at, facts.skew)
    if began < campaign.start_at or began + play.duration_ms * _MILLISECOND > campaign.end_at:
        return Verdict.OUTSIDE_WINDOW
    if any(paused <= began and (resumed is None or began < resumed) for paused, resumed in campaign.pauses):
        return Verdict.CAMPAIGN_CLOSED
    if campaign.closed_at is not None and began >= campaign.closed_at:
        return Verdict.CAMPAIGN_CLOSED
    if campaign.settled_at is not None:
        return Verdict.LATE
    return None


def _creative_ms(play: Play, facts: Facts) -> int | None:
    return facts.playlists[play.digest].get((play.campaign_id, play.creative_id))
