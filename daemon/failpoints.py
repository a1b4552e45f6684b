"""Named places in the code at which a test kills, fails or delays this process: crashes at the worst moments."""

import os
import random
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

log = structlog.get_logger("daemon.failpoints")

VARIABLE = "SIGNAGED_FAILPOINTS"
_CHANGES = ("content.distributed", "started", "completed", "settled", "missed", "expired", "updated")
_STAGES = ("claimed", "changed", "before_commit", "after_commit")

# Every place there is; a test finds each in the code, and reaches it.
NAMES = frozenset({
    *(f"tick.{stage}.{change}" for stage in _STAGES for change in _CHANGES),
    "step.before_commit", "step.after_commit",  # the steps that are one transaction
    "request.before_commit", "request.after_commit", "request.before_reply",  # the platform's
    "plays.before_commit", "plays.after_commit",
    "readiness.before_commit", "readiness.after_commit",
    "sightings.before_commit", "sightings.after_commit",
    "media.written", "media.before_commit", "media.after_commit",
    "planner.locked", "planner.compiled", "planner.before_commit", "planner.after_commit", "planner.notified",
    "feed.followed",
    "relay.read", "relay.sent", "relay.acked", "relay.deleted",
    "mailer.before_sorted", "mailer.sorted",
    "mailer.claimed", "mailer.connected", "mailer.replied", "mailer.before_commit", "mailer.marked",
    "migrate.before_commit", "migrate.after_commit",
})  # fmt: skip

_ENTRY = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>kill|error|sleep\((?P<seconds>\d+(\.\d+)?)\))"
    r"(:(?P<chance>\d+(\.\d+)?)|@(?P<nth>[1-9]\d*))?"
)


class Injected(Exception):
    """What a failpoint raises that was armed with `error`."""


class BadFailpoints(Exception):
    """The variable names no failpoint, or not what it shall do."""


@dataclass(slots=True)
class _Trap:
    """What is to happen: at each pass by chance (0 to 1), or at the `nth` alone."""

    action: str
    seconds: float
    chance: float
    nth: int
    passes: int = 0

    def springs(self) -> bool:
        self.passes += 1
        return self.passes == self.nth if self.nth else random.random() < self.chance  # noqa: S311 - no secret


_armed: dict[str, _Trap] = {}  # the process's own, as its death is; empty but in tests


def failpoint(name: str) -> None:
    """Pass a place that a test may have armed; `name` is one of NAMES.

    Unarmed it is a call and the test of an empty dict, some 30 ns. It stands beside what costs a round trip, once a
    transaction, portion or file, never in a loop over rows. Raises Injected where that was asked for.
    """
    if _armed:
        _pass(name)


def arm(environ: Mapping[str, str]) -> None:
    """Arm what the variable SIGNAGED_FAILPOINTS says: `name=action` by commas, each by chance or at the n-th pass.

    `relay.acked=kill:0.01,mailer.replied=error@3,planner.compiled=sleep(0.5)`: the actions are to kill this process at
    once, to raise Injected, and to stand still with all its loops for so many seconds. Raises BadFailpoints.
    """
    _armed.clear()
    _armed.update(_parsed(environ.get(VARIABLE, "")))


def _parsed(text: str) -> dict[str, _Trap]:
    traps = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise BadFailpoints(f"{VARIABLE}: {entry!r} is not name=kill|error|sleep(SECONDS), then :CHANCE or @PASS")
        if match["name"] not in NAMES:
            raise BadFailpoints(f"{VARIABLE}: there is no {match['name']!r}; there are {', '.join(sorted(NAMES))}")
        traps[match["name"]] = _Trap(
            match["action"].partition("(")[0],
            float(match["seconds"] or 0),
            float(match["chance"] or 1),
            int(match["nth"] or 0),
        )
    return traps


def _pass(name: str) -> None:
    trap = _armed.get(name)
    if trap is None or not trap.springs():
        return
    log.critical("failpoint", name=name, action=trap.action)
    if trap.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if trap.action == "sleep":
        time.sleep(trap.seconds)
    if trap.action == "error":
        raise Injected(name)
