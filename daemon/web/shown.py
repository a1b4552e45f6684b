"""How rows become replies: each field under its name in the API, instants in UTC, money as decimal strings."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from daemon.campaigns.campaign import TERMINAL
from daemon.campaigns.money import decimal
from daemon.campaigns.queries.schedule import KINDS
from daemon.tenants import Tenant, Token
from daemon.web import replies
from devices import audience, targets
from devices.delivery import Delivery, Status
from devices.device import Device
from devices.store import Store
from playlists.localtime import to_local, with_offset
from playlists.queries import Row

_MILLISECOND = timedelta(milliseconds=1)


def tenant(row: Tenant) -> replies.TenantReply:
    """A tenant as the API tells it."""
    return replies.TenantReply(
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


def wallet(row: Tenant) -> replies.Wallet:
    """A tenant's wallet as the API tells it."""
    return replies.Wallet(
        tenant_id=row.id,
        currency=row.currency,
        funded=decimal(row.funded_micros),
        available=decimal(row.available_micros),
        held=decimal(row.held_micros),
        spent=decimal(row.spent_micros),
    )


def token(row: Token) -> replies.TokenReply:
    """A token as the API tells it."""
    return replies.TokenReply(row.id, row.role, row.name, row.created_at)


def store(row: Store, staff: bool) -> replies.StoreReply | replies.StoreGlance:
    """A store as an operator sees it, or the part of it that an advertiser may know (SPEC 11)."""
    if not staff:
        return replies.StoreGlance(row.id, row.fields.name, list(row.fields.tags))
    told = {**row.fields.as_json(), "id": row.id, "created_at": row.created_at, "updated_at": row.updated_at}
    return msgspec.convert(told, replies.StoreReply)


def device(row: Device, staff: bool) -> replies.DeviceReply | replies.DeviceGlance:
    """A device as an operator sees it, or the part of it that an advertiser may know (SPEC 11)."""
    if not staff:
        return replies.DeviceGlance(row.id, row.fields.store_id, row.fields.name, list(row.fields.tags))
    told = {
        **row.fields.as_json(),
        "id": row.id,
        "status": row.status,
        "last_seen_at": row.last_seen_at,
        "digest": row.digest,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
    return msgspec.convert(told, replies.DeviceReply)


def creative(row: Row) -> replies.CreativeReply:
    """A creative as the API tells it."""
    return msgspec.convert(row, replies.CreativeReply, from_attributes=False)


def campaign(row: Row, deliveries: Mapping[str, int], holding: int | None = None) -> replies.CampaignReply:
    """A campaign from `campaign_row`; `deliveries` counts its audience by state (SPEC 11).

    `holding` is how many screens still hold it after an emergency stop, None where there was none.
    """
    ended = row["status"] in TERMINAL
    target = targets.as_json(audience.target_of(row)) if row["targeted"] else None
    told = {
        **row,
        "target": target,
        "budget": _money(row["budget_micros"]),
        "daily_cap": _money(row["daily_cap_micros"]),
        "start_local": _wall(row["start_local"], row["start_at"], row["timezone"]),
        "end_local": _wall(row["end_local"], row["end_at"], row["timezone"]),
        "start_tenant": _offset(row["start_at"], row["tenant_timezone"]),
        "end_tenant": _offset(row["end_at"], row["tenant_timezone"]),
        "total_recipients": row["total_recipients"] if ended else sum(deliveries.values()),
        "deliveries": dict(deliveries),
        "screens_holding": holding,
        "spent": decimal(row["spent_micros"]),
        "released": decimal(row["released_micros"]),
    }
    return msgspec.convert(told, replies.CampaignReply)


def transition(row: Row) -> replies.TransitionReply:
    """A row of a campaign's log."""
    return replies.TransitionReply(
        sequence=row["sequence"],
        type=row["type"],
        from_=row["from_status"],
        to=row["to_status"],
        reason=row["reason"],
        note=row["note"],
        changes=msgspec.convert(row["changes"], list[replies.Change]),
        due_at=row["due_at"],
        executed_at=row["executed_at"],
        lateness_ms=_lateness_ms(row),
        actor=row["actor"],
    )


def delivery(row: Delivery) -> replies.DeliveryReply:
    """One device's share of a campaign."""
    return msgspec.convert(row._asdict(), replies.DeliveryReply)


def upcoming(row: Row, deliveries: Mapping[Status, int]) -> replies.Upcoming:
    """What will happen to a campaign, in its own zone's time as well; `deliveries` counts its audience of now."""
    local = to_local(row["due_at"], row["timezone"]).isoformat()
    audience = {"total_recipients": sum(deliveries.values()), "ready": deliveries[Status.READY]}
    return msgspec.convert({**row, **audience, "due_local": local}, replies.Upcoming)


def execution(row: Row) -> replies.Execution:
    """What happened to a campaign, from a row of its log."""
    told = {**row, "kind": KINDS[row["type"]], "lateness_ms": _lateness_ms(row), "outcome": row["to_status"]}
    return msgspec.convert(told, replies.Execution)


def entry(row: Row) -> replies.Entry:
    """One movement of money; an adjustment that took some away is negative (SPEC 11)."""
    taken = row["kind"] == "adjustment" and row["debit"] == "available"
    return msgspec.convert(
        {**row, "amount": decimal(-row["amount_micros"] if taken else row["amount_micros"])}, replies.Entry
    )


def _lateness_ms(row: Row) -> int:
    late: timedelta = row["executed_at"] - row["due_at"]
    return max(0, late // _MILLISECOND)


def _money(amount_micros: int | None) -> str | None:
    return None if amount_micros is None else decimal(amount_micros)


def _wall(given: datetime | None, at: datetime | None, timezone: str) -> str | None:
    """The wall time as it was given, else that of the instant in the campaign's zone."""
    if given is not None:
        return given.isoformat()
    return None if at is None else to_local(at, timezone).isoformat()


def _offset(at: datetime | None, timezone: str) -> datetime | None:
    return None if at is None else with_offset(at, timezone)
