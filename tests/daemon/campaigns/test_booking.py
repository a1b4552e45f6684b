"""What people may do with a campaign, and what it does to the log and to the wallet."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from daemon.campaigns import booking, draft, editing, halting, lifecycle
from daemon.campaigns.campaign import PERSONAL, Status
from daemon.campaigns.draft import zulu
from daemon.campaigns.errors import (
    EditNotAllowed,
    InsufficientFunds,
    Invalid,
    InvalidTransition,
    NameTaken,
    NoEligibleDevices,
    NotFound,
    RunningLimit,
)
from daemon.campaigns.ledger import Charge, charge
from daemon.campaigns.money import micros
from daemon.campaigns.queries import changes
from daemon.campaigns.queries.claiming import FIRST
from daemon.database import set_codecs
from daemon.tenants import tenant_row
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, OPERATOR, advertiser, column, log_of

DAY = 24 * HOUR


async def wallet(tx: Tx, tenant_id: TenantId) -> tuple[int, int, int]:
    tenant = await tenant_row(tx, tenant_id)
    assert tenant is not None
    return tenant.available_micros, tenant.held_micros, tenant.spent_micros


async def errors_of(tx: Tx, tenant_id: TenantId, given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        await booking.create(tx, tenant_id, given, NOW, advertiser(tenant_id), LIMITS)
    return dict(caught.value.errors)


async def test_every_wrong_field_is_named_at_once(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    stranger = await world.creative(connection, await world.tenant(connection))
    errors = await errors_of(
        connection,
        tenant_id,
        {
            "name": "ab",
            "channel": "radio",
            "start_at": "2026-11-24 noon",
            "timezone": "Mars/Olympus",
            "budget": "99.99",
            "priority": True,
            "creatives": [str(stranger)],
            "target": {"stores": [str(stranger)], "shops": []},
            "dayparts": [{"days": ["mon"], "from": "25:00", "to": "26:00"}],
            "daily_cap": "0",
            "start_policy": "when_ready",
            "allow_short_lead": "yes",
            "brand": "\ud800",
            "colour": "red",
        },
    )
    assert errors["budget"] == "must be between 100.00 and 1000000.00"
    assert errors["colour"] == "unknown field"
    assert errors["target.shops"] == "unknown field"
    assert errors["start_policy"] == "must be on_time"
    assert set(errors) >= {
        "name", "channel", "start_at", "timezone", "budget", "priority", "creatives", "target.shops", "dayparts",
        "daily_cap", "start_policy", "allow_short_lead", "brand", "colour",
    }  # fmt: skip
    assert (await errors_of(connection, tenant_id, {}))["name"] == "is required"
    unknown = await errors_of(
        connection, tenant_id, await world.body(connection, tenant_id, target={"stores": [str(stranger)]})
    )
    assert unknown == {"target.stores": f"unknown store {stranger}"}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"start_at": "2026-11-24T12:00:00Z", "start_local": "2026-11-24T12:00:00"}, "start_local"),
        ({"start_at": "2026-11-24T12:00:00Z", "end_at": "2026-11-24T12:00:00Z"}, "end_at"),
        # the gap moves 02:30 to 03:30: the end is resolved to be before the start
        ({"start_local": "2027-03-28T02:45", "end_local": "2027-03-28T03:15"}, "end_local"),
        ({"start_at": "2026-11-24T12:00:00Z", "end_at": "2027-11-25T12:00:01Z"}, "end_at"),
        ({"start_at": "2026-11-24T12:00:00"}, "start_at"),
        ({"start_at": "9999-12-31T23:59:59-12:00"}, "start_at"),
        ({"start_local": "2026-11-24T12:00:00Z"}, "start_local"),
    ],
)
async def test_a_window_is_checked_when_it_is_given(connection: Tx, given: dict[str, str], field: str) -> None:
    tenant_id = await world.tenant(connection)
    assert list(await errors_of(connection, tenant_id, {"name": "Sale", "channel": "signage"} | given)) == [field]


async def test_wall_time_is_kept_and_follows_the_zone(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    window = {"start_at": None, "start_local": "2026-12-01T09:00:00", "end_at": "2026-12-20T00:00:00Z"}
    campaign_id = await world.draft(connection, tenant_id, **window)
    assert zulu(await column(connection, campaign_id, "start_at")) == "2026-12-01T08:00:00Z"
    patch = {"timezone": "America/New_York", "end_at": "2026-12-24T00:00:00Z"}
    [transition] = await editing.edit(connection, campaign_id, patch, NOW, advertiser(tenant_id), LIMITS)
    assert zulu(await column(connection, campaign_id, "start_at")) == "2026-12-01T14:00:00Z"
    assert {change["field"] for change in transition.changes} == {"timezone", "start_at", "end_at"}
    await editing.edit(connection, campaign_id, {"timezone": None, "start_local": None}, NOW, OPERATOR, LIMITS)
    assert await column(connection, campaign_id, "(start_at, start_local, timezone)") == (None, None, "Europe/Berlin")


async def test_a_zone_that_turns_the_window_round_is_refused(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    window = {"start_local": "2026-12-01T09:00:00", "timezone": "Pacific/Kiritimati", "end_at": "2026-12-01T00:00:00Z"}
    campaign_id = await world.draft(connection, tenant_id, start_at=None, **window)
    with pytest.raises(Invalid):
        await editing.edit(connection, campaign_id, {"timezone": None}, NOW, OPERATOR, LIMITS)


async def test_a_submit_holds_the_whole_budget_and_names_what_is_missing(connection: Tx) -> None:
    tenant_id = await world.tenant(connection, funds="150.00")
    await world.device(connection)
    empty = await world.draft(connection, tenant_id, start_at=None, end_at=None, budget=None, target=None, creatives=[])
    with pytest.raises(Invalid) as caught:
        await booking.submit(connection, empty, NOW, advertiser(tenant_id), LIMITS)
    assert dict(caught.value.errors) == dict.fromkeys(
        ["start_at", "end_at", "budget", "creatives", "target"], "is required"
    )
    campaign_id = await world.draft(connection, tenant_id)
    [transition] = await booking.submit(connection, campaign_id, NOW, advertiser(tenant_id), LIMITS)
    assert (transition.type, transition.to_status, transition.moved) == ("scheduled", "SCHEDULED", {"held": "100.00"})
    assert transition.total_recipients == 1
    assert await wallet(connection, tenant_id) == (micros("50.00"), micros("100.00"), 0)
    other = await world.draft(connection, tenant_id)
    with pytest.raises(InsufficientFunds, match=r"Available 50.00, needed 100.00"):
        async with connection.transaction():
            await booking.submit(connection, other, NOW, advertiser(tenant_id), LIMITS)
    assert await column(connection, other, "status") == "DRAFT"
    assert await wallet(connection, tenant_id) == (micros("50.00"), micros("100.00"), 0)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"start_at": zulu(NOW + DAY - timedelta(seconds=1))}, "start_at"),
        ({"start_at": zulu(NOW + 366 * DAY), "end_at": zulu(NOW + 367 * DAY)}, "start_at"),
        ({"start_at": zulu(NOW - 2 * DAY), "end_at": zulu(NOW), "allow_short_lead": True}, "end_at"),
    ],
)
async def test_a_submit_looks_at_the_clock(connection: Tx, more: dict[str, Any], field: str) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    campaign_id = await world.draft(connection, tenant_id, **more)
    with pytest.raises(Invalid) as caught:
        await booking.submit(connection, campaign_id, NOW, advertiser(tenant_id), LIMITS)
    assert [name for name, _ in caught.value.errors] == [field]


async def test_a_submit_needs_media_and_a_screen_with_a_slot(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    missing = await world.creative(connection, tenant_id, state="MISSING")
    campaign_id = await world.draft(connection, tenant_id, creatives=[str(missing)])
    with pytest.raises(Invalid, match="MISSING"):
        await booking.submit(connection, campaign_id, NOW, advertiser(tenant_id), LIMITS)
    campaign_id = await world.draft(connection, tenant_id)
    with pytest.raises(NoEligibleDevices, match="0 devices"):
        await booking.submit(connection, campaign_id, NOW, advertiser(tenant_id), LIMITS)
    # 2026-11-24 is a Tuesday: a shop that opens on Mondays alone has no slot in its window
    await world.device(connection, opening_hours=[{"days": ["mon"], "from": "09:00", "to": "17:00"}])
    with pytest.raises(NoEligibleDevices, match="1 devices are eligible, 0 of them"):
        await booking.submit(connection, campaign_id, NOW, advertiser(tenant_id), LIMITS)


async def test_a_name_is_taken_once_and_free_after_a_delete(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    campaign_id = await world.draft(connection, tenant_id, name="Winter sale")
    other = await world.draft(connection, tenant_id)
    with pytest.raises(NameTaken):
        await world.draft(connection, tenant_id, name="Winter sale")
    with pytest.raises(NameTaken):
        await editing.edit(connection, other, {"name": "Winter sale"}, NOW, OPERATOR, LIMITS)
    await booking.delete(connection, campaign_id, NOW, OPERATOR)
    await editing.edit(connection, other, {"name": "Winter sale"}, NOW, OPERATOR, LIMITS)
    with pytest.raises(NotFound):
        await booking.delete(connection, campaign_id, NOW, OPERATOR)


async def test_foreign_campaigns_are_not_there_and_an_edit_raises_the_version(connection: Tx) -> None:
    tenant_id, stranger = await world.tenant(connection), await world.tenant(connection)
    campaign_id = await world.draft(connection, tenant_id)
    with pytest.raises(NotFound):
        await editing.edit(connection, campaign_id, {}, NOW, advertiser(stranger), LIMITS)
    await editing.edit(connection, campaign_id, {"priority": 9}, NOW, OPERATOR, LIMITS)
    assert await column(connection, campaign_id, "(version, sequence)") == (2, 2)


@pytest.mark.parametrize("cause", ["flag", "budget"])
async def test_what_needs_approval_waits_and_a_rejection_gives_the_money_back(connection: Tx, cause: str) -> None:
    tenant_id = await world.tenant(connection, approval_limit_micros=micros("99.99" if cause == "budget" else "500.00"))
    await world.device(connection)
    flagged = await world.creative(connection, tenant_id, flags=["ALCOHOL"] if cause == "flag" else [])
    campaign_id = await world.submitted(connection, tenant_id, creatives=[str(flagged)])
    assert await column(connection, campaign_id, "status") == "PENDING_APPROVAL"
    assert (await wallet(connection, tenant_id))[1] == micros("100.00")
    with pytest.raises(InvalidTransition, match="Campaign is PENDING_APPROVAL; submit needs DRAFT"):
        await booking.submit(connection, campaign_id, NOW, OPERATOR, LIMITS)
    [rejected] = await booking.reject(connection, campaign_id, "not at noon", NOW, OPERATOR)
    assert (rejected.reason, rejected.note, rejected.moved) == ("OPERATOR", "not at noon", {"released": "100.00"})
    assert await wallet(connection, tenant_id) == (micros("10000.00"), 0, 0)
    await editing.edit(connection, campaign_id, {"budget": "200.00"}, NOW, advertiser(tenant_id), LIMITS)
    await booking.submit(connection, campaign_id, NOW, advertiser(tenant_id), LIMITS)
    [approved] = await booking.approve(connection, campaign_id, NOW, OPERATOR)
    assert (approved.type, approved.to_status) == ("approved", "SCHEDULED")
    assert [kind for kind, _, _ in await log_of(connection, campaign_id)] == [
        "created", "submitted", "rejected", "updated", "submitted", "approved",
    ]  # fmt: skip
    with pytest.raises(EditNotAllowed):
        await editing.edit(connection, campaign_id, {"budget": "300.00"}, NOW, OPERATOR, LIMITS)


async def test_a_withdrawal_closes_and_a_late_approval_is_refused(connection: Tx) -> None:
    tenant_id = await world.tenant(connection, approval_limit_micros=0)
    await world.device(connection)
    withdrawn, late = [await world.submitted(connection, tenant_id) for _ in range(2)]
    [cancelled] = await booking.cancel(connection, withdrawn, None, NOW, advertiser(tenant_id), LIMITS)
    assert (cancelled.from_status, cancelled.to_status) == ("PENDING_APPROVAL", "CANCELLED")
    assert await column(connection, withdrawn, "(held_micros, settled_at)") == (0, NOW)
    with pytest.raises(InvalidTransition):
        await booking.approve(connection, late, NOW + 72 * HOUR, OPERATOR)


async def test_a_cancel_before_distribution_settles_at_once_and_later_waits(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    early, late = [await world.submitted(connection, tenant_id) for _ in range(2)]
    await connection.execute("UPDATE campaigns SET distributed_at = $2 WHERE id = $1", late, NOW)
    kinds = [t.type for t in await booking.cancel(connection, early, "why", NOW, advertiser(tenant_id), LIMITS)]
    assert kinds == ["cancelled", "settled"]
    [cancelled] = await booking.cancel(connection, late, "why", NOW, OPERATOR, LIMITS)
    assert (cancelled.reason, cancelled.note) == ("OPERATOR", "why")
    assert await column(connection, late, "(settle_at, settled_at)") == (NOW + LIMITS.settle_after, None)
    assert [tuple(row) for row in await connection.fetch("SELECT ref, urgent FROM marks")] == [(late, True)]
    assert await wallet(connection, tenant_id) == (micros("9900.00"), micros("100.00"), 0)
    settled_at = NOW + LIMITS.settle_after
    assert (await lifecycle.SETTLE.claim(connection, settled_at, 10, FIRST)).ids == [late]
    [settled] = await lifecycle.settle(connection, [late], settled_at)
    assert (settled.type, settled.to_status, settled.due_at) == ("settled", "CANCELLED", settled_at)
    assert await wallet(connection, tenant_id) == (micros("10000.00"), 0, 0)


async def test_execute_starts_now_under_the_running_limit(connection: Tx) -> None:
    tenant_id = await world.tenant(connection, running_limit=1)
    await world.device(connection)
    first = await world.submitted(connection, tenant_id)
    second = await world.submitted(connection, tenant_id, start_at=zulu(NOW + 72 * HOUR), end_at=zulu(NOW + 96 * HOUR))
    with pytest.raises(RunningLimit, match="At most 1"):
        await booking.execute(connection, second, NOW, OPERATOR)
    [started] = await booking.execute(connection, first, NOW, advertiser(tenant_id))
    assert (started.type, started.reason, started.due_at, started.lateness_ms) == ("started", "USER", NOW, 0)
    assert started.changes == [{"field": "start_at", "old": zulu(NOW + 48 * HOUR), "new": zulu(NOW)}]
    assert started.correlation_id == "an-advertiser-asked"
    assert await column(connection, first, "(status, start_at, activated_at)") == ("ACTIVE", NOW, NOW)
    with pytest.raises(InvalidTransition, match="Campaign is ACTIVE; execute needs SCHEDULED"):
        await booking.execute(connection, first, NOW, OPERATOR)


async def test_pauses_add_up_and_end_by_whom_they_may(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    user = advertiser(tenant_id)
    campaign_id = await world.submitted(connection, tenant_id)
    await booking.execute(connection, campaign_id, NOW, user)
    await halting.pause(connection, campaign_id, "stock is out", NOW, user)
    [added] = await halting.pause(connection, campaign_id, None, NOW + HOUR, OPERATOR)
    assert (added.from_status, added.to_status, added.reason) == ("PAUSED", "PAUSED", "OPERATOR")
    with pytest.raises(InvalidTransition, match="OPERATOR"):
        await halting.resume(connection, campaign_id, NOW + HOUR, user)
    [resumed] = await halting.resume(connection, campaign_id, NOW + 2 * HOUR, OPERATOR)
    assert resumed.to_status == "ACTIVE"
    assert [
        tuple(row) for row in await connection.fetch("SELECT cause, began_at, ended_at FROM pauses ORDER BY id")
    ] == [
        ("USER", NOW, NOW + 2 * HOUR),
        ("OPERATOR", NOW + HOUR, NOW + 2 * HOUR),
    ]
    await halting.pause(connection, campaign_id, None, NOW + 3 * HOUR, user)
    with pytest.raises(InvalidTransition, match="end is past"):
        await halting.resume(connection, campaign_id, NOW + 72 * HOUR, user)


async def test_a_topup_ends_an_empty_budget(connection: Tx) -> None:
    tenant_id = await world.tenant(connection, funds="150.00")
    await world.device(connection)
    campaign_id = await world.submitted(connection, tenant_id)
    await booking.execute(connection, campaign_id, NOW, OPERATOR)
    await changes.lock(connection, campaign_id, None)
    await charge(connection, [Charge(campaign_id, micros("100.00"), 7)], NOW)
    [paused] = await lifecycle.exhaust(connection, [campaign_id], NOW)
    assert (paused.to_status, paused.reason) == ("PAUSED", "BUDGET_EXHAUSTED")
    assert await lifecycle.exhaust(connection, [campaign_id], NOW) == []
    with pytest.raises(InvalidTransition, match="BUDGET_EXHAUSTED"):
        await halting.resume(connection, campaign_id, NOW, OPERATOR)
    with pytest.raises(Invalid, match=r"between 50.00"):
        draft.topup("49.99", LIMITS)
    with pytest.raises(InsufficientFunds):
        async with connection.transaction():
            await booking.topup(connection, campaign_id, micros("50.01"), NOW, OPERATOR)
    kinds = [t.type for t in await booking.topup(connection, campaign_id, micros("50.00"), NOW, advertiser(tenant_id))]
    assert kinds == ["budget.increased", "resumed"]
    assert await column(connection, campaign_id, "(status, budget_micros, held_micros)") == (
        "ACTIVE", micros("150.00"), micros("50.00"),
    )  # fmt: skip
    assert await wallet(connection, tenant_id) == (0, micros("50.00"), micros("100.00"))


ACTIONS = ("submit", "approve", "reject", "cancel", "execute", "pause", "stop", "resume", "topup", "delete", "edit")
ALLOWED = {
    Status.DRAFT: {"submit", "delete", "edit"},
    Status.PENDING_APPROVAL: {"approve", "reject", "cancel"},
    Status.REJECTED: {"edit"},
    Status.SCHEDULED: {"cancel", "execute", "topup", "edit"},
    Status.ACTIVE: {"cancel", "pause", "stop", "topup", "edit"},
    Status.PAUSED: {"cancel", "pause", "stop", "resume", "topup", "edit"},
}


@pytest.mark.parametrize("status", list(Status))
async def test_each_action_belongs_to_its_statuses(connection: Tx, status: Status) -> None:
    campaign_id = await world.become(connection, status, "OPERATOR")
    assert len(PERSONAL) == 2
    done = {action for action in ACTIONS if await allowed(connection, campaign_id, action)}
    assert done == ALLOWED.get(status, set())


async def allowed(tx: Tx, campaign_id: CampaignId, action: str) -> bool:
    caller = advertiser(await column(tx, campaign_id, "tenant_id")) if action == "pause" else OPERATOR
    arguments: dict[str, tuple[Any, ...]] = {
        "submit": (NOW, caller, LIMITS),
        "reject": ("no", NOW, caller),
        "cancel": (None, NOW, caller, LIMITS),
        "pause": (None, NOW, caller),
        "stop": (None, NOW, caller),
        "topup": (micros("50.00"), NOW, caller),
        "edit": ({"priority": 6}, NOW, caller, LIMITS),
    }
    undo = tx.transaction()
    await undo.start()
    try:
        room = next(room for room in (booking, editing, halting) if hasattr(room, action))
        await getattr(room, action)(tx, campaign_id, *arguments.get(action, (NOW, caller)))
    except (InvalidTransition, EditNotAllowed):
        return False
    finally:
        await undo.rollback()
    return True


async def test_fifty_submits_at_once_keep_the_running_limit(owner_connection: Tx, database_url: str) -> None:
    tenant_id = await world.tenant(owner_connection)
    await world.device(owner_connection)
    drafts = [await world.draft(owner_connection, tenant_id) for _ in range(50)]
    pool = await asyncpg.create_pool(database_url, min_size=10, max_size=10, init=set_codecs)
    assert pool is not None

    async def submit(campaign_id: CampaignId) -> bool:
        async with pool.acquire() as tx, tx.transaction():
            try:
                return bool(await booking.submit(tx, campaign_id, NOW, advertiser(tenant_id), LIMITS))
            except RunningLimit:
                return False

    try:
        done = await asyncio.gather(*map(submit, drafts))
    finally:
        await pool.close()
    assert sum(done) == 5
    assert await wallet(owner_connection, tenant_id) == (micros("9500.00"), micros("500.00"), 0)
