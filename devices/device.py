"""A device: the player behind one screen. What may be said of it, and what it is now."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from devices.presence import Status
from playlists.fields import Body, boolean, identity, text, texts
from playlists.ids import DeviceId, Digest, StoreId

FIELDS = ("store_id", "name", "tags", "slots_per_hour", "cpm", "disabled")
SLOTS_PER_HOUR = 12
HIGHEST_CPM_MICROS = 1_000_000 * 1_000_000

_NOWHERE = UUID(int=0)
_PRICE = re.compile(r"([0-9]{1,7})(?:\.([0-9]{1,2}))?")


@dataclass(frozen=True, slots=True)
class DeviceFields:
    """All that a network says of a device (SPEC 11); `cpm_micros` is the price of 1,000 plays, None the default."""

    store_id: StoreId
    name: str
    tags: tuple[str, ...] = ()
    slots_per_hour: int = SLOTS_PER_HOUR
    cpm_micros: int | None = None
    disabled: bool = False

    def as_json(self) -> dict[str, Any]:
        """The object as requests and replies carry it."""
        return {
            "store_id": str(self.store_id),
            "name": self.name,
            "tags": list(self.tags),
            "slots_per_hour": self.slots_per_hour,
            "cpm": None if self.cpm_micros is None else _price(self.cpm_micros),
            "disabled": self.disabled,
        }


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it is stored, with what it was last given and when it was last seen."""

    id: DeviceId
    fields: DeviceFields
    created_at: datetime
    updated_at: datetime
    status: Status
    last_seen_at: datetime | None
    digest: Digest | None


def check(given: object) -> DeviceFields:
    """The device that an object describes. Raises Faulty with every fault; ids are not looked up."""
    body = Body(given, FIELDS)
    fields = DeviceFields(
        store_id=StoreId(body.need("store_id", identity, _NOWHERE)),
        name=body.need("name", text(1, 200), ""),
        tags=body.take("tags", texts(64, 100), ()),
        slots_per_hour=body.take("slots_per_hour", slots_per_hour, SLOTS_PER_HOUR),
        cpm_micros=body.take("cpm", cpm, None),
        disabled=body.take("disabled", boolean, False),
    )
    body.done()
    return fields


def slots_per_hour(given: object) -> int:
    """How many slots an hour has: 6 to 360, so that each is a whole number of seconds (SPEC 6)."""
    if not isinstance(given, int) or isinstance(given, bool) or not 6 <= given <= 360 or 3600 % given:
        raise ValueError("must be a whole number from 6 to 360 that divides 3600")
    return given


def cpm(given: object) -> int:
    """The micros of a price per 1,000 plays, a decimal string with at most 2 decimals."""
    match = _PRICE.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise ValueError("must be a decimal string such as 5.00")
    micros = int(match[1]) * 1_000_000 + int((match[2] or "").ljust(2, "0")) * 10_000
    if micros > HIGHEST_CPM_MICROS:
        raise ValueError("must be between 0.00 and 1000000.00")
    return micros


def _price(micros: int) -> str:
    return f"{micros // 1_000_000}.{micros % 1_000_000 // 10_000:02}"
