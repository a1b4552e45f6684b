"""The one seam to PostgreSQL: connections as the application's role, transactions whose deadline really ends them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

import asyncpg
import structlog

from config.settings import DatabaseSettings
from daemon.commits import Commit, Fate, fate_of
from daemon.session import (
    CONNECT_ERRORS,
    CONTENTION,
    SCHEMA_MISSING,
    CommitUnknown,
    Connection,
    DatabaseUnavailable,
    connect,
    deadline,
    described,
    drop,
    dropped_on_failure,
    prepared,
    quoted,
    set_codecs,
    transient,
)
from playlists.queries import Row, Tx

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Pool = asyncpg.Pool  # no parameters at run time

__all__ = [  # with what its callers need of a session
    "CONNECT_ERRORS",
    "CommitUnknown",
    "Connection",
    "Database",
    "DatabaseUnavailable",
    "deadline",
    "described",
    "quoted",
    "set_codecs",
    "transient",
]

log = structlog.get_logger("daemon.database")

GRACE = 0.5  # seconds more than connecting may take, so that it is known which of the two took too long
OWN_BACKEND = "SELECT pid, backend_start AS began FROM pg_stat_activity WHERE pid = pg_backend_pid()"
END_BACKENDS = """
SELECT pg_terminate_backend(a.pid)
FROM unnest($1::int[], $2::timestamptz[]) AS given_up (pid, began)
JOIN pg_stat_activity a ON a.pid = given_up.pid AND a.backend_start = given_up.began"""
ASK_AGAIN = 0.1  # seconds between two questions after a commit without an answer


@asynccontextmanager
async def _begun(connection: Tx, commit: Commit | None) -> AsyncIterator[None]:
    unit = connection.transaction()
    try:
        await unit.start()
        yield
        if commit:
            await commit.note(connection)
            commit.sent = True
        await unit.commit()
    except Exception:
        try:
            await unit.rollback()
        except Exception:  # noqa: BLE001 - whatever the reason, its state is unknown
            drop(connection)
        raise


@dataclass(slots=True)
class Database:
    """A pool that connects when first asked, and what is known of the server's health."""

    settings: DatabaseSettings
    name: str
    available: bool = False
    schema_ready: bool = False  # set once by who has seen the schema; until then a missing table is no bug
    _pool: Pool = field(init=False, repr=False)
    _own: dict[Connection, list[Row]] = field(default_factory=dict, repr=False)  # dedicated, and the server's process
    _left: list[Row] = field(default_factory=list, repr=False)  # the processes of those that were given up
    _sessions_checked: bool = False  # since the last outage

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
    async def transaction(
        self, timeout: float | None = None, on: Connection | None = None, *, resolve: bool = False
    ) -> AsyncIterator[Tx]:
        """Yield a transaction, committed at the end of the block, that ends within `timeout` seconds whatever happens.

        `timeout` defaults to `statement_timeout`; waiting for a free connection is bounded by `connect_timeout` on top.
        `on` names a dedicated connection, else one of the pool serves. Raises DatabaseUnavailable for everything that
        came of link, server or load; errors of the statements themselves pass as asyncpg raises them.

        Who can read what is done and goes by that needs no more: a commit without an answer is then found done, or
        done again. Who must answer somebody else says `resolve`: its outcome is read, within `connect_timeout`, and
        only if it cannot be is CommitUnknown raised. That costs a round trip a transaction.
        """
        seconds = self.settings.statement_timeout.total_seconds() if timeout is None else timeout
        commit = Commit() if resolve else None
        try:
            async with self._translated(), self._connection(on) as connection:
                async with deadline(connection, seconds), _begun(connection, commit):
                    yield connection
                self._note(available=True)
        except DatabaseUnavailable as failure:
            if commit is None or not (commit.in_doubt and failure.outage):
                raise
            await self._resolve(commit, failure)

    @asynccontextmanager
    async def dedicated(self, name: str) -> AsyncIterator[Connection]:
        """Yield a connection of the caller's own: no pool, no reset between uses, LISTEN allowed.

        Put each unit of work into `transaction(on=connection)`, a bare call into `deadline`: nothing else ends it on a
        dead link. The end of the block drops it. Raises DatabaseUnavailable as `transaction` does.
        """
        async with self._translated():
            connection = await self._connect(f"{self.name} {name}", own=True)
            try:
                yield connection
            finally:
                self._left += self._own.pop(connection, [])
                connection.terminate()

    async def renew(self, settings: DatabaseSettings) -> None:
        """Go by other settings from now on, on connections made anew."""
        self.settings = settings
        await self.leave()

    async def leave(self) -> None:
        """Give up all connections: the loops' own at once, so that these connect again, the pool's after use."""
        await self._pool.expire_connections()
        for connection in list(self._own):
            connection.terminate()

    @asynccontextmanager
    async def _connection(self, on: Connection | None) -> AsyncIterator[Tx]:
        if on is not None:
            yield on
            return
        limit = self.settings.connect_timeout.total_seconds()
        try:
            connection = await self._pool.acquire(timeout=limit + GRACE)
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
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    await self.leave()  # a standby by now: who only reads there would never know
                await self._note_failure(failure)
                raise failure from error
            raise

    async def _note_failure(self, failure: DatabaseUnavailable) -> None:
        if failure.outage:
            self._note(available=False, reason=str(failure))
            self._sessions_checked = False
            await self._pool.expire_connections()  # the idle ones would go the same dead way

    async def _resolve(self, commit: Commit, failure: DatabaseUnavailable) -> None:
        """Return if the transaction took effect, raise `failure` if not, CommitUnknown if nobody can tell in time."""
        limit = self.settings.connect_timeout.total_seconds()
        loop = asyncio.get_running_loop()
        ends = loop.time() + limit
        fate = Fate.OPEN
        while fate is Fate.OPEN and (left := ends - loop.time()) > 0:
            with suppress(DatabaseUnavailable):
                fate = await self._read_fate(commit, left)
            if fate is Fate.OPEN:
                await asyncio.sleep(min(ASK_AGAIN, left))
        log.warning("commit had no answer", transaction=commit.xid, fate=fate.value)
        if fate is Fate.ABORTED:
            raise failure
        if fate is not Fate.COMMITTED:
            raise CommitUnknown(f"the commit had no answer: {failure}") from failure

    async def _read_fate(self, commit: Commit, seconds: float) -> Fate:
        async with self._translated():
            # as the login, which may end its own sessions; the application's role may not
            connection = await connect(self.settings.url, seconds, f"{self.name} commit", seconds)
            try:
                async with deadline(connection, seconds):
                    return await fate_of(connection, commit)
            except asyncpg.PostgresError as error:
                if transient(error):
                    raise
                return Fate.UNKNOWN  # a server that never had such a transaction
            finally:
                connection.terminate()

    def _note(self, *, available: bool, reason: str = "") -> None:
        if available != self.available:
            self.available = available
            if available:
                log.info("database available")
            else:
                log.warning("database unavailable", reason=reason)

    async def _connect_pooled(self, *_: object, **__: object) -> Connection:
        return await self._connect(self.name)

    async def _connect(self, name: str, *, own: bool = False) -> Connection:
        """Connect, become the application's role and set codecs, all within `connect_timeout`."""
        limit = self.settings.connect_timeout.total_seconds()
        patience = self.settings.statement_timeout.total_seconds() + 2
        url, checked = self.settings.url, self._sessions_checked
        try:
            async with asyncio.timeout(limit):
                connection = await connect(url, limit, name, patience, sessions_checked=checked)
                self._sessions_checked = True
                backends = await self._end_left(connection, limit, own=own)  # as the login: the role sees no others
                await prepared(connection, limit, self._session() | {"role": self.settings.role})
        except TimeoutError as error:
            raise DatabaseUnavailable(f"cannot connect: no answer within {limit:g} s") from error
        if own:
            self._own[connection] = backends
        return connection

    async def _end_left(self, connection: Connection, seconds: float, *, own: bool) -> list[Row]:
        """End the sessions that were given up, and tell which the new one is if it is somebody's own.

        On a dead link the server would keep their locks for another half minute.
        """
        left, self._left = self._left, []
        async with dropped_on_failure(connection), deadline(connection, seconds):
            # another login's, from before a reload, are not ours to end
            with suppress(asyncpg.InsufficientPrivilegeError):
                if left:
                    await connection.fetch(END_BACKENDS, [row["pid"] for row in left], [row["began"] for row in left])
            return await connection.fetch(OWN_BACKEND) if own else []

    def _session(self) -> dict[str, str]:
        statement_ms = round(self.settings.statement_timeout.total_seconds() * 1000)
        return {
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
