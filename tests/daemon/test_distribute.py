"""Distribution: a day ahead of the start, once, to whoever is meant."""

from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.campaigns.events import Transition
from daemon.campaigns.queries.claiming import FIRST
from daemon.campaigns.queries.distribution import CLAIM_TO_DISTRIBUTE, claim_to_distribute
from daemon.distribute import distribute
from devices.targets import Target
from playlists.ids import CampaignId
from playlists.queries import Tx
from tests import world

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEAD = 24 * HOUR


async def scheduled(tx: Tx, **kind: Any) -> CampaignId:
    owner = await world.tenant(tx, NOW)
    picture = await world.creative(tx, owner, NOW)
    usual: dict[str, Any] = {"begins": 5 * HOUR, "status": "SCHEDULED", "distributed": False}
    return await world.campaign(tx, owner, NOW, creatives=[picture], **(usual | kind))


async def distribute_due(tx: Tx, now: datetime, limit: int = 10) -> list[Transition]:
    return await distribute(tx, (await claim_to_distribute(tx, now, LEAD, limit)).ids, now, LEAD)


async def test_what_starts_within_the_lead_is_distributed_once(connection: Tx) -> None:
    shop = await world.store(connection, NOW)
    devices = [await world.device(connection, shop, NOW) for _ in range(3)]
    soon = await scheduled(connection, target=Target(devices=frozenset(devices[:2])))
    edge = await scheduled(connection, begins=LEAD, ends=2 * LEAD)
    await scheduled(connection, begins=LEAD + HOUR, ends=2 * LEAD)
    running = await scheduled(connection, begins=-HOUR, status="ACTIVE")
    await scheduled(connection, begins=-2 * HOUR, ends=-HOUR)
    await scheduled(connection, status="PENDING_APPROVAL")
    paused = await scheduled(connection, begins=-HOUR, status="ACTIVE")
    await connection.execute("UPDATE campaigns SET status = 'PAUSED', pause_causes = '{USER}' WHERE id = $1", paused)

    done = await distribute_due(connection, NOW)
    assert {fact.campaign_id: fact.total_recipients for fact in done} == {soon: 2, edge: 3, running: 3}
    for fact in done:
        assert (fact.type, fact.sequence, fact.from_status) == ("content.distributed", 1, fact.to_status)
        assert fact.executed_at == NOW
    due = {fact.campaign_id: fact.due_at for fact in done}
    assert due == {soon: NOW - HOUR, edge: NOW, running: NOW - HOUR}  # two were booked an hour ago, within the lead
    rows = await connection.fetch("SELECT * FROM campaigns WHERE distributed_at IS NOT NULL")
    assert {row["id"]: (row["distributed_at"], row["total_recipients"]) for row in rows} == {
        soon: (NOW, 2),
        edge: (NOW, 3),
        running: (NOW, 3),
    }
    logged = await connection.fetch("SELECT campaign_id, sequence FROM transitions WHERE type = 'content.distributed'")
    assert {row["campaign_id"]: row["sequence"] for row in logged} == {soon: 1, edge: 1, running: 1}
    marks = await connection.fetch("SELECT kind, ref, urgent FROM marks")
    assert {(row["kind"], row["ref"], row["urgent"]) for row in marks} == {
        ("campaign", one, False) for one in (soon, edge, running)
    }
    assert await distribute_due(connection, NOW) == []


async def test_batches_go_by_start_and_skip_what_another_holds(connection: Tx, owner_connection: Tx) -> None:
    late, early, held = [await scheduled(connection, begins=hours * HOUR) for hours in (9, 3, 1)]
    async with owner_connection.transaction():
        await owner_connection.execute("SELECT FROM campaigns WHERE id = $1 FOR UPDATE", held)
        assert [fact.campaign_id for fact in await distribute_due(connection, NOW, 1)] == [early]
        assert [fact.campaign_id for fact in await distribute_due(connection, NOW, 5)] == [late]
    assert [fact.campaign_id for fact in await distribute(connection, [held, late], NOW, LEAD)] == [held]


async def test_it_is_due_from_when_somebody_let_it(connection: Tx) -> None:
    approved = await scheduled(connection)
    await connection.execute(
        """INSERT INTO transitions (campaign_id, sequence, tenant_id, type, from_status, to_status, due_at, executed_at,
                                    actor, correlation_id)
           SELECT id, 1, tenant_id, 'approved', 'PENDING_APPROVAL', 'SCHEDULED', $2, $2, 'token:1', 'c'
           FROM campaigns WHERE id = $1""",
        approved,
        NOW - timedelta(seconds=2),
    )
    await connection.execute("UPDATE campaigns SET sequence = 1 WHERE id = $1", approved)
    (fact,) = await distribute_due(connection, NOW)
    assert (fact.sequence, fact.lateness_ms) == (2, 2000)


async def test_a_failed_transition_waits_for_its_retry(connection: Tx) -> None:
    campaign = await scheduled(connection)
    await connection.execute("UPDATE campaigns SET attempts = 2, retry_at = $2 WHERE id = $1", campaign, NOW + HOUR)
    assert await distribute_due(connection, NOW) == []
    assert len(await distribute_due(connection, NOW + HOUR)) == 1
    # what follows has all its attempts
    assert await connection.fetchval("SELECT (attempts, retry_at) FROM campaigns WHERE id = $1", campaign) == (0, None)


async def test_the_due_are_found_by_their_index(connection: Tx) -> None:
    await scheduled(connection)
    async with connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch("EXPLAIN " + CLAIM_TO_DISTRIBUTE, NOW, LEAD, 100, *FIRST)
    assert any("campaigns_to_distribute" in line[0] for line in plan)
