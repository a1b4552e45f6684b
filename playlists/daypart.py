"""Day-parts and opening hours: parts of local days, turned into UTC windows."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from playlists.localtime import compatible, to_local, zone

Window: TypeAlias = tuple[datetime, datetime]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_KEYS = ("days", "from", "to")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")


@dataclass(frozen=True, slots=True)
class Daypart:
    """A part of some weekdays, in the wall time of wherever it is applied (SPEC 2).

    `days` holds 0 for Monday to 6 for Sunday; `begins` (0 to 1439) and `ends` (0 to 1440) are minutes after
    midnight. With `ends <= begins` it runs past midnight, into the day after the named one.
    """

    days: frozenset[int]
    begins: int
    ends: int


def parse(given: object) -> Daypart:
    """A day-part from `{"days": ["mon", ...], "from": "09:00", "to": "21:00"}`.

    Raises ValueError with the first fault in words that complete "day-part: ...".
    """
    if not isinstance(given, dict):
        raise ValueError("must be an object with days, from and to")
    for key in given:
        if key not in _KEYS:
            raise ValueError(f"unknown field {key!r}")
    for key in _KEYS:
        if key not in given:
            raise ValueError(f"{key} is missing")
    begins, ends = _minutes("from", given["from"]), _minutes("to", given["to"])
    if begins == 24 * 60:
        raise ValueError("from must be before 24:00")
    return Daypart(_weekdays(given["days"]), begins, ends)


def _weekdays(given: object) -> frozenset[int]:
    if not isinstance(given, list | tuple) or not given:
        raise ValueError("days must be a list of at least one day")
    days = set()
    for name in given:
        if name not in DAYS:
            raise ValueError(f"days: {name!r} is none of {' '.join(DAYS)}")
        if DAYS.index(name) in days:
            raise ValueError(f"days: {name} is there twice")
        days.add(DAYS.index(name))
    return frozenset(days)


def _minutes(key: str, given: object) -> int:
    match = _CLOCK.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise ValueError(f"{key} must be a time such as 09:00, to the minute, at most 24:00")
    return int(match[1] or match[3]) * 60 + int(match[2] or match[4])


def as_json(part: Daypart) -> dict[str, object]:
    """The object that `parse` makes this part of, days in the order of the week."""
    return {
        "days": [DAYS[day] for day in sorted(part.days)],
        "from": f"{part.begins // 60:02}:{part.begins % 60:02}",
        "to": f"{part.ends // 60:02}:{part.ends % 60:02}",
    }


def windows(parts: Sequence[Daypart], zone_name: str, begin: datetime, end: datetime) -> list[Window]:
    """The stretches of [begin, end), aware instants, that lie in any of the parts, in UTC (SPEC 2).

    Sorted, and stretches that touch are one. No parts at all means always. Raises UnknownZone.
    """
    if begin >= end:
        return []
    if not parts:
        return [(begin, end)]
    return _merged(
        (max(opens, begin), min(closes, end))
        for opens, closes in _occurrences(parts, zone_name, begin, end)
        if opens < end and closes > begin
    )


def _occurrences(parts: Sequence[Daypart], zone_name: str, begin: datetime, end: datetime) -> Iterator[Window]:
    rules = zone(zone_name)
    first, last = to_local(begin, zone_name), to_local(end, zone_name)
    # Two days back: a part may run into the next day and be moved by a gap of a day. One ahead: folds at midnight.
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
    while midnight <= last + timedelta(days=1):
        weekday = midnight.weekday()
        for part in parts:
            if weekday in part.days:
                past_midnight = 24 * 60 if part.ends <= part.begins else 0
                opens = compatible(midnight + timedelta(minutes=part.begins), rules)
                closes = compatible(midnight + timedelta(minutes=part.ends + past_midnight), rules)
                # A gap can leave a part that ends before it begins: empty that day.
                if opens < closes:
                    yield opens, closes
        midnight += timedelta(days=1)


def _merged(stretches: Iterable[Window]) -> list[Window]:
    whole: list[Window] = []
    for opens, closes in sorted(stretches):
        if whole and opens <= whole[-1][1]:
            whole[-1] = whole[-1][0], max(closes, whole[-1][1])
        else:
            whole.append((opens, closes))
    return whole


def intersect(a: Sequence[Window], b: Sequence[Window]) -> list[Window]:
    """What lies in both of two lists of sorted, separate stretches; the answer is such a list too."""
    both: list[Window] = []
    i = j = 0
    while i < len(a) and j < len(b):
        opens, closes = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if opens < closes:
            both.append((opens, closes))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return both
