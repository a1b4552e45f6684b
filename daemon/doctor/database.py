"""PostgreSQL as the daemon needs it: its version, the role, the schema, sessions of our own, room, and durability."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from config.settings import DatabaseSettings
from daemon.clock import READ_CLOCK
from daemon.database import Connection, DatabaseUnavailable, deadline, described
from daemon.doctor.finding import Finding, fail, ok, warn
from daemon.migrate import MAJOR, MigrationError, pending
from daemon.pooling import SessionsShared, pooled
from daemon.session import connect, prepared

DEDICATED: Final = 7  # connections of the loops, beside the pool's
CLOCKS_APART: Final = timedelta(seconds=5)

_MAY = """
SELECT array_agg(told ORDER BY told) FROM (
    SELECT verb || ' on ' || name AS told
    FROM unnest(ARRAY['ledger', 'transitions']) AS name, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS verb
    WHERE has_table_privilege(name, verb)) AS rights"""
_ROOM = """
SELECT current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int - current_setting('reserved_connections')::int AS room,
       (SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND application_name NOT LIKE 'signaged%') AS others"""
_DURABLE = """
SELECT name || ' = ' || setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting IN ('off', 'local') ORDER BY name"""

Look = Callable[[Connection, DatabaseSettings], Awaitable[Finding]]


async def look_at_database(settings: DatabaseSettings) -> list[Finding]:
    """Everything about the database, in order; what needs a step that failed is left out."""
    limit = settings.connect_timeout.total_seconds()
    try:
        connection = await connect(settings.url, limit, "signaged doctor", limit)
    except DatabaseUnavailable as error:
        if isinstance(error.__cause__, SessionsShared):
            return [fail("pooler", "shares sessions between transactions", str(error.__cause__))]
        return [fail("database", str(error), "see [database] url, the server's log and its pg_hba.conf")]
    try:
        found = [_version(connection), await _asked(_pooler, connection, settings)]
        found.append(await _asked(_role, connection, settings))
        if all(one.level != "fail" for one in found):
            found += [
                await _asked(look, connection, settings)
                for look in (_schema, _clock, _time_zone, _connections, _durability)
            ]
        return found
    finally:
        connection.terminate()


async def _asked(look: Look, connection: Connection, settings: DatabaseSettings) -> Finding:
    try:
        async with deadline(connection, settings.connect_timeout.total_seconds()):
            return await look(connection, settings)
    except Exception as error:  # noqa: BLE001 - a server may be ill in ways that no doctor foresaw
        return fail(look.__name__.strip("_").replace("_", " "), described(error), "see the server's log")


def _version(connection: Connection) -> Finding:
    version = connection.get_server_version()
    told = f"PostgreSQL {version.major}.{version.minor} answers"
    if version.major < MAJOR:
        return fail("database", told, f"PostgreSQL {MAJOR} or newer is needed")
    return ok("database", told)


async def _pooler(connection: Connection, _: DatabaseSettings) -> Finding:
    # one that shares sessions would have been refused already
    return ok("pooler", "in between, and leaves us our sessions" if await pooled(connection) else "none in between")


async def _role(connection: Connection, settings: DatabaseSettings) -> Finding:
    limit = settings.connect_timeout.total_seconds()
    try:
        await prepared(connection, limit, {"role": settings.role, "timezone": "UTC"})
    except DatabaseUnavailable as error:
        return fail(
            "role", str(error.__cause__), "run `signaged migrate`; it makes the role and lets the login take it"
        )
    if await connection.fetchval("SELECT to_regclass('public.ledger') IS NULL"):
        return ok("role", f"{settings.role} can be taken on")
    if rights := await connection.fetchval(_MAY):
        told = f"{settings.role} may {', '.join(rights)}"
        return fail("role", told, "history must be append-only: revoke that, and let the role be no superuser's")
    return ok("role", f"{settings.role} can be taken on, and cannot change ledger or log")


async def _schema(connection: Connection, _: DatabaseSettings) -> Finding:
    try:
        missing = await pending(connection)
    except MigrationError as error:
        return fail("schema", str(error), "run the program that made this schema, or a newer one")
    if missing:
        return fail("schema", f"without {', '.join(missing)}", "run `signaged migrate` (`run` does, if it may)")
    return ok("schema", "the one that this program ships")


async def _clock(connection: Connection, _: DatabaseSettings) -> Finding:
    before = datetime.now(UTC)
    told: datetime = await connection.fetchval(READ_CLOCK)
    after = datetime.now(UTC)
    apart = max(told - after, before - told, timedelta(0))
    if apart > CLOCKS_APART:
        advice = "the daemon goes by the database's clock: see which is wrong, and let NTP keep both"
        return warn("clock", f"{apart.total_seconds():.1f} s between the database's clock and this host's", advice)
    return ok("clock", "the database's is this host's")


async def _time_zone(connection: Connection, _: DatabaseSettings) -> Finding:
    zone = await connection.fetchval("SELECT current_setting('TimeZone')")
    if zone != "UTC":
        return fail("time zone", f"the session is in {zone}", "a pooler must not set TimeZone (server_reset_query)")
    return ok("time zone", "sessions are in UTC")


async def _connections(connection: Connection, settings: DatabaseSettings) -> Finding:
    room = await connection.fetchrow(_ROOM)
    assert room is not None  # noqa: S101 - an aggregate has a row
    needed, free = settings.pool_size + DEDICATED, room["room"] - room["others"]
    told = f"{needed} connections wanted by each instance, {free} of {room['room']} not taken by others"
    if needed > free:
        return fail("connections", told, "raise max_connections, or lower [database] pool_size")
    if 2 * needed > free:
        return warn("connections", told, "a second instance will not find enough: raise max_connections")
    return ok("connections", told)


async def _durability(connection: Connection, _: DatabaseSettings) -> Finding:
    if unsafe := [row[0] for row in await connection.fetch(_DURABLE)]:
        return warn("durability", ", ".join(unsafe), "a crash of the server may lose what was confirmed: set it to on")
    return ok("durability", "what is committed is on disk")
