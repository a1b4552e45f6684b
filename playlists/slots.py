"""The slot rule: the grid, the slots a campaign may have, and which campaign gets which (SPEC 6).

A sequence is made in five steps, each a function of the one before, named for what it decides:
`_admitted` who takes part and over how many hours, `_counts` how many slots each one gets, `_by_hour` how many
of them fall in each hour, `_spread` where in the hour they lie, `_in_turns` which creative each one shows.
A limit on what a campaign may have bears on the first two, the distance between its slots on `_spread` alone:
moving slots within their hour leaves all that the other steps decided as it is.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, cycle
from typing import NamedTuple

from playlists.ids import CampaignId

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Prime to the day's 24 hours, so that no campaign is locked to an hour.
SEQUENCE_HOURS = (1, 5, 7, 11, 13, 17, 19, 23)


class Claim(NamedTuple):
    """What an eligible campaign brings to a sequence: its weight and how many creatives it has, both >= 1."""

    campaign_id: CampaignId
    weight: int
    creatives: int


class Slot(NamedTuple):
    """A slot given away: the index of the claim that has it, and the index of the creative whose turn it is."""

    claim: int
    turn: int


def slot_seconds(slots_per_hour: int) -> int:
    """The length of a slot; raises ValueError unless `slots_per_hour` is 6 to 360 and divides 3600."""
    if not 6 <= slots_per_hour <= 360 or 3600 % slots_per_hour:
        raise ValueError("slots_per_hour must be 6 to 360 and divide 3600")
    return 3600 // slots_per_hour


def fitting(stretches: Iterable[tuple[datetime, datetime]], lasting: timedelta, seconds: int) -> list[range]:
    """The numbers (Unix time / `seconds`) of the slots from whose beginning `lasting` fits a stretch whole.

    Stretches are sorted and separate; they may begin and end where the fit does. What outlasts a slot fits none.
    """
    slot = timedelta(seconds=seconds)
    if lasting > slot:
        return []
    # -(-a // b) is a / b rounded up: the first slot that begins in the stretch.
    found = (range(-((EPOCH - begin) // slot), (end - lasting - EPOCH) // slot + 1) for begin, end in stretches)
    return [slots for slots in found if slots]


def sequence(claims: Sequence[Claim], slots_per_hour: int) -> tuple[Slot | None, ...]:
    """Who has which slot, repeated for ever: the item of slot number s stands at s mod the length (SPEC 6).

    It depends on the arguments alone, and not on the order of the claims. Without a claim every slot is None.
    Raises ValueError for a weight or a number of creatives below 1.
    """
    slot_seconds(slots_per_hour)
    by_age = sorted(range(len(claims)), key=lambda index: claims[index].campaign_id.int)
    admitted, hours = _admitted([claims[index] for index in by_age], slots_per_hour)
    if not admitted:
        return (None,) * slots_per_hour
    order = _spread(_by_hour(_counts(admitted, hours * slots_per_hour), hours))
    return _in_turns(order, admitted, by_age)


def _admitted(by_age: Sequence[Claim], slots_per_hour: int) -> tuple[Sequence[Claim], int]:
    """Who takes part, and the fewest hours in which each of their creatives gets a slot.

    What 23 hours cannot hold costs the youngest campaigns their part: those with the highest ids.
    """
    for claim in by_age:
        if claim.weight < 1 or claim.creatives < 1:
            raise ValueError(f"campaign {claim.campaign_id}: weight and creatives must be at least 1")
    needed = sum(claim.creatives for claim in by_age)
    for hours in SEQUENCE_HOURS:
        if needed <= hours * slots_per_hour:
            return by_age, hours
    most = SEQUENCE_HOURS[-1] * slots_per_hour
    fit = sum(1 for total in accumulate(claim.creatives for claim in by_age) if total <= most)
    return by_age[:fit], SEQUENCE_HOURS[-1]


def _counts(claims: Sequence[Claim], slots: int) -> list[int]:
    """Each claim's ideal, rounded so that all slots are given: largest remainder first, then by age.

    The ideal is the share by weight, but never under one slot per creative. What that adds to some is taken from
    the others by weight, which may bring further ones to their least: so it is asked again until none is.
    """
    counts = [claim.creatives for claim in claims]
    sharing, rest = list(range(len(claims))), slots
    while True:
        weight = sum(claims[rank].weight for rank in sharing)
        least = {rank for rank in sharing if rest * claims[rank].weight < claims[rank].creatives * weight}
        if not least:
            break
        rest -= sum(claims[rank].creatives for rank in least)
        sharing = [rank for rank in sharing if rank not in least]
    remainders = {}
    for rank in sharing:
        counts[rank], remainders[rank] = divmod(rest * claims[rank].weight, weight)
    left = slots - sum(counts)
    for rank in sorted(sharing, key=lambda rank: (-remainders[rank], rank))[:left]:
        counts[rank] += 1
    return counts


def _by_hour(counts: Sequence[int], hours: int) -> list[list[tuple[int, int]]]:
    """For each hour the claims in it, as (rank, how many slots): count / hours, rounded up or down.

    What remains of each count goes to hours in one round over all claims, so that every hour ends up equally
    full; the round's stride is near the golden section of the hours, so that a campaign's hours lie apart.
    """
    stride = round(hours * 0.618) or 1
    cells: list[list[tuple[int, int]]] = [[] for _ in range(hours)]
    given = 0
    for rank, count in enumerate(counts):
        each, extra = divmod(count, hours)
        fuller = {turn * stride % hours for turn in range(given, given + extra)}
        given += extra
        for hour in range(hours) if each else fuller:
            cells[hour].append((rank, each + (hour in fuller)))
    return cells


def _spread(cells: Sequence[Sequence[tuple[int, int]]]) -> list[int]:
    """The rank that has each slot: in every hour a claim's slots lie evenly, each claim in a phase of its own.

    The phases follow the golden section, in 32-bit fractions of the distance between a claim's slots. As a claim
    keeps its phase in all hours, it lies as evenly across their borders, the end joined to the beginning.
    """
    order: list[int] = []
    for cell in cells:
        places = []
        for rank, count in cell:
            phase = (rank + 1) * 0x9E3779B9 & 0xFFFFFFFF
            # The rank in the low bits breaks ties, and tells whose place it is.
            places += [((turn << 32) + phase) // count << 20 | rank for turn in range(count)]
        order += [place & 0xFFFFF for place in sorted(places)]
    return order


def _in_turns(order: Iterable[int], claims: Sequence[Claim], indexes: Sequence[int]) -> tuple[Slot, ...]:
    """The slots with their creatives: each claim's take its slots in turn, from its first."""
    turns = [
        cycle([Slot(index, turn) for turn in range(claim.creatives)])
        for index, claim in zip(indexes, claims, strict=False)  # who is not admitted has no turn
    ]
    return tuple(next(turns[rank]) for rank in order)
