"""What replies carry: the request's object with what the daemon adds; instants in UTC, money as decimal strings."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from msgspec import Meta, Struct

from daemon.campaigns import obstacles as campaign_obstacles
from daemon.web.bodies import Blocked, Day, Flag, Mime
from devices import obstacles

Money = Annotated[str, Meta(description="A decimal amount, two to six decimals", examples=["500.00"])]
Wall = Annotated[str, Meta(description="Local wall time", examples=["2026-12-01T09:00:00"])]
Offset = Annotated[datetime, Meta(description="With the offset of the tenant's zone")]


T = TypeVar("T")


class Page(Struct, Generic[T]):
    """A part of a list; `next_cursor` asks for what follows, null at the end."""

    items: list[T]
    next_cursor: str | None


class Problem(Struct):
    """RFC 9457: why a request was refused."""

    type: Annotated[str, Meta(examples=["urn:signaged:validation"])]
    title: str
    status: int
    detail: str
    errors: list["FieldError"] = []


class FieldError(Struct):
    """What is wrong with one field."""

    field: str
    message: str


class Wallet(Struct):
    """A tenant's money: available + held + spent = funded."""

    tenant_id: UUID
    currency: str
    funded: Money
    available: Money
    held: Money
    spent: Money


class Entry(Struct):
    """One movement of money; the kind says which way it went."""

    id: UUID
    kind: Literal["deposit", "hold", "charge", "release", "adjustment"]
    amount: Money
    campaign_id: UUID | None
    reference: str | None
    at: datetime


class TenantReply(Struct):
    """An advertiser's organisation with its wallet."""

    id: UUID
    name: str
    currency: str
    timezone: str
    email: str
    status: Literal["ACTIVE", "SUSPENDED"]
    running_limit: int
    approval_limit: Money
    wallet: Wallet
    created_at: datetime
    updated_at: datetime


class TokenReply(Struct):
    """A token that still works; its secret was shown once."""

    id: UUID
    role: str
    name: str | None
    created_at: datetime


class NewToken(Struct):
    """A token and its secret, shown this once."""

    id: UUID
    role: str
    name: str | None
    token: str
    created_at: datetime


class HoursReply(Struct, rename={"from_": "from"}):
    """A part of some days."""

    days: list[Day]
    from_: str
    to: str


class StoreReply(Struct):
    """A shop."""

    id: UUID
    code: str
    name: str
    timezone: str
    country: str | None
    region: str | None
    city: str | None
    latitude: float | None
    longitude: float | None
    category: str | None
    tags: list[str]
    opening_hours: list[HoursReply]
    blocked: Blocked
    fallback: list[UUID]
    created_at: datetime
    updated_at: datetime


class StoreGlance(Struct):
    """A shop as an advertiser sees it."""

    id: UUID
    name: str
    tags: list[str]


class DeviceReply(Struct):
    """The player behind one screen; `digest` is that of the playlist it is given now."""

    id: UUID
    store_id: UUID
    name: str
    tags: list[str]
    slots_per_hour: int
    cpm: Money | None
    disabled: bool
    status: Literal["NEW", "ONLINE", "OFFLINE", "DISABLED"]
    last_seen_at: datetime | None
    digest: str | None
    created_at: datetime
    updated_at: datetime


class DeviceGlance(Struct):
    """A screen as an advertiser sees it."""

    id: UUID
    store_id: UUID
    name: str
    tags: list[str]


class House(Struct):
    """The network's house content."""

    fallback: list[UUID]


class Activation(Struct):
    """What a player trades for its token, once."""

    code: str
    expires_at: datetime


class DeviceToken(Struct):
    """A device's new token, shown this once; the one before works until `previous_until`."""

    device_id: UUID
    token: str
    previous_until: datetime | None


class CreativeReply(Struct):
    """One media file; STORED once its bytes are here."""

    id: UUID
    tenant_id: UUID | None
    name: str
    sha256: str
    size: int
    mime: Mime
    duration_ms: int
    keywords: list[str]
    flags: list[Flag]
    state: Literal["MISSING", "STORED"]
    created_at: datetime
    updated_at: datetime


class Target(Struct, omit_defaults=True):
    """Who a campaign is for; `{}` is every device."""

    stores: list[UUID] = []
    devices: list[UUID] = []
    include_tags: list[str] = []
    exclude_stores: list[UUID] = []
    exclude_devices: list[UUID] = []
    exclude_tags: list[str] = []


class CampaignReply(Struct):
    """A booking as it is now; `deliveries` counts its audience by state."""

    id: UUID
    tenant_id: UUID
    name: str
    channel: str
    description: str | None
    status: str
    status_reason: str | None
    status_note: str | None
    timezone: str
    start_at: datetime | None
    end_at: datetime | None
    start_local: Wall | None
    end_local: Wall | None
    start_tenant: Offset | None
    end_tenant: Offset | None
    tzdata_version: str
    budget: Money | None
    creatives: list[UUID]
    target: Target | None
    priority: int
    dayparts: list[HoursReply]
    daily_cap: Money | None
    start_policy: str
    start_deadline: datetime | None
    allow_short_lead: bool
    brand: str | None
    category: str | None
    distributed_at: datetime | None
    activated_at: datetime | None
    completed_at: datetime | None
    settled_at: datetime | None
    total_recipients: int
    screens_holding: Annotated[
        int | None, Meta(description="After an emergency stop: how many screens still hold a playlist that has it")
    ]
    deliveries: dict[str, int]
    impressions: int
    spent: Money
    released: Money
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime


class Change(Struct):
    """One field that an edit changed."""

    field: str
    old: Any
    new: Any


class TransitionReply(Struct, rename={"from_": "from"}):
    """One logged change of a campaign; `reason` is a code, `note` the words given."""

    sequence: int
    type: str
    from_: str | None
    to: str
    reason: str | None
    note: str | None
    changes: list[Change]
    due_at: datetime
    executed_at: datetime
    lateness_ms: int
    actor: str


class DeliveryReply(Struct):
    """One device's share of a campaign."""

    device_id: UUID
    store_id: UUID
    status: Literal["PENDING", "OFFERED", "READY", "FAILED", "TIMED_OUT", "DEFERRED", "REMOVED"]
    reason: str | None
    offered_at: datetime | None
    ready_at: datetime | None
    digest: str | None


_WHY = [str(code) for code in (*campaign_obstacles.Code, *obstacles.Code)]


class ExplainReason(Struct, omit_defaults=True):
    """One reason; `reason`, `note` and `actor` are those of what lies behind it.

    It began at `since` and ends by itself at `until`, where that is known. `devices` is how many of those asked about
    it holds for; without it, for all.
    """

    code: Annotated[str, Meta(extra_json_schema={"enum": _WHY})]
    detail: str
    since: datetime | None = None
    until: datetime | None = None
    reason: str | None = None
    note: str | None = None
    actor: str | None = None
    blocked: list[str] = []
    devices: int | None = None


class ExplainReply(Struct):
    """Why a campaign does or does not run: the reasons in order, those of the campaign, the store, then the device.

    `devices` are those asked about: one, those of the store, or those that the target includes. It is `running` when
    it plays on one of them at least: nothing keeps it from there and the playlist has it around that time.
    """

    campaign_id: UUID
    store_id: UUID | None
    device_id: UUID | None
    at: datetime
    running: bool
    devices: int
    devices_running: int
    next_play_at: datetime | None
    reasons: list[ExplainReason]


class Upcoming(Struct):
    """What will happen; `due_local` is wall time in the campaign's zone."""

    campaign_id: UUID
    name: str
    tenant_id: UUID
    channel: str
    status: str
    kind: Literal["distribute", "start", "end"]
    due_at: datetime
    due_local: Wall
    total_recipients: int
    ready: int


class Execution(Struct):
    """What happened; `outcome` is the status that it led to."""

    campaign_id: UUID
    name: str
    tenant_id: UUID
    kind: Literal["distribute", "start", "complete", "miss", "expire", "fail"]
    due_at: datetime
    executed_at: datetime
    lateness_ms: int
    total_recipients: int
    outcome: str
    reason: str | None
