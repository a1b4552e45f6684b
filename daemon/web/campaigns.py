"""Campaigns: booked, edited, submitted, decided, stopped and looked at."""

import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohttp import hdrs
from msgspec import Struct

from daemon.campaigns import booking, draft, editing, halting
from daemon.campaigns.asking import Caller
from daemon.campaigns.campaign import Reason, Status
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import campaigns, changes
from daemon.web import bodies, cursors, replies, shown
from daemon.web.auth import ANYONE, STAFF, Role
from daemon.web.operations import PAGING, Answering, Call, Operation, Parameter, Reply
from daemon.web.problems import Problem, invalid, not_found
from devices.queries import deliveries
from devices.queries.holding import screens_holding
from playlists.fields import Body, identity
from playlists.ids import CampaignId, DeviceId, TenantId
from playlists.queries import Row

_LONGEST_NOTE = 1000


async def create(call: Call) -> Reply:
    """POST /v1/campaigns."""
    given = {field: value for field, value in call.body.items() if field != "tenant_id"}
    tenant_id = _tenant(call, given)
    if not await changes.tenant(call.tx, tenant_id):
        raise _refused(call, given, "is no tenant")
    campaign_id, transitions = await booking.create(
        call.tx, tenant_id, given, call.now, _caller(call), call.platform.limits
    )
    call.transitions += transitions
    return await _told(call, campaign_id, 201)


def _tenant(call: Call, given: dict[str, Any]) -> TenantId:
    """Whose the campaign will be: an advertiser's own, else the one that the body must name."""
    named = call.body.get("tenant_id")
    if named is None and call.caller.tenant_id is not None:
        return call.caller.tenant_id
    if named is None:
        raise _refused(call, given, "is required: an operator books for a tenant")
    try:
        tenant_id = TenantId(identity(named))
    except ValueError as error:
        raise _refused(call, given, str(error)) from error
    if not call.caller.sees(tenant_id):
        raise _refused(call, given, "is no tenant")
    return tenant_id


def _refused(call: Call, given: dict[str, Any], message: str) -> Problem:
    """422 for `tenant_id`, with all else that is wrong with the body."""
    _, errors = draft.new(given, "UTC", call.platform.limits)
    return invalid([("tenant_id", message), *errors.items()])


async def show_all(call: Call) -> Reply:
    """GET /v1/campaigns."""
    query = call.request.query
    after = cursors.after_id("campaigns", call.cursor)
    rows = await campaigns.list_campaigns(
        call.tx,
        call.caller.tenant_id,
        _statuses(query.getall("status", [])),
        query.get("channel"),
        query.get("search") or None,
        CampaignId(after) if after else None,
        call.limit + 1,
    )
    counts, holding = await _counts(call, rows[: call.limit]), await _holding(call, rows[: call.limit])
    return Reply(
        cursors.page(
            "campaigns",
            rows,
            call.limit,
            lambda row: [row["id"]],
            lambda row: shown.campaign(row, counts[row["id"]], holding.get(row["id"])),
        )
    )


def _statuses(given: Sequence[str]) -> list[str] | None:
    """The statuses wanted, named once or more often or separated by commas; None for all."""
    wanted = [name for value in given for name in value.split(",")]
    if unknown := [name for name in wanted if name not in tuple(Status)]:
        raise invalid([("status", f"{unknown[0]!r} is none of {' '.join(Status)}")])
    return wanted or None


async def show(call: Call) -> Reply:
    """GET /v1/campaigns/{id}."""
    return await _told(call, CampaignId(call.id_of("Campaign")))


async def change(call: Call) -> Reply:
    """PATCH /v1/campaigns/{id}."""
    campaign_id = await _meant(call)
    call.transitions += await editing.edit(
        call.tx, campaign_id, call.body, call.now, _caller(call), call.platform.limits
    )
    return await _told(call, campaign_id)


async def delete(call: Call) -> Reply:
    """DELETE /v1/campaigns/{id}."""
    call.transitions += await booking.delete(call.tx, await _meant(call), call.now, _caller(call))
    return Reply(status=204)


async def submit(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/submit."""
    return await _act(call, lambda one: booking.submit(call.tx, one, call.now, _caller(call), call.platform.limits))


async def approve(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/approve."""
    return await _act(call, lambda one: booking.approve(call.tx, one, call.now, _caller(call)))


async def reject(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/reject."""
    body = Body(call.body, ("note",))
    note = body.need("note", _note, "")
    body.done()
    return await _act(call, lambda one: booking.reject(call.tx, one, note, call.now, _caller(call)))


async def execute(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/execute."""
    return await _act(call, lambda one: booking.execute(call.tx, one, call.now, _caller(call)))


async def pause(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/pause."""
    note = _note_of(call)
    return await _act(call, lambda one: halting.pause(call.tx, one, note, call.now, _caller(call)))


async def stop(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/stop."""
    note = _note_of(call)
    return await _act(call, lambda one: halting.stop(call.tx, one, note, call.now, _caller(call)))


async def resume(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/resume."""
    return await _act(call, lambda one: halting.resume(call.tx, one, call.now, _caller(call)))


async def cancel(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/cancel."""
    note, limits = _note_of(call), call.platform.limits
    return await _act(call, lambda one: booking.cancel(call.tx, one, note, call.now, _caller(call), limits))


async def topup(call: Call) -> Reply:
    """POST /v1/campaigns/{id}/topup."""
    Body(call.body, ("amount",)).done()
    amount = draft.topup(call.body.get("amount"), call.platform.limits)
    return await _act(call, lambda one: booking.topup(call.tx, one, amount, call.now, _caller(call)))


async def show_transitions(call: Call) -> Reply:
    """GET /v1/campaigns/{id}/transitions."""
    campaign_id = CampaignId((await _seen(call))["id"])
    after = cursors.decode("transitions", call.cursor, cursors.count)[0] if call.cursor else 0
    rows = await campaigns.transitions(call.tx, campaign_id, after, call.limit + 1)
    return Reply(cursors.page("transitions", rows, call.limit, lambda row: [row["sequence"]], shown.transition))


async def show_deliveries(call: Call) -> Reply:
    """GET /v1/campaigns/{id}/deliveries."""
    campaign_id = CampaignId((await _seen(call))["id"])
    after = cursors.after_id("deliveries", call.cursor)
    rows = await deliveries.deliveries(
        call.tx, campaign_id, call.now, DeviceId(after) if after else None, call.limit + 1
    )
    return Reply(cursors.page("deliveries", rows, call.limit, lambda row: [row.device_id], shown.delivery))


async def _act(call: Call, act: Callable[[CampaignId], Awaitable[list[Transition]]]) -> Reply:
    """Do what was asked of the campaign of the path and tell it as it is then."""
    campaign_id = await _meant(call)
    call.transitions += await act(campaign_id)
    return await _told(call, campaign_id)


async def _meant(call: Call) -> CampaignId:
    """The campaign of the path, locked, if it is the caller's and the version that If-Match asks for."""
    campaign_id = CampaignId(call.id_of("Campaign"))
    row = await changes.lock(call.tx, campaign_id, call.caller.tenant_id)
    if row is None:
        raise not_found("Campaign")
    wanted = call.request.headers.get(hdrs.IF_MATCH)
    if wanted is not None and not _matches(wanted, str(row["version"])):
        raise Problem("version-mismatch", f"Campaign is at version {row['version']}, not {wanted}")
    return campaign_id


def _matches(header: str, version: str) -> bool:
    """Whether one of the entity tags of an If-Match is the version's; weak ones are none (RFC 9110).

    A bare version counts as well: clients that read it from the body forget the quotes.
    """
    return any(tag.strip() in ("*", version, f'"{version}"') for tag in header.split(","))


async def _seen(call: Call) -> Row:
    row = await campaigns.campaign_row(call.tx, CampaignId(call.id_of("Campaign")), call.caller.tenant_id)
    if row is None:
        raise not_found("Campaign")
    return row


async def _told(call: Call, campaign_id: CampaignId, status: int = 200) -> Reply:
    """The campaign as it is now, with its version as ETag."""
    row = await campaigns.campaign_row(call.tx, campaign_id, call.caller.tenant_id)
    if row is None:
        raise not_found("Campaign")
    headers: dict[str, str] = {"ETag": f'"{row["version"]}"'}
    if status == 201:
        headers["Location"] = f"/v1/campaigns/{campaign_id}"
    counts, holding = await _counts(call, [row]), await _holding(call, [row])
    return Reply(shown.campaign(row, counts[campaign_id], holding.get(campaign_id)), status, headers)


async def _counts(call: Call, rows: Sequence[Row]) -> dict[CampaignId, dict[str, int]]:
    counts = await deliveries.delivery_counts(call.tx, [row["id"] for row in rows], call.now)
    return {campaign: {str(state): count for state, count in states.items()} for campaign, states in counts.items()}


async def _holding(call: Call, rows: Sequence[Row]) -> dict[CampaignId, int]:
    """How many screens still hold each of those campaigns that were stopped in an emergency."""
    stopped = [row["id"] for row in rows if Reason.EMERGENCY_STOP in row["pause_causes"]]
    return await screens_holding(call.tx, stopped, call.now)


def _caller(call: Call) -> Caller:
    return Caller(call.caller.actor, call.correlation_id, call.caller.staff, call.caller.tenant_id)


def _note_of(call: Call) -> str | None:
    body = Body(call.body, ("note",))
    note: str | None = body.take("note", _note, None)
    body.done()
    return note


def _note(given: object) -> str:
    """Words for the log, in lines if need be."""
    if not isinstance(given, str):
        raise ValueError("must be text")
    if not 1 <= len(given.strip()) <= len(given) <= _LONGEST_NOTE:
        raise ValueError(f"must be 1 to {_LONGEST_NOTE} characters")
    if any(unicodedata.category(letter) == "Cc" for letter in given if letter not in "\n\r\t"):
        raise ValueError("must not contain control characters")
    return given


_STATUS = Parameter(
    "status",
    "Only those in one of these statuses",
    {"type": "array", "items": {"type": "string", "enum": [str(status) for status in Status]}},
)
_CHANNEL = Parameter("channel", "Only those on this channel", {"type": "string"})
_SEARCH = Parameter("search", "Only those with this in their name, in any case of letters", {"type": "string"})


def _action(
    name: str,
    summary: str,
    answer: Answering,
    body: type[Struct] = bodies.Empty,
    empty: bool = True,
    roles: frozenset[Role] = ANYONE,
) -> Operation:
    return Operation(
        "POST",
        f"/v1/campaigns/{{id}}/{name}",
        summary,
        roles,
        answer,
        replies.CampaignReply,
        body,
        empty=empty,
        once=True,
        versioned=True,
    )


_ONE: Final = "/v1/campaigns/{id}"
OPERATIONS: Final = (
    Operation(
        "POST",
        "/v1/campaigns",
        "Book a draft",
        ANYONE,
        create,
        replies.CampaignReply,
        bodies.CampaignBody,
        201,
        once=True,
    ),
    Operation(
        "GET",
        "/v1/campaigns",
        "List campaigns",
        ANYONE,
        show_all,
        replies.Page[replies.CampaignReply],
        query=(_STATUS, _CHANNEL, _SEARCH, *PAGING),
    ),
    Operation("GET", _ONE, "Get a campaign", ANYONE, show, replies.CampaignReply),
    Operation(
        "PATCH",
        _ONE,
        "Edit what its status lets: a draft whole, a booked one later, longer, to more screens",
        ANYONE,
        change,
        replies.CampaignReply,
        bodies.CampaignPatch,
        versioned=True,
    ),
    Operation("DELETE", _ONE, "Delete a draft", ANYONE, delete, status=204, versioned=True),
    _action("submit", "Submit a draft; the budget is held", submit),
    _action("approve", "Approve", approve, roles=STAFF),
    _action("reject", "Reject with a reason; the hold is released", reject, bodies.Rejection, False, STAFF),
    _action("execute", "Start a scheduled campaign now", execute),
    _action("pause", "Pause; it leaves the playlists", pause, bodies.Note),
    _action("stop", "Emergency stop; only an operator lets it go on", stop, bodies.Note, roles=STAFF),
    _action("resume", "Resume", resume),
    _action("cancel", "Cancel for good", cancel, bodies.Note),
    _action("topup", "Add to the budget with a further hold", topup, bodies.Amount, False),
    Operation(
        "GET",
        f"{_ONE}/transitions",
        "The log of a campaign",
        ANYONE,
        show_transitions,
        replies.Page[replies.TransitionReply],
        query=PAGING,
    ),
    Operation(
        "GET",
        f"{_ONE}/deliveries",
        "The devices of a campaign",
        ANYONE,
        show_deliveries,
        replies.Page[replies.DeliveryReply],
        query=PAGING,
    ),
)
