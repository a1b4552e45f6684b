"""The one seam to PostgreSQL: connections as the application's role, transactions whose deadline really ends them."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

import asyncpg
import orjson
import structlog

from config.settings import DatabaseSettings
from playlists.queries import Tx

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection, Pool = asyncpg.Connection, asyncpg.Pool  # no parameters at run time

log = structlog.get_logger("daemon.database")

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


class DatabaseUnavailable(Exception):
    """The database could not serve the call; whether a commit in flight took effect is unknown."""

    def __init__(self, reason: str, *, outage: bool = True) -> None:
        """Give the reason in words, and whether the database is out rather than busy."""
        super().__init__(reason)
        self.outage = outage


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
        _drop(connection)

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        yield
    except Exception as error:
        if expired:
            raise DatabaseUnavailable(f"no answer within {seconds:g} s") from error
        raise
    except BaseException:
        _drop(connection)
        raise
    finally:
        timer.cancel()


@asynccontextmanager
async def _begun(connection: Tx) -> AsyncIterator[None]:
    unit = connection.transaction()
    try:
        await unit.start()
        yield
        await unit.commit()
    except Exception:
        try:
            await unit.rollback()
        except Exception:  # noqa: BLE001 - whatever the reason, its state is unknown
            _drop(connection)
        raise


def _drop(connection: Tx) -> None:
    with suppress(asyncpg.InterfaceError):  # the pool has taken it back: it was dropped before
        connection.terminate()


@dataclass(slots=True)
class Database:
    """A pool that connects when first asked, and what is known of the server's health."""

    settings: DatabaseSettings
    name: str
    available: bool = False
    schema_ready: bool = False  # set once by who has seen the schema; until then a missing table is no bug
    _pool: Pool = field(init=False, repr=False)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: DatabaseSettings, name: str = "signaged") -> AsyncIterator[Self]:
        """Open the pool without connecting, so that a daemon starts with PostgreSQL absent."""
        database = cls(settings, name)
        # the stubs know no plain coroutine function as `connect`
        connect = cast("Any", database._connect_pooled)
        database._pool = await asyncpg.create_pool(
            min_size=0, max_size=settings.pool_size, connect=connect, reset=_keep
        )
        try:
            yield database
        finally:
            try:
                async with asyncio.timeout(2):
                    await database._pool.close()
            except TimeoutError:
                database._pool.terminate()

    @asynccontextmanager
    async def transaction(self, timeout: float | None = None, on: Connection | None = None) -> AsyncIterator[Tx]:
        """Yield a transaction, committed at the end of the block, that ends within `timeout` seconds whatever happens.

        `timeout` defaults to `statement_timeout`; waiting for a free connection is bounded by `connect_timeout` on top.
        `on` names a dedicated connection, else one of the pool serves. Raises DatabaseUnavailable for everything that
        came of link, server or load; errors of the statements themselves pass as asyncpg raises them.
        """
        seconds = self.settings.statement_timeout.total_seconds() if timeout is None else timeout
        async with self._translated(), self._connection(on) as connection:
            async with deadline(connection, seconds), _begun(connection):
                yield connection
            self._note(available=True)

    @asynccontextmanager
    async def dedicated(self, name: str) -> AsyncIterator[Connection]:
        """Yield a connection of the caller's own: no pool, no reset between uses, LISTEN allowed.

        Put each unit of work into `transaction(on=connection)`; a bare call on it ends by command_timeout, two
        seconds after the server's own. The end of the block drops it. Raises DatabaseUnavailable as `transaction` does.
        """
        async with self._translated():
            connection = await self._connect(f"{self.name} {name}")
            try:
                yield connection
            finally:
                connection.terminate()

    @asynccontextmanager
    async def _connection(self, on: Connection | None) -> AsyncIterator[Tx]:
        if on is not None:
            yield on
            return
        try:
            connection = await self._pool.acquire(timeout=self.settings.connect_timeout.total_seconds())
        except TimeoutError as error:
            raise DatabaseUnavailable("no connection became free in time", outage=False) from error
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except DatabaseUnavailable as error:
            await self._note_failure(error)
            raise
        except CONTENTION as error:
            raise DatabaseUnavailable(str(error), outage=False) from error
        except Exception as error:
            if transient(error) or (not self.schema_ready and isinstance(error, SCHEMA_MISSING)):
                failure = DatabaseUnavailable(described(error))
                await self._note_failure(failure)
                raise failure from error
            raise

    async def _note_failure(self, failure: DatabaseUnavailable) -> None:
        if failure.outage:
            self._note(available=False, reason=str(failure))
            await self._pool.expire_connections()  # the idle ones would go the same dead way

    def _note(self, *, available: bool, reason: str = "") -> None:
        if available != self.available:
            self.available = available
            if available:
                log.info("database available")
            else:
                log.warning("database unavailable", reason=reason)

    async def _connect_pooled(self, *_: object, **__: object) -> Connection:
        return await self._connect(self.name)

    async def _connect(self, name: str) -> Connection:
        """Connect, become the application's role and set codecs, all within `connect_timeout`."""
        limit = self.settings.connect_timeout.total_seconds()
        try:
            connection = await asyncpg.connect(
                self.settings.url,
                timeout=limit,
                command_timeout=self.settings.statement_timeout.total_seconds() + 2,
                server_settings=self._server_settings(name),
            )
            async with deadline(connection, limit):
                await _prepare(connection, self.settings.role)
        except CONNECT_ERRORS as error:
            raise DatabaseUnavailable(f"cannot connect: {described(error)}") from error
        return connection

    def _server_settings(self, name: str) -> dict[str, str]:
        statement_ms = round(self.settings.statement_timeout.total_seconds() * 1000)
        return {
            "application_name": name,
            "timezone": "UTC",
            "jit": "off",  # our statements are short: compiling them costs more than running them
            "statement_timeout": f"{statement_ms}ms",
            "lock_timeout": f"{statement_ms // 2}ms",
            # the server, too, must notice when we are gone: our locks would outlive us. No
            # idle_in_transaction_session_timeout: it fires at random where the server's clock is shifted (libfaketime)
            "client_connection_check_interval": "5s",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": "20s",
        }


async def _keep(_: Connection) -> None:
    return  # nobody sets anything beyond a transaction: a reset at every release would double the round trips


async def _prepare(connection: Connection, role: str) -> None:
    _watch_link(connection)
    try:
        await connection.execute("SET ROLE " + quoted(role))
        await set_codecs(connection)
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
