"""Ordered SQL migrations, each run once in a transaction of its own, and the role the application works under."""

import asyncio
import getpass
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from daemon.database import Connection, deadline, quoted
from daemon.failpoints import failpoint
from daemon.session import connect, prepared
from playlists.queries import Tx

LOCK = 0x7369676E  # "sign": who holds this advisory lock migrates
MAJOR = 18  # the oldest PostgreSQL that has what the schema is made of
PATIENCE = 600.0  # seconds for all of it, another instance's turn included
CALL_SECONDS = 10.0  # of all but the migrations themselves; those end some 20 s after their link is dead
SESSION = {"lock_timeout": "10s"}

TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""
RECORD = "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)"
RECORDED = "SELECT name, sha256 FROM schema_migrations ORDER BY name"
OWNS = """
SELECT pg_has_role(current_user, datdba, 'USAGE') FROM pg_database WHERE datname = current_database()"""
MAY_ASSUME = "SELECT pg_has_role($1::name, $2::name, 'SET')"


class MigrationError(Exception):
    """The database's schema and this program do not belong together."""


class MayNotMigrate(MigrationError):
    """The login may not change the schema, or not make the role; somebody else has to."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of daemon/migrations."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Identify the text, so that a file changed after it was applied is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> list[Migration]:
    """Return the migrations of this program in order."""
    folder = files("daemon").joinpath("migrations")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [Migration(name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


async def migrate(owner_url: str, app_url: str | None = None, role: str = "signaged_app") -> list[str]:
    """Bring the schema up to date and return the names applied; instances that come at once take turns.

    `owner_url` owns the database and may create roles; the login of `app_url` is allowed to work as `role`. Raises
    MigrationError when the schema is newer than the program or a file changed, MayNotMigrate when the login may not,
    DatabaseUnavailable when the server cannot be reached or the turn of another takes too long, asyncpg's errors when
    a statement fails.
    """
    async with _connected(owner_url, PATIENCE) as connection:
        # asked again and again: to wait inside pg_advisory_lock() deadlocks with CREATE INDEX CONCURRENTLY
        while not await _locked(connection):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.2)
        try:
            return await _migrate(connection, app_url, role)
        except asyncpg.InsufficientPrivilegeError as error:
            raise MayNotMigrate(f"the schema needs the database's owner ([database] owner_url): {error}") from error
        except asyncpg.UndefinedObjectError as error:
            raise MayNotMigrate(f"the login of [database] url has to be created first: {error}") from error


async def owns(url: str) -> bool:
    """Say whether the login of the URL owns its database, so that it may migrate; raises DatabaseUnavailable."""
    async with _connected(url, CALL_SECONDS) as connection:
        return bool(await connection.fetchval(OWNS))


async def _locked(connection: Connection) -> bool:
    async with deadline(connection, CALL_SECONDS):
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK))


@asynccontextmanager
async def _connected(url: str, seconds: float) -> AsyncIterator[Connection]:
    connection = await connect(url, CALL_SECONDS, "signaged migrate")
    try:
        _insist_on_server(connection)
        await prepared(connection, CALL_SECONDS, SESSION)
        async with deadline(connection, seconds):
            yield connection
    finally:
        connection.terminate()  # which gives the lock back, too


def _insist_on_server(connection: Connection) -> None:
    """Refuse what would fail later, at the first statement or at the first name of somebody."""
    version = connection.get_server_version()
    if version.major < MAJOR:
        raise MigrationError(f"PostgreSQL {MAJOR} or newer is needed, this server is {version.major}")
    encoding = getattr(connection.get_settings(), "server_encoding", "UTF8")  # a pooler in between may not tell
    if encoding.upper().replace("-", "") != "UTF8":
        raise MigrationError(f"the database's encoding is {encoding}: create one with ENCODING 'UTF8'")


async def pending(connection: Tx) -> list[str]:
    """Return the names still to be applied; raises MigrationError when the schema is not one of ours."""
    if await connection.fetchval("SELECT to_regclass('public.schema_migrations')") is None:
        return [migration.name for migration in shipped()]
    ours = {migration.name: migration.sha256 for migration in shipped()}
    applied = {row["name"]: row["sha256"] for row in await connection.fetch(RECORDED)}
    if newer := [name for name in applied if name not in ours]:
        raise MigrationError(f"the schema is newer than this program: it has {', '.join(newer)}")
    if changed := [name for name, sha256 in applied.items() if sha256 != ours[name]]:
        raise MigrationError(f"changed after it was applied: {', '.join(changed)}")
    return [name for name in ours if name not in applied]


async def _migrate(connection: Connection, app_url: str | None, role: str) -> list[str]:
    async with deadline(connection, CALL_SECONDS):
        missing = set(await pending(connection))
        await _ensure_role(connection, app_url, role)
    done = []
    for migration in shipped():
        if migration.name in missing:
            async with connection.transaction():
                await connection.execute(TABLE)
                await connection.execute(migration.sql.replace(":app_role", quoted(role)))
                await connection.execute(RECORD, migration.name, migration.sha256)
                await connection.execute(f"REVOKE ALL ON schema_migrations FROM {quoted(role)}")
                await connection.execute(f"GRANT SELECT ON schema_migrations TO {quoted(role)}")
                failpoint("migrate.before_commit")
            failpoint("migrate.after_commit")
            done.append(migration.name)
    return done


async def _ensure_role(connection: Connection, app_url: str | None, role: str) -> None:
    """Create the role and let owner and login take it on; roles are the cluster's, so others may do so meanwhile."""
    try:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role):
            # another database's migration may create it this moment
            with suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                await connection.execute(f"CREATE ROLE {quoted(role)} NOLOGIN")
        owner: str = await connection.fetchval("SELECT current_user")
        for user in {owner, _login(app_url) if app_url else owner}:
            await _let_take_on(connection, user, role)
    except asyncpg.InsufficientPrivilegeError as error:
        raise MayNotMigrate(
            f"the login of [database] owner_url needs CREATEROLE, and where role {role} is another's already,"
            f" WITH ADMIN OPTION on it or another name in [database] role: {error}"
        ) from error


async def _let_take_on(connection: Connection, user: str, role: str) -> None:
    for attempt in range(5):
        try:
            if not await connection.fetchval(MAY_ASSUME, user, role):
                await connection.execute(f"GRANT {quoted(role)} TO {quoted(user)}")
            return
        except asyncpg.InternalServerError:  # "tuple concurrently updated": another database's migration
            await asyncio.sleep(0.1 * (attempt + 1))


def _login(url: str) -> str:
    """Whom a URL logs in, by the rules of PostgreSQL's own clients."""
    parts = urlsplit(url)
    named = unquote(parts.username or "") or parse_qs(parts.query).get("user", [""])[-1]
    return named or os.environ.get("PGUSER") or getpass.getuser()
