"""Doing what is due at speed and under attack: locks, time-outs, bad rows, rivals, and somebody's old snapshot."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from config.settings import DatabaseSettings
from daemon.campaigns import lifecycle
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import claiming
from daemon.campaigns.queries.agenda import NEXT_DUE, next_due
from daemon.campaigns.queries.claiming import FIRST, Place
from daemon.database import Database
from daemon.draining import drain
from daemon.ground import Begin
from daemon.pace import SUCCESSES, Pace
from daemon.tick import LIFE, Step
from playlists.ids import CampaignId
from playlists.queries import Tx
from tests.conftest import connected
from tests.daemon.test_tick import END, RULES, SPOIL, START, Ticking, booked, planned

BATCH = 64
ROWS = 30_000


async def copies(tx: Tx, count: int, name: str = "Copy") -> None:
    """So many more campaigns, SCHEDULED as those that are there, of tenants of their own in turn."""
    await tx.execute(
        """WITH owners AS (
               INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, created_at,
                                    updated_at)
               SELECT 'Owner', 'EUR', 'UTC', 'a@b.example', 100, 0, now(), now() FROM generate_series(1, 20)
               RETURNING id
           ), numbered AS (SELECT id, row_number() OVER () AS number FROM owners)
           INSERT INTO campaigns (tenant_id, name, channel, timezone, start_at, end_at, tzdata_version, budget_micros,
                                  held_micros, status, submitted_at, distributed_at, total_recipients, correlation_id,
                                  created_by, created_at, updated_at)
           SELECT o.id, $2 || ' ' || n, c.channel, c.timezone, c.start_at, c.end_at, c.tzdata_version,
                  c.budget_micros, c.budget_micros, 'SCHEDULED', c.submitted_at, c.created_at, 1, c.correlation_id,
                  c.created_by, c.created_at, c.updated_at
           FROM (SELECT * FROM campaigns WHERE status = 'SCHEDULED' LIMIT 1) c, generate_series(1, $1::int) n
           JOIN numbered o ON o.number = n % 20 + 1""",
        count,
        name,
    )


@asynccontextmanager
async def holding(url: str, statement: str) -> AsyncIterator[Any]:
    """Somebody else's transaction that has run a statement and stays open."""
    async with connected(url) as other:
        unit = other.transaction(isolation="repeatable_read")
        await unit.start()
        await other.execute(statement)
        yield other
        if not other.is_closed():
            await unit.rollback()


def test_a_pace_halves_to_a_floor_and_doubles_after_successes() -> None:
    pace = Pace(1000)
    for size in (500, 250, 125, 62, 31, 31):
        pace.slower()
        assert (pace.size, pace.reduced) == (size, True)
    for _ in range(SUCCESSES - 1):
        pace.faster()
    assert pace.size == 31
    for _ in range(1 + 5 * SUCCESSES):
        pace.faster()
    assert (pace.size, pace.reduced) == (1000, False)
    small = Pace(1)
    small.slower()
    assert small.size == 1


async def test_a_wallet_that_somebody_holds_keeps_nobody_else_waiting(owner_connection: Tx, database_url: str) -> None:
    ticking = Ticking(owner_connection, replace(RULES, batch=BATCH))
    await booked(owner_connection, 1)
    await copies(owner_connection, 40)
    for instant in (START, END):
        await ticking.at(instant)
    settled = END + RULES.settle_after
    held = "SELECT FROM tenants WHERE name = 'Owner' ORDER BY id LIMIT 1 FOR UPDATE"
    async with holding(database_url, held):
        assert await ticking.at(settled) == []
        assert ticking.failures("settle") == 1  # it waited in vain
        assert ticking.ground.paces["settled"].size == BATCH // 2
        began = time.monotonic()
        assert (await ticking.at(settled)).count("settled") == 39
        assert ticking.failures("settle") == 1
        assert time.monotonic() - began < 1.9  # it waited for nobody
    assert (await ticking.at(settled)).count("settled") == 2
    assert await owner_connection.fetchval("SELECT max(attempts) FROM campaigns") == 0
    for _ in range(2 * SUCCESSES):
        ticking.ground.paces["settled"].faster()
    assert not ticking.ground.paces["settled"].reduced


async def test_a_time_out_is_no_attempt_and_makes_batches_smaller(owner_connection: Tx) -> None:
    ticking = Ticking(owner_connection, replace(RULES, batch=BATCH))
    await booked(owner_connection, 1)
    await copies(owner_connection, BATCH)
    # a statement over more than so many rows takes too long
    await owner_connection.execute(
        """CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
           CREATE TRIGGER slow BEFORE UPDATE ON campaigns FOR EACH ROW EXECUTE FUNCTION slow();
           SET statement_timeout = 500"""
    )
    assert "started" not in await ticking.at(START)
    assert ticking.ground.paces["started"].size == BATCH // 2
    types = await ticking.at(START)
    if not ticking.good:  # on a slow machine
        types += await ticking.at(START)
    assert types.count("started") >= BATCH // 2
    await owner_connection.execute("SET statement_timeout = 0")
    await ticking.at(START)
    assert await owner_connection.fetchval("SELECT count(*) FROM campaigns WHERE status = 'ACTIVE'") == BATCH + 1
    assert await owner_connection.fetchval("SELECT max(attempts) FROM campaigns") == 0


@pytest.mark.parametrize("bad", [1, 150])
async def test_bad_rows_are_found_at_little_cost_and_the_others_go_through(owner_connection: Tx, bad: int) -> None:
    ticking = Ticking(owner_connection, replace(RULES, batch=1000))
    await booked(owner_connection, 1)
    await copies(owner_connection, 999 - bad)
    await copies(owner_connection, bad, "Bad")
    await owner_connection.execute(SPOIL.format(when="NEW.status = 'ACTIVE'").replace("= 'Bad'", "LIKE 'Bad %'"))
    sizes: list[int] = []

    async def over(tx: Tx, ids: Sequence[CampaignId], now: datetime, after: timedelta) -> list[Transition]:
        sizes.append(len(ids))
        return await lifecycle.start(tx, ids, now, after)

    counted = replace(lifecycle.START, over=over)
    assert (await ticking.at(START, (Step("start", partial(drain, (counted,))),))).count("started") == 1000 - bad
    assert ticking.good
    # each bad row alone and its neighbours in halves, not row by row: with one bad row, twice the work of none
    assert len(sizes) <= 3 + 20 * bad
    assert bad > 1 or sum(sizes) < 5 * 1000
    assert await owner_connection.fetchval("SELECT count(*) FROM campaigns WHERE attempts = 1") == bad


async def test_much_that_is_due_is_done_on_two_connections_and_once(owner_connection: Tx, database_url: str) -> None:
    await booked(owner_connection, 1)
    await copies(owner_connection, 199)
    names: list[str] = []
    waiting: list[asyncio.Task[None]] = []
    async with Database.open(DatabaseSettings(url=database_url)) as database, database.dedicated("first") as first:

        @asynccontextmanager
        async def second() -> AsyncIterator[Begin]:
            async with database.dedicated("second") as connection:

                @asynccontextmanager
                async def begin() -> AsyncIterator[Tx]:
                    async with database.transaction(on=connection) as tx:
                        yield tx
                        names.append("second")
                        waiting.append(asyncio.create_task(ticking.ground.rush.give_way()))

                yield begin

        ticking = Ticking(owner_connection, replace(RULES, batch=10))
        begin = partial(database.transaction, on=first)
        ticking.ground = replace(ticking.ground, begin=begin, second=second)
        assert (await ticking.at(START, LIFE[1:2])).count("started") == 200
        assert not waiting[0].done(), "messages and mails give way to so much"
        await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert names
    assert await owner_connection.fetchval("SELECT count(*) FROM transitions WHERE type = 'started'") == 200


async def test_a_third_claimer_waits_and_looks_again(owner_connection: Tx, database_url: str) -> None:
    ticking = Ticking(owner_connection)
    await booked(owner_connection, 1)
    lock = f"SELECT pg_try_advisory_xact_lock({claiming.SLOTS}, %d)"
    async with holding(database_url, lock % 0):
        async with owner_connection.transaction():
            assert (await claiming.admit(owner_connection)).admitted
        async with holding(database_url, lock % 1) as second:
            async with owner_connection.transaction():
                assert not (await claiming.admit(owner_connection)).admitted
            tick = asyncio.ensure_future(ticking.at(START, LIFE[1:2]))
            await asyncio.sleep(0.2)
            assert not tick.done()
            second.terminate()  # a crash gives the place back
            assert await asyncio.wait_for(tick, 2) == ["started"]


async def test_looks_and_claims_pass_over_what_an_old_snapshot_keeps(owner_connection: Tx, database_url: str) -> None:
    """Of many campaigns that were due and are done, none is read again, though vacuum may not remove them."""
    await booked(owner_connection, 1)
    await copies(owner_connection, ROWS)
    await owner_connection.execute("ANALYZE campaigns")
    async with holding(database_url, "SELECT count(*) FROM campaigns"):
        await owner_connection.execute(
            "UPDATE campaigns SET status = 'ACTIVE', activated_at = start_at WHERE name LIKE 'Copy%'"
        )
        now = START + timedelta(minutes=5)
        await owner_connection.execute(
            "UPDATE campaigns SET start_at = $1, distributed_at = $1 WHERE name NOT LIKE 'Copy%'", now
        )
        agenda = await next_due(owner_connection, now, RULES.lead, START + timedelta(minutes=1))
        assert agenda.since["start"] == now
        bound = Place(START + timedelta(minutes=1))
        everywhere = await buffers(owner_connection, claiming.CLAIM_TO_START, now, 1000, *FIRST)
        behind = await buffers(owner_connection, claiming.CLAIM_TO_START, now, 1000, *bound)
        assert behind < 60 < everywhere
        looked = await buffers(owner_connection, NEXT_DUE, now, RULES.lead, bound.at)
        assert looked < 120 < await buffers(owner_connection, NEXT_DUE, now, RULES.lead, FIRST.at)


async def buffers(tx: Tx, statement: str, *arguments: object) -> int:
    """How many pages a statement touches."""
    values = ", ".join(f"'{argument}'" if not isinstance(argument, int) else str(argument) for argument in arguments)
    await tx.execute(f"PREPARE one AS {statement}")
    async with tx.transaction():
        lines = await tx.fetch(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE one ({values})")
    await tx.execute("DEALLOCATE one")
    [line] = [line[0] for line in lines if "Buffers:" in line[0]][:1]
    return sum(int(part.split("=")[1]) for part in line.split() if part.startswith(("hit=", "read=")))


@pytest.mark.parametrize("rows", [50, 20_000])
async def test_the_next_due_instant_is_found_by_index(owner_connection: Tx, rows: int) -> None:
    await booked(owner_connection, 1)
    await copies(owner_connection, rows)
    await owner_connection.execute("ANALYZE campaigns")
    if rows < 1000:
        await owner_connection.execute("SET enable_seqscan = off")
    for mode in ("force_custom_plan", "force_generic_plan"):
        await owner_connection.execute(f"SET plan_cache_mode = {mode}")
        plan = await planned(owner_connection, NEXT_DUE, f"'{START}', '1 day', '{FIRST.at}'")
        assert "Seq Scan on campaigns" not in plan, plan
        for index in ("to_complete", "to_start", "to_settle", "to_distribute", "to_expire", "to_retry"):
            assert f"campaigns_{index}" in plan, plan
