"""A suspended tenant's campaigns stand still, all of them, whatever happens meanwhile; and go on by themselves."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from daemon.announce import announce
from daemon.campaigns import booking, halting, suspending
from daemon.campaigns.errors import InvalidTransition, Refused, TenantSuspended
from daemon.campaigns.events import Transition
from daemon.campaigns.queries.suspending import Word
from daemon.database import Connection, set_codecs
from daemon.verify import verify
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.conftest import connected
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, OPERATOR, advertiser, column, log_of
from tests.daemon.test_tick import START, Ticking, booked

Deed = Callable[[Tx, CampaignId], Awaitable[list[Transition]]]
WORD = Word("token:operator", "an-operator-asked")
STATE = "(status, status_reason, pause_causes)"


async def turned(tx: Tx, tenant_id: TenantId, suspended: bool, now: object = NOW) -> list[str]:
    async with tx.transaction():
        transitions = await suspending.turn(tx, tenant_id, suspended, now, WORD)  # type: ignore[arg-type]
        await announce(tx, transitions, NOW)
    assert {(each.actor, each.correlation_id) for each in transitions} <= {WORD}
    return sorted(transition.type for transition in transitions)


async def test_all_stand_still_and_go_on(connection: Tx) -> None:
    tenant_id, [active, paused, scheduled, untouched] = await booked(connection, 4)
    ticking = Ticking(connection)
    await connection.execute("UPDATE campaigns SET distributed_at = $1 WHERE id <> $2", NOW, untouched)
    for campaign_id in (active, paused):
        await booking.execute(connection, campaign_id, NOW, OPERATOR)
    await halting.pause(connection, paused, "ours", NOW, advertiser(tenant_id))
    await connection.execute("DELETE FROM marks")
    assert await turned(connection, tenant_id, True) == ["paused", "paused"]
    cause = "TENANT_SUSPENDED"
    assert await column(connection, active, STATE) == ("PAUSED", cause, [cause])
    assert await column(connection, paused, STATE) == ("PAUSED", cause, ["USER", cause])
    for campaign_id in (scheduled, untouched):
        assert await column(connection, campaign_id, STATE) == ("SCHEDULED", cause, [cause])
    marks = await connection.fetch("SELECT ref, urgent FROM marks")
    assert {tuple(row) for row in marks} == {(one, True) for one in (active, paused, scheduled)}
    assert await turned(connection, tenant_id, True) == []
    with pytest.raises(InvalidTransition, match="TENANT_SUSPENDED"):
        await halting.resume(connection, paused, NOW, OPERATOR)
    assert await ticking.at(START - HOUR) == []  # nothing is distributed meanwhile
    async with connection.transaction():
        assert (await verify(connection)).violations == []

    await connection.execute("DELETE FROM marks")
    assert await turned(connection, tenant_id, False, START - HOUR) == ["resumed"]
    assert await column(connection, active, STATE) == ("ACTIVE", None, [])
    assert await column(connection, paused, STATE) == ("PAUSED", "USER", ["USER"])
    for campaign_id in (scheduled, untouched):
        assert await column(connection, campaign_id, STATE) == ("SCHEDULED", None, [])
    marks = await connection.fetch("SELECT ref, urgent FROM marks")
    assert {tuple(row) for row in marks} == {(one, False) for one in (active, scheduled)}
    assert await ticking.at(START - HOUR) == ["content.distributed"]
    assert ticking.reported[0].lateness_ms == 0  # it was not late: it was not let before
    kinds = await connection.fetch("SELECT kind FROM mails WHERE campaign_id = $1 ORDER BY id", active)
    assert [row["kind"] for row in kinds] == ["paused", "resumed"]
    async with connection.transaction():
        assert (await verify(connection)).violations == []


async def test_what_starts_meanwhile_is_started_and_paused(connection: Tx) -> None:
    tenant_id, [campaign_id, executed] = await booked(connection, 2)
    await turned(connection, tenant_id, True)
    by_hand = await booking.execute(connection, executed, NOW, OPERATOR)
    assert [transition.type for transition in by_hand] == ["started", "paused"]
    ticking = Ticking(connection)
    assert await ticking.at(START) == ["started", "paused"]
    assert ticking.reported[1].reason == "TENANT_SUSPENDED"
    assert await column(connection, campaign_id, STATE) == ("PAUSED", "TENANT_SUSPENDED", ["TENANT_SUSPENDED"])
    assert await turned(connection, tenant_id, False, START + HOUR) == ["resumed", "resumed"]
    assert await ticking.at(START + HOUR) == ["content.distributed"] * 2
    assert [kind for kind, _, _ in await log_of(connection, campaign_id)] == [
        "created", "scheduled", "started", "paused", "resumed", "content.distributed",
    ]  # fmt: skip
    async with connection.transaction():
        assert (await verify(connection)).violations == []


async def test_what_an_operator_books_meanwhile_is_held_back(connection: Tx) -> None:
    tenant_id = await world.tenant(connection, approval_limit_micros=150_000_000)
    await world.device(connection)
    ours, theirs = await world.draft(connection, tenant_id), await world.draft(connection, tenant_id)
    waiting = await world.submitted(connection, tenant_id, budget="200.00")
    assert await turned(connection, tenant_id, True) == []
    with pytest.raises(TenantSuspended):
        await booking.submit(connection, ours, NOW, advertiser(tenant_id), LIMITS)
    await booking.submit(connection, theirs, NOW, OPERATOR, LIMITS)
    await booking.approve(connection, waiting, NOW, OPERATOR)
    for campaign_id in (theirs, waiting):
        assert await column(connection, campaign_id, "(status, pause_causes)") == ("SCHEDULED", ["TENANT_SUSPENDED"])
    assert await turned(connection, tenant_id, False) == []
    assert await Ticking(connection).at(START) == ["started", "started", "content.distributed", "content.distributed"]


async def submit(tx: Tx, campaign_id: CampaignId) -> list[Transition]:
    return await booking.submit(tx, campaign_id, NOW, OPERATOR, LIMITS)


async def approve(tx: Tx, campaign_id: CampaignId) -> list[Transition]:
    return await booking.approve(tx, campaign_id, NOW, OPERATOR)


async def waits_for_a_lock(watcher: Tx, waiter: asyncio.Task[object]) -> None:
    while not await watcher.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    ):
        assert not waiter.done()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("deed", [submit, approve])
@pytest.mark.parametrize("first", ["deed", "suspension"])
async def test_whoever_comes_first_the_other_sees_it(
    owner_connection: Tx, database_url: str, deed: Deed, first: str
) -> None:
    tenant_id = await world.tenant(owner_connection, approval_limit_micros=0 if deed is approve else 10**9)
    await world.device(owner_connection)
    campaign_id = await (world.submitted if deed is approve else world.draft)(owner_connection, tenant_id)
    async with connected(database_url) as one, connected(database_url) as other:

        async def scheduled() -> None:
            async with (one if first == "deed" else other).transaction():
                await deed(one if first == "deed" else other, campaign_id)

        begun = one.transaction()
        await begun.start()
        if first == "deed":
            await deed(one, campaign_id)
            second: asyncio.Task[object] = asyncio.create_task(turned(other, tenant_id, True))
        else:
            await suspending.turn(one, tenant_id, True, NOW, WORD)
            second = asyncio.create_task(scheduled())
        await waits_for_a_lock(owner_connection, second)
        await begun.commit()
        await second
    assert await column(owner_connection, campaign_id, STATE) == ("SCHEDULED", "TENANT_SUSPENDED", ["TENANT_SUSPENDED"])


async def test_nothing_slips_through_while_it_commits(owner_connection: Tx, database_url: str) -> None:
    tenant_id = await world.tenant(owner_connection, running_limit=100, approval_limit_micros=150_000_000)
    await world.device(owner_connection)
    drafts = [await world.draft(owner_connection, tenant_id) for _ in range(12)]
    waiting = [await world.submitted(owner_connection, tenant_id, budget="200.00") for _ in range(12)]
    booked = [await world.submitted(owner_connection, tenant_id) for _ in range(12)]
    connections = [await asyncpg.connect(database_url) for _ in range(6)]

    async def each(
        tx: Connection, ids: list[CampaignId], deed: Callable[[Tx, CampaignId], Awaitable[list[Transition]]]
    ) -> None:
        await set_codecs(tx)
        for campaign_id in ids:
            try:
                async with tx.transaction():  # a deadlock would end the test
                    await announce(tx, await deed(tx, campaign_id), NOW)
            except Refused:
                pass

    async def turns(tx: Connection) -> None:
        await set_codecs(tx)
        for number in range(11):
            await turned(tx, tenant_id, number % 2 == 0)
            await asyncio.sleep(0.02)

    async def ticks(tx: Connection) -> None:
        await set_codecs(tx)
        for _ in range(8):
            ticking = Ticking(tx)
            await ticking.at(START)
            assert ticking.good

    one, two, three, four, five, six = connections
    try:
        await asyncio.gather(
            turns(one),
            each(two, drafts, submit),
            each(three, waiting, approve),
            each(four, booked, lambda tx, it: booking.execute(tx, it, NOW, OPERATOR)),
            each(five, booked, lambda tx, it: booking.cancel(tx, it, None, NOW, OPERATOR, LIMITS)),
            ticks(six),
        )
    finally:
        for connection in connections:
            connection.terminate()
    free = await owner_connection.fetch(
        "SELECT status, pause_causes FROM campaigns WHERE status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')"
    )
    assert len(free) >= 20
    assert [
        tuple(row) for row in free if row["pause_causes"] != ["TENANT_SUSPENDED"] or row["status"] == "ACTIVE"
    ] == []
    async with owner_connection.transaction():
        assert (await verify(owner_connection)).violations == []
