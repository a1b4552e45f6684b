"""Why a campaign is not running here: for a campaign, a store, a device and an instant."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from daemon.campaigns import draft
from daemon.campaigns.explaining import explain
from daemon.campaigns.queries import campaigns
from daemon.web import replies
from daemon.web.auth import ANYONE
from daemon.web.operations import Call, Operation, Parameter, Reply
from daemon.web.problems import invalid, not_found
from devices.queries.standing import seat_of, store_exists
from playlists.fields import identity
from playlists.ids import CampaignId, DeviceId, StoreId

T = TypeVar("T")

_BARE_PLUS = re.compile(r" (?=\d\d:\d\d$)")  # an offset's sign that was not percent-encoded arrives as a space


async def show(call: Call) -> Reply:
    """GET /v1/campaigns/{id}/explain?store_id=&device_id=&at=."""
    row = await campaigns.campaign_row(call.tx, CampaignId(call.id_of("Campaign")), call.caller.tenant_id)
    if row is None:
        raise not_found("Campaign")
    store_id, device_id, at = await _asked(call)
    told = await explain(
        call.tx,
        row,
        device_id or store_id,
        device_id is not None,
        at,
        call.now,
        call.platform.lead,
        call.platform.patience,
    )
    return Reply(
        replies.ExplainReply(
            campaign_id=row["id"],
            store_id=store_id,
            device_id=device_id,
            at=at,
            running=told.devices_running > 0,
            devices=told.devices,
            devices_running=told.devices_running,
            next_play_at=told.next_play_at,
            reasons=[msgspec.convert(one, replies.ExplainReason, from_attributes=True) for one in told.reasons],
        )
    )


async def _asked(call: Call) -> tuple[StoreId | None, DeviceId | None, datetime]:
    """The store (a device's own), the device and the instant of the query. Raises Problem validation."""
    query, errors = call.request.query, dict[str, str]()

    def read(field: str, reader: Callable[[str], T]) -> T | None:
        try:
            return reader(query[field]) if field in query else None
        except ValueError as error:
            errors[field] = str(error)
            return None

    store_id = read("store_id", lambda text: StoreId(identity(text)))
    device_id = read("device_id", lambda text: DeviceId(identity(text)))
    at = read("at", lambda text: draft.instant(_BARE_PLUS.sub("+", text)))
    if store_id is not None and not await store_exists(call.tx, store_id):
        errors["store_id"] = "is no store"
    if device_id is not None:
        home = await seat_of(call.tx, device_id)
        if home is None:
            errors["device_id"] = "is no device"
        elif store_id not in (None, home):
            errors["device_id"] = "is not in that store"
        store_id = home
    if errors:
        raise invalid(errors.items())
    return store_id, device_id, at or call.now


_QUERY: Final = (
    Parameter("store_id", "Only in this store", {"type": "string", "format": "uuid"}),
    Parameter("device_id", "Only on this device", {"type": "string", "format": "uuid"}),
    Parameter("at", "At this instant, now if absent; past or to come", {"type": "string", "format": "date-time"}),
)

OPERATIONS: Final = (
    Operation(
        "GET",
        "/v1/campaigns/{id}/explain",
        "Why it is not running here: the reasons, widest first",
        ANYONE,
        show,
        replies.ExplainReply,
        query=_QUERY,
    ),
)
