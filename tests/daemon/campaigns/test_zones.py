"""Newer zone rules: what was given as wall time follows them once, unless it would make nonsense."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.campaigns import booking
from daemon.campaigns.campaign import Status
from daemon.campaigns.zones import Resolver, moved, resolution
from daemon.draining import drain
from daemon.ground import Ground
from daemon.tick import Step
from daemon.verify import verify
from playlists.ids import CampaignId
from playlists.localtime import Resolved, compatible, zone
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, NOW, column
from tests.daemon.test_tick import RULES, Ticking

NEW = "2099b"
START, END = "2026-11-24T12:00:00", "2026-11-25T12:00:00"  # Berlin: 11:00Z


def later(hours: float) -> Resolver:
    """Rules by which every zone is so far further west."""

    def resolve(local: datetime, name: str) -> Resolved:
        return Resolved(compatible(local, zone(name)) + timedelta(hours=hours), "normal", NEW)

    return resolve


def zones(hours: float, version: str = NEW) -> tuple[Step]:
    async def run(ground: Ground) -> None:
        await drain((resolution(version, later(hours), RULES.lead),), ground)

    return (Step("zones", run),)


async def booked(tx: Tx, count: int = 1, **more: Any) -> list[CampaignId]:
    tenant_id = await world.tenant(tx, running_limit=count)
    await world.device(tx)
    given = {"start_at": None, "end_at": None, "start_local": START, "end_local": END, "timezone": "Europe/Berlin"}
    return [await world.submitted(tx, tenant_id, **given | more) for _ in range(count)]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def marks(tx: Tx) -> list[tuple[CampaignId, bool]]:
    return [(row["ref"], row["urgent"]) for row in await tx.fetch("SELECT ref, urgent FROM marks")]


async def test_future_wall_times_follow_newer_rules_in_batches_and_once(connection: Tx) -> None:
    ticking = Ticking(connection, replace(RULES, batch=3))
    ids = await booked(connection, 7)
    window: dict[str, Any] = {"start_at": "2026-11-24T11:00:00Z", "end_at": "2026-11-25T11:00:00Z"}
    [instant] = await booked(connection, **window, start_local=None, end_local=None)
    assert await ticking.at(NOW, zones(1)) == ["updated"] * 7
    for campaign_id in ids:
        assert await column(connection, campaign_id, "(start_at, end_at, tzdata_version, status)") == (
            utc("2026-11-24T12:00:00"), utc("2026-11-25T12:00:00"), NEW, "SCHEDULED",
        )  # fmt: skip
    assert await column(connection, instant, "start_at") == utc("2026-11-24T11:00:00")
    fact = ticking.reported[0]
    assert (fact.type, fact.reason, fact.from_status, fact.to_status, fact.actor) == (
        "updated", "TZDATA", "SCHEDULED", "SCHEDULED", "signaged",
    )  # fmt: skip
    old = await connection.fetchval("SELECT changes -> -1 ->> 'old' FROM transitions WHERE type = 'updated' LIMIT 1")
    assert fact.changes == [
        {"field": "start_at", "old": "2026-11-24T11:00:00Z", "new": "2026-11-24T12:00:00Z"},
        {"field": "end_at", "old": "2026-11-25T11:00:00Z", "new": "2026-11-25T12:00:00Z"},
        {"field": "tzdata_version", "old": old, "new": NEW},
    ]
    assert await connection.fetchval("SELECT count(*) FROM outbox WHERE type LIKE '%updated'") == 7
    assert await ticking.at(NOW, zones(1)) == []
    async with connection.transaction():
        assert (await verify(connection)).violations == []


async def test_older_rules_never_come_back_and_what_they_book_follows(connection: Tx) -> None:
    ticking = Ticking(connection)
    [campaign_id] = await booked(connection)
    await connection.execute("UPDATE campaigns SET tzdata_version = '2099z'")
    for version in (NEW, "2099.2", "2099a"):
        assert await ticking.at(NOW, zones(1, version)) == []
    assert await column(connection, campaign_id, "tzdata_version") == "2099z"
    assert await ticking.at(NOW, zones(1, "2099za")) == ["updated"]  # after z comes za


async def test_rules_that_change_nothing_say_nothing(connection: Tx) -> None:
    ticking = Ticking(connection)
    [campaign_id] = await booked(connection)
    version = await column(connection, campaign_id, "version")
    assert await ticking.at(NOW, zones(0)) == []
    assert await column(connection, campaign_id, "(tzdata_version, version)") == (NEW, version)


async def test_screens_follow_and_a_campaign_leaves_them_that_starts_too_far_ahead(
    connection: Tx,
) -> None:
    ticking = Ticking(connection)
    [campaign_id] = await booked(connection)
    at = utc("2026-11-23T11:00:00")
    assert await ticking.at(at) == ["content.distributed"]
    await connection.execute("DELETE FROM marks")
    assert await ticking.at(at, zones(-1)) == ["updated"]
    assert await marks(connection) == [(campaign_id, False)]
    await connection.execute("UPDATE campaigns SET tzdata_version = '2026a'; DELETE FROM marks")
    assert await ticking.at(at, zones(2)) == ["updated"]
    assert await column(connection, campaign_id, "distributed_at") is None
    assert "distributed_at" in [change["field"] for change in ticking.reported[0].changes]
    assert await marks(connection) == [(campaign_id, True)]
    assert await ticking.at(utc("2026-11-23T13:00:00")) == ["content.distributed"]


async def test_drafts_and_what_awaits_approval_follow_too_and_what_is_over_does_not(connection: Tx) -> None:
    ticking = Ticking(connection)
    tenant_id = await world.tenant(connection, approval_limit_micros=0)
    await world.device(connection)
    given: dict[str, Any] = {"start_at": None, "end_at": None, "start_local": START, "end_local": END}
    draft = await world.draft(connection, tenant_id, **given)
    pending, over = [await world.submitted(connection, tenant_id, **given) for _ in range(2)]
    await booking.cancel(connection, over, None, NOW, world.advertiser(tenant_id), world.LIMITS)
    assert await ticking.at(NOW, zones(1)) == ["updated"] * 2
    assert {transition.campaign_id for transition in ticking.reported} == {draft, pending}
    assert await column(connection, pending, "status") == Status.PENDING_APPROVAL


BASE: dict[str, Any] = {
    "id": None,
    "status": "SCHEDULED",
    "timezone": "Europe/Berlin",
    "start_at": utc("2026-11-24T11:00:00"),
    "end_at": utc("2026-11-25T11:00:00"),
    "start_local": datetime.fromisoformat(START),
    "end_local": datetime.fromisoformat(END),
    "start_deadline": None,
    "distributed_at": None,
    "tzdata_version": "2026f",
    "impressions": 0,
}


@pytest.mark.parametrize(
    ("row", "hours", "now", "says"),
    [
        ({}, -2, "2026-11-24T10:00:00", "is past"),  # it would have started an hour ago
        ({"end_local": None, "end_at": utc("2026-11-24T12:00:00")}, 1, "2026-11-22T12:00:00", "not after its start"),
        ({"start_deadline": utc("2026-11-24T11:30:00")}, 1, "2026-11-22T12:00:00", "after its deadline"),
        ({"status": "ACTIVE"}, -2, "2026-11-25T10:00:00", "is past"),
        ({"timezone": "Atlantis/Capital"}, 1, "2026-11-22T12:00:00", "unknown time zone"),
    ],
)
def test_what_would_make_nonsense_is_kept_and_said(row: dict[str, Any], hours: float, now: str, says: str) -> None:
    move = moved(BASE | row, NEW, later(hours), utc(now), RULES.lead)
    assert move is not None
    assert move.note is not None
    assert says in move.note
    assert (move.start_at, move.end_at) == ((BASE | row)["start_at"], (BASE | row)["end_at"])
    assert [change["field"] for change in move.changes] == ["tzdata_version"]


def test_what_has_begun_keeps_its_start_and_what_has_ended_both() -> None:
    running = moved(BASE | {"status": "PAUSED"}, NEW, later(1), utc("2026-11-24T10:00:00"), RULES.lead)
    assert running is not None
    assert (running.start_at, running.end_at) == (BASE["start_at"], BASE["end_at"] + HOUR)
    late = moved(BASE, NEW, later(1), utc("2026-11-24T11:00:00"), RULES.lead)  # about to start
    assert late is not None
    assert late.start_at == BASE["start_at"]
    assert moved(BASE, NEW, later(1), utc("2026-11-25T11:00:00"), RULES.lead) is None
