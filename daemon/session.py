"""One session with PostgreSQL: how it is opened, what its errors mean, and a deadline that really ends its calls."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
from asyncpg.connect_utils import SessionAttribute

from daemon.pooling import SessionsShared, insist_on_sessions, pooled
from playlists.queries import Tx

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # no parameters at run time

OUTAGES = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, starting up, dropped; but see QueryCanceledError
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.InternalClientError,  # the server's farewell came between two calls, the end of the link not yet
)
CONTENTION = (
    asyncpg.QueryCanceledError,  # statement_timeout
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
# while connecting any of these may pass: a wrong password, too, is mended without a restart
CONNECT_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
SCHEMA_MISSING = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
NOT_MIGRATED = (*SCHEMA_MISSING, asyncpg.InvalidParameterValueError)  # the last: a session's role is not there
SET_SESSION = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS wanted (name, value)"


class DatabaseUnavailable(Exception):
    """The database could not serve the call; whether a commit in flight took effect is unknown."""

    def __init__(self, reason: str, *, outage: bool = True) -> None:
        """Give the reason in words, and whether the database is out rather than busy."""
        super().__init__(reason)
        self.outage = outage


class CommitUnknown(DatabaseUnavailable):
    """The COMMIT had no answer, and what became of it could not be read in time either."""


def transient(error: BaseException) -> bool:
    """Say whether the error came of the moment (link, time-out, deadlock, shutdown) and not of the rows (SPEC 3)."""
    return isinstance(error, (DatabaseUnavailable, TimeoutError, *OUTAGES, *CONTENTION)) or (
        isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)
    )


def described(error: BaseException) -> str:
    """Give an error in words; some have none but their name."""
    return str(error) or type(error).__name__


@asynccontextmanager
async def deadline(connection: Tx, seconds: float) -> AsyncIterator[None]:
    """Close the connection's socket when the time is up or the caller is cancelled, which ends any call on it.

    Nothing gentler ends a call on a dead link: asyncpg answers a cancel by asking the same dead server.
    Raises DatabaseUnavailable when the time was up.
    """
    expired = False

    def end() -> None:
        nonlocal expired
        expired = True
        drop(connection)

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        yield
    except Exception as error:
        if expired:
            raise DatabaseUnavailable(f"no answer within {seconds:g} s") from error
        raise
    except BaseException:
        drop(connection)
        raise
    finally:
        timer.cancel()


def drop(connection: Tx) -> None:
    """Close the connection's socket without a word; whoever waits on it hears of it."""
    with suppress(asyncpg.InterfaceError):  # the pool has taken it back: it was dropped before
        connection.terminate()


async def connect(
    url: str, seconds: float, name: str, patience: float | None = None, *, sessions_checked: bool = False
) -> Connection:
    """Connect as the URL's login to a server that takes writes, within `seconds`; a call may last `patience` seconds.

    Of several hosts the first such serves. Raises DatabaseUnavailable, also where a pooler shares our sessions.
    """
    try:
        connection = await _connected(url, seconds, name, patience)
        async with dropped_on_failure(connection), deadline(connection, seconds):
            _watch_link(connection)
            if not sessions_checked and await pooled(connection):
                await insist_on_sessions(connection, partial(_second, url, seconds))
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise DatabaseUnavailable("cannot connect: the server takes no writes (a standby, or read-only)") from error
    except (*CONNECT_ERRORS, SessionsShared) as error:
        raise DatabaseUnavailable(f"cannot connect: {described(error)}") from error
    return connection


async def prepared(connection: Connection, seconds: float, session: dict[str, str]) -> None:
    """Set what holds for the session, and codecs, within `seconds`. Raises DatabaseUnavailable.

    Set after connecting: poolers refuse most settings in the greeting.
    """
    try:
        async with dropped_on_failure(connection), deadline(connection, seconds):
            await connection.fetch(SET_SESSION, list(session), list(session.values()))
            await set_codecs(connection)
    except CONNECT_ERRORS as error:
        raise DatabaseUnavailable(f"cannot connect: {described(error)}") from error


async def _connected(url: str, seconds: float, name: str, patience: float | None) -> Connection:
    return await asyncpg.connect(
        url,
        timeout=seconds,
        command_timeout=patience,
        target_session_attrs=SessionAttribute.read_write,
        server_settings={"application_name": name},
    )


@asynccontextmanager
async def _second(url: str, seconds: float) -> AsyncIterator[Connection]:
    connection = await _connected(url, seconds, "signaged probe", seconds)
    try:
        async with deadline(connection, seconds):
            yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def dropped_on_failure(connection: Connection) -> AsyncIterator[None]:
    """Leave no connection behind that nobody was given."""
    try:
        yield
    except BaseException:
        connection.terminate()
        raise


async def set_codecs(connection: Connection) -> None:
    """Make json and jsonb columns plain Python values both ways.

    Never bind a jsonb[] of lists: asyncpg takes them for further dimensions. Bind one jsonb and unpack it in SQL.
    """
    await connection.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=orjson.dumps, decoder=orjson.loads
    )
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=_jsonb, decoder=lambda data: orjson.loads(data[1:])
    )


def _jsonb(value: Any) -> bytes:
    return b"\x01" + orjson.dumps(value)  # the version of jsonb's binary form


def quoted(name: str) -> str:
    """Quote a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _watch_link(connection: Connection) -> None:
    """Let the kernel end a dead TCP link of an idle connection after some 20 s."""
    sock = getattr(connection, "_transport").get_extra_info("socket")  # noqa: B009 - asyncpg has no setting for it
    if sock is None or sock.family == socket.AF_UNIX:
        return
    with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000)
