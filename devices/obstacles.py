"""What keeps a campaign from a screen, of the shop's and of the screen's side: the rule of `explain`, pure (SPEC 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from devices.delivery import Status
from playlists.daypart import Daypart, windows
from playlists.ids import Digest
from playlists.planned import Planned

_A_WEEK = timedelta(days=8)  # a day more: what opens once a week is found whatever the hour


class Code(StrEnum):
    """Why a campaign is not on a screen, in the order in which reasons are told: the shop's, then the screen's."""

    BLOCKED_BY_STORE = "BLOCKED_BY_STORE"
    STORE_CLOSED = "STORE_CLOSED"
    OUTSIDE_DAYPARTS = "OUTSIDE_DAYPARTS"
    NOT_TARGETED = "NOT_TARGETED"
    EXCLUDED = "EXCLUDED"
    DISABLED = "DISABLED"
    CREATIVE_TOO_LONG = "CREATIVE_TOO_LONG"
    NO_PLAYLIST = "NO_PLAYLIST"
    PLAYLIST_UNKNOWN = "PLAYLIST_UNKNOWN"
    OFFLINE = "OFFLINE"
    DELIVERY_FAILED = "DELIVERY_FAILED"
    NOT_READY = "NOT_READY"
    OLDER_PLAYLIST = "OLDER_PLAYLIST"
    NOT_IN_PLAYLIST = "NOT_IN_PLAYLIST"
    NO_SLOT = "NO_SLOT"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason: a code, the sentence, and facts where there are any.

    `since` and `until` are when it began and when it ends by itself; `reason` is a code of what lies behind it, `note`
    and `actor` the words and whose they were, `blocked` what a store blocks. `devices` is how many it holds for.
    """

    code: str
    detail: str
    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None
    note: str | None = None
    actor: str | None = None
    blocked: tuple[str, ...] = ()
    devices: int | None = None


class Alike(NamedTuple):
    """So many devices that stand alike to a campaign, and all of that.

    `digest` is the playlist that they have, `held` the one that they last showed to hold; `stale` says that another
    is being made, `silent` that they are offline; `delivery` is the state of the campaign's content there.
    """

    devices: int
    timezone: str
    opening_hours: tuple[Daypart, ...]
    disabled: bool
    included: bool
    excluded: bool
    blocked: tuple[str, ...]
    too_long: bool
    digest: Digest | None
    held: Digest | None
    stale: bool
    silent: bool
    last_seen_at: datetime | None
    delivery: str
    delivery_reason: str


class Moment(NamedTuple):
    """What is asked about: the instant, whether it is now and not past or to come, and what the campaign is then.

    `expected`: it is let into playlists. `clear`: nothing of its own keeps it from the screens.
    """

    at: datetime
    past: bool
    present: bool
    expected: bool
    clear: bool
    dayparts: tuple[Daypart, ...]


class Hours:
    """When places are open, each asked once: most shops keep the same hours."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._known: dict[tuple[str, tuple[Daypart, ...]], tuple[bool, datetime | None]] = {}

    def ask(self, parts: tuple[Daypart, ...], timezone: str) -> tuple[bool, datetime | None]:
        """Whether the instant lies in any of the parts, else when the next begins, if within a week."""
        if not parts:
            return True, None
        key = timezone, parts
        if key not in self._known:
            found = windows(parts, timezone, self._at, self._at + _A_WEEK)
            inside = bool(found) and found[0][0] <= self._at
            self._known[key] = inside, found[0][0] if found and not inside else None
        return self._known[key]


def obstacles(alike: Alike, moment: Moment, plans: Mapping[Digest, Planned], hours: Hours) -> list[Obstacle]:
    """Why a campaign is not on these screens at the moment, widest first; none if it plays there (SPEC 3, 6, 7).

    `plans` tells of each playlist that is still known what it plays of the campaign.
    """
    place = _of_place(alike, moment, hours)
    screen = _of_eligibility(alike)
    barred = screen or any(one.code not in _PASSING for one in place)
    if not barred:
        screen += _of_screen(alike, moment) if moment.present else []
        screen += _of_playlist(alike, moment, plans, clear=moment.clear and not place)
    return sorted(place + screen, key=lambda one: _ORDER[one.code])


_PASSING = frozenset({Code.STORE_CLOSED, Code.OUTSIDE_DAYPARTS})  # in the playlists all the same
_ORDER = {str(code): place for place, code in enumerate(Code)}


def _of_place(alike: Alike, moment: Moment, hours: Hours) -> list[Obstacle]:
    found = []
    if alike.blocked:
        found.append(
            Obstacle(Code.BLOCKED_BY_STORE, f"The store blocks {', '.join(alike.blocked)}", blocked=alike.blocked)
        )
    is_open, opens_at = hours.ask(alike.opening_hours, alike.timezone)
    if not is_open:
        found.append(Obstacle(Code.STORE_CLOSED, "The store is closed", until=opens_at))
    inside, begins_at = hours.ask(moment.dayparts, alike.timezone)
    if not inside:
        found.append(Obstacle(Code.OUTSIDE_DAYPARTS, "It is outside the campaign's day-parts there", until=begins_at))
    if not alike.included:
        found.append(Obstacle(Code.NOT_TARGETED, "No include rule of the campaign's target names it"))
    if alike.excluded:
        found.append(Obstacle(Code.EXCLUDED, "An exclude rule of the campaign's target names it"))
    return found


def _of_eligibility(alike: Alike) -> list[Obstacle]:
    found = []
    if alike.disabled:
        found.append(Obstacle(Code.DISABLED, "The device is disabled and shows house content"))
    if alike.too_long:
        found.append(Obstacle(Code.CREATIVE_TOO_LONG, "The longest creative does not fit the device's slots"))
    return found


def _of_screen(alike: Alike, moment: Moment) -> list[Obstacle]:
    """What is known of the screen itself: of now alone."""
    found = []
    if alike.silent:
        seen = "Nothing has been heard of the device for longer than it may be silent"
        found.append(Obstacle(Code.OFFLINE, seen, since=alike.last_seen_at))
    if moment.expected and alike.delivery == Status.FAILED:
        words = "The device could not take the campaign's content"
        found.append(Obstacle(Code.DELIVERY_FAILED, words, reason=alike.delivery_reason))
    elif moment.expected and alike.delivery != Status.READY:
        words = f"The device is not known to have the campaign's content: {alike.delivery}"
        found.append(Obstacle(Code.NOT_READY, words, reason=alike.delivery_reason))
    return found


def _of_playlist(alike: Alike, moment: Moment, plans: Mapping[Digest, Planned], clear: bool) -> list[Obstacle]:
    """What its playlists say, as they were compiled; `clear`: nothing else explains why it has no slot."""
    if alike.digest is None and not moment.past:
        return [Obstacle(Code.NO_PLAYLIST, "The device has no playlist yet")]
    if not moment.expected:
        return []
    if alike.digest is None:
        return [Obstacle(Code.PLAYLIST_UNKNOWN, "It is not known any more which playlist the device had")]
    plan = plans.get(alike.digest)
    if plan is None:
        return [Obstacle(Code.PLAYLIST_UNKNOWN, "The playlist that the device had is not kept any more")]
    if not plan.listed:
        words = "its next one is being made" if alike.stale else "the campaign joins it with the next change"
        return [Obstacle(Code.NOT_IN_PLAYLIST, f"The device's playlist has yet to follow: {words}")]
    found = []
    held = plans.get(alike.held) if alike.held else plan
    if moment.present and (held is None or not held.listed or (plan.around and not held.around)):
        words = "The screen has not taken its newest playlist yet; the one that it holds does not play the campaign"
        found.append(Obstacle(Code.OLDER_PLAYLIST, words))
    if clear and not plan.around and (plan.covered or moment.present):
        words = (
            "The campaign has no slot around this time: others fill them, or what is left of the stretch is too short"
        )
        found.append(Obstacle(Code.NO_SLOT, words, until=plan.next_at))
    return found


def merged(found: Sequence[tuple[int, Sequence[Obstacle]]]) -> list[Obstacle]:
    """Each reason once, in order, with how many devices it holds for; times are the earliest of theirs."""
    counts: dict[str, int] = {}
    firsts: dict[str, Obstacle] = {}
    for devices, ones in found:
        for one in ones:
            counts[one.code] = counts.get(one.code, 0) + devices
            known = firsts.get(one.code)
            firsts[one.code] = one if known is None else _together(known, one)
    return [
        Obstacle(
            code, one.detail, one.since, one.until, one.reason, one.note, one.actor, one.blocked, devices=counts[code]
        )
        for code, one in sorted(firsts.items(), key=lambda item: _ORDER[item[0]])
    ]


def _together(one: Obstacle, other: Obstacle) -> Obstacle:
    blocked = tuple(sorted({*one.blocked, *other.blocked}))
    return Obstacle(
        one.code,
        one.detail if one.detail == other.detail else min(one.detail, other.detail),
        min((at for at in (one.since, other.since) if at), default=None),
        min((at for at in (one.until, other.until) if at), default=None),
        one.reason if one.reason == other.reason else None,
        blocked=blocked,
    )
