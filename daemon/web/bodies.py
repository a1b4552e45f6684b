"""What requests carry, as the OpenAPI document shows it; the rules behind the shapes live with their subjects."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

Money = Annotated[
    str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,2})?$", description="A decimal amount", examples=["500.00"])
]
SignedMoney = Annotated[
    str,
    Meta(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,2})?$", description="A decimal amount, not zero", examples=["-12.50"]),
]
Zone = Annotated[str, Meta(description="An IANA time zone", examples=["Europe/Berlin"])]
WallTime = Annotated[
    str, Meta(description="Local wall time in the campaign's timezone", examples=["2026-12-01T09:00:00"])
]
Instant = Annotated[datetime, Meta(tz=True)]
Sha256Hex = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Flag = Literal["ALCOHOL", "TOBACCO", "GAMBLING", "ADULT"]
Mime = Literal["image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4", "video/webm"]


class Empty(Struct, forbid_unknown_fields=True):
    """Nothing."""


class Note(Struct, forbid_unknown_fields=True):
    """Words for the log."""

    note: Annotated[str, Meta(max_length=1000)] | None = None


class Rejection(Struct, forbid_unknown_fields=True):
    """Why a campaign is turned down, for the advertiser to read."""

    note: Annotated[str, Meta(min_length=1, max_length=1000)]


class Amount(Struct, forbid_unknown_fields=True):
    """Money to add to a budget."""

    amount: Money


class Deposit(Struct, forbid_unknown_fields=True):
    """Money that came in, and what it came in as."""

    amount: Money
    reference: Annotated[str, Meta(min_length=1, max_length=200, examples=["invoice 2026-117"])]


class Adjustment(Struct, forbid_unknown_fields=True):
    """A correction of a wallet, and why it is made; a negative amount takes of what is available."""

    amount: SignedMoney
    reason: Annotated[str, Meta(min_length=1, max_length=200, examples=["invoice 2026-117 was paid twice"])]


class TenantBody(Struct, forbid_unknown_fields=True):
    """An advertiser's organisation; the currency is the network's."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    currency: Annotated[str, Meta(examples=["EUR"])]
    timezone: Zone
    email: Annotated[str, Meta(examples=["media@example.com"])]
    running_limit: Annotated[int, Meta(ge=0)] | None = None
    approval_limit: Money | None = None


class TokenBody(Struct, forbid_unknown_fields=True):
    """A new token of a tenant."""

    role: Literal["advertiser"]
    name: Annotated[str, Meta(max_length=100)] | None = None


class Hours(Struct, rename={"from_": "from"}, forbid_unknown_fields=True):
    """A part of some days, local to the store; `to` at or before `from` runs past midnight."""

    days: list[Day]
    from_: Annotated[str, Meta(examples=["09:00"])]
    to: Annotated[str, Meta(examples=["21:00", "24:00"])]


class Blocked(Struct, forbid_unknown_fields=True):
    """What a store will not show, in any case of letters."""

    brands: list[str] = []
    categories: list[str] = []
    keywords: list[str] = []


class StoreBody(Struct, forbid_unknown_fields=True):
    """A shop; no opening hours means always open."""

    code: Annotated[str, Meta(min_length=1, max_length=64, examples=["BER-001"])]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    timezone: Zone
    country: Annotated[str, Meta(examples=["DE"])]
    region: str | None = None
    city: str | None = None
    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    category: str | None = None
    tags: list[str] = []
    opening_hours: list[Hours] = []
    blocked: Blocked = msgspec.field(default_factory=Blocked)
    fallback: list[UUID] = []


class HouseBody(Struct, forbid_unknown_fields=True):
    """The network's house content: creatives without a tenant, in order."""

    fallback: list[UUID]


class DeviceBody(Struct, forbid_unknown_fields=True):
    """The player behind one screen."""

    store_id: UUID
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    tags: list[str] = []
    slots_per_hour: Annotated[int, Meta(ge=6, le=360, description="Divides 3600")] = 12
    cpm: Money | None = None
    disabled: bool = False


class CreativeBody(Struct, forbid_unknown_fields=True):
    """One media file; its bytes follow with PUT .../media. A creative without a tenant is house content."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    sha256: Sha256Hex
    size: Annotated[int, Meta(ge=1, description="Bytes")]
    mime: Mime
    duration_ms: Annotated[int, Meta(ge=1, le=3_600_000)]
    tenant_id: UUID | None = None
    keywords: list[str] = []


class CreativePatch(Struct, forbid_unknown_fields=True):
    """What may change of a creative; `flags` by an operator alone."""

    name: str | None = None
    keywords: list[str] | None = None
    flags: list[Flag] | None = None


class TargetBody(Struct, forbid_unknown_fields=True):
    """Who a campaign is for; `{}` is every device."""

    stores: list[UUID] = []
    devices: list[UUID] = []
    include_tags: list[str] = []
    exclude_stores: list[UUID] = []
    exclude_devices: list[UUID] = []
    exclude_tags: list[str] = []


class CampaignBody(Struct, forbid_unknown_fields=True):
    """A booking; a draft needs name and channel, a submit also start, end, budget, creatives and target."""

    name: Annotated[str, Meta(min_length=3, max_length=100)]
    channel: Literal["signage"]
    tenant_id: Annotated[UUID, Meta(description="Operators and admins must name it")] | None = None
    description: str | None = None
    start_at: Instant | None = None
    start_local: WallTime | None = None
    end_at: Instant | None = None
    end_local: WallTime | None = None
    timezone: Zone | None = None
    budget: Money | None = None
    creatives: list[UUID] = []
    target: TargetBody | None = None
    priority: Annotated[int, Meta(ge=1, le=10)] = 5
    dayparts: list[Hours] = []
    daily_cap: Money | None = None
    start_policy: Literal["on_time"] = "on_time"
    start_deadline: Instant | None = None
    allow_short_lead: bool = False
    brand: str | None = None
    category: str | None = None


def _patch(kind: type[Struct], name: str, without: tuple[str, ...], **more: Any) -> type[Struct]:
    """The shape of a PATCH: every field of `kind` may be there or not, and null clears it."""
    kept = [field for field in msgspec.structs.fields(kind) if field.name not in without]
    fields = [(field.name, field.type | None, None) for field in kept]
    fields += [(field, told | None, None) for field, told in more.items()]
    return msgspec.defstruct(
        name, fields, forbid_unknown_fields=True, namespace={"__doc__": "What is to change; null clears."}
    )


TenantPatch = _patch(TenantBody, "TenantPatch", ("currency",), status=Literal["ACTIVE", "SUSPENDED"])
StorePatch = _patch(StoreBody, "StorePatch", ())
DevicePatch = _patch(DeviceBody, "DevicePatch", ())
CampaignPatch = _patch(CampaignBody, "CampaignPatch", ("tenant_id",))
