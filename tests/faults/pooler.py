"""A real pgbouncer before a test's PostgreSQL; tests that ask for it are skipped where it is not installed."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import pytest

from daemon.dev.embedded import NOTHING_MORE, child
from tests.whole.daemons import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="needs pgbouncer (Debian: apt-get install pgbouncer)")
USER = "nobody" if os.geteuid() == 0 else ""  # it refuses to be root


@asynccontextmanager
async def pgbouncer(url: str, mode: str, size: int = 20, more: Mapping[str, str] = NOTHING_MORE) -> AsyncIterator[str]:
    """Run one with its own defaults, but for the pool's mode and size; yield the URL that leads through it."""
    parts, port = urlsplit(url), free_port()
    with tempfile.TemporaryDirectory(prefix="signaged-pooler-") as folder, tempfile.TemporaryFile() as log:
        login = f"user={parts.username} password={unquote(parts.password or '')}"
        own = {"listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": "", "auth_type": "any"}
        ini = _written(
            Path(folder),
            f"* = host={parts.hostname} port={parts.port} {login}",
            own | {"pool_mode": mode, "default_pool_size": str(size), **more},
        )
        async with child(Path(PROGRAM or ""), [str(ini)], log, USER, signal.SIGINT) as process:
            await _listens(process, port)
            yield parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}").geturl()


def _written(folder: Path, database: str, settings: Mapping[str, str]) -> Path:
    ini = folder / "pgbouncer.ini"
    lines = ["[databases]", database, "[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
    ini.write_text("\n".join(lines) + "\n")
    folder.chmod(0o755)  # another user reads it
    return ini


async def _listens(process: anyio.abc.Process, port: int) -> None:
    with anyio.fail_after(10):
        while True:
            assert process.returncode is None, "pgbouncer did not start"
            try:
                async with await anyio.connect_tcp("127.0.0.1", port):
                    return
            except OSError:
                await anyio.sleep(0.05)
