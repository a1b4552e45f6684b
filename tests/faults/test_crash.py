"""What a crash of PostgreSQL loses, and gives to others under the same number, is never taken for what was asked."""

import asyncio
import os
import signal
from pathlib import Path

import asyncpg

from daemon.commits import Commit, Fate, fate_of
from tests.whole.postgres import Postgres


async def test_number_that_a_crash_gave_to_another_is_no_evidence(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres")
    await server.start()
    try:
        mine = await asyncpg.connect(server.url)
        await mine.execute("CREATE TABLE things (name text)")
        await mine.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")  # nothing is flushed but what must be
        await mine.execute("SELECT pg_reload_conf(), pg_sleep(0.3)")
        await mine.execute("BEGIN; INSERT INTO things VALUES ('mine')")
        commit = Commit(sent=True)
        await commit.note(mine)
        os.kill(await mine.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)  # the server starts itself anew
        mine.terminate()
        other = await came_back(server.url)
        numbers = [await written(other) for _ in range(3)]
        assert commit.xid in numbers, "not the case that this is about"
        assert await fate_of(other, commit) is Fate.UNKNOWN
        assert await other.fetchval("SELECT count(*) FROM things WHERE name = 'mine'") == 0
        other.terminate()
    finally:
        await server.stop()


async def came_back(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    async with asyncio.timeout(20):
        while True:
            try:
                connection = await asyncpg.connect(url, timeout=2)
                await connection.fetchval("SELECT 1")
                return connection
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.1)


async def written(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    async with connection.transaction():
        await connection.execute("INSERT INTO things VALUES ('another')")
        number: int = await connection.fetchval("SELECT pg_current_xact_id()")
        return number
