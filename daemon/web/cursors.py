"""Where a list goes on: opaque to the caller, checked on the way back in."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import orjson

from daemon.web.problems import invalid
from daemon.web.replies import Page

T = TypeVar("T")
S = TypeVar("S")

_LONGEST = 512


def encode(kind: str, *key: object) -> str:
    """A cursor of list `kind` after the item with the sort key `key` (UUIDs, aware instants, numbers, text)."""
    return urlsafe_b64encode(orjson.dumps([kind, *key], default=str)).rstrip(b"=").decode()


def decode(kind: str, cursor: str, *readers: Callable[[Any], object]) -> tuple[Any, ...]:
    """The sort key of a cursor that `encode` made for the same kind, each part read by its reader.

    Raises Problem validation for anything else.
    """
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long")
        parts = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        if not isinstance(parts, list) or len(parts) != len(readers) + 1 or parts[0] != kind:
            raise ValueError("of another list")
        return tuple(read(part) for read, part in zip(readers, parts[1:], strict=True))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise invalid([("cursor", "is not one that this list gave")]) from error


def count(given: object) -> int:
    """A number as lists count: a whole one that a column can hold. Raises ValueError."""
    if not isinstance(given, int) or not 0 <= given < 2**31:
        raise ValueError("no count")
    return given


def after_id(kind: str, cursor: str | None) -> UUID | None:
    """The id after which a list sorted by id goes on; None at its beginning."""
    return None if cursor is None else decode(kind, cursor, UUID)[0]


def page(
    kind: str, rows: Sequence[T], limit: int, key: Callable[[T], Sequence[object]], told: Callable[[T], S]
) -> Page[S]:
    """The first `limit` of the `limit + 1` rows that were asked for, as `told`, and the cursor if there is more."""
    more = len(rows) > limit
    return Page([told(row) for row in rows[:limit]], encode(kind, *key(rows[limit - 1])) if more else None)
