"""The loop behind the tick, in real time on a real database: on the instant, never before it, and never dead."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import prometheus_client
import pytest

from config.settings import DatabaseSettings
from daemon import ticker
from daemon.campaigns.draft import zulu
from daemon.campaigns.events import Transition
from daemon.clock import DatabaseClock
from daemon.database import Database
from daemon.ground import Rules
from daemon.metrics import Metrics
from daemon.ticker import Watch, next_minute
from playlists.ids import CampaignId
from playlists.queries import Tx
from tests.daemon.campaigns import world

RULES = Rules(1000, (timedelta(seconds=5),), timedelta(), timedelta(hours=24))
SOON = timedelta(milliseconds=700)


class Running:
    """A ticker that runs, and what it did when."""

    def __init__(self, clock: DatabaseClock) -> None:
        self.clock = clock
        self.done: list[tuple[Transition, datetime]] = []
        self.beats = 0
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def report(self, transitions: Sequence[Transition]) -> None:
        self.done += [(transition, self.clock.now()) for transition in transitions]

    def types(self) -> list[str]:
        return [transition.type for transition, _ in self.done]

    async def until(self, holds: Callable[[], bool], seconds: float = 5) -> None:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - some of what is waited for is other people's
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(url: str, recheck: timedelta = timedelta(seconds=1)) -> AsyncIterator[Running]:
    clock = DatabaseClock()
    metrics = Metrics.create(prometheus_client.CollectorRegistry())
    async with Database.open(DatabaseSettings(url=url)) as database:
        async with database.transaction() as tx:
            await clock.refresh(tx)
        database.schema_ready = True
        run = Running(clock)

        def beat() -> None:
            run.beats += 1

        loop: Awaitable[None] = ticker.run(database, clock, metrics, RULES, recheck, run.report, run.wake, beat)
        run.task = asyncio.ensure_future(loop)
        try:
            yield run
        finally:
            run.task.cancel()
            await asyncio.wait([run.task])


async def soon(tx: Tx) -> tuple[CampaignId, datetime]:
    """A campaign that starts in a moment, by the database's clock."""
    tenant_id = await world.tenant(tx)
    await world.device(tx)
    start: datetime = await tx.fetchval("SELECT clock_timestamp()") + SOON
    window = {"start_at": zulu(start), "end_at": zulu(start + timedelta(hours=1))}
    return await world.submitted(tx, tenant_id, at=start - SOON, **window), start


async def test_it_starts_and_ends_on_the_instant_and_not_before(owner_connection: Tx, database_url: str) -> None:
    async with running(database_url, recheck=timedelta(seconds=30)) as run:
        await run.until(lambda: run.beats > 0)
        _, start = await soon(owner_connection)
        await owner_connection.execute("UPDATE campaigns SET end_at = start_at + interval '1 second'")
        run.wake.set()
        await run.until(lambda: "settled" in run.types())
    assert run.types() == ["content.distributed", "started", "completed", "settled"]
    for transition, seen in run.done[1:]:
        assert transition.executed_at >= transition.due_at
        assert seen - transition.due_at < timedelta(milliseconds=250)
    assert run.done[1][0].due_at == start


async def test_what_nobody_told_it_is_found_within_a_second(owner_connection: Tx, database_url: str) -> None:
    async with running(database_url) as run:
        await run.until(lambda: run.beats > 1)
        await soon(owner_connection)
        await run.until(lambda: "started" in run.types())
        assert run.done[-1][1] >= run.done[-1][0].due_at


async def test_a_locked_row_is_looked_at_again(owner_connection: Tx, database_url: str) -> None:
    campaign_id, start = await soon(owner_connection)
    async with running(database_url, recheck=timedelta(seconds=30)) as run:
        async with owner_connection.transaction():
            await owner_connection.execute("SELECT FROM campaigns WHERE id = $1 FOR UPDATE", campaign_id)
            await asyncio.sleep((start - run.clock.now()).total_seconds() + 0.2)
            assert "started" not in run.types()
        await run.until(lambda: "started" in run.types(), 1)
    [late] = [seen for transition, seen in run.done if transition.type == "started"]
    assert late - start < timedelta(milliseconds=600)


async def test_it_outlives_its_connection(owner_connection: Tx, database_url: str) -> None:
    await soon(owner_connection)
    async with running(database_url) as run:
        await run.until(lambda: run.beats > 1)
        for _ in range(3):
            await owner_connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '% ticker'"
            )
            await asyncio.sleep(0.1)
        await run.until(lambda: "started" in run.types())
        assert run.task is not None
        assert not run.task.done()


async def test_without_a_database_it_keeps_beating(owner_connection: Tx, database_url: str) -> None:
    name = await owner_connection.fetchval("SELECT current_database()")
    async with running(database_url) as run:
        await run.until(lambda: run.beats > 0)
        admin = await asyncpg.connect(database_url.rsplit("/", 1)[0] + "/postgres")
        try:
            await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await owner_connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'signaged%'"
                " AND datname = current_database()"
            )
            before = run.beats
            await run.until(lambda: run.beats > before + 1, 3)
        finally:
            await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await admin.close()
        await soon(owner_connection)
        await run.until(lambda: "started" in run.types())
        assert run.task is not None
        assert not run.task.done()


async def test_after_a_slow_look_the_next_ones_begin_where_it_ended_until_it_is_paid_for() -> None:
    watch, now, loop = Watch(), datetime(2026, 11, 22, 12, tzinfo=UTC), asyncio.get_running_loop()
    assert watch.bound(now) is None
    watch.looked(now, None, loop.time())  # it took next to nothing
    await asyncio.sleep(0.01)
    assert watch.bound(now) is None
    watch.looked(now, None, loop.time() - 0.01)
    assert watch.bound(now + SOON) == now
    assert watch.bound(now - SOON) is None  # the clock was set back
    watch.looked(now + SOON, now, None)  # what is still to be done is not passed over
    assert watch.bound(now + SOON) == now
    await asyncio.sleep(0.25)  # twenty times as long as the look
    assert watch.bound(now + SOON) is None


@pytest.mark.parametrize(
    ("now", "minute"),
    [
        ("2026-12-31T23:59:59.999999+00:00", "2027-01-01T00:00:00+00:00"),
        ("2026-12-31T23:59:00+00:00", "2027-01-01T00:00:00+00:00"),
    ],
)
def test_the_next_minute_is_ahead(now: str, minute: str) -> None:
    assert next_minute(datetime.fromisoformat(now).astimezone(UTC)) == datetime.fromisoformat(minute)
