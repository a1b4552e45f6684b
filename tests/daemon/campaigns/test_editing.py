"""The edit table of SPEC 3: what may be changed in which status, what is refused, and what follows from it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from daemon.campaigns import booking, editing
from daemon.campaigns.campaign import FIELDS, TERMINAL, Status
from daemon.campaigns.draft import zulu
from daemon.campaigns.errors import EditNotAllowed, Invalid, NameTaken, NoEligibleDevices, RunningLimit
from daemon.campaigns.events import Transition
from daemon.distribute import distribute
from daemon.tick import LIFE
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.conftest import connected
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, OPERATOR, advertiser, column
from tests.daemon.test_tick import Ticking

DAY = 24 * HOUR
START, END = NOW + 48 * HOUR, NOW + 72 * HOUR  # as `world.body` books
VALUES: dict[str, Any] = {
    "name": "Another name", "description": "words", "timezone": "UTC", "start_at": zulu(START + HOUR),
    "start_local": "2026-11-24T14:00:00", "end_at": zulu(END + HOUR), "end_local": "2026-11-25T14:00:00",
    "budget": "200.00", "creatives": [], "target": {}, "priority": 6, "dayparts": [], "daily_cap": "5.00",
    "start_policy": "on_time", "start_deadline": zulu(END), "allow_short_lead": True, "brand": "Acme",
    "category": "Dairy", "channel": "signage",
}  # fmt: skip
SCHEDULED = {"name", "priority", "start_at", "start_local", "end_at", "end_local", "target"}
RUNNING = {"name", "priority", "end_at", "end_local", "target", "creatives"}


async def running(tx: Tx, tenant_id: TenantId, **more: Any) -> CampaignId:
    campaign_id = await world.submitted(tx, tenant_id, **more)
    await booking.execute(tx, campaign_id, NOW, OPERATOR)
    return campaign_id


async def paused(tx: Tx, tenant_id: TenantId, **more: Any) -> CampaignId:
    campaign_id = await running(tx, tenant_id, **more)
    await tx.execute("UPDATE campaigns SET status = 'PAUSED', pause_causes = '{OPERATOR}' WHERE id = $1", campaign_id)
    return campaign_id


BOOKED = {"SCHEDULED": world.submitted, "ACTIVE": running, "PAUSED": paused}


async def edited(tx: Tx, campaign_id: CampaignId, at: Any = NOW, **patch: Any) -> Transition:
    [transition] = await editing.edit(tx, campaign_id, patch, at, OPERATOR, LIMITS)
    return transition


async def distributed(tx: Tx, campaign_id: CampaignId) -> None:
    async with tx.transaction():
        await distribute(tx, [campaign_id], START - 24 * HOUR, LIMITS.distribution_lead)
    await tx.execute("UPDATE campaigns SET ready_at = $2 WHERE id = $1", campaign_id, NOW)
    await tx.execute("DELETE FROM marks")


async def marks(tx: Tx) -> list[tuple[UUID, bool]]:
    return [(row["ref"], row["urgent"]) for row in await tx.fetch("DELETE FROM marks RETURNING ref, urgent")]


@pytest.mark.parametrize("status", BOOKED)
async def test_the_table_says_which_fields(connection: Tx, status: str) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    campaign_id = await BOOKED[status](connection, tenant_id)
    creatives = await connection.fetch("SELECT creative_id FROM campaign_creatives WHERE campaign_id = $1", campaign_id)
    assert set(VALUES) == FIELDS
    values = VALUES | {"creatives": [str(row[0]) for row in creatives]}
    refusals: dict[str, str] = {}
    before = await connection.fetchrow("SELECT * FROM campaigns WHERE id = $1", campaign_id)
    for field, value in values.items():
        undo = connection.transaction()
        await undo.start()
        try:
            await edited(connection, campaign_id, **{field: value, "priority": 7})
        except EditNotAllowed as refused:
            refusals[field] = refused.detail
            assert await connection.fetchrow("SELECT * FROM campaigns WHERE id = $1", campaign_id) == before
        finally:
            await undo.rollback()
    assert FIELDS - refusals.keys() == (SCHEDULED if status == "SCHEDULED" else RUNNING)
    assert all(detail.startswith(f"Campaign is {status}; of {field} ") for field, detail in refusals.items())


@pytest.mark.parametrize("status", sorted({*TERMINAL, Status.PENDING_APPROVAL}))
async def test_nothing_of_what_is_over_or_awaits_approval(connection: Tx, status: Status) -> None:
    campaign_id = await world.draft(connection, await world.tenant(connection))
    await connection.execute(
        """UPDATE campaigns SET status = $2, released_micros = budget_micros, settled_at = $3::timestamptz,
               activated_at = $3, completed_at = CASE WHEN $2 = 'COMPLETED' THEN $3 END WHERE id = $1""",
        campaign_id,
        str(status),
        NOW,
    )
    for patch in ({"name": "Later"}, {}):
        with pytest.raises(EditNotAllowed, match=f"Campaign is {status}; nothing"):
            await editing.edit(connection, campaign_id, patch, NOW, OPERATOR, LIMITS)


@pytest.mark.parametrize(
    ("status", "patch", "words"),
    [
        ("SCHEDULED", {"start_at": zulu(START - timedelta(seconds=1))}, "start can only be moved to later"),
        ("SCHEDULED", {"start_local": "2026-11-24T12:59:59"}, "start can only be moved to later"),
        ("ACTIVE", {"end_at": zulu(END - timedelta(seconds=1))}, "end can only be moved to later"),
        ("PAUSED", {"end_at": zulu(END - timedelta(seconds=1))}, "end can only be moved to later"),
        ("SCHEDULED", {"target": {"include_tags": ["mall"]}}, "target can only grow"),
        ("ACTIVE", {"target": {"exclude_tags": ["mall"]}}, "target can only grow"),
        ("ACTIVE", {"target": {"exclude_tags": ["mall"]}, "name": "Other"}, "target can only grow"),
    ],
)
async def test_what_would_take_away_is_refused_whole(
    connection: Tx, status: str, patch: dict[str, Any], words: str
) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    campaign_id = await BOOKED[status](connection, tenant_id)
    before = await connection.fetchrow("SELECT * FROM campaigns WHERE id = $1", campaign_id)
    with pytest.raises(EditNotAllowed, match=words):
        await editing.edit(connection, campaign_id, patch, NOW, OPERATOR, LIMITS)
    assert await connection.fetchrow("SELECT * FROM campaigns WHERE id = $1", campaign_id) == before


@pytest.mark.parametrize(
    ("status", "patch", "field"),
    [
        ("SCHEDULED", {"start_at": zulu(END), "priority": 3}, "start_at"),
        ("SCHEDULED", {"end_at": zulu(START)}, "end_at"),
        ("SCHEDULED", {"end_at": zulu(START + 366 * DAY)}, "end_at"),
        ("SCHEDULED", {"start_at": zulu(NOW + 366 * DAY), "end_at": zulu(NOW + 367 * DAY)}, "start_at"),
        ("SCHEDULED", {"start_at": None}, "start_at"),
        ("ACTIVE", {"end_at": None}, "end_at"),
        ("ACTIVE", {"target": None}, "target"),
        ("ACTIVE", {"creatives": []}, "creatives"),
        ("ACTIVE", {"name": "ab"}, "name"),
        ("ACTIVE", {"priority": 11}, "priority"),
        ("ACTIVE", {"colour": "red"}, "colour"),
    ],
)  # fmt: skip
async def test_what_a_submit_would_refuse_an_edit_does(
    connection: Tx, status: str, patch: dict[str, Any], field: str
) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    campaign_id = await BOOKED[status](connection, tenant_id)
    with pytest.raises(Invalid) as caught:
        await editing.edit(connection, campaign_id, patch, NOW, OPERATOR, LIMITS)
    assert [name for name, _ in caught.value.errors] == [field]


async def test_an_edit_is_one_row_with_old_and_new(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    campaign_id = await world.submitted(connection, tenant_id, name="Winter sale")
    other = await world.submitted(connection, tenant_id)
    transition = await edited(connection, campaign_id, name="Spring sale", end_at=zulu(END + HOUR), priority=5)
    assert (transition.type, transition.from_status, transition.to_status) == ("updated", "SCHEDULED", "SCHEDULED")
    assert transition.changes == [
        {"field": "name", "old": "Winter sale", "new": "Spring sale"},
        {"field": "end_at", "old": zulu(END), "new": zulu(END + HOUR)},
    ]
    assert await column(connection, campaign_id, "(version, sequence, end_at)") == (3, 3, END + HOUR)
    assert (await edited(connection, campaign_id)).changes == []
    with pytest.raises(NameTaken):
        await edited(connection, other, name="Spring sale")
    assert await column(connection, campaign_id, "held_micros") == await column(
        connection, campaign_id, "budget_micros"
    )
    assert await marks(connection) == []  # it is in no playlist yet


async def test_an_end_that_is_past_stands_and_a_start_that_has_come(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    started = await running(connection, tenant_id)
    with pytest.raises(EditNotAllowed, match="end is past"):
        await edited(connection, started, END, end_at=zulu(END + HOUR))
    waiting = await world.submitted(connection, tenant_id)
    with pytest.raises(EditNotAllowed, match="start has come"):
        await edited(connection, waiting, START, start_at=zulu(START + HOUR))
    await edited(connection, waiting, START, end_at=zulu(END + HOUR))


@pytest.mark.parametrize(("hours", "stays"), [(24, True), (25, False)])
async def test_a_start_moved_beyond_the_lead_leaves_the_playlists_until_it_is_due_again(
    connection: Tx, hours: int, stays: bool
) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    campaign_id = await world.submitted(connection, tenant_id, end_at=zulu(END + 48 * HOUR))
    await distributed(connection, campaign_id)
    now = START - HOUR
    start = now + hours * HOUR
    await edited(connection, campaign_id, now, start_at=zulu(start))
    assert await marks(connection) == [(campaign_id, True)]
    facts = await column(connection, campaign_id, "(start_at, distributed_at IS NOT NULL, ready_at IS NOT NULL)")
    assert facts == (start, stays, stays)
    async with connection.transaction():
        assert await distribute(connection, [campaign_id], now, LIMITS.distribution_lead) == []
    async with connection.transaction():
        again = await distribute(connection, [campaign_id], now + HOUR, LIMITS.distribution_lead)
    assert [(one.type, one.due_at) for one in again] == ([] if stays else [("content.distributed", now + HOUR)])


async def test_playlists_follow_what_they_are_made_of(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    device = await world.device(connection)
    campaign_id = await world.submitted(connection, tenant_id, target={"devices": [str(device)]})
    await distributed(connection, campaign_id)
    await edited(connection, campaign_id, name="Only a name")
    assert await marks(connection) == []
    for patch, urgent in (
        ({"priority": 9}, False),
        ({"target": {}}, False),
        ({"end_at": zulu(END - HOUR)}, True),
        ({"start_at": zulu(START + HOUR)}, True),
    ):
        await edited(connection, campaign_id, START - HOUR, **patch)
        assert await marks(connection) == [(campaign_id, urgent)]
    assert await column(connection, campaign_id, "total_recipients") == 1


async def test_a_target_grows_and_is_counted_anew(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    one, other = str(await world.device(connection)), str(await world.device(connection))
    campaign_id = await running(connection, tenant_id, target={"devices": [one], "exclude_devices": [other]})
    with pytest.raises(EditNotAllowed):
        await edited(connection, campaign_id, target={"devices": [other]})
    with pytest.raises(Invalid, match="unknown device"):
        await edited(connection, campaign_id, target={"devices": [one, str(campaign_id)]})
    await edited(connection, campaign_id, target={"devices": [one, other], "exclude_devices": [other]})
    assert await column(connection, campaign_id, "total_recipients") == 1
    await edited(connection, campaign_id, target={"devices": [one, other]})
    assert await column(connection, campaign_id, "total_recipients") == 2


async def test_creatives_are_added_stored_and_not_past_an_approval(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    first, second, missing, flagged, long = [
        str(await world.creative(connection, tenant_id, **more))
        for more in ({}, {}, {"state": "MISSING"}, {"flags": ["ALCOHOL"]}, {"duration_ms": 301_000})
    ]
    campaign_id = await running(connection, tenant_id, creatives=[first])
    with pytest.raises(EditNotAllowed, match="creatives stay"):
        await edited(connection, campaign_id, creatives=[second])
    with pytest.raises(Invalid, match="MISSING"):
        await edited(connection, campaign_id, creatives=[first, missing])
    with pytest.raises(NoEligibleDevices):
        await edited(connection, campaign_id, creatives=[first, long])
    user = advertiser(tenant_id)
    with pytest.raises(Invalid, match="needs an operator"):
        await editing.edit(connection, campaign_id, {"creatives": [first, flagged]}, NOW, user, LIMITS)
    await edited(connection, campaign_id, creatives=[first, flagged, second])
    rows = await connection.fetch("SELECT creative_id FROM campaign_creatives ORDER BY position")
    assert [str(row[0]) for row in rows] == [first, flagged, second]
    with pytest.raises(EditNotAllowed, match="in their order"):
        await edited(connection, campaign_id, creatives=[flagged, first, second])
    # what is flagged already is no reason to refuse the next edit of its advertiser
    await editing.edit(connection, campaign_id, {"priority": 8}, NOW, user, LIMITS)


async def test_a_window_that_no_screen_has_a_slot_in_is_refused(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    # 2026-11-24 is a Tuesday: the shop closes when the campaign's second half begins
    await world.device(connection, "UTC", [{"days": ["tue"], "from": "00:00", "to": "24:00"}])
    campaign_id = await world.submitted(connection, tenant_id)
    with pytest.raises(NoEligibleDevices):
        await edited(connection, campaign_id, start_at=zulu(START + 12 * HOUR))
    assert await column(connection, campaign_id, "start_at") == START


async def test_a_longer_window_keeps_the_running_limit(connection: Tx) -> None:
    tenant_id = await world.tenant(connection, running_limit=1)
    await world.device(connection)
    campaign_id = await world.submitted(connection, tenant_id)
    await world.submitted(connection, tenant_id, start_at=zulu(END + HOUR), end_at=zulu(END + 2 * HOUR), name="Rival")
    with pytest.raises(RunningLimit, match="Rival"):
        await edited(connection, campaign_id, end_at=zulu(END + HOUR + timedelta(microseconds=1)))
    await edited(connection, campaign_id, end_at=zulu(END + HOUR))
    # a limit that was lowered since says nothing against running less
    await connection.execute("UPDATE tenants SET running_limit = 0")
    await edited(connection, campaign_id, start_at=zulu(START + HOUR), end_at=zulu(END))


async def test_a_wall_time_that_is_not_given_stays_as_it_was_resolved(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    window: dict[str, Any] = {"start_at": None, "start_local": "2026-11-24T13:00:00", "end_at": None}
    campaign_id = await world.submitted(connection, tenant_id, **window, end_local="2026-11-25T13:00")
    # as older rules would have had it: an edit must not pass that on as resolved by ours
    await connection.execute("UPDATE campaigns SET start_at = start_at + '1 hour', tzdata_version = '2001a'")
    moved = await edited(connection, campaign_id, end_local="2026-11-25T14:00:00")
    assert {change["field"] for change in moved.changes} == {"end_at", "end_local"}
    assert await column(connection, campaign_id, "(start_at, end_at, tzdata_version)") == (
        START + HOUR, END + HOUR, "2001a",
    )  # fmt: skip


async def test_a_deadline_holds_the_start(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    campaign_id = await world.submitted(connection, tenant_id, start_deadline=zulu(START + HOUR))
    with pytest.raises(Invalid, match="start_at: must not be after the start_deadline"):
        await edited(connection, campaign_id, start_at=zulu(START + 2 * HOUR))
    with pytest.raises(Invalid, match="end_at: must not be before the start_deadline"):
        await edited(connection, campaign_id, end_at=zulu(START + timedelta(minutes=59)))
    await edited(connection, campaign_id, start_at=zulu(START + HOUR))
    with pytest.raises(Invalid, match="start_deadline: must not be after the end"):
        await world.draft(connection, tenant_id, start_deadline=zulu(END + HOUR))


@pytest.mark.parametrize(
    ("status", "patch", "now", "became"),
    [
        ("ACTIVE", {"end_at": zulu(END + HOUR)}, END - timedelta(seconds=1), "COMPLETED"),
        ("SCHEDULED", {"start_at": zulu(START + HOUR)}, START - timedelta(seconds=1), "ACTIVE"),
    ],
)
async def test_an_edit_and_a_tick_at_one_instant_take_turns(
    owner_connection: Tx, database_url: str, status: str, patch: dict[str, Any], now: datetime, became: str
) -> None:
    tenant_id = await world.tenant(owner_connection)
    await world.device(owner_connection)
    first, second = [await BOOKED[status](owner_connection, tenant_id) for _ in range(2)]
    tick_at = now + timedelta(seconds=1)
    async with connected(database_url) as rival:
        # the edit is first: the tick passes over what it holds, and finds it not due afterwards
        ticking = Ticking(rival)
        async with owner_connection.transaction():
            await edited(owner_connection, first, now, **patch)
            assert [one.campaign_id for one in await happened(ticking, tick_at)] == [second]
        assert await happened(ticking, tick_at) == []
        # the tick is first: the edit sees what became of it
        with pytest.raises(EditNotAllowed, match=f"Campaign is {became}"):
            await edited(owner_connection, second, now, **patch)
    assert await column(owner_connection, first, "status") == status


async def happened(ticking: Ticking, now: datetime) -> list[Transition]:
    await ticking.at(now, [step for step in LIFE if step.name in ("complete", "start")])
    return list(ticking.reported)
