"""What screens send and are told: strict JSON, decoded at once where nothing about it is doubtful."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from daemon.web.problems import invalid
from daemon.web.strict import parse_object

MOST_PLAYS: Final = 1_000

Instant = Annotated[datetime, Meta(tz=True)]
DigestText = Annotated[str, Meta(max_length=64)]
Sha256Hex = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Activation(Struct, forbid_unknown_fields=True):
    """The code that an operator gave for the device."""

    code: Annotated[str, Meta(min_length=1, max_length=64, examples=["7KQ2-M9XD-4HTB"])]


class Activated(Struct):
    """The device that the code stands for, and its token, told this once."""

    device_id: UUID
    token: str
    server_time: datetime


class Heartbeat(Struct, forbid_unknown_fields=True):
    """How a screen is; `digest` is that of the playlist it plays by."""

    device_time: Instant
    screen: Literal["on", "off"]
    digest: DigestText | None = None
    errors: Annotated[list[Annotated[str, Meta(max_length=1000)]], Meta(max_length=100)] | None = None


class Heard(Struct):
    """What a screen should do next; `actions`: `sync` fetch the playlist, `stop` and show nothing of the old one."""

    server_time: datetime
    playlist_changed: bool
    actions: list[str]
    next_heartbeat_seconds: int


class FileReport(Struct, forbid_unknown_fields=True):
    """What a screen says of one file."""

    sha256: Sha256Hex
    state: Literal["READY", "MISSING", "CORRUPT"]


class ReadinessReport(Struct, forbid_unknown_fields=True):
    """What a screen holds of a playlist."""

    digest: DigestText
    creatives: Annotated[list[FileReport], Meta(max_length=10_000)]


class DeliveryState(Struct):
    """How far one campaign has come on this screen."""

    campaign_id: UUID
    status: str


class ReadinessReply(Struct):
    """`verified`: it holds all that it says and all that campaigns need."""

    verified: bool
    deliveries: list[DeliveryState]


class PlayReport(Struct, forbid_unknown_fields=True):
    """One playout; `started_at` by the screen's own clock. House content has no campaign, and counts nowhere."""

    play_id: Annotated[str, Meta(min_length=1, max_length=128)]
    campaign_id: UUID | None
    creative_id: UUID
    started_at: Instant
    duration_ms: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    digest: DigestText
    variant: Annotated[str, Meta(max_length=64)] | None = None


class PlaysReport(Struct, forbid_unknown_fields=True):
    """What a screen has played, and what time it thinks it is."""

    device_time: Instant
    plays: Annotated[list[PlayReport], Meta(max_length=MOST_PLAYS)]


class PlayResult(Struct):
    """What a play was found to be, and what it cost the campaign."""

    play_id: str
    verdict: str
    charged: str


class PlaysReply(Struct):
    """One result for each play, in the order of the report."""

    results: list[PlayResult]


Report = TypeVar("Report", bound=Struct)

_AT = re.compile(r" - at `(?:key in )?\$\.?(.*?)`$")
_FIELD = re.compile(r"field `(\w+)`")
_DECODERS: Final[dict[type[Any], msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Activation, Heartbeat, ReadinessReport, PlaysReport)
}


def decode(raw: bytes, kind: type[Report]) -> Report:
    """The report that `raw` is. Raises Problem malformed or validation.

    Only what has no escapes, no NUL and each key as often as there are objects for it is taken at first sight;
    whatever is doubtful goes the strict way, which tells what is wrong.
    """
    if b"\\" not in raw and b"\0" not in raw:
        try:
            report: Report = _DECODERS[kind].decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        else:
            if not _repeats(raw, report):
                return report
    try:
        return msgspec.convert(parse_object(raw), kind)
    except msgspec.ValidationError as error:
        raise invalid([_fault(str(error))]) from error


def _repeats(raw: bytes, report: Struct) -> bool:
    """Whether a key may stand twice in one object: it is there more often than objects that have it."""
    objects: list[tuple[type[Struct], int]] = [(type(report), 1)]
    if isinstance(report, PlaysReport):
        objects.append((PlayReport, len(report.plays)))
    elif isinstance(report, ReadinessReport):
        objects.append((FileReport, len(report.creatives)))
    names: dict[str, int] = {}
    for kind, count in objects:
        for name in kind.__struct_fields__:
            names[name] = names.get(name, 0) + count
    return any(raw.count(b'"%s"' % name.encode()) > count for name, count in names.items())


def _fault(message: str) -> tuple[str, str]:
    """The (field, message) of what msgspec says: "Expected `int`, got `str` - at `$.plays[0].duration_ms`"."""
    place = _AT.search(message)
    path, words = (place[1], message[: place.start()]) if place else ("", message)
    named = _FIELD.search(words)
    if named and ("missing" in words or "unknown" in words):
        path = f"{path}.{named[1]}" if path else named[1]
        return path, "is missing" if "missing" in words else "unknown field"
    return path or "body", words[:1].lower() + words[1:].replace("`", "")
