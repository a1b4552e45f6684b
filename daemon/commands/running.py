"""`signaged run`: the daemon as a process, with its signals and its last resort against a drain that hangs."""

import asyncio
import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING

from daemon.commands.options import ConfigFile, settings_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from config.settings import Settings

TEMPORARY = 75  # exit code (SPEC 12)
LAST_RESORT = 18.0  # seconds; SPEC 13 gives the drain 20


def run(*, config: ConfigFile = None) -> int:
    """Run the daemon until SIGTERM or ctrl-C; a second one ends it at once. SIGHUP reads the settings again.

    It answers on `[http] listen` and, for probes and metrics, on `[ops] listen`, or on the sockets that systemd hands
    it by the names http and ops. PostgreSQL, Kafka and the mail server may be down at any time: it waits for them. If
    the login owns the database, the schema is migrated first. Several may run on one database; none is special.

    Logs are JSON lines on stderr. Example: `signaged run --config /etc/signaged/signaged.toml`
    """
    import uvloop

    from daemon import inherited, logs

    settings = settings_of(config)
    logs.configure(settings.log.level)
    sockets = inherited.take(os.environ, os.getpid())
    return uvloop.run(_run(settings, partial(settings_of, config), sockets))


async def _run(settings: "Settings", read: "Callable[[], Settings]", sockets: "dict[str, socket.socket]") -> int:
    from daemon import app
    from daemon.reloading import Live

    live = Live(settings, read)
    stop = asyncio.Event()
    asked = False

    def end() -> None:
        nonlocal asked
        if asked:
            os._exit(TEMPORARY)  # what was not finished is found by the next start
        asked = True
        timer = threading.Timer(LAST_RESORT, os._exit, (TEMPORARY,))
        timer.daemon = True
        timer.start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, live.asked.set)
    return await app.run(settings, stop, live=live, inherited=sockets)
