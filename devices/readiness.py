"""Readiness: what a device says it holds, believed only where its files were seen to be delivered in full."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from devices.delivery import Reason, Status
from playlists.ids import DeviceId, Sha256

MOST_CORRUPT = 3  # reports for one file, then its delivery has failed


class FileState(StrEnum):
    """What a device says of one file."""

    READY = "READY"
    MISSING = "MISSING"
    CORRUPT = "CORRUPT"


class Fetched(NamedTuple):
    """Byte ranges [from, until) of a file of `size` bytes that were delivered to a device since `began_at`."""

    device_id: DeviceId
    sha256: Sha256
    ranges: Sequence[tuple[int, int]]
    size: int
    began_at: datetime


class Held(NamedTuple):
    """What is known of a file on a device: delivered in full, and how often it was reported as corrupt since."""

    whole: bool
    corruptions: int


NOTHING = Held(whole=False, corruptions=0)
_WORST_FIRST = (FileState.CORRUPT, FileState.MISSING, FileState.READY)


def reported(files: Iterable[tuple[Sha256, FileState]]) -> dict[Sha256, FileState]:
    """What a report says of each file; of two words on one file the worse counts."""
    said: dict[Sha256, FileState] = {}
    for sha256, state in files:
        said[sha256] = min(state, said.get(sha256, state), key=_WORST_FIRST.index)
    return said


def judge(
    files: Iterable[Sha256], said: Mapping[Sha256, FileState], held: Mapping[Sha256, Held]
) -> tuple[Status, Reason]:
    """What a campaign's delivery is after a report on its files; what a report leaves out is missing (SPEC 7).

    `held` counts the report's own words on corrupt files.
    """
    states = [(said.get(sha256, FileState.MISSING), held.get(sha256, NOTHING)) for sha256 in files]
    sound = [state is FileState.READY and has.whole for state, has in states]
    if all(sound):
        return Status.READY, Reason.VERIFIED
    if any(has.corruptions >= MOST_CORRUPT for (_, has), good in zip(states, sound, strict=True) if not good):
        return Status.FAILED, Reason.CORRUPT
    for state, reason in ((FileState.CORRUPT, Reason.CORRUPT), (FileState.MISSING, Reason.MISSING)):
        if any(said_state is state for said_state, _ in states):
            return Status.OFFERED, reason
    return Status.OFFERED, Reason.UNVERIFIED


def united(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Byte ranges [from, until) sorted, those that touch made one."""
    whole: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if whole and begin <= whole[-1][1]:
            whole[-1] = whole[-1][0], max(end, whole[-1][1])
        elif begin < end:
            whole.append((begin, end))
    return whole
