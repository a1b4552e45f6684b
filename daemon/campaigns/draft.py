"""What a booking may say: each value read and checked when it is given, one error per field (SPEC 3, 11), pure."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.campaigns.campaign import FIELDS
from daemon.campaigns.errors import Invalid
from daemon.campaigns.money import decimal, micros
from devices import targets
from devices.targets import Target
from playlists import fields
from playlists.daypart import Daypart, as_json
from playlists.faults import Faulty
from playlists.fields import boolean, ids, integer, text
from playlists.ids import CreativeId
from playlists.localtime import resolve

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_WALL_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_DEFAULTS = {"priority": 5, "dayparts": (), "creatives": (), "start_policy": "on_time", "allow_short_lead": False}


@dataclass(frozen=True, slots=True)
class BookingLimits:
    """What may be booked at all: leads and durations, money in micros, counts (SPEC 3), all settable.

    `distribution_lead` is how long before its start a campaign enters the playlists, `approval_wait` how long one
    may wait for approval.
    """

    min_lead: timedelta
    max_lead: timedelta
    max_duration: timedelta
    min_budget: int
    max_budget: int
    min_topup: int
    max_creatives: int
    max_audience: int
    settle_after: timedelta
    distribution_lead: timedelta
    approval_wait: timedelta = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Edge:
    """A start or an end: the instant and, only when it was given so, the naive wall time it came from."""

    at: datetime
    local: datetime | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """All that an advertiser says of a campaign, as typed values; None where nothing was said."""

    timezone: str
    name: str = ""
    channel: str = ""
    description: str | None = None
    start: Edge | None = None
    end: Edge | None = None
    budget_micros: int | None = None
    creatives: tuple[CreativeId, ...] = ()
    target: Target | None = None
    priority: int = 5
    dayparts: tuple[Daypart, ...] = ()
    daily_cap_micros: int | None = None
    start_policy: str = "on_time"
    start_deadline: datetime | None = None
    allow_short_lead: bool = False
    brand: str | None = None
    category: str | None = None


def new(given: Mapping[str, Any], timezone: str, limits: BookingLimits) -> tuple[Draft, dict[str, str]]:
    """A draft from the fields of a body, and what is wrong with it by field; `timezone` is the tenant's."""
    draft, errors = patched(Draft(timezone), given, timezone, limits)
    for field in ("name", "channel"):
        if given.get(field) is None:
            errors[field] = "is required"
    return draft, errors


def patched(
    before: Draft, given: Mapping[str, Any], timezone: str, limits: BookingLimits
) -> tuple[Draft, dict[str, str]]:
    """The draft with the given fields changed (null clears), and what is wrong with them by field.

    `timezone` is the tenant's: what a cleared one falls back to. With errors, the draft must not be used.
    """
    values, errors = _read(given, limits)
    draft = replace(before, timezone=values.get("timezone") or (timezone if "timezone" in values else before.timezone))
    draft = replace(draft, **{_COLUMNS.get(field, field): values[field] for field in values if field in _PLAIN})
    for edge, known in (("start", before.start), ("end", before.end)):
        try:
            placed = _edge(edge, values, known, draft.timezone)
        except Faulty as fault:
            errors.update({field: message for field, message in fault.errors if field not in errors})
        else:
            draft = replace(draft, start=placed) if edge == "start" else replace(draft, end=placed)
    if not errors:
        errors.update(_window_errors(draft, given, limits))
    return draft, errors


def _read(given: Mapping[str, Any], limits: BookingLimits) -> tuple[dict[str, Any], dict[str, str]]:
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    readers = _readers(limits)
    for field, raw in given.items():
        if field not in FIELDS:
            errors[str(field)] = "unknown field"
        elif raw is None or (isinstance(raw, list | tuple) and not raw and field in ("creatives", "dayparts")):
            if field in ("name", "channel"):
                errors[field] = "is required"
            values[field] = _DEFAULTS.get(field)
        else:
            try:
                values[field] = readers[field](raw)
            except Faulty as fault:
                errors.update(fault.errors)
            except ValueError as error:
                errors[field] = str(error)
    return values, errors


# fields that become one attribute each, and the attributes whose names say the unit
_PLAIN = FIELDS - {"timezone", "start_at", "start_local", "end_at", "end_local"}
_COLUMNS = {"budget": "budget_micros", "daily_cap": "daily_cap_micros"}


def _readers(limits: BookingLimits) -> dict[str, Callable[[Any], Any]]:
    return {
        "name": text(3, 100),
        "channel": lambda given: _one_of(given, "signage"),
        "description": _prose,
        "timezone": fields.timezone,
        "start_at": instant,
        "end_at": instant,
        "start_local": wall_time,
        "end_local": wall_time,
        "budget": lambda given: _amount(given, limits.min_budget, limits.max_budget),
        "creatives": lambda given: _creatives(given, limits.max_creatives),
        "target": targets.check,
        "priority": integer(1, 10),
        "dayparts": fields.dayparts,
        "daily_cap": _cap,
        "start_policy": lambda given: _one_of(given, "on_time"),
        "start_deadline": instant,
        "allow_short_lead": boolean,
        "brand": text(1, 100),
        "category": text(1, 100),
    }


def instant(given: object) -> datetime:
    """An RFC 3339 instant, in UTC; raises ValueError in words that complete "start_at: ..."."""
    if isinstance(given, str) and _INSTANT.fullmatch(given):
        try:
            return _sane(datetime.fromisoformat(given.upper())).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise ValueError("must be an RFC 3339 instant such as 2026-11-22T04:00:00Z")


def wall_time(given: object) -> datetime:
    """A naive wall time; raises ValueError in words that complete "start_local: ..."."""
    if isinstance(given, str) and _WALL_TIME.fullmatch(given):
        try:
            return _sane(datetime.fromisoformat(given))
        except ValueError:
            pass
    raise ValueError("must be a wall time without offset, such as 2026-11-22T09:00:00")


def _sane(read: datetime) -> datetime:
    # far from both ends of the calendar, so that every zone can show it
    if not 1970 <= read.year <= 9000:
        raise ValueError
    return read


def _edge(name: str, values: Mapping[str, Any], known: Edge | None, timezone: str) -> Edge | None:
    """The start or end after a change: the instant given, the wall time resolved, or what was known before."""
    at, local = values.get(f"{name}_at"), values.get(f"{name}_local")
    if at is not None and local is not None:
        raise Faulty([(f"{name}_local", f"cannot be given together with {name}_at")])
    if at is not None:
        return Edge(at)
    if local is None:
        if f"{name}_at" in values or f"{name}_local" in values:
            return None
        if known is None or known.local is None:
            return known
        local = known.local
    try:
        utc = resolve(local, timezone).utc
    except ValueError as error:
        raise Faulty([(f"{name}_local", str(error))]) from None
    return Edge(utc, local) if utc else None


def _window_errors(draft: Draft, given: Mapping[str, Any], limits: BookingLimits) -> dict[str, str]:
    if draft.start is None or draft.end is None:
        return {}
    edges = ("end_at", "end_local", "start_at", "start_local", "timezone")
    field = next((name for name in edges if given.get(name)), "end_at")
    if draft.end.at <= draft.start.at:
        return {field: "must be before the end" if field.startswith("start") else "must be after the start"}
    if draft.end.at - draft.start.at > limits.max_duration and not given.keys().isdisjoint(edges):
        return {field: f"must leave at most {in_words(limits.max_duration)} between start and end"}
    if given.keys().isdisjoint((*edges, "start_deadline")):
        return {}
    return _deadline_errors(draft.start.at, draft.start_deadline, draft.end.at, given)


def _deadline_errors(
    start: datetime, deadline: datetime | None, end: datetime, given: Mapping[str, Any]
) -> dict[str, str]:
    if deadline is None or start <= deadline <= end:
        return {}
    early = deadline < start
    if given.get("start_deadline"):
        return {"start_deadline": "must not be before the start" if early else "must not be after the end"}
    edge, words = ("start", "must not be after") if early else ("end", "must not be before")
    field = next((name for name in (f"{edge}_local", f"{edge}_at") if given.get(name)), f"{edge}_at")
    return {field: f"{words} the start_deadline"}


def _one_of(given: object, only: str) -> str:
    if given != only:
        raise ValueError(f"must be {only}")
    return only


def _prose(given: object) -> str:
    if not isinstance(given, str) or len(given) > 4000:
        raise ValueError("must be text of at most 4000 characters")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in given if letter not in "\n\r\t"):
        raise ValueError("must not contain control characters")
    return given


def _amount(given: object, least: int, most: int) -> int:
    amount = micros(given)
    if not least <= amount <= most:
        raise ValueError(f"must be between {decimal(least)} and {decimal(most)}")
    return amount


def note(given: str | None) -> str:
    """The words that came with an action, empty if there were none; raises Invalid."""
    try:
        return _prose(given or "")
    except ValueError as error:
        raise Invalid([("note", str(error))]) from None


def topup(given: object, limits: BookingLimits) -> int:
    """The micros of a top-up's amount; raises Invalid (SPEC 3: 50.00 or more)."""
    try:
        return _amount(given, limits.min_topup, limits.max_budget)
    except ValueError as error:
        raise Invalid([("amount", str(error))]) from None


def _cap(given: object) -> int:
    amount = micros(given)
    if amount <= 0:
        raise ValueError("must be more than 0.00")
    return amount


def _creatives(given: object, most: int) -> tuple[CreativeId, ...]:
    named = ids(1000)(given)
    if isinstance(given, list | tuple) and len(named) < len(given):
        raise ValueError("must not name a creative twice")
    if len(named) > most:
        raise ValueError(f"must name 1 to {most} creatives")
    return tuple(CreativeId(one) for one in named)


def in_words(span: timedelta) -> str:
    """A span as people say it: `24 hours`, `365 days`, `90 seconds`."""
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"


def told(draft: Draft) -> dict[str, Any]:
    """The draft as JSON values under the names of SPEC 11, as the log of an edit shows old and new."""
    return {
        "name": draft.name,
        "channel": draft.channel,
        "description": draft.description,
        "timezone": draft.timezone,
        "start_at": zulu(draft.start.at) if draft.start else None,
        "start_local": draft.start.local.isoformat() if draft.start and draft.start.local else None,
        "end_at": zulu(draft.end.at) if draft.end else None,
        "end_local": draft.end.local.isoformat() if draft.end and draft.end.local else None,
        "budget": None if draft.budget_micros is None else decimal(draft.budget_micros),
        "creatives": [str(creative) for creative in draft.creatives],
        "target": None if draft.target is None else targets.as_json(draft.target),
        "priority": draft.priority,
        "dayparts": [as_json(part) for part in draft.dayparts],
        "daily_cap": None if draft.daily_cap_micros is None else decimal(draft.daily_cap_micros),
        "start_policy": draft.start_policy,
        "start_deadline": zulu(draft.start_deadline) if draft.start_deadline else None,
        "allow_short_lead": draft.allow_short_lead,
        "brand": draft.brand,
        "category": draft.category,
    }


def zulu(at: datetime) -> str:
    """An instant as replies and the log tell it: `2026-11-22T04:00:00Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def changes(before: Draft, after: Draft) -> list[dict[str, Any]]:
    """The `{field, old, new}` of every field that differs."""
    old, new_ = told(before), told(after)
    return [{"field": field, "old": old[field], "new": new_[field]} for field in old if old[field] != new_[field]]
