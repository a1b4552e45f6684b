"""The network as its operators keep it: stores, devices, activation, house content."""

from typing import Final

from daemon.web import bodies, cursors, replies, shown
from daemon.web.auth import ANYONE, STAFF
from daemon.web.operations import PAGING, Call, Operation, Parameter, Reply
from daemon.web.problems import invalid, not_found
from devices import enrolment
from devices.device import check as check_device
from devices.queries import devices, stores
from devices.store import check as check_store
from playlists import queries as playlists
from playlists.fields import Body, identity, ids
from playlists.ids import CreativeId, DeviceId, StoreId

_MOST_FALLBACK = 100


async def create_store(call: Call) -> Reply:
    """POST /v1/stores."""
    store = await stores.create_store(call.tx, check_store(call.body), call.now)
    return Reply(shown.store(store, call.caller.staff), 201, {"Location": f"/v1/stores/{store.id}"})


async def show_stores(call: Call) -> Reply:
    """GET /v1/stores."""
    after = cursors.after_id("stores", call.cursor)
    rows = await stores.list_stores(
        call.tx, StoreId(after) if after else None, call.limit + 1, call.request.query.get("tag")
    )
    staff = call.caller.staff
    return Reply(cursors.page("stores", rows, call.limit, lambda row: [row.id], lambda row: shown.store(row, staff)))


async def show_store(call: Call) -> Reply:
    """GET /v1/stores/{id}."""
    store = await stores.store_row(call.tx, StoreId(call.id_of("Store")))
    if store is None:
        raise not_found("Store")
    return Reply(shown.store(store, call.caller.staff))


async def change_store(call: Call) -> Reply:
    """PATCH /v1/stores/{id}."""
    store = await stores.patch_store(call.tx, StoreId(call.id_of("Store")), call.body, call.now)
    if store is None:
        raise not_found("Store")
    return Reply(shown.store(store, call.caller.staff))


async def create_device(call: Call) -> Reply:
    """POST /v1/devices."""
    device = await devices.create_device(call.tx, check_device(call.body), call.now)
    return Reply(shown.device(device, call.caller.staff), 201, {"Location": f"/v1/devices/{device.id}"})


async def show_devices(call: Call) -> Reply:
    """GET /v1/devices."""
    query, staff = call.request.query, call.caller.staff
    after = cursors.after_id("devices", call.cursor)
    rows = await devices.list_devices(
        call.tx,
        DeviceId(after) if after else None,
        call.limit + 1,
        call.platform.patience,
        _store_filter(query.get("store_id")),
        query.get("tag"),
    )
    return Reply(cursors.page("devices", rows, call.limit, lambda row: [row.id], lambda row: shown.device(row, staff)))


async def show_device(call: Call) -> Reply:
    """GET /v1/devices/{id}."""
    device = await devices.device_row(call.tx, DeviceId(call.id_of("Device")), call.platform.patience)
    if device is None:
        raise not_found("Device")
    return Reply(shown.device(device, call.caller.staff))


async def change_device(call: Call) -> Reply:
    """PATCH /v1/devices/{id}."""
    device = await devices.patch_device(
        call.tx, DeviceId(call.id_of("Device")), call.body, call.now, call.platform.patience
    )
    if device is None:
        raise not_found("Device")
    return Reply(shown.device(device, call.caller.staff))


async def activate(call: Call) -> Reply:
    """POST /v1/devices/{id}/activation."""
    code, until = await enrolment.issue_code(call.tx, await _existing(call), call.now, call.platform.activation_life)
    return Reply(replies.Activation(code, until), 201)


async def rotate_token(call: Call) -> Reply:
    """POST /v1/devices/{id}/token."""
    device_id = await _existing(call)
    token, until = await enrolment.rotate(call.tx, device_id, call.now, call.platform.rotation_overlap)
    return Reply(replies.DeviceToken(device_id, token, until), 201)


async def revoke_token(call: Call) -> Reply:
    """DELETE /v1/devices/{id}/token."""
    await enrolment.revoke(call.tx, await _existing(call), call.now)
    return Reply(status=204)


async def show_house(call: Call) -> Reply:
    """GET /v1/house."""
    return Reply(replies.House(list(await playlists.house_fallback(call.tx))))


async def set_house(call: Call) -> Reply:
    """PUT /v1/house."""
    body = Body(call.body, ("fallback",))
    wanted = [CreativeId(one) for one in body.take("fallback", ids(_MOST_FALLBACK), ())]
    if "fallback" not in call.body:
        body.errors.append(("fallback", "is missing"))
    body.done()
    known = await playlists.creative_rows(call.tx, wanted)
    strange = [str(one) for one in wanted if one not in known or known[one]["tenant_id"] is not None]
    if strange:
        raise invalid([("fallback", f"no creative of the network's own: {', '.join(strange)}")])
    await playlists.set_house_fallback(call.tx, wanted, call.now)
    return Reply(replies.House(list(wanted)))


def _store_filter(given: str | None) -> StoreId | None:
    if given is None:
        return None
    try:
        return StoreId(identity(given))
    except ValueError as error:
        raise invalid([("store_id", str(error))]) from error


async def _existing(call: Call) -> DeviceId:
    device_id = DeviceId(call.id_of("Device"))
    if await devices.device_row(call.tx, device_id, call.platform.patience) is None:
        raise not_found("Device")
    return device_id


_TAG = Parameter("tag", "Only those with this tag", {"type": "string"})
_OF_STORE = Parameter("store_id", "Only those of this store", {"type": "string", "format": "uuid"})
_STORE, _STORES = (
    (replies.StoreReply, replies.StoreGlance),
    (
        replies.Page[replies.StoreReply],
        replies.Page[replies.StoreGlance],
    ),
)
_DEVICE, _DEVICES = (
    (replies.DeviceReply, replies.DeviceGlance),
    (
        replies.Page[replies.DeviceReply],
        replies.Page[replies.DeviceGlance],
    ),
)

OPERATIONS: Final = (
    Operation(
        "POST", "/v1/stores", "Add a store", STAFF, create_store, replies.StoreReply, bodies.StoreBody, 201, once=True
    ),
    Operation("GET", "/v1/stores", "List stores", ANYONE, show_stores, _STORES, query=(*PAGING, _TAG)),
    Operation("GET", "/v1/stores/{id}", "Get a store", ANYONE, show_store, _STORE),
    Operation("PATCH", "/v1/stores/{id}", "Change a store", STAFF, change_store, replies.StoreReply, bodies.StorePatch),
    Operation("GET", "/v1/house", "Get the network's house content", ANYONE, show_house, replies.House),
    Operation("PUT", "/v1/house", "Set the network's house content", STAFF, set_house, replies.House, bodies.HouseBody),
    Operation(
        "POST",
        "/v1/devices",
        "Register a device",
        STAFF,
        create_device,
        replies.DeviceReply,
        bodies.DeviceBody,
        201,
        once=True,
    ),
    Operation("GET", "/v1/devices", "List devices", ANYONE, show_devices, _DEVICES, query=(*PAGING, _OF_STORE, _TAG)),
    Operation("GET", "/v1/devices/{id}", "Get a device", ANYONE, show_device, _DEVICE),
    Operation(
        "PATCH", "/v1/devices/{id}", "Change a device", STAFF, change_device, replies.DeviceReply, bodies.DevicePatch
    ),
    Operation(
        "POST",
        "/v1/devices/{id}/activation",
        "Issue an activation code",
        STAFF,
        activate,
        replies.Activation,
        bodies.Empty,
        201,
        empty=True,
    ),
    Operation(
        "POST",
        "/v1/devices/{id}/token",
        "Rotate a device's token",
        STAFF,
        rotate_token,
        replies.DeviceToken,
        bodies.Empty,
        201,
        empty=True,
    ),
    Operation("DELETE", "/v1/devices/{id}/token", "Revoke a device's tokens", STAFF, revoke_token, status=204),
)
