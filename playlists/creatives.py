"""What a creative is told to be: its body checked, one error per field, and the words a store may block."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from playlists.fields import Body, integer, text, texts
from playlists.ids import Sha256

MIMES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4", "video/webm"})
LONGEST_MS = 3_600_000
LONGEST_NAME = 200
_keywords = texts(100, 50)
_HEX = re.compile(r"[0-9a-f]{64}")


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
    body = Body(raw, raw.keys())
    creative = CreativeFields(
        name=body.need("name", text(1, LONGEST_NAME), ""),
        sha256=Sha256(body.need("sha256", _sha256, "")),
        size=body.need("size", integer(1, max_size), 0),
        mime=body.need("mime", _mime, ""),
        duration_ms=body.need("duration_ms", integer(1, LONGEST_MS), 0),
        keywords=body.take("keywords", _keywords, ()),
    )
    body.done()
    return creative


def check_patch(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a PATCH changes: `name`, `keywords` or `flags`, each a checked value; null clears a list.

    Unknown and unchangeable keys are faults. Raises Faulty with every error.
    """
    body = Body(raw, raw.keys())
    body.errors += [(key, "cannot be changed") for key in raw if key not in ("name", "keywords", "flags")]
    no_words: tuple[str, ...] = ()
    patch: dict[str, Any] = {
        "keywords": body.take("keywords", _keywords, no_words),
        "flags": body.take("flags", _flags, no_words),
    }
    if "name" in raw:
        patch["name"] = body.need("name", text(1, LONGEST_NAME), "")
    body.done()
    return {key: patch[key] for key in raw}


def _sha256(given: object) -> str:
    if not isinstance(given, str) or not _HEX.fullmatch(given):
        raise ValueError("must be 64 lower-case hex digits")
    return given


def _mime(given: object) -> str:
    if not isinstance(given, str) or given not in MIMES:
        raise ValueError(f"must be one of {' '.join(sorted(MIMES))}")
    return given


def _flags(given: object) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(flag in tuple(Flag) for flag in given):
        raise ValueError(f"must be a list of {' '.join(Flag)}")
    return tuple(flag for flag in Flag if flag in given)
