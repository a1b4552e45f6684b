"""Who a campaign is for: the one rule of eligibility, and the body that says it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from playlists.creatives import block_key
from playlists.faults import Faulty
from playlists.fields import Body, ids, texts
from playlists.ids import DeviceId, StoreId

FIELDS = ("stores", "devices", "include_tags", "exclude_stores", "exclude_devices", "exclude_tags")
_HOUR_MS = 3_600_000
_MOST_IDS, _MOST_TAGS, _LONGEST_TAG = 100_000, 1_000, 64


@dataclass(frozen=True, slots=True)
class Target:
    """Include and exclude rules over stores and devices (SPEC 3), and what else decides who is eligible.

    `block_keys` is what a store may block of the campaign, `longest_ms` its longest creative.
    """

    stores: frozenset[StoreId] = frozenset()
    devices: frozenset[DeviceId] = frozenset()
    include_tags: frozenset[str] = frozenset()
    exclude_stores: frozenset[StoreId] = frozenset()
    exclude_devices: frozenset[DeviceId] = frozenset()
    exclude_tags: frozenset[str] = frozenset()
    block_keys: frozenset[str] = frozenset()
    longest_ms: int = 0

    @property
    def everywhere(self) -> bool:
        """Whether it includes all devices, by naming none."""
        return not (self.stores or self.devices or self.include_tags)


@dataclass(frozen=True, slots=True)
class Seat:
    """What of a device and its store bears on who may play there."""

    device_id: DeviceId
    store_id: StoreId
    device_tags: frozenset[str]
    store_tags: frozenset[str]
    blocked_keys: frozenset[str]
    slots_per_hour: int
    disabled: bool


class Reason(StrEnum):
    """Why a device is not eligible for a campaign."""

    DISABLED = "DISABLED"
    NOT_TARGETED = "NOT_TARGETED"
    EXCLUDED = "EXCLUDED"
    BLOCKED_BY_STORE = "BLOCKED_BY_STORE"
    CREATIVE_TOO_LONG = "CREATIVE_TOO_LONG"


def eligible(seat: Seat, target: Target) -> bool:
    """Whether the campaign may play there: the rule of SPEC 3; in SQL it is `audience.ELIGIBLE`."""
    return not reasons(seat, target)


def reasons(seat: Seat, target: Target) -> list[Reason]:
    """Every reason why the campaign may not play there, in the order of the rule; none if it may (SPEC 3)."""
    tags = seat.device_tags | seat.store_tags
    included = (
        target.everywhere
        or seat.store_id in target.stores
        or seat.device_id in target.devices
        or not tags.isdisjoint(target.include_tags)
    )
    excluded = (
        seat.store_id in target.exclude_stores
        or seat.device_id in target.exclude_devices
        or not tags.isdisjoint(target.exclude_tags)
    )
    against = {
        Reason.DISABLED: seat.disabled,
        Reason.NOT_TARGETED: not included,
        Reason.EXCLUDED: excluded,
        Reason.BLOCKED_BY_STORE: not seat.blocked_keys.isdisjoint(target.block_keys),
        Reason.CREATIVE_TOO_LONG: target.longest_ms * seat.slots_per_hour > _HOUR_MS,
    }
    return [reason for reason, holds in against.items() if holds]


def covers(after: Target, before: Target) -> bool:
    """Whether a target means, by its rules alone, all that another does: more included, no more excluded (SPEC 3).

    No include rule is every device, so from that to a list is less.
    """
    wider = after.everywhere or (
        not before.everywhere
        and before.stores <= after.stores
        and before.devices <= after.devices
        and before.include_tags <= after.include_tags
    )
    return (
        wider
        and after.exclude_stores <= before.exclude_stores
        and after.exclude_devices <= before.exclude_devices
        and after.exclude_tags <= before.exclude_tags
    )


def block_keys(brand: str | None, category: str | None, keywords: Iterable[str]) -> list[str]:
    """What a store may block of a campaign: its brand, its category and its creatives' keywords, sorted.

    A store's side of it is `store.Blocked.keys`.
    """
    keys = {block_key("keyword", word) for word in keywords}
    if brand is not None:
        keys.add(block_key("brand", brand))
    if category is not None:
        keys.add(block_key("category", category))
    return sorted(keys)


def check(given: object) -> Target:
    """The `target` of a campaign's body (SPEC 11); named twice counts once, null and an empty list mean absent.

    Whether the ids are those of a store or device is the caller's question. Raises Faulty with every error, its
    fields named `target` and `target.stores`.
    """
    body = Body(given, FIELDS)
    no_ids: tuple[UUID, ...] = ()
    no_tags: tuple[str, ...] = ()
    some_ids, some_tags = ids(_MOST_IDS), texts(_LONGEST_TAG, _MOST_TAGS)
    target = Target(
        stores=frozenset(map(StoreId, body.take("stores", some_ids, no_ids))),
        devices=frozenset(map(DeviceId, body.take("devices", some_ids, no_ids))),
        include_tags=frozenset(body.take("include_tags", some_tags, no_tags)),
        exclude_stores=frozenset(map(StoreId, body.take("exclude_stores", some_ids, no_ids))),
        exclude_devices=frozenset(map(DeviceId, body.take("exclude_devices", some_ids, no_ids))),
        exclude_tags=frozenset(body.take("exclude_tags", some_tags, no_tags)),
    )
    if body.errors:
        raise Faulty(("target" if name == "body" else f"target.{name}", fault) for name, fault in body.errors)
    return target


def as_json(target: Target) -> dict[str, list[str]]:
    """The `target` object that `check` makes these rules of: the lists that are not empty, sorted."""
    lists = {name: sorted(map(str, getattr(target, name))) for name in FIELDS}
    return {name: listed for name, listed in lists.items() if listed}
