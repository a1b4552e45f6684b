"""`signaged instant`: what instant a wall time in a zone is."""

from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from daemon.commands.options import ConfigFile, Json, UsageError, as_json
from playlists.localtime import Policy, UnknownZone, resolve


def instant(
    local: Annotated[str, Parameter(help="A wall time without offset, like 2026-03-29T02:30.")],
    zone: Annotated[str, Parameter(help="An IANA zone, like Europe/Berlin.")],
    *,
    policy: Annotated[Policy, Parameter(help="What to do with a time that a clock change skips or repeats.")] = (
        Policy.COMPATIBLE
    ),
    config: ConfigFile = None,  # noqa: ARG001 - every command takes it; this one reads no setting
    json: Json = False,  # noqa: ARG001 - as above; this one prints nothing else
) -> int:
    """Resolve a wall time in a zone to an instant, as bookings do, and print it as JSON.

    `status` says whether the time is `normal`, falls into a `gap` or into a `fold`; `utc` is null when the policy is to
    skip it. Example: `signaged instant 2026-03-29T02:30 Europe/Berlin`
    """
    try:
        wall = datetime.fromisoformat(local)
        resolved = resolve(wall, zone, policy)
    except (UnknownZone, ValueError) as error:
        raise UsageError(str(error)) from None
    if wall.tzinfo is not None:
        raise UsageError(f"{local} has an offset: it is an instant already")
    utc = resolved.utc and resolved.utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    print(as_json({"utc": utc, "status": resolved.status, "tzdata_version": resolved.tzdata_version}))
    return 0
