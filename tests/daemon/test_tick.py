"""The ordered steps of a tick on a real database: once, in sets, whoever else runs and whatever is broken."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import asyncpg
import prometheus_client
import pytest

from daemon.announce import announce
from daemon.campaigns import halting, lifecycle
from daemon.campaigns.draft import zulu
from daemon.campaigns.events import Transition
from daemon.campaigns.money import micros
from daemon.campaigns.queries import claiming, due
from daemon.campaigns.queries.agenda import next_due
from daemon.database import set_codecs
from daemon.ground import Ground, Rules
from daemon.metrics import Metrics
from daemon.tick import LIFE, Step, once, tick
from daemon.verify import verify
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, NOW, OPERATOR, column, log_of
from tests.doubles import FakeClock

START, END = NOW + 48 * HOUR, NOW + 72 * HOUR
SETTLED = END + timedelta(minutes=5)
RULES = Rules(
    batch=3,
    retries=(timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)),
    settle_after=timedelta(minutes=5),
    lead=timedelta(hours=24),
)


class Ticking:
    """Ticks on one connection at any instant, and what they reported."""

    def __init__(self, tx: Tx, rules: Rules = RULES) -> None:
        self.clock = FakeClock(NOW)
        self.reported: list[Transition] = []
        self.metrics = Metrics.create(prometheus_client.CollectorRegistry())

        @asynccontextmanager
        async def begin() -> AsyncIterator[Tx]:
            async with tx.transaction():
                yield tx

        self.ground = Ground(begin, self.clock, self.metrics, rules, self.reported.extend)

    async def at(self, now: datetime, steps: Sequence[Step] = LIFE) -> list[str]:
        """Tick at an instant and give the types of what happened."""
        self.clock.instant = now
        self.reported.clear()
        self.good = await tick(self.ground, steps)
        return [transition.type for transition in self.reported]

    def quarantined(self) -> float:
        value: float = self.metrics.campaigns_quarantined._value.get()
        return value

    def failures(self, step: str) -> float:
        value: float = self.metrics.step_failures_total.labels(step)._value.get()
        return value


@pytest.fixture
def ticking(connection: Tx) -> Ticking:
    return Ticking(connection)


async def booked(tx: Tx, count: int) -> tuple[TenantId, list[CampaignId]]:
    tenant_id = await world.tenant(tx, running_limit=count)
    await world.device(tx)
    return tenant_id, [await world.submitted(tx, tenant_id) for _ in range(count)]


async def test_a_life_in_order(connection: Tx, ticking: Ticking) -> None:
    tenant_id, [campaign_id] = await booked(connection, 1)
    assert await ticking.at(START - RULES.lead - timedelta(microseconds=1)) == []
    assert await ticking.at(START - RULES.lead) == ["content.distributed"]
    assert await ticking.at(START - timedelta(microseconds=1)) == []
    assert await ticking.at(START) == ["started"]
    assert await ticking.at(END - timedelta(microseconds=1)) == []
    assert await ticking.at(END + timedelta(seconds=2)) == ["completed"]
    [completed] = ticking.reported
    assert (completed.due_at, completed.lateness_ms, completed.started_at) == (END, 2000, START)
    assert await ticking.at(SETTLED) == ["settled"]
    [settled] = ticking.reported
    assert (settled.due_at, settled.moved) == (SETTLED, {"released": "100.00", "spent": "0.00", "impressions": 0})
    assert await ticking.at(SETTLED + HOUR) == []
    assert await log_of(connection, campaign_id) == [
        ("created", None, "DRAFT"),
        ("scheduled", "DRAFT", "SCHEDULED"),
        ("content.distributed", "SCHEDULED", "SCHEDULED"),
        ("started", "SCHEDULED", "ACTIVE"),
        ("completed", "ACTIVE", "COMPLETED"),
        ("settled", "COMPLETED", "COMPLETED"),
    ]
    assert await connection.fetchval("SELECT available_micros FROM tenants WHERE id = $1", tenant_id) == micros(
        "10000.00"
    )
    sequences = await connection.fetch("SELECT sequence FROM outbox WHERE key = $1 ORDER BY id", campaign_id)
    assert [row["sequence"] for row in sequences] == [3, 4, 5, 6]
    assert await connection.fetchval("SELECT array_agg(kind ORDER BY id) FROM mails") == ["started", "completed"]


async def test_downtime_is_caught_up_in_one_tick(connection: Tx, ticking: Ticking) -> None:
    _, [missed, unseen, running] = await booked(connection, 3)
    await connection.execute("UPDATE campaigns SET distributed_at = $2 WHERE id = $1", unseen, NOW)
    await connection.execute(
        "UPDATE campaigns SET end_at = $2, distributed_at = $3 WHERE id = $1", running, END + 48 * HOUR, NOW
    )
    types = await ticking.at(END + HOUR)
    assert sorted(types) == ["completed", "missed", "settled", "started", "started"]
    assert await column(connection, missed, "(status, settled_at, held_micros)") == ("MISSED", END + HOUR, 0)
    assert [kind for kind, _, _ in await log_of(connection, unseen)][-3:] == ["started", "completed", "settled"]
    assert await column(connection, running, "(status, activated_at)") == ("ACTIVE", END + HOUR)


async def test_a_late_start_finds_its_budget_played_away(connection: Tx, ticking: Ticking) -> None:
    _, [spent, rich] = await booked(connection, 2)
    await connection.execute(
        "UPDATE campaigns SET held_micros = 0, spent_micros = budget_micros, distributed_at = $2 WHERE id = $1",
        spent,
        NOW,
    )
    types = await ticking.at(START + HOUR)
    assert sorted(types) == ["content.distributed", "paused", "started", "started"]
    assert await column(connection, spent, "(status, status_reason)") == ("PAUSED", "BUDGET_EXHAUSTED")
    assert await connection.fetchval("SELECT urgent FROM marks WHERE ref = $1", spent) is True
    assert await column(connection, rich, "status") == "ACTIVE"


async def test_nobody_left_at_the_start_pauses_until_somebody_is_there(connection: Tx, ticking: Ticking) -> None:
    _, [lonely, stopped] = await booked(connection, 2)
    await connection.execute("UPDATE devices SET disabled = true")
    await connection.execute("UPDATE campaigns SET total_recipients = 0")  # as the planner does
    audience = (once("audience", lifecycle.revive),)
    assert sorted(await ticking.at(START)) == ["paused", "paused", "started", "started"]
    assert await column(connection, lonely, "(status, status_reason)") == ("PAUSED", "NO_ELIGIBLE_DEVICES")
    await announce(connection, await halting.pause(connection, stopped, None, START, OPERATOR), START)
    assert await ticking.at(START + HOUR, audience) == []
    await connection.execute("UPDATE devices SET disabled = false")
    await connection.execute("UPDATE campaigns SET total_recipients = 1")
    assert await ticking.at(START + HOUR, audience) == ["resumed"]
    [resumed] = ticking.reported
    assert (resumed.campaign_id, resumed.reason, resumed.to_status) == (lonely, "NO_ELIGIBLE_DEVICES", "ACTIVE")
    assert await column(connection, stopped, "(status, status_reason, pause_causes)") == (
        "PAUSED", "OPERATOR", ["OPERATOR"],
    )  # fmt: skip
    await announce(connection, await halting.resume(connection, stopped, START + HOUR, OPERATOR), START + HOUR)
    async with connection.transaction():
        assert (await verify(connection)).violations == []
    mails = await connection.fetch("SELECT kind FROM mails WHERE campaign_id = $1 ORDER BY id", lonely)
    assert [row["kind"] for row in mails] == ["started", "paused", "resumed"]


async def test_a_zero_that_is_old_pauses_nobody(connection: Tx, ticking: Ticking) -> None:
    _, [campaign_id] = await booked(connection, 1)
    await connection.execute("UPDATE campaigns SET total_recipients = 0")
    assert await ticking.at(START) == ["started", "content.distributed"]
    assert await column(connection, campaign_id, "status") == "ACTIVE"


async def test_settle_after_zero_settles_in_the_same_tick(connection: Tx) -> None:
    ticking = Ticking(connection, Rules(10, RULES.retries, timedelta(), RULES.lead))
    await booked(connection, 1)
    await ticking.at(START)
    assert await ticking.at(END) == ["completed", "settled"]


async def test_ends_come_before_starts_at_one_instant(connection: Tx, ticking: Ticking) -> None:
    _, [first, second] = await booked(connection, 2)
    await connection.execute(
        "UPDATE campaigns SET start_at = $2, end_at = $3, distributed_at = $4 WHERE id = $1",
        second,
        END,
        END + HOUR,
        NOW,
    )
    await ticking.at(START)
    assert await ticking.at(END) == ["completed", "started"]
    assert [transition.campaign_id for transition in ticking.reported] == [first, second]


async def test_two_tickers_at_once_do_everything_once(owner_connection: Tx, database_url: str) -> None:
    tenant_id, campaigns = await booked(owner_connection, 40)
    rivals = [await asyncpg.connect(database_url) for _ in range(3)]
    try:
        for rival in rivals:
            await set_codecs(rival)
        tickers = [Ticking(rival, Rules(7, RULES.retries, RULES.settle_after, RULES.lead)) for rival in rivals]
        for instant in (START, END, SETTLED):
            types = await asyncio.gather(*(ticker.at(instant) for ticker in tickers))
            assert all(ticker.good for ticker in tickers)
            assert sum(map(len, types)) == 40 * (
                2 if instant == START else 1
            )  # starts bring the distribution with them
    finally:
        for rival in rivals:
            rival.terminate()
    counted = await owner_connection.fetch("SELECT campaign_id, max(sequence), count(*) FROM transitions GROUP BY 1")
    assert [tuple(row)[1:] for row in counted] == [(6, 6)] * 40
    assert await owner_connection.fetchval("SELECT count(DISTINCT (key, sequence)) FROM outbox") == 40 * 4
    available = await owner_connection.fetchval("SELECT available_micros FROM tenants WHERE id = $1", tenant_id)
    assert available == micros("10000.00")
    assert len(campaigns) == 40


SPOIL = """
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a bad row' USING ERRCODE = 'XX001'; END $$;
CREATE TRIGGER spoil BEFORE UPDATE ON campaigns FOR EACH ROW WHEN (OLD.name = 'Bad' AND {when}) EXECUTE FUNCTION spoil()
"""


async def test_a_bad_row_is_retried_alone_and_fails_after_three_retries(owner_connection: Tx) -> None:
    ticking = Ticking(owner_connection)
    tenant_id, good = await booked(owner_connection, 9)
    await owner_connection.execute("UPDATE tenants SET running_limit = 10")
    bad = await world.submitted(owner_connection, tenant_id, name="Bad")
    await owner_connection.execute(SPOIL.format(when="NEW.status = 'ACTIVE'"))
    assert (await ticking.at(START)).count("started") == 9
    assert ticking.good
    for campaign_id in good:
        assert await column(owner_connection, campaign_id, "status") == "ACTIVE"
    at, last = START, []
    for attempt, pause in enumerate((5, 10, 20), 1):
        assert await column(owner_connection, bad, "(attempts, retry_at)") == (attempt, at + timedelta(seconds=pause))
        at += timedelta(seconds=pause)
        assert await ticking.at(at - timedelta(seconds=1)) == []
        last = await ticking.at(at)
    assert last == ["failed"]
    assert ticking.reported[0].reason == "TRANSITION_FAILED"
    assert await column(owner_connection, bad, "(status, settle_at)") == ("FAILED", at + RULES.settle_after)
    assert await ticking.at(at + RULES.settle_after) == ["settled"]


async def test_a_row_that_cannot_even_be_noted_is_quarantined_until_it_can_be_changed(owner_connection: Tx) -> None:
    ticking = Ticking(owner_connection)
    tenant_id, _ = await booked(owner_connection, 4)
    await owner_connection.execute("UPDATE tenants SET running_limit = 10")
    bad = await world.submitted(owner_connection, tenant_id, name="Bad")
    await owner_connection.execute(SPOIL.format(when="true"))
    assert (await ticking.at(START)).count("started") == 4
    assert ticking.good
    assert ticking.quarantined() == 1
    for pause in (20, 40, 80):  # ever more rarely
        until = await owner_connection.fetchval("SELECT retry_at FROM quarantine WHERE campaign_id = $1", bad)
        assert until == ticking.clock.instant + timedelta(seconds=pause)
        assert await ticking.at(until - timedelta(seconds=1)) == []
        assert "started" not in await ticking.at(until)
    until = ticking.clock.instant
    for _ in range(6):
        until = await owner_connection.fetchval("SELECT retry_at FROM quarantine")
        await ticking.at(until)
    assert (
        await owner_connection.fetchval("SELECT retry_at FROM quarantine") == until + HOUR
    )  # no more rarely than that
    await owner_connection.execute("DROP TRIGGER spoil ON campaigns")
    assert "started" in await ticking.at(until + HOUR)
    assert ticking.quarantined() == 0


async def test_a_settlement_that_fails_for_good_is_quarantined_and_the_others_settle(owner_connection: Tx) -> None:
    ticking = Ticking(owner_connection)
    tenant_id, _ = await booked(owner_connection, 4)
    await owner_connection.execute("UPDATE tenants SET running_limit = 10")
    bad = await world.submitted(owner_connection, tenant_id, name="Bad")
    for instant in (START, END):
        await ticking.at(instant)
    await owner_connection.execute(SPOIL.format(when="NEW.settled_at IS NOT NULL"))
    assert (await ticking.at(SETTLED)).count("settled") == 4
    at = SETTLED
    for pause in (5, 10, 20):
        assert ticking.quarantined() == 0
        at += timedelta(seconds=pause)
        assert await ticking.at(at) == []
    assert ticking.quarantined() == 1
    assert await column(owner_connection, bad, "status") == "COMPLETED"
    agenda = await next_due(owner_connection, at, RULES.lead)
    assert agenda.next["settle"] == at + timedelta(seconds=20)
    assert "settle" not in {*agenda.since, *agenda.oldest}  # it has a gauge of its own
    assert (await next_due(owner_connection, at + timedelta(seconds=20), RULES.lead)).since["settle"] == SETTLED
    await owner_connection.execute("DROP TRIGGER spoil ON campaigns")
    assert await ticking.at(at + timedelta(seconds=20)) == ["settled"]
    assert ticking.quarantined() == 0


async def test_what_cannot_be_missed_lets_others_start(owner_connection: Tx) -> None:
    ticking = Ticking(owner_connection)
    tenant_id, [good] = await booked(owner_connection, 1)
    await owner_connection.execute("UPDATE tenants SET running_limit = 2")
    bad = await world.submitted(owner_connection, tenant_id, name="Bad", start_at=zulu(NOW + HOUR))
    await owner_connection.execute("UPDATE campaigns SET end_at = $2 WHERE id = $1", bad, NOW + 2 * HOUR)
    await owner_connection.execute(SPOIL.format(when="true"))
    assert "started" in await ticking.at(START)
    assert ticking.quarantined() == 1
    assert await column(owner_connection, good, "status") == "ACTIVE"


async def test_a_failing_step_does_not_stop_the_next(connection: Tx, ticking: Ticking) -> None:
    await booked(connection, 1)

    async def broken(_: Ground) -> None:
        raise RuntimeError("broken")

    assert "started" in await ticking.at(START, (Step("broken", broken), *LIFE))
    assert not ticking.good
    assert ticking.failures("broken") == 1


CLAIMS = (
    ("campaigns_to_complete", claiming.CLAIM_TO_COMPLETE, END),
    ("campaigns_to_start", claiming.CLAIM_TO_START, START),
    ("campaigns_to_settle", claiming.CLAIM_TO_SETTLE, SETTLED),
    ("campaigns_to_settle", claiming.CLAIM_TO_SETTLE_AROUND, SETTLED),
)
CHANGES = {due.COMPLETE: ", '5 min'", due.START: ", NULL, 'signaged', NULL, '[]'", due.SETTLE: ""}


@pytest.mark.parametrize("rows", [50, 20_000])
async def test_due_rows_are_found_and_changed_by_index(owner_connection: Tx, rows: int) -> None:
    """Never by reading the table or a whole index; where reading a small table is as good, the index could serve."""
    _, [campaign_id] = await booked(owner_connection, 1)
    await owner_connection.execute(
        """INSERT INTO campaigns (tenant_id, name, channel, timezone, start_at, end_at, tzdata_version, budget_micros,
                                  held_micros, status, activated_at, completed_at, settle_at, correlation_id,
                                  created_by, created_at, updated_at)
           SELECT tenant_id, 'Copy ' || n, channel, timezone, start_at + n * interval '1 s',
                  end_at + n * interval '1 s', tzdata_version, budget_micros, budget_micros, s.status,
                  CASE WHEN s.status <> 'SCHEDULED' THEN start_at END, CASE WHEN s.status = 'COMPLETED' THEN end_at END,
                  CASE WHEN s.status = 'COMPLETED' THEN end_at + n * interval '1 s' END, correlation_id, created_by,
                  created_at, updated_at
           FROM campaigns, generate_series(1, $2::int) n,
                LATERAL (SELECT (ARRAY['SCHEDULED', 'ACTIVE', 'COMPLETED'])[n % 3 + 1]) s (status)
           WHERE id = $1""",
        campaign_id,
        rows,
    )
    await owner_connection.execute("ANALYZE campaigns")
    if rows < 1000:
        await owner_connection.execute("SET enable_seqscan = off")
    for mode in ("force_custom_plan", "force_generic_plan"):
        await owner_connection.execute(f"SET plan_cache_mode = {mode}")
        for index, statement, now in CLAIMS:
            await claims_by(index, owner_connection, statement, now)
        for statement, more in CHANGES.items():
            ids = await owner_connection.fetchval("SELECT array_agg(id) FROM (SELECT id FROM campaigns LIMIT 1000) c")
            plan = await planned(owner_connection, statement, f"'{END}', '{{{','.join(map(str, ids))}}}'{more}")
            assert rows < 1000 or "Index Scan using campaigns_pkey on campaigns" in plan, plan
            assert "Seq Scan on campaigns" not in plan, plan
            assert "Hash Join" not in plan, plan


async def claims_by(index: str, tx: Tx, statement: str, now: datetime) -> None:
    """A claim from the first that is due goes by its index, and reads no whole table."""
    place = "'-infinity', '00000000-0000-0000-0000-000000000000'"
    plan = await planned(tx, statement, f"'{now}', 1000, {place}")
    assert index in plan, plan
    assert "Seq Scan on campaigns" not in plan, plan


async def planned(tx: Tx, statement: str, arguments: str) -> str:
    await tx.execute(f"PREPARE one AS {statement}")
    lines = await tx.fetch(f"EXPLAIN EXECUTE one ({arguments})")
    await tx.execute("DEALLOCATE one")
    return "\n".join(line[0] for line in lines)
