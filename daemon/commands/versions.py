"""`signaged version`: which program this is, and by which time zone data it goes."""

import platform
from importlib.metadata import version as of

from daemon.commands.options import ConfigFile, Json, as_json
from playlists.localtime import tzdata_version


def version(
    *,
    config: ConfigFile = None,  # noqa: ARG001 - every command takes it; this one reads no setting
    json: Json = False,
) -> int:
    """Print the versions of signaged, Python and the time zone data."""
    told = {"version": of("signaged"), "python": platform.python_version(), "tzdata": tzdata_version()}
    print(as_json(told) if json else "signaged {version} (Python {python}, tzdata {tzdata})".format(**told))
    return 0
