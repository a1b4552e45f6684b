"""Placements and a horizon to a playlist: pure, deterministic, whatever the order of the placements."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, compress, pairwise

from playlists.daypart import Daypart, Window, intersect, windows
from playlists.ids import CampaignId
from playlists.placement import Media, Placement, Screen, eligible_slots
from playlists.playlist import Entry, Playlist, Segment
from playlists.slots import EPOCH, Claim, fitting, sequence, slot_seconds

_HOUR = timedelta(hours=1)
_OPEN = 1  # the lowest bit of a set says that the shop is open, bit i + 1 that placement i is eligible


def compile_playlist(
    placements: Iterable[Placement], screen: Screen, valid_from: datetime, valid_until: datetime
) -> Playlist:
    """The playlist of a kind of screen over the whole UTC hours [valid_from, valid_until) (SPEC 6).

    Every placement's media are in it, its slots only where it is `scheduled` and eligible. Raises ValueError for
    a horizon not of whole hours, a campaign placed twice, a weight below 1; UnknownZone for the screen's zone.
    """
    if valid_from >= valid_until or (valid_from - EPOCH) % _HOUR or (valid_until - EPOCH) % _HOUR:
        raise ValueError("a playlist covers whole UTC hours, at least one")
    placed = sorted(placements, key=lambda placement: placement.campaign_id.int)
    for one, other in pairwise(placed):
        if one.campaign_id == other.campaign_id:
            raise ValueError(f"campaign {one.campaign_id} is placed twice")
    entries = [_entry(media, placement.campaign_id) for placement in placed for media in placement.creatives]
    house = [_entry(media, None) for media in screen.fallback]
    return Playlist(
        valid_from=valid_from,
        valid_until=valid_until,
        timezone=screen.timezone,
        slot_seconds=slot_seconds(screen.slots_per_hour),
        creatives=(*entries, *house),
        segments=_segments(placed, screen, valid_from, valid_until),
        fallback=tuple(range(len(entries), len(entries) + len(house))),
    )


def _entry(media: Media, campaign_id: CampaignId | None) -> Entry:
    return Entry(
        id=media.creative_id,
        url=f"/media/{media.sha256}",
        sha256=media.sha256,
        size=media.size,
        mime=media.mime,
        duration_ms=media.duration_ms,
        campaign_id=campaign_id,
        variant=media.variant,
    )


def _segments(placed: Sequence[Placement], screen: Screen, begin: datetime, end: datetime) -> tuple[Segment, ...]:
    """The horizon cut where the eligible set changes; stretches of equal sequences are one."""
    seconds = slot_seconds(screen.slots_per_hour)
    sets = _eligible_sets(placed, screen, begin, end)
    sequences = _sequences(placed, screen.slots_per_hour, {members for _, members in sets})
    cuts: list[tuple[datetime, tuple[int | None, ...]]] = []
    for slot, members in sets:
        if not cuts or cuts[-1][1] != sequences[members]:
            cuts.append((EPOCH + timedelta(seconds=slot * seconds), sequences[members]))
    ends = [begins for begins, _ in cuts[1:]] + [end]
    return tuple(Segment(begins, until, played) for (begins, played), until in zip(cuts, ends, strict=True))


def _eligible_sets(
    placed: Sequence[Placement], screen: Screen, begin: datetime, end: datetime
) -> list[tuple[int, int]]:
    """The slots at which the set of who is eligible changes, each with the set from there on, as bits."""
    seconds = slot_seconds(screen.slots_per_hour)
    opening = windows(screen.opening_hours, screen.timezone, begin, end)
    changes: defaultdict[int, int] = defaultdict(int, {(begin - EPOCH) // timedelta(seconds=seconds): 0})

    def mark(found: Iterable[range], member: int) -> None:
        for slots in found:
            changes[slots.start] ^= member
            changes[slots.stop] ^= member

    # A slot is open if the shop is at its beginning: if a moment from there fits the opening hours.
    mark(fitting(opening, timedelta.resolution, seconds), _OPEN)
    times: dict[tuple[Daypart, ...], list[Window]] = {}
    for index, placement in enumerate(placed):
        if placement.scheduled:
            if placement.dayparts not in times:
                parts = windows(placement.dayparts, screen.timezone, begin, end)
                times[placement.dayparts] = intersect(parts, opening)
            mark(eligible_slots(placement, times[placement.dayparts], screen), 1 << index + 1)
    changes.pop((end - EPOCH) // timedelta(seconds=seconds), None)
    slots = sorted(changes)
    return list(zip(slots, accumulate((changes[slot] for slot in slots), int.__xor__), strict=True))


def _sequences(placed: Sequence[Placement], slots_per_hour: int, sets: set[int]) -> dict[int, tuple[int | None, ...]]:
    """What each set plays, as indexes into the playlist's creatives: made once, however often the set recurs."""
    claims = [Claim(p.campaign_id, p.weight, len(p.creatives)) for p in placed]
    firsts = list(accumulate((claim.creatives for claim in claims), initial=0))
    made: dict[int, tuple[int | None, ...]] = {0: ()}
    for members in sets - made.keys():
        bits = [bit == "1" for bit in f"{members >> 1:b}"[::-1]]
        first = list(compress(firsts, bits))
        slots = sequence(list(compress(claims, bits)), slots_per_hour)
        made[members] = tuple(None if slot is None else first[slot.claim] + slot.turn for slot in slots)
    return made
