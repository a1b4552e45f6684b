"""Migrations: once, in order, by one of many; the shape they produce is daemon/schema.sql."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from config.settings import DatabaseSettings
from daemon.database import Database, DatabaseUnavailable
from daemon.dev.embedded import postgres_program
from daemon.migrate import MayNotMigrate, MigrationError, migrate, owns, pending, shipped
from playlists.queries import Tx
from tests.conftest import on_server, scratch_database

SCHEMA = Path(__file__).parents[2] / "daemon" / "schema.sql"
REWRITE = "SIGNAGED_TEST_WRITE_SCHEMA"


@pytest.fixture
async def login(postgres: str) -> AsyncIterator[str]:
    """The name of a login that owns nothing."""
    name = f"signaged_login_{os.getpid()}"
    await on_server(postgres, f"CREATE ROLE {name} LOGIN PASSWORD 'word'")
    yield name
    await on_server(postgres, f"DROP ROLE {name}")


async def test_migrations_produce_the_schema_on_record(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    options = "--schema-only", "--no-owner", empty_database_url
    dump = await asyncio.create_subprocess_exec(
        str(postgres_program("pg_dump")), *options, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await dump.communicate()
    # comments, session settings and a token that changes with each dump
    kept = re.sub(r"(?m)^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*)\n", "", out.decode())
    shape = re.sub(r"\n{2,}", "\n\n", kept).strip() + "\n"
    if REWRITE in os.environ:
        SCHEMA.write_text(shape)
    assert SCHEMA.read_text() == shape, f"another shape: look at it, then `{REWRITE}=1 make test ARGS='-k on_record'`"


async def test_many_at_once_migrate_an_empty_database_once(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(applied, key=len) == [[], [], [], [migration.name for migration in shipped()]]
    assert await migrate(empty_database_url) == []


async def test_databases_of_one_server_share_a_role_they_both_need(postgres: str) -> None:
    async with scratch_database(postgres, "template0") as one, scratch_database(postgres, "template0") as two:
        done = await asyncio.gather(*(migrate(url, role="signaged_race") for url in (one, two)))
        assert all(done)
        for url in (one, two):
            settings = DatabaseSettings(url=url, role="signaged_race")
            async with Database.open(settings) as database, database.transaction() as tx:
                assert await tx.fetchval("SELECT current_user") == "signaged_race"
                assert await pending(tx) == []
    await on_server(postgres, "DROP ROLE signaged_race")


async def test_login_that_owns_nothing_works_under_the_role(empty_database_url: str, login: str) -> None:
    parts = urlsplit(empty_database_url)
    app_url = parts._replace(netloc=f"{login}:word@{parts.hostname}:{parts.port}").geturl()
    with pytest.raises(MayNotMigrate, match="owner_url"):
        await migrate(app_url)
    await migrate(empty_database_url, app_url)
    assert not await owns(app_url)
    assert await owns(empty_database_url)
    async with Database.open(DatabaseSettings(url=app_url)) as database, database.transaction() as tx:
        assert await tx.fetchval("SELECT session_user || ' ' || current_user") == f"{login} signaged_app"
        assert await tx.fetchval("SELECT count(*) FROM campaigns") == 0


async def test_plain_owner_with_createrole_suffices(postgres: str) -> None:
    name = f"signaged_owner_{os.getpid()}"
    await on_server(postgres, f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'word'")
    parts = urlsplit(postgres)
    try:
        async with scratch_database(postgres, "template0") as url:
            await on_server(postgres, f'ALTER DATABASE "{urlsplit(url).path[1:]}" OWNER TO {name}')
            own = parts._replace(netloc=f"{name}:word@{parts.hostname}:{parts.port}", path=urlsplit(url).path).geturl()
            await migrate(own, role="signaged_plain")
            settings = DatabaseSettings(url=own, role="signaged_plain")
            async with Database.open(settings) as database, database.transaction() as tx:
                assert await tx.fetchval("SELECT count(*) FROM campaigns") == 0
    finally:
        await on_server(postgres, "DROP ROLE signaged_plain")
        await on_server(postgres, f"DROP ROLE {name}")


async def test_login_is_found_as_postgresql_finds_it(empty_database_url: str, login: str) -> None:
    parts = urlsplit(empty_database_url)
    url = f"postgresql://{parts.hostname}:{parts.port}{parts.path}?user={login}&password=word"
    await migrate(empty_database_url, url)
    async with Database.open(DatabaseSettings(url=url)) as database, database.transaction() as tx:
        assert await tx.fetchval("SELECT session_user::text") == login
    with pytest.raises(MayNotMigrate, match=r'has to be created first: role "nobody_yet" does not exist'):
        await migrate(empty_database_url, "postgresql://nobody_yet@127.0.0.1/none")


async def test_role_of_another_owner_is_told_so(postgres: str, empty_database_url: str, login: str) -> None:
    parts = urlsplit(empty_database_url)
    await on_server(postgres, f'ALTER DATABASE "{parts.path[1:]}" OWNER TO {login}')
    await on_server(postgres, "CREATE ROLE signaged_others")
    own = parts._replace(netloc=f"{login}:word@{parts.hostname}:{parts.port}").geturl()
    try:
        with pytest.raises(MayNotMigrate, match=r"needs CREATEROLE, and where role signaged_others is another's"):
            await migrate(own, role="signaged_others")
    finally:
        await on_server(postgres, f'ALTER DATABASE "{parts.path[1:]}" OWNER TO CURRENT_USER')
        await on_server(postgres, "DROP ROLE signaged_others")


async def test_database_that_cannot_hold_every_name_is_refused(postgres: str) -> None:
    name = f"signaged_latin_{os.getpid()}"
    await on_server(
        postgres, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
    )
    try:
        with pytest.raises(MigrationError, match="encoding is LATIN1"):
            await migrate(urlsplit(postgres)._replace(path=f"/{name}").geturl())
    finally:
        await on_server(postgres, f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE schema_migrations SET sha256 = 'x'", "changed after it was applied: 0001_initial.sql"),
        ("INSERT INTO schema_migrations VALUES ('9999_later.sql', 'x')", "newer than this program: it has 9999_later"),
    ],
)
async def test_foreign_schema_is_refused(database_url: str, owner_connection: Tx, change: str, complaint: str) -> None:
    await owner_connection.execute(change)
    with pytest.raises(MigrationError, match=complaint):
        await migrate(database_url)


async def test_application_cannot_touch_the_record(connection: Tx) -> None:
    assert await pending(connection) == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("DELETE FROM schema_migrations")


async def test_absent_server_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate("postgresql://nobody@127.0.0.1:1/none")
