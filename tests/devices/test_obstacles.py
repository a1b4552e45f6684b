"""Why a campaign is not on a screen: one reason each, their order, and how many of a crowd they hold for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devices.obstacles import Alike, Code, Hours, Moment, Obstacle, merged, obstacles
from playlists.daypart import Daypart
from playlists.ids import Digest
from playlists.planned import Planned

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)  # a Sunday
HOUR = timedelta(hours=1)
NEW, OLD = Digest("n" * 64), Digest("o" * 64)
PLAYS, LISTS, LACKS = (
    Planned(True, True, True, NOW),
    Planned(True, True, False, NOW + HOUR),
    Planned(False, True, False, None),
)
EVENING = (Daypart(frozenset({6}), 18 * 60, 22 * 60),)
WHERE_IT_RUNS = Alike(
    devices=3, timezone="UTC", opening_hours=(), disabled=False, included=True, excluded=False, blocked=(),
    too_long=False, digest=NEW, held=NEW, stale=False, silent=False, last_seen_at=NOW, delivery="READY",
    delivery_reason="VERIFIED",
)  # fmt: skip
HERE_AND_NOW = Moment(NOW, past=False, present=True, expected=True, clear=True, dayparts=())


def told(alike: Alike, moment: Moment, plans: dict[Digest, Planned]) -> list[Obstacle]:
    return obstacles(alike, moment, plans, Hours(moment.at))


def test_where_nothing_is_in_the_way_there_is_no_reason() -> None:
    assert told(WHERE_IT_RUNS, HERE_AND_NOW, {NEW: PLAYS}) == []


@pytest.mark.parametrize(
    ("code", "alike", "moment", "plan"),
    [
        ("BLOCKED_BY_STORE", {"blocked": ("brand:acme",)}, {}, PLAYS),
        ("STORE_CLOSED", {"opening_hours": EVENING}, {}, LISTS),
        ("OUTSIDE_DAYPARTS", {}, {"dayparts": EVENING}, LISTS),
        ("NOT_TARGETED", {"included": False}, {}, LACKS),
        ("EXCLUDED", {"excluded": True}, {}, LACKS),
        ("DISABLED", {"disabled": True}, {}, LACKS),
        ("CREATIVE_TOO_LONG", {"too_long": True}, {}, LACKS),
        ("NO_PLAYLIST", {"digest": None}, {}, PLAYS),
        ("PLAYLIST_UNKNOWN", {"digest": None}, {"past": True, "present": False}, PLAYS),
        ("PLAYLIST_UNKNOWN", {}, {"past": True, "present": False}, None),
        ("OFFLINE", {"silent": True}, {}, PLAYS),
        ("DELIVERY_FAILED", {"delivery": "FAILED", "delivery_reason": "CORRUPT"}, {}, PLAYS),
        ("NOT_READY", {"delivery": "OFFERED", "delivery_reason": "MISSING"}, {}, PLAYS),
        ("NOT_READY", {"delivery": "TIMED_OUT", "delivery_reason": "NO_ACK"}, {}, PLAYS),
        ("OLDER_PLAYLIST", {"held": OLD}, {}, PLAYS),
        ("NOT_IN_PLAYLIST", {"stale": True}, {}, LACKS),
        ("NO_SLOT", {}, {}, LISTS),
    ],
)
def test_each_reason_by_itself(code: str, alike: dict[str, Any], moment: dict[str, Any], plan: Planned | None) -> None:
    plans = {NEW: plan} if plan else {}
    [reason] = told(WHERE_IT_RUNS._replace(**alike), HERE_AND_NOW._replace(**moment), plans)
    assert reason.code == code
    assert reason.until == {
        "STORE_CLOSED": NOW + 6 * HOUR,
        "OUTSIDE_DAYPARTS": NOW + 6 * HOUR,
        "NO_SLOT": NOW + HOUR,
    }.get(code)
    assert reason.reason == alike.get("delivery_reason")


def test_reasons_come_widest_first_and_what_follows_from_them_is_left_out() -> None:
    nowhere = WHERE_IT_RUNS._replace(
        blocked=("brand:acme",), opening_hours=EVENING, included=False, excluded=True, disabled=True, too_long=True,
        digest=None, silent=True,
    )  # fmt: skip
    codes = [one.code for one in told(nowhere, HERE_AND_NOW._replace(dayparts=EVENING), {})]
    assert codes == list(Code)[: len(codes)] == [
        "BLOCKED_BY_STORE", "STORE_CLOSED", "OUTSIDE_DAYPARTS", "NOT_TARGETED", "EXCLUDED", "DISABLED",
        "CREATIVE_TOO_LONG",
    ]  # fmt: skip
    silent = WHERE_IT_RUNS._replace(silent=True, delivery="OFFERED", held=OLD)
    assert [one.code for one in told(silent, HERE_AND_NOW, {NEW: PLAYS})] == ["OFFLINE", "NOT_READY", "OLDER_PLAYLIST"]
    shut = WHERE_IT_RUNS._replace(opening_hours=EVENING, silent=True)
    assert [one.code for one in told(shut, HERE_AND_NOW, {NEW: LISTS})] == ["STORE_CLOSED", "OFFLINE"]


@pytest.mark.parametrize(
    ("alike", "moment", "plans"),
    [
        # an older playlist that plays it too, or that plays no less of it than the newest
        ({"held": OLD}, {}, {NEW: PLAYS, OLD: PLAYS}),
        ({"held": OLD}, {"clear": False}, {NEW: LISTS, OLD: LISTS}),
        # what a screen says now tells nothing of another time
        ({"silent": True, "held": OLD, "delivery": "OFFERED"}, {"present": False}, {NEW: PLAYS}),
        # beyond its hours a playlist says nothing yet
        ({}, {"present": False}, {NEW: Planned(True, False, False, None)}),
        # nothing that is not let into playlists is missed there
        ({"held": OLD, "delivery": "PENDING"}, {"expected": False, "clear": False}, {}),
    ],
)
def test_what_is_no_reason(alike: dict[str, Any], moment: dict[str, Any], plans: dict[Digest, Planned]) -> None:
    assert told(WHERE_IT_RUNS._replace(**alike), HERE_AND_NOW._replace(**moment), plans) == []


def test_an_expired_playlist_has_no_slots_now() -> None:
    [reason] = told(WHERE_IT_RUNS, HERE_AND_NOW, {NEW: Planned(True, False, False, None)})
    assert reason.code == "NO_SLOT"


def test_a_crowd_is_counted_by_reason() -> None:
    shut, shut_later = (Obstacle(Code.STORE_CLOSED, "shut", until=NOW + n * HOUR) for n in (2, 1))
    off = Obstacle(Code.DISABLED, "off")
    told_of_all = merged([(2, [shut]), (3, []), (4, [shut_later, off])])
    assert [(one.code, one.devices, one.until) for one in told_of_all] == [
        ("STORE_CLOSED", 6, NOW + HOUR),
        ("DISABLED", 4, None),
    ]
