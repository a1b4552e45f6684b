"""A campaign's creatives, window and weight on a kind of screen: the compiler's whole input."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from playlists.daypart import Daypart, Window, intersect, windows
from playlists.ids import CampaignId, CreativeId, Digest, Sha256
from playlists.localtime import rules_digest
from playlists.slots import EPOCH, fitting, slot_seconds

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Media:
    """One creative as screens need it: its file (bytes, mime) and how long it shows, in milliseconds."""

    creative_id: CreativeId
    sha256: Sha256
    size: int
    mime: str
    duration_ms: int
    variant: str | None = None  # the arm of an A/B test that it is


@dataclass(frozen=True, slots=True)
class Placement:
    """One campaign on one kind of screen: what, when (instants, local day-parts) and how much (weight).

    With `scheduled` false its media are distributed and it is in no sequence: it awaits a decision (SPEC 6).
    """

    campaign_id: CampaignId
    creatives: tuple[Media, ...]
    start_at: datetime
    end_at: datetime
    dayparts: tuple[Daypart, ...]
    weight: int
    scheduled: bool = True

    @property
    def longest_ms(self) -> int:
        """How long its longest creative shows; 0 without any."""
        return max((media.duration_ms for media in self.creatives), default=0)


@dataclass(frozen=True, slots=True)
class Screen:
    """All in which kinds of screens differ: zone, slot grid, opening hours and house content."""

    timezone: str
    slots_per_hour: int
    opening_hours: tuple[Daypart, ...]
    fallback: tuple[Media, ...]


def input_digest(placements: Iterable[Placement], screen: Screen) -> Digest:
    """The SHA-256 of all that a playlist is compiled from, whatever the order of the placements.

    Screens with equal digests share one playlist (SPEC 6).
    """
    whole = {
        "placements": [_placement_form(p) for p in sorted(placements, key=lambda p: p.campaign_id.int)],
        "timezone": screen.timezone,
        "zone_rules": rules_digest(screen.timezone),
        "slots_per_hour": screen.slots_per_hour,
        "opening_hours": _parts_form(screen.opening_hours),
        "fallback": [_media_form(media) for media in screen.fallback],
    }
    canonical = json.dumps(whole, separators=(",", ":"), ensure_ascii=False)
    return Digest(sha256(canonical.encode()).hexdigest())


def _placement_form(placement: Placement) -> list[object]:
    return [
        placement.campaign_id.hex,
        [_media_form(media) for media in placement.creatives],
        placement.start_at.astimezone(UTC).isoformat(),
        placement.end_at.astimezone(UTC).isoformat(),
        _parts_form(placement.dayparts),
        placement.weight,
        placement.scheduled,
    ]


def _media_form(media: Media) -> list[object]:
    return [media.creative_id.hex, media.sha256, media.size, media.mime, media.duration_ms, media.variant]


def _parts_form(parts: Iterable[Daypart]) -> list[list[int | list[int]]]:
    # Neither order nor repetition of parts means anything.
    return sorted([part.begins, part.ends, sorted(part.days)] for part in set(parts))


def horizon(digest: Digest, now: datetime, horizon_hours: int = 48, renew_hours: int = 26) -> tuple[datetime, datetime]:
    """The whole UTC hours [valid_from, valid_until) that a playlist of this input covers at `now` (SPEC 6).

    It moves on every `horizon_hours - renew_hours`, when just `renew_hours` remain; the hour at which it does
    follows from the digest, so that a renewal never moves the whole fleet at once.
    """
    period = horizon_hours - renew_hours
    if renew_hours < 1 or period < 1:
        raise ValueError("a horizon must be longer than what remains of it at renewal")
    hour = (now - EPOCH) // _HOUR
    begins = hour - (hour - int(digest[:16], 16)) % period
    return EPOCH + begins * _HOUR, EPOCH + (begins + horizon_hours) * _HOUR


def eligible_slots(placement: Placement, time: Sequence[Window], screen: Screen) -> list[range]:
    """The slots in which the placement may play, as ranges of slot numbers (SPEC 6).

    `time` is what its day-parts and the screen's opening hours have in common, over whole slots. The longest
    creative must fit the slot, and from its beginning lie whole in that time and in the window: then all do.
    """
    if not placement.creatives:
        return []
    stretches = intersect([(placement.start_at, placement.end_at)], time)
    longest = timedelta(milliseconds=placement.longest_ms)
    return fitting(stretches, longest, slot_seconds(screen.slots_per_hour))


def has_slot(
    start_at: datetime, end_at: datetime, dayparts: tuple[Daypart, ...], longest_ms: int, screen: Screen
) -> bool:
    """Whether a campaign has at least one slot of the screen in its whole window [start_at, end_at) (SPEC 3).

    `longest_ms` is the duration of its longest creative. Raises UnknownZone.
    """
    longest, seconds = timedelta(milliseconds=longest_ms), slot_seconds(screen.slots_per_hour)
    begin = start_at
    while begin < end_at:
        # Week by week, as most have one in their first; up to a whole hour, so that no slot is cut in two.
        until = min(end_at, EPOCH + ((begin - EPOCH) // _HOUR + 7 * 24) * _HOUR)
        opening = windows(screen.opening_hours, screen.timezone, begin, until)
        time = intersect(windows(dayparts, screen.timezone, begin, until), opening)
        if fitting(time, longest, seconds):
            return True
        begin = until
    return False
