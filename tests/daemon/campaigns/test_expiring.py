"""What nobody approves in time expires, and what may not start so late is missed: on the instant, once, whole."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.campaigns import booking
from daemon.campaigns.draft import zulu
from daemon.campaigns.errors import Invalid, InvalidTransition
from daemon.campaigns.money import micros
from daemon.campaigns.queries import agenda, claiming, schedule
from daemon.campaigns.queries.agenda import next_due
from daemon.verify import verify
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, OPERATOR, advertiser, column, log_of
from tests.daemon.test_tick import Ticking, claims_by, planned

DAY, INSTANT = timedelta(days=1), timedelta(microseconds=1)
WAIT = timedelta(days=30)


async def pending(tx: Tx, count: int = 1, days: int = 60) -> tuple[TenantId, list[CampaignId]]:
    """Campaigns that await approval and begin in so many days, for one."""
    tenant_id = await world.tenant(tx, approval_limit_micros=0, running_limit=count)
    await world.device(tx)
    start = NOW + days * DAY
    window: dict[str, Any] = {"start_at": zulu(start), "end_at": zulu(start + DAY)}
    return tenant_id, [await world.submitted(tx, tenant_id, **window) for _ in range(count)]


async def available(tx: Tx, tenant_id: TenantId) -> int:
    amount: int = await tx.fetchval("SELECT available_micros FROM tenants WHERE id = $1", tenant_id)
    return amount


@pytest.mark.parametrize(("days", "due_at"), [(60, NOW + WAIT), (2, NOW + 3 * DAY)], ids=["by its time", "by its end"])
async def test_what_nobody_approves_expires_at_the_instant(connection: Tx, days: int, due_at: datetime) -> None:
    tenant_id, [campaign_id] = await pending(connection, days=days)
    ticking = Ticking(connection)
    assert (await next_due(connection, NOW, DAY)).next == {"expire": due_at}
    assert await ticking.at(due_at - INSTANT) == []
    assert await available(connection, tenant_id) == micros("9900.00")
    assert await ticking.at(due_at) == ["expired"]
    [expired] = ticking.reported
    assert (expired.reason, expired.due_at, expired.lateness_ms) == ("NOT_APPROVED", due_at, 0)
    assert expired.moved == {"released": "100.00"}
    assert await column(connection, campaign_id, "(status, status_reason, held_micros, settled_at)") == (
        "EXPIRED", "NOT_APPROVED", 0, due_at,
    )  # fmt: skip
    assert await available(connection, tenant_id) == micros("10000.00")
    assert await ticking.at(due_at + 400 * DAY) == []
    assert [kind for kind, _, _ in await log_of(connection, campaign_id)] == ["created", "submitted", "expired"]
    assert [row["kind"] for row in await connection.fetch("SELECT kind FROM mails")] == ["expired"]
    [done] = await schedule.executions(connection, tenant_id, None, 10)
    assert (schedule.KINDS[done["type"]], done["due_at"]) == ("expire", due_at)
    async with connection.transaction():
        assert (await verify(connection)).violations == []


async def test_after_an_outage_all_of_them_expire_with_their_own_due_instants(connection: Tx) -> None:
    _, campaigns = await pending(connection, count=5)
    for number, campaign_id in enumerate(campaigns):
        await connection.execute("UPDATE campaigns SET approve_by = $2 WHERE id = $1", campaign_id, NOW + number * HOUR)
    ticking = Ticking(connection)
    assert await ticking.at(NOW + 10 * HOUR) == ["expired"] * 5
    assert {one.campaign_id: one.due_at for one in ticking.reported} == {
        campaign_id: NOW + number * HOUR for number, campaign_id in enumerate(campaigns)
    }


async def test_an_approval_comes_before_the_instant_or_not_at_all(connection: Tx) -> None:
    tenant_id, [late, rejected, withdrawn, in_time] = await pending(connection, count=4)
    await booking.approve(connection, in_time, NOW + WAIT - INSTANT, OPERATOR)
    with pytest.raises(InvalidTransition, match="time to be approved is past"):
        await booking.approve(connection, late, NOW + WAIT, OPERATOR)
    await booking.reject(connection, rejected, "no", NOW + WAIT, OPERATOR)
    await booking.cancel(connection, withdrawn, None, NOW + WAIT, advertiser(tenant_id), LIMITS)
    assert await Ticking(connection).at(NOW + WAIT) == ["expired"]
    statuses = [await column(connection, one, "status") for one in (late, rejected, withdrawn, in_time)]
    assert statuses == ["EXPIRED", "REJECTED", "CANCELLED", "SCHEDULED"]


async def test_approved_after_its_start_it_starts_at_once_and_late(connection: Tx) -> None:
    _, [campaign_id] = await pending(connection, days=2)
    start = NOW + 2 * DAY
    ticking = Ticking(connection)
    assert await ticking.at(start + HOUR) == []
    await booking.approve(connection, campaign_id, start + HOUR, OPERATOR)
    assert await ticking.at(start + HOUR) == ["started", "content.distributed"]
    assert (ticking.reported[0].due_at, ticking.reported[0].lateness_ms) == (start, 3_600_000)


async def test_a_start_at_its_deadline_is_in_time_and_a_later_one_is_missed(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    start, deadline = NOW + 48 * HOUR, NOW + 50 * HOUR
    in_time, missed, on_screens = [
        await world.submitted(connection, tenant_id, start_deadline=zulu(deadline)) for _ in range(3)
    ]
    await connection.execute("UPDATE campaigns SET distributed_at = $2 WHERE id = $1", on_screens, NOW)
    ticking = Ticking(connection)
    await connection.execute("UPDATE campaigns SET retry_at = $2 WHERE id <> $1", in_time, deadline + INSTANT)
    assert await ticking.at(deadline) == ["started", "content.distributed"]
    await connection.execute("UPDATE campaigns SET retry_at = NULL")
    assert sorted(await ticking.at(deadline + INSTANT)) == ["missed", "started"]
    [told] = [one for one in ticking.reported if one.type == "missed"]
    assert (told.campaign_id, told.reason, told.due_at) == (missed, "START_DEADLINE", deadline)
    assert await column(connection, missed, "(status, status_reason, held_micros, settled_at, activated_at)") == (
        "MISSED", "START_DEADLINE", 0, deadline + INSTANT, None,
    )  # fmt: skip
    assert await column(connection, on_screens, "(status, start_at)") == ("ACTIVE", start)
    assert [kind for kind, _, _ in await log_of(connection, missed)] == ["created", "scheduled", "missed"]
    async with connection.transaction():
        assert (await verify(connection)).violations == []


async def test_a_whole_window_unseen_names_what_it_waited_for(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    end = NOW + 72 * HOUR
    hurried = await world.submitted(connection, tenant_id, start_deadline=zulu(NOW + 49 * HOUR))
    patient = await world.submitted(connection, tenant_id, start_deadline=zulu(end))
    plain = await world.submitted(connection, tenant_id)
    ticking = Ticking(connection)
    assert await ticking.at(end + HOUR) == ["missed"] * 3
    assert {one.campaign_id: (one.reason, one.due_at) for one in ticking.reported} == {
        hurried: ("START_DEADLINE", NOW + 49 * HOUR),
        patient: ("NEVER_DISTRIBUTED", end),
        plain: ("NEVER_DISTRIBUTED", end),
    }


async def test_a_deadline_lies_in_the_window_and_binds_whoever_starts_by_hand(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    start, end = NOW + 48 * HOUR, NOW + 72 * HOUR
    for wrong in (start - INSTANT, end + INSTANT):
        with pytest.raises(Invalid, match="start_deadline: must not be"):
            await world.draft(connection, tenant_id, start_deadline=zulu(wrong))
    campaign_id = await world.submitted(connection, tenant_id, start_deadline=zulu(start))
    with pytest.raises(InvalidTransition, match="start_deadline is past"):
        await booking.execute(connection, campaign_id, start + INSTANT, OPERATOR)
    assert await Ticking(connection).at(start + INSTANT) == ["missed"]


@pytest.mark.parametrize("rows", [50, 20_000])
async def test_what_expires_is_found_by_index(owner_connection: Tx, rows: int) -> None:
    _, [campaign_id] = await pending(owner_connection)
    await owner_connection.execute(
        """INSERT INTO campaigns (tenant_id, name, channel, timezone, start_at, end_at, tzdata_version, budget_micros,
                                  held_micros, status, approve_by, correlation_id, created_by, created_at, updated_at)
           SELECT tenant_id, 'Copy ' || n, channel, timezone, start_at, end_at, tzdata_version, budget_micros,
                  budget_micros, status, approve_by + n * interval '1 min', correlation_id, created_by, created_at,
                  updated_at
           FROM campaigns, generate_series(1, $2::int) n WHERE id = $1""",
        campaign_id,
        rows,
    )
    await owner_connection.execute("ANALYZE campaigns")
    if rows < 1000:
        await owner_connection.execute("SET enable_seqscan = off")
    for mode in ("force_custom_plan", "force_generic_plan"):
        await owner_connection.execute(f"SET plan_cache_mode = {mode}")
        await claims_by("campaigns_to_expire", owner_connection, claiming.CLAIM_TO_EXPIRE, NOW + WAIT)
        plan = await planned(owner_connection, agenda.NEXT_DUE, f"'{NOW}', '1 day', '-infinity'")
        assert plan.count("campaigns_to_expire") == 2, plan
        assert "Seq Scan on campaigns" not in plan, plan
