"""When a stored playlist plays a campaign around an instant, read from its body alone, pure."""

import json
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from playlists.ids import CampaignId
from playlists.slots import EPOCH


class Planned(NamedTuple):
    """What a playlist means for a campaign at an instant.

    `listed`: its media are in it. `covered`: the instant is in its hours. `around`: in the stretch of time that the
    instant is in, the campaign has a slot. `next_at`: its slot at the instant or the first after it, if there is one.
    """

    listed: bool
    covered: bool
    around: bool
    next_at: datetime | None


def planned(body: bytes, campaign_id: CampaignId, at: datetime) -> Planned:
    """What the playlist whose native JSON this is, one of our own, plays of the campaign around `at` (SPEC 6)."""
    form = json.loads(body)
    covered = datetime.fromisoformat(form["valid_from"]) <= at < datetime.fromisoformat(form["valid_until"])
    own = {index for index, entry in enumerate(form["creatives"]) if entry["campaign_id"] == str(campaign_id)}
    if not own:
        return Planned(False, covered, False, None)
    slot = timedelta(seconds=form["slot_seconds"])
    number = (at - EPOCH) // slot
    around, next_at = False, None
    for segment in form["segments"]:
        begin = (datetime.fromisoformat(segment["from"]) - EPOCH) // slot
        end = (datetime.fromisoformat(segment["until"]) - EPOCH) // slot
        if end <= number or own.isdisjoint(segment["sequence"]):
            continue
        if begin <= number:
            around = _first(segment["sequence"], own, begin, end) is not None
        found = _first(segment["sequence"], own, max(begin, number), end)
        if found is not None:
            next_at = EPOCH + found * slot
            break
    return Planned(True, covered, around, next_at)


def _first(sequence: list[int | None], own: set[int], begin: int, end: int) -> int | None:
    """The first of the slots [begin, end) that is one of the campaign's."""
    # once round the sequence is all there is
    slots = islice(range(begin, end), len(sequence))
    return next((slot for slot in slots if sequence[slot % len(sequence)] in own), None)
