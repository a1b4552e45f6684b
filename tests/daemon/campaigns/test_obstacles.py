"""What keeps a campaign from every screen: each status, each cause, each edge of its window, then, now and later."""

from datetime import timedelta
from typing import Any

import pytest

from daemon.campaigns.campaign import Reason, Status
from daemon.campaigns.obstacles import Code, as_at, obstacles
from devices.obstacles import Obstacle
from tests.daemon.campaigns.world import HOUR, NOW

LEAD, MICROSECOND = 24 * HOUR, timedelta(microseconds=1)
RUNNING: dict[str, Any] = {
    "status": "ACTIVE", "start_at": NOW - HOUR, "end_at": NOW + HOUR, "submitted_at": NOW - 5 * HOUR,
    "distributed_at": NOW - 2 * HOUR, "capped_until": None, "status_note": None,
}  # fmt: skip
AHEAD = {"status": "SCHEDULED", "start_at": NOW + 30 * HOUR, "end_at": NOW + 40 * HOUR, "distributed_at": None}


def logged(kind: str, before: str | None, after: str, hours: float, **more: Any) -> dict[str, Any]:
    row = {"type": kind, "from_status": before, "to_status": after, "executed_at": NOW + hours * HOUR}
    return {**row, "reason": None, "note": None, "actor": "token:x", "changes": [], **more}


LOG = [
    logged("created", None, "DRAFT", -6),
    logged("scheduled", "DRAFT", "SCHEDULED", -5),
    logged("content.distributed", "SCHEDULED", "SCHEDULED", -2),
    logged("started", "SCHEDULED", "ACTIVE", -1),
]


def told(row: dict[str, Any], at: Any = NOW, log: list[Any] | None = None, pauses: Any = ()) -> list[Obstacle]:
    return obstacles(as_at(RUNNING | row, LOG if log is None else log, pauses, at, NOW, LEAD), NOW)


@pytest.mark.parametrize(
    ("row", "codes"),
    [
        ({}, []),
        ({"status": "SCHEDULED"}, []),  # screens start by themselves
        ({"status": "DRAFT", "distributed_at": None, "submitted_at": None}, ["NOT_SUBMITTED"]),
        ({"status": "DRAFT", "distributed_at": None, "start_at": None, "end_at": None}, ["NOT_SUBMITTED"]),
        ({"status": "PENDING_APPROVAL", "distributed_at": None}, ["AWAITING_APPROVAL"]),
        ({"status": "REJECTED", "distributed_at": None}, ["REJECTED"]),
        ({"status": "EXPIRED", "end_at": NOW, "distributed_at": None}, ["EXPIRED", "AFTER_END"]),
        ({"status": "CANCELLED"}, ["CANCELLED"]),
        ({"status": "FAILED"}, ["FAILED"]),
        ({"status": "MISSED", "end_at": NOW, "distributed_at": None}, ["MISSED", "AFTER_END"]),
        ({"status": "COMPLETED", "end_at": NOW}, ["COMPLETED"]),
        ({"status": "SCHEDULED", "start_at": NOW + MICROSECOND}, ["BEFORE_START"]),
        ({"status": "SCHEDULED", "start_at": NOW + HOUR, "distributed_at": None}, ["BEFORE_START", "NOT_DISTRIBUTED"]),
        ({"end_at": NOW}, ["AFTER_END"]),
        ({"end_at": NOW + MICROSECOND}, []),
        ({"distributed_at": None}, ["NOT_DISTRIBUTED"]),
        ({"capped_until": NOW + HOUR}, ["DAILY_CAP"]),
        ({"capped_until": NOW}, []),
    ],
)
def test_each_reason_now(row: dict[str, Any], codes: list[str]) -> None:
    assert [one.code for one in told(row)] == codes


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, True),
        ({"capped_until": NOW + HOUR - MICROSECOND}, True),  # back before its end
        ({"capped_until": NOW + HOUR}, False),
        ({"capped_until": NOW - HOUR}, True),
        ({"status": "COMPLETED", "end_at": NOW}, False),
        ({"status": "SCHEDULED", "start_at": NOW + HOUR, "end_at": NOW + 2 * HOUR}, True),
        ({"distributed_at": None}, False),
        ({"status": "CANCELLED"}, False),
    ],
)
def test_playlists_are_to_hold_it_while_some_of_its_window_is_left(row: dict[str, Any], expected: bool) -> None:
    assert as_at(RUNNING | row, LOG, [], NOW, NOW, LEAD).expected is expected


def test_every_status_either_plays_or_has_its_reason() -> None:
    playing = {status for status in Status if not told({"status": str(status)})}
    assert playing == {Status.SCHEDULED, Status.ACTIVE, Status.PAUSED}  # a pause's reason is its cause


def test_causes_stand_together_each_with_since_and_who() -> None:
    causes = ["NO_ELIGIBLE_DEVICES", "USER", "BUDGET_EXHAUSTED", "OPERATOR", "EMERGENCY_STOP", "TENANT_SUSPENDED"]
    pauses = [{"cause": cause, "began_at": NOW - HOUR, "ended_at": None} for cause in causes]
    pauses.append({"cause": "USER", "began_at": NOW - 3 * HOUR, "ended_at": NOW - 2 * HOUR})
    log = [*LOG, logged("paused", "ACTIVE", "PAUSED", -1, reason="USER", note="stock is out", actor="token:me")]
    found = told({"status": "PAUSED"}, log=log, pauses=pauses)
    assert [one.code for one in found] == [
        "EMERGENCY_STOP", "TENANT_SUSPENDED", "PAUSED", "PAUSED", "BUDGET_EXHAUSTED", "NO_ELIGIBLE_DEVICES",
    ]  # fmt: skip
    person = next(one for one in found if one.reason == "USER")
    assert (person.since, person.note, person.actor) == (NOW - HOUR, "stock is out", "token:me")
    assert set(causes) <= {*Reason, *Code}


def test_what_the_log_has_no_words_for_the_campaign_may() -> None:
    assert told({"status": "FAILED", "status_note": "all screens"})[0].detail == "It was given up: all screens"


def test_what_led_to_an_end_is_told_with_its_reason() -> None:
    log = [
        *LOG,
        logged("failed", "ACTIVE", "FAILED", -0.5, reason="DEVICES_FAILED", note="all of them", actor="signaged"),
    ]
    [one] = told({"status": "FAILED"}, log=log)
    assert (one.reason, one.since, one.actor) == ("DEVICES_FAILED", NOW - 0.5 * HOUR, "signaged")
    assert one.detail == "It was given up: all of them"


@pytest.mark.parametrize(
    ("hours", "codes"),
    [
        (-7, ["NOT_BOOKED", "BEFORE_START"]),
        (-5.5, ["NOT_SUBMITTED", "BEFORE_START"]),
        (-3, ["BEFORE_START", "NOT_DISTRIBUTED"]),
        (-1.5, ["BEFORE_START"]),
        (-1, []),
        (-0.8, ["PAUSED"]),
        (-0.7, []),
        (0, ["CANCELLED"]),
        (2, ["CANCELLED", "AFTER_END"]),
    ],
)
def test_the_past_is_what_the_log_says(hours: float, codes: list[str]) -> None:
    log = [
        *LOG,
        logged("paused", "ACTIVE", "PAUSED", -0.8, reason="USER"),
        logged("resumed", "PAUSED", "ACTIVE", -0.7, reason="USER"),
        logged("cancelled", "ACTIVE", "CANCELLED", -0.2, reason="USER"),
    ]
    pauses = [{"cause": "USER", "began_at": NOW - 0.8 * HOUR, "ended_at": NOW - 0.7 * HOUR}]
    found = told({"status": "CANCELLED"}, NOW + hours * HOUR, log, pauses)
    assert [one.code for one in found] == codes


def test_an_edge_is_where_it_was_before_it_was_moved() -> None:
    moved = [{"field": "start_at", "old": (NOW - 4 * HOUR).isoformat(), "new": (NOW - HOUR).isoformat()}]
    out = [*moved, {"field": "distributed_at", "old": (NOW - 4.5 * HOUR).isoformat(), "new": None}]
    log = [
        *LOG[:2],
        logged("content.distributed", "SCHEDULED", "SCHEDULED", -4.5),
        logged("updated", "SCHEDULED", "SCHEDULED", -3, changes=out),
        *LOG[2:],
    ]
    assert told({}, NOW - 3.5 * HOUR, log) == []
    assert [one.code for one in told({}, NOW - 2.5 * HOUR, log)] == ["BEFORE_START", "NOT_DISTRIBUTED"]


@pytest.mark.parametrize(
    ("row", "hours", "codes"),
    [
        ({}, 1, ["AFTER_END"]),
        (AHEAD, 31, []),
        (AHEAD, 5, ["BEFORE_START", "NOT_DISTRIBUTED"]),
        (AHEAD, 6, ["BEFORE_START"]),
        ({"status": "PENDING_APPROVAL", "distributed_at": None}, 0.5, ["AWAITING_APPROVAL"]),
        ({"capped_until": NOW + 0.5 * HOUR}, 0.5, []),
    ],
)  # fmt: skip
def test_what_is_to_come_is_what_is_planned(row: dict[str, Any], hours: float, codes: list[str]) -> None:
    assert [one.code for one in told(row, NOW + hours * HOUR)] == codes
