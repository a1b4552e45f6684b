"""Become the server that the embedding process asked for: die with it, and never run as root.

Run as a program of its own (`python -I -S launch.py PARENT SIGNAL USER PROGRAM ARGUMENT...`), so that nothing
runs between fork and exec of a process with threads. It imports the standard library only.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
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
    header, words = CapHeader(CAPABILITY_VERSION_3, 0), (CapWords * 2)()
    call("capget", ctypes.byref(header), words)
    # containers often withhold the milder one; either lets the server reach its files below a 0700 folder
    right = next(c for c in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if words[0].permitted >> c & 1)
    mask = 1 << right
    words[0].effective = words[0].permitted = words[0].inheritable = mask
    words[1].effective = words[1].permitted = words[1].inheritable = 0
    call("capset", ctypes.byref(header), words)
    call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, right, 0, 0)


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
    """Replace this process by the program: `parent's pid, signal at its death, user or "", program, arguments`."""
    parent, death_signal, user, program, *rest = arguments
    if user:
        become(user, program, *(path for path in rest if os.path.isdir(path)))  # noqa: PTH112 # 10 ms less without pathlib
    if sys.platform == "linux":
        call("prctl", PR_SET_PDEATHSIG, int(signal.Signals[death_signal]), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit("the process that wanted this server is gone")
    os.execv(program, [program, *rest])  # noqa: S606 # no shell: the arguments are passed on as they are


if __name__ == "__main__":
    main(sys.argv[1:])
