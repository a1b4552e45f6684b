"""A connection on which somebody else does something between two questions."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from playlists.queries import Tx


class Interrupted:
    """Does `meanwhile` before the `number`th fetch, and is a connection besides."""

    def __init__(self, tx: Tx, number: int, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._tx, self._number, self._meanwhile = tx, number, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def fetch(self, *question: Any) -> Any:
        self._number -= 1
        if not self._number:
            await self._meanwhile()
        return await self._tx.fetch(*question)


def interrupted(tx: Tx, number: int, meanwhile: Callable[[], Awaitable[object]]) -> Tx:
    """The connection, interrupted before so many fetches."""
    return cast("Tx", Interrupted(tx, number, meanwhile))
