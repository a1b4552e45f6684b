"""What a creative is told to be: its body checked, one error per field, and the words a store may block."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from playlists.faults import Faulty
from playlists.ids import Sha256

MIMES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4", "video/webm"})
LONGEST_MS = 3_600_000
_LONGEST_NAME, _LONGEST_WORD, _MOST_WORDS = 200, 100, 50
_HEX = re.compile(r"[0-9a-f]{64}")
# A NUL cannot be stored and half a surrogate pair cannot be sent.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Flag(StrEnum):
    """Why a creative needs an operator's approval (SPEC 3)."""

    ALCOHOL = "ALCOHOL"
    TOBACCO = "TOBACCO"
    GAMBLING = "GAMBLING"
    ADULT = "ADULT"


@dataclass(frozen=True, slots=True)
class CreativeFields:
    """A new creative: size in bytes, duration in milliseconds, keywords without repetition."""

    name: str
    sha256: Sha256
    size: int
    mime: str
    duration_ms: int
    keywords: tuple[str, ...]


def block_key(kind: str, word: str) -> str:
    """One word of kind `brand`, `category` or `keyword` as stores block it, whatever its case: `brand:acme`."""
    return f"{kind}:{word.strip().casefold()}"


def check(raw: Mapping[str, Any], max_size: int) -> CreativeFields:
    """A new creative from its body: `name, sha256, size, mime, duration_ms, keywords?` (SPEC 11).

    `max_size` is the most bytes a file may have. Other keys are the caller's. Raises Faulty with every error.
    """
    readers: dict[str, Callable[[Any], object]] = {
        "name": _name,
        "sha256": _sha256,
        "size": lambda given: _number(given, max_size),
        "mime": _mime,
        "duration_ms": lambda given: _number(given, LONGEST_MS),
        "keywords": _words,
    }
    given = {"keywords": None, **raw}
    missing = [(key, "is missing") for key in readers if key not in given]
    read = _read({key: given[key] for key in readers if key in given}, readers, missing)
    return CreativeFields(**read)


def check_patch(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a PATCH changes: `name`, `keywords` or `flags`, each a checked value; null clears a list.

    Unknown and unchangeable keys are faults. Raises Faulty with every error.
    """
    readers: dict[str, Callable[[Any], object]] = {"name": _name, "keywords": _words, "flags": _flags}
    fixed = [(key, "cannot be changed") for key in raw if key not in readers]
    return _read({key: raw[key] for key in readers if key in raw}, readers, fixed)


def _read(
    given: Mapping[str, Any], readers: Mapping[str, Callable[[Any], object]], faults: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    errors, read = list(faults), {}
    for key, value in given.items():
        try:
            read[key] = readers[key](value)
        except ValueError as fault:
            errors.append((key, str(fault)))
    if errors:
        raise Faulty(errors)
    return read


def _name(given: object) -> str:
    return _text(given, _LONGEST_NAME)


def _text(given: object, longest: int) -> str:
    if not isinstance(given, str) or not given.strip() or len(given) > longest:
        raise ValueError(f"must be a text of 1 to {longest} characters")
    if _UNSTORABLE.search(given):
        raise ValueError("must be text without NUL characters and lone surrogates")
    return given.strip()


def _sha256(given: object) -> Sha256:
    if not isinstance(given, str) or not _HEX.fullmatch(given):
        raise ValueError("must be 64 lower-case hex digits")
    return Sha256(given)


def _number(given: object, most: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= most:
        raise ValueError(f"must be a whole number between 1 and {most}")
    return given


def _mime(given: object) -> str:
    if not isinstance(given, str) or given not in MIMES:
        raise ValueError(f"must be one of {' '.join(sorted(MIMES))}")
    return given


def _words(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple) or len(given) > _MOST_WORDS:
        raise ValueError(f"must be a list of at most {_MOST_WORDS} words")
    return tuple(dict.fromkeys(_text(word, _LONGEST_WORD) for word in given))


def _flags(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple) or not all(flag in tuple(Flag) for flag in given):
        raise ValueError(f"must be a list of {' '.join(Flag)}")
    return tuple(flag for flag in Flag if flag in given)
