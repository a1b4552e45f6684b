"""Whether very many campaigns are being changed at this moment: what can wait some seconds gives way to that."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

LONGEST = 5.0  # seconds of a rush; in one that lasts longer, messages and mails go beside it


class Rush:
    """One loop rushes, others ask whether to go on; they share two cores with it and the same server."""

    def __init__(self) -> None:
        """Begin in calm."""
        self._began: float | None = None
        self._calm = anyio.Event()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Rush in this block; one at a time."""
        self._began, self._calm = time.monotonic(), anyio.Event()
        try:
            yield
        finally:
            self._began = None
            self._calm.set()

    async def give_way(self) -> None:
        """Wait until nobody rushes, or has for LONGEST."""
        if self._began is not None and (left := self._began + LONGEST - time.monotonic()) > 0:
            with anyio.move_on_after(left):
                await self._calm.wait()
