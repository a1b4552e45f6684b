"""A PostgreSQL of a test's own that is stopped, killed and started again, always at one address."""

import os
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from daemon.dev.embedded import embedded_postgres
from tests.whole.daemons import free_port


@dataclass
class Postgres:
    """A server with all that makes it safe; `url` is the owner's, once it was started."""

    folder: Path
    port: int = field(default_factory=free_port)
    url: str = ""
    _life: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        self.url = await self._life.enter_async_context(embedded_postgres(self.folder, self.port))

    async def stop(self) -> None:
        await self._life.aclose()

    async def crash(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it without a checkpoint; SIGQUIT is what `pg_ctl stop -m immediate` sends."""
        pid = (self.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0]
        os.kill(int(pid), how)
        await self.stop()
