"""Local wall time and zone to instant: the only resolver, on the rules of the tzdata package."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.resources import files
from typing import Literal
from zoneinfo import ZoneInfo

_RELEASE = re.compile(r"(?P<year>\d{4})(?:(?P<letters>z*[a-z])|\.(?P<number>\d{1,4}))")


class UnknownZone(ValueError):
    """A name that the tzdata package does not list as a zone."""


class Policy(StrEnum):
    """What a wall time means that never was (a gap) or was twice (a fold)."""

    COMPATIBLE = "compatible"  # gap: moved forward by the gap's length; fold: the first
    EARLIER = "earlier"  # the earlier of the two readings, in a gap and in a fold
    LATER = "later"  # the later of the two readings, in a gap and in a fold
    NEXT_VALID = "next_valid"  # gap: the instant at which the gap ends; fold: the first
    SKIP = "skip"  # gap: no instant; fold: the first


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a wall time came to: the UTC instant (none only under `skip`), how, and by which rules."""

    utc: datetime | None
    status: Literal["normal", "gap", "fold"]
    tzdata_version: str


@cache
def tzdata_version() -> str:
    """The IANA release that every answer of this module rests on, such as `2026f`."""
    return str(import_module("tzdata").IANA_VERSION)


def release(version: str) -> tuple[int, int]:
    """What orders tzdata versions: the year and the number in it, of names like `2026f`, `2026za` and `2026.6`.

    Any other name is the oldest.
    """
    match = _RELEASE.fullmatch(version)
    if match is None:
        return 0, 0
    # after z comes za: each z before the last letter is a whole alphabet
    letters = match["letters"]
    number = int(match["number"]) if letters is None else 26 * (len(letters) - 1) + ord(letters[-1]) - ord("a") + 1
    return int(match["year"]), number


@cache
def rules_digest(name: str) -> str:
    """The SHA-256 of a zone's rules, by which what was made from them is known; empty for an unknown zone."""
    if not is_zone(name):
        return ""
    return sha256(files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()).hexdigest()


@cache
def _names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def is_zone(name: str) -> bool:
    """Whether `name` is a zone of the tzdata package; paths and system names are not."""
    return name in _names()


@cache
def _loaded(name: str) -> ZoneInfo:
    # Not ZoneInfo(name): that reads the system's copy first, and the two differ.
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def zone(name: str) -> ZoneInfo:
    """The rules of zone `name`; raises UnknownZone for a name the tzdata package does not list."""
    if not is_zone(name):
        raise UnknownZone(f"unknown time zone {name!r}")
    return _loaded(name)


def compatible(local: datetime, rules: ZoneInfo) -> datetime:
    """The UTC instant of a naive wall time under the default policy (SPEC 2)."""
    # PEP 495's fold=0 is that policy: the offset before a gap, the first of two copies.
    return local.replace(tzinfo=rules, fold=0).astimezone(UTC)


def resolve(local: datetime, zone_name: str, policy: Policy = Policy.COMPATIBLE) -> Resolved:
    """The UTC instant of the naive wall time `local` in a zone (SPEC 2).

    Raises UnknownZone, and ValueError for an aware `local` or one at the very edge of the calendar.
    """
    if local.tzinfo is not None:
        raise ValueError("a local time has no offset")
    rules = zone(zone_name)
    try:
        first = compatible(local, rules)
        second = local.replace(tzinfo=rules, fold=1).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{local.isoformat()} in {zone_name} is outside the calendar") from None
    if first == second:
        return Resolved(first, "normal", tzdata_version())
    if first < second:
        return Resolved(second if policy is Policy.LATER else first, "fold", tzdata_version())
    return Resolved(_in_gap(first, second, rules, policy), "gap", tzdata_version())


def _in_gap(later: datetime, earlier: datetime, rules: ZoneInfo, policy: Policy) -> datetime | None:
    if policy is Policy.SKIP:
        return None
    if policy is Policy.EARLIER:
        return earlier
    if policy is Policy.NEXT_VALID:
        return _change(earlier, later, rules)
    return later


def _change(before: datetime, after: datetime, rules: ZoneInfo) -> datetime:
    """The whole second in (before, after] from which the offset is the one that holds at `after`."""
    offset = after.astimezone(rules).utcoffset()
    # Rules change on whole seconds, so the fraction of a second plays no part.
    low, high = before.replace(microsecond=0), after.replace(microsecond=0)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        if middle.astimezone(rules).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high


def date_ends(instant: datetime, zone_name: str) -> datetime:
    """The UTC instant at which the local date that holds at an aware instant is over: the next local midnight.

    Where a gap swallows that midnight, the gap; where it comes twice, the first that is still ahead.
    """
    rules = zone(zone_name)
    midnight = datetime.combine(instant.astimezone(rules).date() + timedelta(days=1), time.min, rules)
    first, second = midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC)
    return first if first > instant else second


def to_local(instant: datetime, zone_name: str) -> datetime:
    """The naive wall time that a clock in the zone shows at an aware instant."""
    return with_offset(instant, zone_name).replace(tzinfo=None, fold=0)


def with_offset(instant: datetime, zone_name: str) -> datetime:
    """The same instant in the zone, with its offset, as replies show it."""
    return instant.astimezone(zone(zone_name))
