"""What replies carry: the request's object with what the daemon adds; instants in UTC, money as decimal strings."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from daemon.campaigns.money import decimal
from daemon.tenants import Tenant, Token
from daemon.web.bodies import Blocked, Day, Flag, Mime
from devices.device import Device
from devices.store import Store
from playlists.queries import Row

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


def tenant(row: Tenant) -> TenantReply:
    """A tenant as the API tells it."""
    return TenantReply(
        id=row.id,
        name=row.name,
        currency=row.currency,
        timezone=row.timezone,
        email=row.email,
        status=row.status,  # type: ignore[arg-type]  # the column's CHECK names the two
        running_limit=row.running_limit,
        approval_limit=decimal(row.approval_limit_micros),
        wallet=wallet(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def wallet(row: Tenant) -> Wallet:
    """A tenant's wallet as the API tells it."""
    return Wallet(
        tenant_id=row.id,
        currency=row.currency,
        funded=decimal(row.funded_micros),
        available=decimal(row.available_micros),
        held=decimal(row.held_micros),
        spent=decimal(row.spent_micros),
    )


def token(row: Token) -> TokenReply:
    """A token as the API tells it."""
    return TokenReply(row.id, row.role, row.name, row.created_at)


def store(row: Store, staff: bool) -> StoreReply | StoreGlance:
    """A store as an operator sees it, or the part of it that an advertiser may know (SPEC 11)."""
    if not staff:
        return StoreGlance(row.id, row.fields.name, list(row.fields.tags))
    told = {**row.fields.as_json(), "id": row.id, "created_at": row.created_at, "updated_at": row.updated_at}
    return msgspec.convert(told, StoreReply)


def device(row: Device, staff: bool) -> DeviceReply | DeviceGlance:
    """A device as an operator sees it, or the part of it that an advertiser may know (SPEC 11)."""
    if not staff:
        return DeviceGlance(row.id, row.fields.store_id, row.fields.name, list(row.fields.tags))
    told = {
        **row.fields.as_json(),
        "id": row.id,
        "status": row.status,
        "last_seen_at": row.last_seen_at,
        "digest": row.digest,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
    return msgspec.convert(told, DeviceReply)


def creative(row: Row) -> CreativeReply:
    """A creative as the API tells it."""
    return msgspec.convert(row, CreativeReply, from_attributes=False)
