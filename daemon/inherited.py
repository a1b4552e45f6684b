"""Sockets that systemd listens on for the daemon: while it is restarted, callers wait in the kernel's queue."""

import socket
from collections.abc import Mapping, MutableMapping
from typing import Final

FIRST: Final = 3  # the number of the first inherited descriptor
LISTENERS: Final = ("http", "ops")
VARIABLES: Final = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")


class BadSockets(Exception):
    """What was handed down is not what the daemon can listen on."""


def take(environ: MutableMapping[str, str], pid: int) -> dict[str, socket.socket]:
    """Return the listening sockets that were handed to the process `pid`, by the name of their listener (SPEC 13).

    The variables are removed and the descriptors closed on exec, so that no child takes them for its own. Raises
    BadSockets.
    """
    told = {name: environ.pop(name) for name in VARIABLES if name in environ}
    return {name: _listening(name, number) for name, number in descriptors(told, pid).items()}


def descriptors(told: Mapping[str, str], pid: int) -> dict[str, int]:
    """Return listener -> descriptor as the variables tell it; none when they are meant for another process.

    Raises BadSockets.
    """
    if told.get("LISTEN_PID") != str(pid):
        return {}
    number = told.get("LISTEN_FDS", "")
    if not (number.isascii() and number.isdigit()):
        raise BadSockets(f"LISTEN_FDS: must be a number, is {number!r}")
    names = told["LISTEN_FDNAMES"].split(":") if told.get("LISTEN_FDNAMES") else []
    if len(names) != int(number):
        raise BadSockets(f"LISTEN_FDNAMES: must name each of {number} sockets, names {len(names)}")
    for name in names:
        if name not in LISTENERS:
            raise BadSockets(f"socket {name!r}: no such listener; FileDescriptorName= must be one of http, ops")
        if names.count(name) > 1:
            raise BadSockets(f"socket {name!r}: given more than once; a listener has one ListenStream=")
    return {name: FIRST + position for position, name in enumerate(names)}


def _listening(name: str, number: int) -> socket.socket:
    try:
        held = socket.socket(fileno=number)
    except OSError as error:
        raise BadSockets(f"socket {name!r}: descriptor {number} is no socket: {error.strerror}") from error
    tcp = held.family in (socket.AF_INET, socket.AF_INET6) and held.type == socket.SOCK_STREAM
    if not (tcp and held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
        held.close()
        raise BadSockets(f"socket {name!r}: descriptor {number} is no listening TCP socket")
    held.set_inheritable(False)
    return held
