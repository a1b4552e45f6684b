"""JSON as RFC 8259 means it and nothing looser: what a body may be before anyone looks at what it says."""

import json
import math
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final, NoReturn

import aiohttp
from aiohttp import hdrs, http_exceptions, web

from daemon.web.problems import Problem, invalid

MAX_DEPTH: Final = 32
_LONGEST_NUMBER: Final = 309  # digits; the largest float has as many
_CHUNK: Final = 65536

TORN: Final = (web.RequestPayloadError, http_exceptions.BadHttpMessage, aiohttp.ClientPayloadError, ConnectionError)


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes. Raises Problem too-large, or malformed when it breaks off."""
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    read = bytearray()
    try:
        while chunk := await request.content.read(_CHUNK):
            read += chunk
            if len(read) > limit:
                raise too_large(limit)
    except TORN as error:
        raise torn() from error
    return bytes(read)


def too_large(limit: int) -> Problem:
    """413 that names the limit in bytes."""
    return Problem("too-large", f"The body is larger than {limit} bytes")


def torn() -> Problem:
    """400 for a body that ended before it was whole."""
    return Problem("malformed", "The body broke off or is not encoded as its headers say")


def require_json(request: web.Request) -> None:
    """Raises Problem unsupported-media-type unless the body is declared to be JSON in UTF-8."""
    charset = request.charset
    if request.headers.get(hdrs.CONTENT_TYPE) is None or request.content_type != "application/json":
        raise Problem("unsupported-media-type", "Content-Type must be application/json")
    if charset is not None and charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Problem("unsupported-media-type", "JSON must be UTF-8")


def require_text(query: Iterable[tuple[str, str]]) -> None:
    """Raises Problem validation for query parameters that cannot be stored, and so cannot be looked for."""
    faults = [(name, "must not contain the character U+0000") for name, text in query if "\0" in text]
    if faults:
        raise invalid(faults)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The object that `raw` is. Raises Problem malformed, or validation when it is JSON but no object."""
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except UnicodeDecodeError as error:
        raise Problem("malformed", f"The body is not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", f"The body is not JSON: {_why(error)}") from error
    faults = []
    for path, fault in _faults(value):
        if fault == "depth":
            raise Problem("malformed", f"The body is nested more than {MAX_DEPTH} deep")
        if fault == "surrogate":
            raise Problem("malformed", f"The body is not UTF-8: a lone surrogate in {path or 'a name'}")
        faults.append((path, "must not contain the character U+0000"))
    if faults:
        raise invalid(faults)
    if not isinstance(value, dict):
        raise invalid([("body", "must be a JSON object")])
    return value


def fingerprint(value: dict[str, Any]) -> bytes:
    """SHA-256 over what a body says, whatever its white space and order of fields."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).digest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} is there twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _whole(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError("a number is too large")
    return int(digits)


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return "nested too deep" if isinstance(error, RecursionError) else str(error)


def _faults(value: object) -> Iterator[tuple[str, str]]:
    """(path, fault) of what may be in JSON but never in ours: too deep, a lone surrogate, a NUL."""
    pending: list[tuple[str, object, int]] = [("", value, 0)]
    while pending:
        path, node, depth = pending.pop()
        if depth > MAX_DEPTH:
            yield path, "depth"
        elif isinstance(node, dict):
            for name, inner in node.items():
                for fault in _text_faults(name):
                    yield path, fault
                pending.append((f"{path}.{name}" if path else name, inner, depth + 1))
        elif isinstance(node, list):
            pending.extend((f"{path}[{place}]", inner, depth + 1) for place, inner in enumerate(node))
        elif isinstance(node, str):
            for fault in _text_faults(node):
                yield path, fault


def _text_faults(text: str) -> Iterator[str]:
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        yield "surrogate"
    if "\0" in text:
        yield "nul"
