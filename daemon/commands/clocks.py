"""`signaged clock`: what an operator may say about the time."""

import getpass
import socket
from typing import Annotated

from cyclopts import App, Parameter

from daemon.commands.options import ConfigFile, Json, as_json, settings_of, transaction

app = App(
    name="clock",
    help="""Decide about the database's clock after it jumped.

    While the jump is in doubt, campaigns start, but none completes, is settled, missed or expired.
    """,
)


@app.command
async def accept(
    *,
    by: Annotated[str | None, Parameter(help="Who decides, for the record; left out: this login.")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Take the database's time as it is now for right, so that what was held goes on within a second.

    Set the clock right first if it is wrong: what ends by a wrong clock has ended. A new jump holds again.

    Example: `signaged clock accept --config signaged.toml`
    """
    from daemon.campaigns.draft import zulu
    from daemon.jumps import accept as accept_time

    who = by or f"{getpass.getuser()}@{socket.gethostname()}"
    async with transaction(settings_of(config)) as (tx, now):
        jump = await accept_time(tx, who)
    if json:
        told = {"told_at": zulu(jump[0]), "expected_at": zulu(jump[1])} if jump else {}
        print(as_json({"accepted": jump is not None, "now": zulu(now), "by": who, **told}))
    elif jump is None:
        print(f"nothing is held; the time is {zulu(now)}")
    else:
        print(f"accepted {zulu(now)}: the clock had gone to {zulu(jump[0])} where {zulu(jump[1])} was expected")
    return 0
