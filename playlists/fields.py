"""Reading an object that somebody sent, field by field: typed values, or every fault at once, one per field."""

import unicodedata
from collections.abc import Callable, Collection
from typing import TypeVar, cast
from uuid import UUID

from playlists.daypart import Daypart, parse
from playlists.faults import Faulty
from playlists.localtime import is_zone

T = TypeVar("T")

MOST_DAYPARTS = 50
A = TypeVar("A")

Read = Callable[[object], T]  # raises ValueError with words that complete "field: ..."


class Body:
    """An object being read; absent, `null` and empty lists mean the same (SPEC 11)."""

    def __init__(self, given: object, known: Collection[str]) -> None:
        self.errors: list[tuple[str, str]] = []
        self._given = cast("dict[str, object]", given) if isinstance(given, dict) else {}
        if not isinstance(given, dict):
            self.errors.append(("body", "must be an object"))
        self.errors.extend((str(name), "unknown field") for name in self._given if name not in known)

    def need(self, field: str, read: Read[T], stand_in: T) -> T:
        """The field's value; a fault when it is absent, and then the stand-in, which `done` keeps from being used."""
        if self._given.get(field) is None:
            self.errors.append((field, "is missing"))
            return stand_in
        return self.take(field, read, stand_in)

    def take(self, field: str, read: Read[T], absent: A) -> T | A:
        """The field's value as `read` makes it, `absent` when it was not given."""
        value = self._given.get(field)
        if value is None:
            return absent
        try:
            return read(value)
        except ValueError as error:
            self.errors.append((field, str(error)))
            return absent

    def done(self) -> None:
        """Raise Faulty when anything was wrong."""
        if self.errors:
            raise Faulty(self.errors)


def text(least: int, most: int) -> Read[str]:
    """Text of `least` to `most` characters that can be stored and shown: no control characters, no half surrogates."""

    def read(given: object) -> str:
        if not isinstance(given, str):
            raise ValueError("must be text")
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in given):
            raise ValueError("must not contain control characters")
        if not least <= len(given.strip()) <= len(given) <= most:
            raise ValueError(f"must be {least} to {most} characters")
        return given

    return read


def texts(each: int, most: int) -> Read[tuple[str, ...]]:
    """A set of at most `most` texts of 1 to `each` characters, in the order given, each once."""
    return _list_of(text(1, each), most)


def ids(most: int) -> Read[tuple[UUID, ...]]:
    """A set of at most `most` ids, in the order given, each once."""
    return _list_of(identity, most)


def identity(given: object) -> UUID:
    """An id; only the form with hyphens is one."""
    if isinstance(given, UUID):
        return given
    if isinstance(given, str) and len(given) == 36:
        try:
            return UUID(given)
        except ValueError:
            pass
    raise ValueError("must be an id")


def timezone(given: object) -> str:
    """An IANA zone's name as the tzdata package lists it."""
    if not isinstance(given, str) or not is_zone(given):
        raise ValueError("must be an IANA zone such as Europe/Berlin")
    return given


def dayparts(given: object) -> tuple[Daypart, ...]:
    """A list of day-parts, at most 50."""
    if not isinstance(given, list | tuple):
        raise ValueError("must be a list")
    if len(given) > MOST_DAYPARTS:
        raise ValueError(f"must have at most {MOST_DAYPARTS} items")
    parts = []
    for place, part in enumerate(given):
        try:
            parts.append(parse(part))
        except ValueError as error:
            raise ValueError(f"item {place + 1}: {error}") from None
    return tuple(parts)


def integer(least: int, most: int) -> Read[int]:
    """A whole number from `least` to `most`."""

    def read(given: object) -> int:
        if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return given

    return read


def number(least: float, most: float) -> Read[float]:
    """A number from `least` to `most`."""

    def read(given: object) -> float:
        if not isinstance(given, int | float) or isinstance(given, bool) or given != given:  # noqa: PLR0124 - NaN
            raise ValueError("must be a number")
        if not least <= given <= most:
            raise ValueError(f"must be from {least:g} to {most:g}")
        return float(given)

    return read


def boolean(given: object) -> bool:
    """True or false, nothing that merely counts as such."""
    if not isinstance(given, bool):
        raise ValueError("must be true or false")
    return given


def _list_of(each: Read[T], most: int) -> Read[tuple[T, ...]]:
    def read(given: object) -> tuple[T, ...]:
        if not isinstance(given, list | tuple):
            raise ValueError("must be a list")
        if len(given) > most:
            raise ValueError(f"must have at most {most} items")
        found: dict[T, None] = {}
        for place, item in enumerate(given):
            try:
                found[each(item)] = None
            except ValueError as error:
                raise ValueError(f"item {place + 1} {error}") from None
        return tuple(found)

    return read
