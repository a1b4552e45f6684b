"""Whether a pooler such as pgbouncer stands before PostgreSQL, and whether it leaves us our sessions (SPEC 12)."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import asyncpg

from playlists.queries import Tx

BACKEND: Final = "SELECT pg_backend_pid()"
ROUNDS: Final = 3  # a pooler that deals its servers out in turn is found by the second
# what asyncpg hears when a statement that it prepared in one session is looked for in another
CONFUSED: Final = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)

Other = Callable[[], AbstractAsyncContextManager[Tx]]  # opens a second connection by the same way


class SessionsShared(Exception):
    """A pooler gives each transaction another session; locks, prepared statements and our role would be anybody's."""

    def __init__(self) -> None:
        """Say what is to be done."""
        super().__init__(
            "the connection pooler shares sessions between transactions: set pool_mode = session for this database"
            " (pgbouncer.ini, then RELOAD), or connect to PostgreSQL itself"
        )


async def pooled(connection: Tx) -> bool:
    """Say whether something stands in between: the server's process is not the one that the greeting named."""
    return await _backend(connection) != connection.get_server_pid()


async def insist_on_sessions(connection: Tx, other: Other) -> None:
    """Raise SessionsShared unless the connection keeps its server to itself while another one works.

    Needs room for a second session in the pool; changes nothing in either.
    """
    async with other() as second:
        for _ in range(ROUNDS):
            mine = await _backend(connection)
            async with second.transaction():
                if await _backend(second) == mine or await _backend(connection) != mine:
                    raise SessionsShared


async def _backend(connection: Tx) -> int:
    try:
        pid: int = await connection.fetchval(BACKEND)
    except CONFUSED as error:
        raise SessionsShared from error
    return pid
