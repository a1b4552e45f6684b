"""`signaged run`: the daemon as a process, with its signals and its last resort against a drain that hangs."""

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING

from daemon.commands.options import ConfigFile, settings_of

if TYPE_CHECKING:
    from config.settings import Settings

LAST_RESORT = 18.0  # seconds; SPEC 13 gives the drain 20


def run(*, config: ConfigFile = None) -> int:
    """Run the daemon until SIGTERM or ctrl-C.

    It answers on `[http] listen` and, for probes and metrics, on `[ops] listen`. PostgreSQL, Kafka and the mail server
    may be down at any time: it waits for them. If the login owns the database, the schema is migrated first. Several
    may run on one database; none is special.

    Logs are JSON lines on stderr. Example: `signaged run --config /etc/signaged/signaged.toml`
    """
    import uvloop

    from daemon import logs

    settings = settings_of(config)
    logs.configure(settings.log.level)
    return uvloop.run(_run(settings))


async def _run(settings: "Settings") -> int:
    from daemon import app

    stop = asyncio.Event()

    def end() -> None:
        if not stop.is_set():
            timer = threading.Timer(LAST_RESORT, os._exit, (75,))  # what was not finished is found by the next start
            timer.daemon = True
            timer.start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    return await app.run(settings, stop)
