"""The verdicts of SPEC 7: each by itself at its edge, and the order in which they apply."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.plays import CampaignFacts, Facts, Play, Verdict, corrected, judge
from playlists.ids import CampaignId, CreativeId, Digest

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
CAMPAIGN, CREATIVE = CampaignId(UUID(int=1)), CreativeId(UUID(int=2))
GIVEN, TAKEN = Digest("a" * 64), Digest("b" * 64)

GOOD = Play("p1", CAMPAIGN, CREATIVE, None, NOW - 10 * MINUTE, 10_000, GIVEN)
RUNNING = CampaignFacts(NOW - HOUR, NOW + HOUR)
WORLD = Facts(
    skew=timedelta(),
    answered={"p0"},
    playlists={GIVEN: {(CAMPAIGN, CREATIVE): 10_000}, TAKEN: {(CAMPAIGN, CREATIVE): 10_000}},
    granted={GIVEN},
    campaigns={CAMPAIGN: RUNNING},
)

Change = Callable[[Play, Facts], tuple[Play, Facts]]


def campaign(**changes: Any) -> Change:
    return lambda play, facts: (
        play,
        replace(facts, campaigns={CAMPAIGN: replace(facts.campaigns[CAMPAIGN], **changes)}),
    )


def play(**changes: Any) -> Change:
    return lambda one, facts: (one._replace(**changes), facts)


def skewed(by: timedelta) -> Change:
    return lambda one, facts: (one, replace(facts, skew=by))


# What brings each verdict about, in the order in which they apply.
CAUSES: dict[Verdict, list[Change]] = {
    Verdict.DUPLICATE: [play(play_id="p0")],
    Verdict.UNKNOWN_PLAYLIST: [play(digest=Digest("c" * 64))],
    Verdict.WRONG_DEVICE: [
        play(digest=TAKEN),
        play(creative_id=CreativeId(UUID(int=3))),
        play(campaign_id=CampaignId(UUID(int=3))),
    ],
    Verdict.CLOCK_SKEW: [skewed(HOUR + SECOND), skewed(-HOUR - SECOND)],
    Verdict.FUTURE: [play(started_at=NOW + 5 * MINUTE + SECOND)],
    Verdict.TOO_OLD: [play(started_at=NOW - 4 * HOUR - SECOND)],
    Verdict.TOO_SHORT: [play(duration_ms=7_999), play(duration_ms=0)],
    Verdict.OUTSIDE_WINDOW: [
        campaign(start_at=NOW - 10 * MINUTE + SECOND),
        campaign(end_at=NOW - 10 * MINUTE + 9 * SECOND),
        play(duration_ms=2**31 - 1),
    ],
    Verdict.CAMPAIGN_CLOSED: [
        campaign(pauses=[(NOW - 10 * MINUTE, None)]),
        campaign(pauses=[(NOW - HOUR, NOW - 30 * MINUTE), (NOW - 20 * MINUTE, NOW - 9 * MINUTE)]),
        campaign(closed_at=NOW - 10 * MINUTE),
    ],
    Verdict.LATE: [campaign(settled_at=NOW)],
}

FINE: list[Change] = [
    lambda one, facts: (one, facts),
    play(duration_ms=8_000),
    play(duration_ms=60_000),
    play(started_at=NOW + 5 * MINUTE),
    campaign(start_at=NOW - 10 * MINUTE),
    campaign(end_at=NOW - 10 * MINUTE + 10 * SECOND),
    campaign(pauses=[(NOW - HOUR, NOW - 10 * MINUTE), (NOW - 10 * MINUTE + SECOND, None)]),
    campaign(closed_at=NOW - 10 * MINUTE + SECOND),
    skewed(HOUR),
]


@pytest.mark.parametrize("change", FINE)
def test_what_is_in_order_is_an_impression(change: Change) -> None:
    one, facts = change(GOOD, WORLD)
    if abs(facts.skew) > MINUTE:
        one = one._replace(started_at=one.started_at + facts.skew)
    assert judge(one, facts, NOW) is Verdict.ACCEPTED


@pytest.mark.parametrize(("verdict", "change"), [(v, c) for v, changes in CAUSES.items() for c in changes])
def test_each_verdict_has_its_cause(verdict: Verdict, change: Change) -> None:
    assert judge(*change(GOOD, WORLD), NOW) is verdict


ORDER = list(CAUSES)


@given(st.lists(st.sampled_from(ORDER), min_size=1, unique=True))
def test_the_first_that_applies_counts(verdicts: list[Verdict]) -> None:
    one, facts = GOOD, WORLD
    for verdict in sorted(verdicts, key=ORDER.index, reverse=True):
        one, facts = CAUSES[verdict][0](one, facts)
    expected = min(verdicts, key=ORDER.index)
    if Verdict.TOO_OLD in verdicts and Verdict.FUTURE in verdicts and expected is Verdict.TOO_OLD:
        return  # nothing is both
    if expected is Verdict.TOO_OLD or expected is Verdict.FUTURE:
        assert judge(one, facts, NOW) in (Verdict.TOO_OLD, Verdict.FUTURE)
    else:
        assert judge(one, facts, NOW) is expected


@given(st.datetimes(timezones=st.just(UTC)), st.timedeltas(-HOUR, HOUR))
def test_a_clock_is_put_right_only_when_it_is_off_by_more_than_half_a_minute(began: datetime, skew: timedelta) -> None:
    right = corrected(began, skew)
    if abs(skew) <= 30 * SECOND:
        assert right == began
    elif 1 < began.year < 9999:
        assert right == began - skew


def test_a_time_beyond_the_calendar_is_still_too_old_or_ahead() -> None:
    for began, verdict in (
        (datetime.min.replace(tzinfo=timezone(14 * HOUR)), Verdict.TOO_OLD),
        (datetime.max.replace(tzinfo=timezone(-14 * HOUR)), Verdict.FUTURE),
    ):
        assert corrected(began, timedelta()).tzinfo is UTC
        assert judge(GOOD._replace(started_at=began), WORLD, NOW) is verdict
