"""The database seam: deadlines that really end a call, errors told apart, and recovery without a restart."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from config.settings import DatabaseSettings
from daemon.commits import Commit, Fate, fate_of
from daemon.database import CommitUnknown, Database, DatabaseUnavailable, transient
from playlists.queries import Tx
from tests.gate import Gate, gate_to


@pytest.fixture
async def gate(database_url: str) -> AsyncIterator[Gate]:
    parts = urlsplit(database_url)
    async with gate_to(parts.hostname or "", parts.port or 5432) as opened:
        yield opened


@pytest.fixture
async def database(database_url: str, gate: Gate) -> AsyncIterator[Database]:
    settings = DatabaseSettings.model_validate(
        {"url": gate.url(database_url), "pool_size": 2, "statement_timeout": 2, "connect_timeout": 1}
    )
    async with Database.open(settings) as opened:
        yield opened


async def ask(database: Database, *statements: str, timeout: float | None = None) -> None:
    async with database.transaction(timeout=timeout) as tx:
        for statement in statements:
            await tx.execute(statement)


async def test_session_is_the_applications(database: Database) -> None:
    async with database.transaction() as tx:
        row = await tx.fetchrow(
            "SELECT current_user, current_setting('timezone') AS zone, current_setting('jit') AS jit,"
            " $1::jsonb AS pair, '[1]'::json AS list",
            {"a": None},
        )
        assert row is not None
        assert tuple(row) == ("signaged_app", "UTC", "off", {"a": None}, [1])
    assert database.available


async def test_application_may_not_change_history(database: Database) -> None:
    for statement in ("UPDATE ledger SET at = now()", "DELETE FROM transitions", "DROP TABLE plays", "TRUNCATE ledger"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(database, statement)


async def test_error_rolls_back_and_passes(database: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await ask(database, "UPDATE house SET updated_at = now()", "SELECT 1 / 0")
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT updated_at FROM house") is None


async def test_farewell_between_two_calls_is_an_outage(database: Database, gate: Gate, owner_connection: Tx) -> None:
    async def lose(tx: Tx) -> None:
        await owner_connection.execute("SELECT pg_terminate_backend($1)", tx.get_server_pid())
        await asyncio.sleep(0.2)
        await tx.execute("SELECT 1")

    gate.hold_ends()
    with pytest.raises(DatabaseUnavailable):
        async with database.transaction() as tx:
            await lose(tx)
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT 1") == 1


async def test_dead_link_ends_at_the_deadline_and_heals(database: Database, gate: Gate) -> None:
    async with database.transaction() as tx:
        await tx.fetchval("SELECT 1")
    gate.freeze()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="no answer within"):
        await ask(database, "SELECT 1", timeout=0.3)
    with pytest.raises(DatabaseUnavailable):  # nor does a new connection hang
        await ask(database, timeout=0.3)
    assert time.monotonic() - began < 2
    assert not database.available
    gate.open()
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT 1") == 1
    assert database.available


async def test_cancelled_call_on_a_dead_link_ends_at_once(database: Database, gate: Gate) -> None:
    async with database.transaction() as tx:
        await tx.fetchval("SELECT 1")
    gate.freeze()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(database, "SELECT 1", timeout=30), 0.2)
    assert time.monotonic() - began < 1


async def test_cancelled_call_leaves_nothing_running(database: Database, connection: Tx) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(database, "LOCK TABLE house IN EXCLUSIVE MODE", "SELECT pg_sleep(60)"), 0.2)
    async with asyncio.timeout(8):  # the server looks every 5 s whether we are still there
        async with connection.transaction():
            await connection.execute("LOCK TABLE house IN EXCLUSIVE MODE")


async def test_lost_connections_are_replaced(database: Database, owner_connection: Tx, gate: Gate) -> None:
    async with database.transaction(), database.transaction():
        pass
    await owner_connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'signaged'"
    )
    await asyncio.sleep(0.1)
    async with database.transaction() as tx:
        await tx.fetchval("SELECT 1")
    gate.shut()
    with pytest.raises(DatabaseUnavailable):
        await ask(database, "SELECT 1")
    gate.open()
    async with database.transaction() as tx:
        await tx.fetchval("SELECT 1")


async def test_busy_is_not_out(database: Database, connection: Tx) -> None:
    async with connection.transaction():
        await connection.execute("SELECT FROM house FOR UPDATE")
        with pytest.raises(DatabaseUnavailable, match="lock timeout") as caught:
            await ask(database, "UPDATE house SET updated_at = now()", timeout=9)
    assert not caught.value.outage
    assert transient(caught.value.__cause__ or caught.value)
    async with database.transaction(), database.transaction():
        with pytest.raises(DatabaseUnavailable, match="no connection became free"):
            await ask(database)


async def test_missing_schema_is_unavailable_only_until_it_was_seen(empty_database_url: str) -> None:
    async with Database.open(DatabaseSettings(url=empty_database_url, role="postgres")) as database:
        for ready, error in ((False, DatabaseUnavailable), (True, asyncpg.UndefinedTableError)):
            database.schema_ready = ready
            with pytest.raises(error):
                await ask(database, "SELECT count(*) FROM campaigns")


async def test_dedicated_connection_ends_with_its_block(database: Database, gate: Gate, owner_connection: Tx) -> None:
    async with database.dedicated("test") as own:
        async with database.transaction(on=own) as tx:
            assert await tx.fetchval("SELECT current_setting('application_name')") == "signaged test"
        async with database.transaction(on=own) as tx:
            assert await tx.fetchval("SELECT current_user") == "signaged_app"
    async with database.dedicated("test") as own:
        gate.shut()
        await asyncio.sleep(0.05)
        with pytest.raises(DatabaseUnavailable):
            await database.transaction(on=own).__aenter__()


async def test_absent_server_is_no_error_before_it_is_needed() -> None:
    async with Database.open(DatabaseSettings(url="postgresql://nobody@127.0.0.1:1/none")) as database:
        assert not database.available
        with pytest.raises(DatabaseUnavailable, match="cannot connect"):
            await ask(database)


async def write(database: Database, *, resolve: bool) -> None:
    async with database.transaction(resolve=resolve) as tx:
        await tx.execute("UPDATE house SET updated_at = '2026-01-01Z'")


async def written(connection: Tx) -> bool:
    return bool(await connection.fetchval("SELECT updated_at IS NOT NULL FROM house"))


async def test_commit_without_an_answer_is_read_back(database: Database, gate: Gate, connection: Tx) -> None:
    gate.lose_commit(arrives=True)
    await write(database, resolve=True)  # it took effect: nothing is wrong
    assert gate.committed == [True]
    assert await written(connection)


async def test_commit_that_never_arrived_is_ended_and_told(database: Database, gate: Gate, connection: Tx) -> None:
    gate.lose_commit(arrives=False)
    with pytest.raises(DatabaseUnavailable) as caught:
        await write(database, resolve=True)
    assert not isinstance(caught.value, CommitUnknown)
    assert not await written(connection)
    async with asyncio.timeout(1):  # its session, which waited for the COMMIT, holds no lock any more
        await connection.execute("UPDATE house SET updated_at = NULL")


async def test_commit_that_cannot_be_read_back_is_unknown(database: Database, gate: Gate, connection: Tx) -> None:
    gate.lose_commit(arrives=True)
    began = time.monotonic()
    asyncio.get_running_loop().call_later(0.1, gate.freeze)
    with pytest.raises(CommitUnknown):
        await write(database, resolve=True)
    assert time.monotonic() - began < 2


async def test_number_of_another_history_tells_nothing(database: Database, connection: Tx) -> None:
    commit = Commit(sent=True)
    async with database.transaction() as tx:
        await tx.execute("UPDATE house SET updated_at = '2026-01-01Z'")
        await commit.note(tx)
    assert await fate_of(connection, commit) is Fate.COMMITTED
    commit.history += "1"  # as after a crash, in which the number may have been lost and given to another
    assert await fate_of(connection, commit) is Fate.UNKNOWN


async def test_half_open_connections_end_at_the_deadline_and_are_replaced(database: Database, gate: Gate) -> None:
    async with database.transaction(), database.transaction():
        pass
    async with database.dedicated("test") as own:
        gate.vanish()
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction(0.3, on=own) as tx:
                await tx.fetchval("SELECT 1")
        assert time.monotonic() - began < 1
    await ask(database, "SELECT 1", timeout=0.3)  # nor are those in the pool trusted any more


async def test_locks_of_a_session_that_was_given_up_are_free_at_once(database: Database, gate: Gate) -> None:
    take = "SELECT pg_try_advisory_lock(7)"
    async with database.dedicated("test") as own:
        assert await own.fetchval(take)
        gate.vanish()  # the server hears of no end
    async with database.dedicated("test") as own, asyncio.timeout(2):
        while not await own.fetchval(take):  # noqa: ASYNC110 - the server sets no event of ours
            await asyncio.sleep(0.02)


async def test_link_that_trickles_ends_at_the_deadline(database: Database, gate: Gate) -> None:
    await ask(database, "SELECT 1")
    gate.trickle(20, 0.05)
    await ask(database, "SELECT 1")  # slow is not dead
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="no answer within"):
        await ask(database, "SELECT repeat('x', 100000)", timeout=0.5)
    assert time.monotonic() - began < 1


async def test_server_that_takes_no_writes_any_more_is_left_and_taken_again(
    database: Database, owner_connection: Tx
) -> None:
    name = await owner_connection.fetchval("SELECT current_database()")
    async with database.dedicated("reader") as own:
        await ask(database, "SELECT 1")
        await owner_connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await ask(database, "SELECT set_config('default_transaction_read_only', 'on', false)")  # as a reload does
        with pytest.raises(DatabaseUnavailable):
            await write(database, resolve=True)
        with pytest.raises(DatabaseUnavailable):  # who only reads hears of it too
            async with database.transaction(on=own) as tx:
                await tx.fetchval("SELECT 1")
        with pytest.raises(DatabaseUnavailable, match="takes no writes"):
            await write(database, resolve=True)
        assert not database.available
    await owner_connection.execute("SET default_transaction_read_only = off")
    await owner_connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await write(database, resolve=True)
