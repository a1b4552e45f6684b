"""Become the server that the embedding process asked for: die with it, and never run as root.

Run as a program of its own (`python -I -S launch.py PARENT SIGNAL USER [NAME=VALUE...] PROGRAM ARGUMENT...`), so
that nothing runs between fork and exec of a process with threads. It imports the standard library only.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8
CAPABILITY_VERSION_3 = 0x20080522


class CapHeader(ctypes.Structure):
    """The kernel's `__user_cap_header_struct`."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapWords(ctypes.Structure):
    """The kernel's `__user_cap_data_struct`; version 3 takes two, low and high bits."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def call(function: str, *arguments: object) -> None:
    """Call a C library function that answers 0; raise OSError with its errno otherwise."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def keep_one_capability() -> None:
    """Keep the right to read past folders that are private to root, and drop every other of root's rights."""
    permitted = capabilities()
    # containers often withhold the milder one; either lets the server reach its files below a 0700 folder
    right = next((c for c in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if permitted >> c & 1), None)
    if right is None or not permitted >> CAP_SETPCAP & 1:
        sys.exit("not even root may give this server a right to its folder: choose one that others may enter")
    hold(1 << right | 1 << CAP_SETPCAP)
    # else access(2), by which PostgreSQL looks for its own parts, would answer as if the right were not there
    call("prctl", PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0)
    hold(1 << right)
    call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, right, 0, 0)


def capabilities() -> int:
    """Read the low 32 of this process's permitted capabilities, as bits."""
    words = (CapWords * 2)()
    call("capget", ctypes.byref(CapHeader(CAPABILITY_VERSION_3, 0)), words)
    return int(words[0].permitted)


def hold(bits: int) -> None:
    """Hold these capabilities and no others."""
    words = (CapWords * 2)(CapWords(bits, bits, bits))
    call("capset", ctypes.byref(CapHeader(CAPABILITY_VERSION_3, 0)), words)


def become(name: str, *paths: str) -> None:
    """Change from root to the user `name`, who must be able to reach `paths`, wherever these are."""
    user = pwd.getpwnam(name)
    call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    if not all(os.access(path, os.R_OK | os.X_OK) for path in paths):
        keep_one_capability()
    # a program started without ambient rights loses at exec what KEEPCAPS had kept


def main(arguments: list[str]) -> None:
    """Replace this process by a program.

    `arguments` are the parent's pid, the signal at its death, a user or "", variables for the program alone as
    NAME=VALUE, the program's absolute path, its own arguments.
    """
    parent, death_signal, user, *rest = arguments
    variables = dict(os.environ)
    while not rest[0].startswith("/"):
        name, _, variables[name] = rest.pop(0).partition("=")
    program, *rest = rest
    if user:
        become(user, program, *(path for path in rest if os.path.isdir(path)))  # noqa: PTH112 # 10 ms less without pathlib
    if sys.platform == "linux":
        call("prctl", PR_SET_PDEATHSIG, int(signal.Signals[death_signal]), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the process that wanted this server is gone")
    os.execve(program, [program, *rest], variables)  # noqa: S606 # no shell: the arguments are passed on as they are


if __name__ == "__main__":
    main(sys.argv[1:])
