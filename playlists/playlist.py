"""The compiled thing: its canonical bytes, its digest, and what plays at an instant."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

from playlists.ids import CampaignId, CreativeId, Digest, Sha256
from playlists.slots import EPOCH

SCHEMA = 1

_HOUR = timedelta(hours=1)
_MILLISECOND = timedelta(milliseconds=1)
_SHA256 = re.compile("[0-9a-f]{64}")
_TOP = (
    "schema", "valid_from", "valid_until", "timezone", "slot_seconds", "creatives", "segments", "fallback",
)  # fmt: skip
_ENTRY = ("id", "url", "sha256", "size", "mime", "duration_ms", "campaign_id", "variant")
_SEGMENT = ("from", "until", "sequence")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to hold and show, for a campaign or, with `campaign_id` None, as house content."""

    id: CreativeId
    url: str
    sha256: Sha256
    size: int
    mime: str
    duration_ms: int
    campaign_id: CampaignId | None
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch [begins, ends) with one sequence: indexes of entries, None for house content; empty is closed."""

    begins: datetime
    ends: datetime
    sequence: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Showing:
    """What a screen shows through [begins, ends): an ad, house content, or nothing.

    `creative` is the index of its entry, `campaign_id` that of an ad.
    """

    kind: Literal["ad", "house", "dark"]
    creative: int | None
    campaign_id: CampaignId | None
    begins: datetime
    ends: datetime


@dataclass(frozen=True)
class Playlist:
    """What a kind of screen plays over the whole UTC hours [valid_from, valid_until) (SPEC 6)."""

    valid_from: datetime
    valid_until: datetime
    timezone: str
    slot_seconds: int
    creatives: tuple[Entry, ...]
    segments: tuple[Segment, ...]
    fallback: tuple[int, ...]
    schema: int = SCHEMA

    @cached_property
    def body(self) -> bytes:
        """The native JSON: canonical, so that equal playlists are equal bytes."""
        form = {
            "schema": self.schema,
            "valid_from": _written(self.valid_from),
            "valid_until": _written(self.valid_until),
            "timezone": self.timezone,
            "slot_seconds": self.slot_seconds,
            "creatives": [_entry_form(entry) for entry in self.creatives],
            "segments": [
                {"from": _written(segment.begins), "until": _written(segment.ends), "sequence": segment.sequence}
                for segment in self.segments
            ],
            "fallback": self.fallback,
        }
        return json.dumps(form, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def digest(self) -> Digest:
        """The SHA-256 of the body, by which a playlist is known."""
        return Digest(sha256(self.body).hexdigest())

    def at(self, instant: datetime) -> Showing:
        """What the screen shows at an aware instant, in the horizon or outside it (SPEC 6).

        An ad plays once from its slot's beginning; house content fills the rest of the slot, a slot of its own,
        and all time outside the horizon. Without house content that time is dark.
        """
        slot = timedelta(seconds=self.slot_seconds)
        number = (instant - EPOCH) // slot
        begins, ends = EPOCH + number * slot, EPOCH + (number + 1) * slot
        if self.valid_from <= instant < self.valid_until:
            segment = self.segments[bisect_right(self.segments, begins, key=lambda s: s.begins) - 1]
            if not segment.sequence:
                return Showing("dark", None, None, begins, ends)
            index = segment.sequence[number % len(segment.sequence)]
            if index is not None:
                entry = self.creatives[index]
                over = begins + entry.duration_ms * _MILLISECOND
                if instant < over:
                    return Showing("ad", index, entry.campaign_id, begins, over)
                begins = over
        return self._house(instant, begins, ends)

    def _house(self, instant: datetime, begins: datetime, ends: datetime) -> Showing:
        durations = [self.creatives[index].duration_ms * _MILLISECOND for index in self.fallback]
        loop = sum(durations, timedelta())
        if not loop:
            return Showing("dark", None, None, begins, ends)
        begins += (instant - begins) // loop * loop
        for index, duration in zip(self.fallback, durations, strict=True):
            if instant < begins + duration:
                return Showing("house", index, None, begins, min(begins + duration, ends))
            begins += duration
        raise AssertionError("a loop of house content is as long as its items")

    def showings(self, begin: datetime, end: datetime) -> Iterator[Showing]:
        """What the screen shows, one after the other, from what is on at `begin` until `end`."""
        while begin < end:
            showing = self.at(begin)
            yield showing
            begin = showing.ends


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _entry_form(entry: Entry) -> dict[str, object]:
    return {
        "id": str(entry.id),
        "url": entry.url,
        "sha256": entry.sha256,
        "size": entry.size,
        "mime": entry.mime,
        "duration_ms": entry.duration_ms,
        "campaign_id": None if entry.campaign_id is None else str(entry.campaign_id),
        "variant": entry.variant,
    }


def parse(body: bytes) -> Playlist:
    """The playlist whose native JSON `body` is; raises ValueError naming the field and its fault.

    All that `at` leans on is checked: segments follow each other over the whole horizon, on the slot grid, and
    every index is one of an entry of its kind.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON in UTF-8") from None
    top = _fields("playlist", given, _TOP)
    _demand(top["schema"] == SCHEMA, "schema", f"must be {SCHEMA}")
    _demand(isinstance(top["timezone"], str), "timezone", "must be a string")
    seconds = _count("slot_seconds", top["slot_seconds"])
    _demand(10 <= seconds <= 600 and 3600 % seconds == 0, "slot_seconds", "must be 10 to 600 and divide 3600")
    creatives = tuple(_entry(f"creatives[{i}]", each) for i, each in enumerate(_items("creatives", top["creatives"])))
    playlist = Playlist(
        valid_from=_instant("valid_from", top["valid_from"]),
        valid_until=_instant("valid_until", top["valid_until"]),
        timezone=top["timezone"],
        slot_seconds=seconds,
        creatives=creatives,
        segments=tuple(_segment(f"segments[{i}]", each) for i, each in enumerate(_items("segments", top["segments"]))),
        fallback=tuple(_count(f"fallback[{i}]", each) for i, each in enumerate(_items("fallback", top["fallback"]))),
    )
    _demand_whole_horizon(playlist)
    _demand_indexes(playlist)
    return playlist


def _entry(where: str, given: object) -> Entry:
    fields = _fields(where, given, _ENTRY)
    for key in ("id", "sha256", "mime"):
        _demand(isinstance(fields[key], str), f"{where}.{key}", "must be a string")
    for key in ("campaign_id", "variant"):
        _demand(fields[key] is None or isinstance(fields[key], str), f"{where}.{key}", "must be a string or null")
    _demand(_SHA256.fullmatch(fields["sha256"]) is not None, f"{where}.sha256", "must be 64 hex digits")
    _demand(fields["url"] == f"/media/{fields['sha256']}", f"{where}.url", "must be /media/ and the sha256")
    duration = _count(f"{where}.duration_ms", fields["duration_ms"])
    _demand(duration > 0, f"{where}.duration_ms", "must be at least 1")
    campaign = fields["campaign_id"]
    return Entry(
        id=CreativeId(_uuid(f"{where}.id", fields["id"])),
        url=fields["url"],
        sha256=Sha256(fields["sha256"]),
        size=_count(f"{where}.size", fields["size"]),
        mime=fields["mime"],
        duration_ms=duration,
        campaign_id=None if campaign is None else CampaignId(_uuid(f"{where}.campaign_id", campaign)),
        variant=fields["variant"],
    )


def _segment(where: str, given: object) -> Segment:
    fields = _fields(where, given, _SEGMENT)
    return Segment(
        _instant(f"{where}.from", fields["from"]),
        _instant(f"{where}.until", fields["until"]),
        tuple(
            None if each is None else _count(f"{where}.sequence[{i}]", each)
            for i, each in enumerate(_items(f"{where}.sequence", fields["sequence"]))
        ),
    )


def _demand_whole_horizon(playlist: Playlist) -> None:
    for key in ("valid_from", "valid_until"):
        _demand(not (getattr(playlist, key) - EPOCH) % _HOUR, key, "must be a whole hour")
    _demand(playlist.valid_from < playlist.valid_until, "valid_until", "must be after valid_from")
    reached = playlist.valid_from
    for i, segment in enumerate(playlist.segments):
        _demand(segment.begins == reached, f"segments[{i}].from", f"must be {_written(reached)}, where it goes on")
        on_grid = not (segment.ends - EPOCH) % timedelta(seconds=playlist.slot_seconds)
        _demand(on_grid and segment.ends > reached, f"segments[{i}].until", "must be a later slot's beginning")
        reached = segment.ends
    _demand(reached == playlist.valid_until, "segments", "must end at valid_until")


def _demand_indexes(playlist: Playlist) -> None:
    slot_ms = playlist.slot_seconds * 1000
    ads = [entry.campaign_id is not None and entry.duration_ms <= slot_ms for entry in playlist.creatives]
    for i, segment in enumerate(playlist.segments):
        for j, index in enumerate(segment.sequence):
            known = index is None or (index < len(ads) and ads[index])
            _demand(known, f"segments[{i}].sequence[{j}]", "must be an entry of a campaign that fits the slot")
    for i, index in enumerate(playlist.fallback):
        house = index < len(ads) and playlist.creatives[index].campaign_id is None
        _demand(house, f"fallback[{i}]", "must be an entry without a campaign")


def _demand(holds: bool, where: str, fault: str) -> None:
    if not holds:
        raise ValueError(f"{where}: {fault}")


def _fields(where: str, given: object, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(given, dict) or set(given) != set(keys):
        raise ValueError(f"{where}: must be an object of {' '.join(keys)}")
    return given


def _items(where: str, given: object) -> list[object]:
    if not isinstance(given, list):
        raise ValueError(f"{where}: must be a list")
    return given


def _count(where: str, given: object) -> int:
    if type(given) is not int or given < 0:
        raise ValueError(f"{where}: must be a whole number, not below 0")
    return given


def _uuid(where: str, given: str) -> UUID:
    try:
        return UUID(given)
    except ValueError:
        raise ValueError(f"{where}: must be a UUID") from None


def _instant(where: str, given: object) -> datetime:
    try:
        instant = datetime.fromisoformat(str(given))
        if given == _written(instant):
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{where}: must be an instant such as 2026-11-22T04:00:00Z")
