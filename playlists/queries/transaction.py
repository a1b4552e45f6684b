"""The transaction type that every queries module takes first."""

from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Tx: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
    Row: TypeAlias = asyncpg.Record
    Cursor: TypeAlias = asyncpg.cursor.Cursor[asyncpg.Record]
else:
    Tx = asyncpg.Connection  # asyncpg's own classes take no parameters at run time
    Row = asyncpg.Record
    Cursor = asyncpg.cursor.Cursor
