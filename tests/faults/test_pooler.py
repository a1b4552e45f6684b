"""A connection pooler in between: sessions of our own are needed, and nothing is done on shared ones."""

import asyncio

import pytest

from config.settings import DatabaseSettings
from daemon.database import Database, DatabaseUnavailable
from daemon.migrate import migrate
from playlists.queries import Tx
from tests.faults.pooler import needs_pgbouncer, pgbouncer

pytestmark = needs_pgbouncer


def settings(url: str, pool_size: int = 3) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": url, "pool_size": pool_size, "connect_timeout": 3})


async def test_session_mode_serves(empty_database_url: str) -> None:
    async with pgbouncer(empty_database_url, "session") as url:
        assert await migrate(url)
        async with Database.open(settings(url)) as database, database.dedicated("test") as own:
            heard = asyncio.Event()
            await own.add_listener("told", lambda *_: heard.set())
            async with database.transaction() as tx:
                row = await tx.fetchrow(
                    "SELECT current_user, current_setting('timezone'), current_setting('statement_timeout'),"
                    " $1::jsonb, pg_notify('told', '')",
                    {"a": 1},
                )
                assert row is not None
                assert tuple(row)[:4] == ("signaged_app", "UTC", "10s", {"a": 1})
            async with asyncio.timeout(2):
                await heard.wait()


@pytest.mark.parametrize("more", [{}, {"server_round_robin": "1"}], ids=["last", "in turn"])
async def test_transaction_mode_is_refused_before_anything_is_done(
    database_url: str, owner_connection: Tx, more: dict[str, str]
) -> None:
    async with pgbouncer(database_url, "transaction", more=more) as url:
        async with Database.open(settings(url)) as database:
            for attempt in (database.transaction(), database.dedicated("test")):
                with pytest.raises(DatabaseUnavailable, match="set pool_mode = session"):
                    await attempt.__aenter__()
        with pytest.raises(DatabaseUnavailable, match="set pool_mode = session"):
            await migrate(url)
    assert await owner_connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


@pytest.mark.torture
async def test_pool_without_room_says_so_in_time(database_url: str) -> None:
    async with pgbouncer(database_url, "session", size=1) as url, Database.open(settings(url)) as database:
        with pytest.raises(DatabaseUnavailable, match="cannot connect"):
            async with asyncio.timeout(8):
                await database.transaction().__aenter__()
