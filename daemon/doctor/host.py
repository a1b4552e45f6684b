"""This machine as the daemon needs it: the media folder, the ports, file descriptors, time zone data."""

import errno
import resource
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from config.settings import Address, Settings
from daemon.doctor.finding import Finding, fail, ok, warn
from playlists.localtime import tzdata_version

SPARE: Final = 128  # descriptors beyond connections: the database's, Kafka's, files, logs
SECONDS: Final = 2.0
GIB: Final = 1 << 30


def look_at_host(settings: Settings) -> list[Finding]:
    """Everything about this machine, in order; blocks for some milliseconds, at most for SECONDS a port."""
    return [
        _media(settings.media.folder, settings.media.max_bytes),
        _port("http", settings.http.listen, "/openapi.json"),
        _port("ops", settings.ops.listen, "/livez"),
        _descriptors(settings.http.max_connections + settings.database.pool_size + SPARE),
        ok("tzdata", tzdata_version()),
    ]


def _media(folder: Path, largest: int) -> Finding:
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        return fail("media", f"{place}: {error.strerror}", "the daemon's user must be able to write there")
    told = f"{folder} can be written, {free / GIB:.1f} GiB free"
    if free < largest:
        return warn("media", told, f"one upload may take {largest / GIB:.1f} GiB ([media] max_bytes)")
    return ok("media", told)


def _port(name: str, listen: Address, path: str) -> Finding:
    check = f"{name} port"
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the daemon does
            probe.bind((listen.host, listen.port))
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _ours(listen, path):
            return ok(check, f"signaged answers on {listen}")
        return fail(check, f"{listen}: {error.strerror or error}", f"choose another [{name}] listen, or free this one")
    return ok(check, f"{listen} is free")


def _ours(listen: Address, path: str) -> bool:
    request = urllib.request.Request(f"http://{listen}{path}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SECONDS) as reply:
            body: bytes = reply.read(1 << 20)
    except urllib.error.HTTPError as error:
        body = error.read(1 << 20)
    except OSError:
        return False
    return b'"stale"' in body or b"signaged" in body


def _descriptors(wanted: int) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = f"{soft} file descriptors for this user, {wanted} wanted"
    if soft < wanted:
        advice = "raise LimitNOFILE (ulimit -n), or lower [http] max_connections"
        return warn("descriptors", told, advice)
    return ok("descriptors", told)
