"""The slot rule: each promise of SPEC 6 as a property of sequences, in fractions where the code has integers."""

from collections import Counter
from datetime import timedelta
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlists.ids import CampaignId
from playlists.slots import EPOCH, SEQUENCE_HOURS, Claim, Slot, fitting, sequence, slot_seconds

GRIDS = [6, 8, 9, 10, 12, 15, 20, 30, 60]


@st.composite
def claims(draw: st.DrawFn) -> list[Claim]:
    size = draw(st.sampled_from([1, 2, 3, 4, 6, 12, 40]))
    ids = draw(st.lists(st.integers(1, 2**128 - 1), min_size=size, max_size=size, unique=True))
    return [Claim(CampaignId(UUID(int=each)), draw(st.integers(1, 40)), draw(st.integers(1, 10))) for each in ids]


def ideals(taking_part: list[Claim], slots: int) -> list[Fraction]:
    """The shares by weight over their least, found from the other end: the level at which all slots are given."""
    levels = sorted(Fraction(claim.creatives, claim.weight) for claim in taking_part)
    for floor in [Fraction(0), *levels]:
        above = [claim for claim in taking_part if Fraction(claim.creatives, claim.weight) <= floor]
        below = sum(c.creatives for c in taking_part) - sum(c.creatives for c in above)
        if not above:
            continue
        level = Fraction(slots - below, sum(claim.weight for claim in above))
        following = [each for each in levels if each > floor]
        if level >= floor and (not following or level <= following[0]):
            return [max(Fraction(claim.creatives), level * claim.weight) for claim in taking_part]
    raise AssertionError("some level gives all slots away")


def played(slots: tuple[Slot | None, ...]) -> list[Slot]:
    assert None not in slots
    return [slot for slot in slots if slot is not None]


@given(claims(), st.sampled_from(GRIDS))
@settings(max_examples=400, deadline=None)
def test_a_sequence_keeps_every_promise(eligible: list[Claim], per_hour: int) -> None:
    slots = played(sequence(eligible, per_hour))
    hours, rest = divmod(len(slots), per_hour)
    needed = sum(claim.creatives for claim in eligible)

    # the shortest of the lengths in which every creative gets a slot
    assert rest == 0
    assert hours == next((h for h in SEQUENCE_HOURS if needed <= h * per_hour), 23)

    # beyond 23 hours the youngest get none, and as few of them as may be
    by_age = sorted(range(len(eligible)), key=lambda i: eligible[i].campaign_id)
    while sum(eligible[i].creatives for i in by_age) > 23 * per_hour:
        by_age.pop()
    counts = Counter(slot.claim for slot in slots)
    assert set(counts) == set(by_age)

    # each gets its ideal, rounded up or down; the larger remainder goes first, then the older
    wanted = dict(zip(by_age, ideals([eligible[i] for i in by_age], len(slots)), strict=True))
    for i in by_age:
        assert counts[i] in (wanted[i].__floor__(), wanted[i].__ceil__())
    up = [i for i in by_age if counts[i] > wanted[i]]
    down = [i for i in by_age if counts[i] < wanted[i]]
    for i in up:
        for j in down:
            assert (wanted[i] % 1, -by_age.index(i)) > (wanted[j] % 1, -by_age.index(j))

    # in each hour its count / hours, rounded up or down
    for hour in range(hours):
        here = Counter(slot.claim for slot in slots[hour * per_hour : (hour + 1) * per_hour])
        for i in by_age:
            assert counts[i] // hours <= here[i] <= -(-counts[i] // hours)

    # its creatives take its slots in turn, and each has one
    for i in by_age:
        turns = [slot.turn for slot in slots if slot.claim == i]
        assert turns == [n % eligible[i].creatives for n in range(counts[i])]
        assert set(turns) == set(range(eligible[i].creatives))


@given(claims(), st.sampled_from(GRIDS), st.data())
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_claims_changes_nothing(eligible: list[Claim], per_hour: int, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(eligible))
    one = [(eligible[s.claim].campaign_id, s.turn) for s in played(sequence(eligible, per_hour))]
    other = [(shuffled[s.claim].campaign_id, s.turn) for s in played(sequence(shuffled, per_hour))]
    assert one == other


@given(st.integers(2, 12), st.sampled_from([12, 20, 60]))
def test_equals_lie_evenly(campaigns: int, per_hour: int) -> None:
    equal = [Claim(CampaignId(UUID(int=i + 1)), 5, 1) for i in range(campaigns)]
    slots = [slot.claim for slot in played(sequence(equal, per_hour))]
    for i in range(campaigns):
        places = [place for place, claim in enumerate(slots) if claim == i]
        gaps = [(b - a) % len(slots) for a, b in zip(places, places[1:] + places[:1], strict=True)]
        assert max(gaps) - min(gaps) <= 2, (places, gaps)


@pytest.mark.parametrize("per_hour", GRIDS)
def test_nobody_leaves_an_hour_of_house_content(per_hour: int) -> None:
    assert sequence([], per_hour) == (None,) * per_hour


def test_one_campaign_has_every_slot() -> None:
    assert sequence([Claim(CampaignId(UUID(int=7)), 1, 2)], 6) == (Slot(0, 0), Slot(0, 1)) * 3


def test_a_campaign_too_large_for_any_sequence_has_none_and_hides_nobody_older() -> None:
    small, huge = Claim(CampaignId(UUID(int=1)), 1, 1), Claim(CampaignId(UUID(int=2)), 9, 23 * 6)
    assert {slot.claim for slot in played(sequence([huge, small], 6))} == {1}
    assert sequence([Claim(CampaignId(UUID(int=2)), 9, 23 * 6 + 1)], 6) == (None,) * 6


@pytest.mark.parametrize(("weight", "creatives"), [(0, 1), (-1, 1), (1, 0)])
def test_a_claim_to_nothing_is_refused(weight: int, creatives: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sequence([Claim(CampaignId(UUID(int=1)), weight, creatives)], 12)


def test_the_grid() -> None:
    assert [slot_seconds(n) for n in (6, 12, 60, 360)] == [600, 300, 60, 10]
    for wrong in (0, 5, 7, 11, 361, 720, -12):
        with pytest.raises(ValueError, match="divide 3600"):
            slot_seconds(wrong)


@pytest.mark.parametrize(
    ("begin", "end", "lasting", "expected"),
    [
        pytest.param(0, 600, 300, [0, 1], id="ends-may-touch"),
        pytest.param(0, 599, 300, [0], id="one-second-short"),
        pytest.param(1, 600, 10, [1], id="begun-before-the-stretch"),
        pytest.param(1, 310, 10, [1], id="only-the-beginning-of-the-slot-counts"),
        pytest.param(1, 309, 10, [], id="none"),
        pytest.param(-600, 0, 300, [-2, -1], id="before-1970"),
        pytest.param(0, 3600, 301, [], id="longer-than-the-slot"),
    ],
)
def test_the_fit(begin: int, end: int, lasting: int, expected: list[int]) -> None:
    stretch = (EPOCH + timedelta(seconds=begin), EPOCH + timedelta(seconds=end))
    found = fitting([stretch], timedelta(seconds=lasting), 300)
    assert [slot for slots in found for slot in slots] == expected
