"""A jump of the database's clock: held by all at once, followed only then, and ended by the clocks or by a person."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import prometheus_client
import pytest

from config.settings import DatabaseSettings
from daemon import jumps
from daemon.campaigns.queries import claiming
from daemon.chores import steps
from daemon.clock import EPOCH, DatabaseClock, Reading
from daemon.database import Database
from daemon.jumps import Guard
from daemon.metrics import Metrics
from daemon.upkeep import keep_time
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, NOW, column
from tests.daemon.process import signaged
from tests.daemon.test_tick import END, RULES, SETTLED, START, Ticking, booked
from tests.daemon.test_ticker import running

HELD = "INSERT INTO clock_jumps (told_at, expected_at, witness, expected) VALUES (now(), now(), 'w', '1 s')"


async def watching(tx: Tx, witness: str = "this host", off: timedelta = timedelta()) -> tuple[Guard, DatabaseClock]:
    """An instance whose clock was right, but for `off`, when it last looked."""
    clock = DatabaseClock()
    guard = Guard(clock, witness)
    told = await tx.fetchval("SELECT clock_timestamp()") + off
    clock.follow(Reading.of(told, time.monotonic(), time.monotonic()))
    return guard, clock


async def looked(guard: Guard, tx: Tx, ahead: timedelta = timedelta()) -> None:
    """One look, at a database whose clock is `ahead`."""
    async with tx.transaction():
        look = await guard.look(Ahead(tx, ahead))  # type: ignore[arg-type]
    guard.follow(look)


class Ahead:
    """A connection to a server whose clock is ahead of the real one's: so may a clock be set."""

    def __init__(self, tx: Tx, ahead: timedelta) -> None:
        self._tx, self._ahead = tx, ahead
        self.execute = tx.execute

    async def fetchrow(self, statement: str, *arguments: object) -> dict[str, object]:
        row = dict(await self._tx.fetchrow(statement, *arguments) or {})
        return row | {"told": row["told"] + self._ahead}


async def error_of(clock: DatabaseClock, tx: Tx) -> timedelta:
    told: object = await tx.fetchval("SELECT clock_timestamp()")
    assert isinstance(told, type(EPOCH))
    return clock.now() - told


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, timedelta(days=-1), timedelta(seconds=6)])
async def test_a_jump_is_held_before_it_is_followed_and_ends_when_the_clocks_agree(
    connection: Tx, ahead: timedelta
) -> None:
    (mine, clock), (others, other) = await watching(connection), await watching(connection, "elsewhere")
    async with connection.transaction():
        look = await mine.look(Ahead(connection, ahead))  # type: ignore[arg-type]
        assert look.held
        assert abs(await error_of(clock, connection)) < timedelta(seconds=1)  # it has not followed yet
    assert await claiming.held(connection)
    mine.follow(look)
    assert clock.held
    assert abs(await error_of(clock, connection) - ahead) < timedelta(seconds=1)
    await looked(others, connection, ahead)
    new, late = Guard(DatabaseClock(), "a third host"), Guard(DatabaseClock(), "this host")
    for started in (new, late):  # while it is held
        await looked(started, connection, ahead)
    assert other.held
    await looked(mine, connection, ahead)
    assert await claiming.held(connection)
    await looked(late, connection)  # it knows by one of its host what was expected, though that one is gone
    assert not await claiming.held(connection)
    assert other.held  # until it has looked
    for guard in (mine, others, new):
        await looked(guard, connection)
    assert [clock.held, other.held, await claiming.held(connection)] == [False] * 3
    assert await connection.fetchval("SELECT count(*) FROM clock_jumps") == 1
    assert abs(await error_of(other, connection)) < timedelta(seconds=1)


async def test_a_host_that_slept_holds_all_until_somebody_accepts(connection: Tx) -> None:
    (slept, clock), (awake, other) = await watching(connection, off=-HOUR), await watching(connection, "elsewhere")
    await looked(slept, connection)
    for _ in range(2):
        await looked(awake, connection)
        await looked(slept, connection)
    assert clock.held
    assert other.held
    jump = await jumps.accept(connection, "somebody")
    assert jump is not None
    assert abs(jump[0] - jump[1] - HOUR) < timedelta(seconds=1)
    for guard in (awake, slept):
        await looked(guard, connection)
    assert [clock.held, other.held] == [False, False]
    assert await jumps.accept(connection, "somebody") is None
    await looked(awake, connection, HOUR)  # a new jump holds again
    assert await claiming.held(connection)
    assert await connection.fetchval("SELECT ended_by FROM clock_jumps ORDER BY id LIMIT 1") == "somebody"


async def test_small_steps_never_hold(connection: Tx) -> None:
    guard, clock = await watching(connection)
    for step in range(1, 20):
        await looked(guard, connection, timedelta(seconds=4 * step))
        assert not clock.held


async def test_while_held_campaigns_start_and_nothing_ends(connection: Tx) -> None:
    ticking = Ticking(connection)
    _, [_, starting, missed] = await booked(connection, 3)
    pending = await world.submitted(connection, await world.tenant(connection, approval_limit_micros=0))
    window = "UPDATE campaigns SET start_at = $2, end_at = $3 WHERE id = $1"
    await connection.execute(window, starting, END, END + 48 * HOUR)
    await connection.execute(window, missed, END - HOUR, END)
    assert await ticking.at(START) == ["started", "content.distributed", "content.distributed", "content.distributed"]
    await connection.execute("UPDATE campaigns SET distributed_at = NULL WHERE id = $1", missed)
    assert await column(connection, pending, "status") == "PENDING_APPROVAL"
    await connection.execute(HELD)
    assert await ticking.at(END) == ["started"]
    assert ticking.good
    assert await ticking.at(SETTLED + 48 * HOUR) == []
    await jumps.accept(connection, "somebody")
    ticking.clock.held = True  # an instance whose own clock has not gone back yet
    assert await ticking.at(END) == []
    ticking.clock.held = False
    done = await ticking.at(SETTLED)
    assert sorted(done) == ["completed", "expired", "missed", "settled"]


async def test_what_is_deleted_by_age_is_kept_while_held(connection: Tx) -> None:
    ticking = Ticking(connection)
    chores = steps(90, RULES.settle_after, HOUR, HOUR, HOUR)
    await connection.execute(
        """WITH t AS (INSERT INTO api_tokens (token_sha256, role, created_at) VALUES ('x', 'operator', $1) RETURNING id)
           INSERT INTO idempotency_keys SELECT id, 'POST', '/', 'k', 'x', 200, '{}', '', $1 FROM t""",
        NOW,
    )
    await connection.execute(HELD)
    await ticking.at(NOW + 24 * HOUR, chores)
    assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 1
    await jumps.accept(connection, "somebody")
    await ticking.at(NOW + 24 * HOUR, chores)
    assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_a_held_ticker_does_not_spin_and_goes_on_when_accepted(owner_connection: Tx, database_url: str) -> None:
    await booked(owner_connection, 1)
    await owner_connection.execute(
        """UPDATE campaigns SET status = 'ACTIVE', start_at = now() - interval '2 h', activated_at = now(),
                                end_at = now() - interval '1 h', distributed_at = now()"""
    )
    await owner_connection.execute(HELD)
    async with running(database_url) as run:
        await run.until(lambda: run.beats > 1)
        before = run.beats
        await asyncio.sleep(1.5)
        assert run.beats - before <= 4
        assert run.types() == []
        await jumps.accept(owner_connection, "somebody")
        await run.until(lambda: "settled" in run.types())


async def test_the_daemons_clock_loop_holds_and_tells(connection: Tx, database_url: str) -> None:
    metrics, clock = Metrics.create(prometheus_client.CollectorRegistry()), DatabaseClock()
    told = await connection.fetchval("SELECT clock_timestamp()")
    clock.follow(Reading.of(told - HOUR, time.monotonic(), time.monotonic()))
    async with Database.open(DatabaseSettings(url=database_url)) as database:
        database.schema_ready = True
        keeping = asyncio.ensure_future(keep_time(database, clock, metrics, lambda: None))
        try:
            await until(lambda: held(connection, True))
            await until(lambda: gauge(metrics, 1))
            ended = await signaged("clock", "accept", "--json", environ=settings(database_url))
            assert '"accepted": true' in ended.out, ended.err
            await until(lambda: gauge(metrics, 0))
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
    ended = await signaged("clock", "accept", environ=settings(database_url))
    assert (ended.code, ended.out.split(";")[0]) == (0, "nothing is held")


def settings(url: str) -> dict[str, str]:
    return {"SIGNAGED_DATABASE__URL": url, "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}


async def held(tx: Tx, is_held: bool) -> bool:
    return await claiming.held(tx) is is_held


async def gauge(metrics: Metrics, value: float) -> bool:
    return bool(metrics.clock_held._value.get() == value)


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - other people's doing
            await asyncio.sleep(0.02)
