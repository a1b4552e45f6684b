"""Tenants, their tokens and what is paid into their wallets."""

from typing import Final

from daemon import tenants
from daemon.campaigns import suspending
from daemon.campaigns.queries.suspending import Word
from daemon.web import bodies, cursors, replies, shown
from daemon.web.auth import ADMIN, ANYONE, STAFF, Role, forbidden
from daemon.web.operations import PAGING, Call, Operation, Reply
from daemon.web.problems import not_found
from playlists.fields import Body, text
from playlists.ids import TenantId


async def create(call: Call) -> Reply:
    """POST /v1/tenants."""
    tenant = await tenants.create_tenant(call.tx, call.body, call.platform.defaults, call.now)
    return Reply(shown.tenant(tenant), 201, {"Location": f"/v1/tenants/{tenant.id}"})


async def show_all(call: Call) -> Reply:
    """GET /v1/tenants."""
    after = cursors.after_id("tenants", call.cursor)
    rows = await tenants.list_tenants(call.tx, call.caller.tenant_id, after, call.limit + 1)
    return Reply(cursors.page("tenants", rows, call.limit, lambda row: [row.id], shown.tenant))


async def show(call: Call) -> Reply:
    """GET /v1/tenants/{id}."""
    tenant = await tenants.tenant_row(call.tx, tenant_of(call))
    if tenant is None:
        raise not_found("Tenant")
    return Reply(shown.tenant(tenant))


async def change(call: Call) -> Reply:
    """PATCH /v1/tenants/{id}: an operator may suspend, nothing else."""
    if call.caller.role is not Role.PLATFORM_ADMIN and set(call.body) - {"status"}:
        raise forbidden(ADMIN, "Changing more than the status")
    if (status := call.body.get("status")) in ("ACTIVE", "SUSPENDED"):
        await _turned(call, tenant_of(call), status == "SUSPENDED")
    tenant = await tenants.patch_tenant(call.tx, tenant_of(call), call.body, call.platform.defaults, call.now)
    if tenant is None:
        raise not_found("Tenant")
    return Reply(shown.tenant(tenant))


async def _turned(call: Call, tenant_id: TenantId, suspended: bool) -> None:
    """The tenant's campaigns first, as everywhere: their rows are locked before its own."""
    if await tenants.tenant_exists(call.tx, tenant_id):
        word = Word(call.caller.actor, call.correlation_id)
        call.transitions += await suspending.turn(call.tx, tenant_id, suspended, call.now, word)


async def deposit(call: Call) -> Reply:
    """POST /v1/tenants/{id}/deposits."""
    return await _paid(call, await tenants.deposit(call.tx, tenant_of(call), call.body, call.now))


async def adjust(call: Call) -> Reply:
    """POST /v1/tenants/{id}/adjustments."""
    who = call.caller.actor
    return await _paid(call, await tenants.adjust(call.tx, tenant_of(call), call.body, who, call.now))


async def _paid(call: Call, found: bool) -> Reply:
    """The wallet as it is after a posting, which `found` its tenant or did not."""
    tenant = await tenants.tenant_row(call.tx, tenant_of(call)) if found else None
    if tenant is None:
        raise not_found("Tenant")
    return Reply(shown.wallet(tenant), 201)


async def create_token(call: Call) -> Reply:
    """POST /v1/tenants/{id}/tokens."""
    tenant_id = await _existing(call)
    body = Body(call.body, ("role", "name"))
    role = body.need("role", _advertiser, "")
    name = body.take("name", text(1, 100), None)
    body.done()
    token_id, secret = await tenants.create_token(call.tx, role, tenant_id, name, call.now)
    made = replies.NewToken(token_id, role, name, secret, call.now)
    return Reply(made, 201, {"Location": f"/v1/tenants/{tenant_id}/tokens/{token_id}"})


async def show_tokens(call: Call) -> Reply:
    """GET /v1/tenants/{id}/tokens."""
    tenant_id = await _existing(call)
    after = cursors.after_id("tokens", call.cursor)
    rows = await tenants.list_tokens(call.tx, tenant_id, after, call.limit + 1)
    return Reply(cursors.page("tokens", rows, call.limit, lambda row: [row.id], shown.token))


async def revoke_token(call: Call) -> Reply:
    """DELETE /v1/tenants/{id}/tokens/{token_id}."""
    if not await tenants.revoke_token(call.tx, tenant_of(call), call.id_of("Token", "token_id"), call.now):
        raise not_found("Token")
    return Reply(status=204)


def tenant_of(call: Call) -> TenantId:
    """The tenant of the path, if it is the caller's to see. Raises Problem not-found."""
    tenant_id = call.id_of("Tenant")
    if not call.caller.sees(tenant_id):
        raise not_found("Tenant")
    return TenantId(tenant_id)


async def _existing(call: Call) -> TenantId:
    tenant_id = tenant_of(call)
    if not await tenants.tenant_exists(call.tx, tenant_id):
        raise not_found("Tenant")
    return tenant_id


def _advertiser(given: object) -> str:
    if given != Role.ADVERTISER:
        raise ValueError("must be advertiser; `signaged token create` makes the others")
    return str(Role.ADVERTISER)


OPERATIONS: Final = (
    Operation(
        "POST", "/v1/tenants", "Create a tenant", ADMIN, create, replies.TenantReply, bodies.TenantBody, 201, once=True
    ),
    Operation("GET", "/v1/tenants", "List tenants", ANYONE, show_all, replies.Page[replies.TenantReply], query=PAGING),
    Operation("GET", "/v1/tenants/{id}", "Get a tenant with its wallet", ANYONE, show, replies.TenantReply),
    Operation(
        "PATCH",
        "/v1/tenants/{id}",
        "Change or suspend a tenant",
        STAFF,
        change,
        replies.TenantReply,
        bodies.TenantPatch,
    ),
    Operation(
        "POST", "/v1/tenants/{id}/deposits", "Pay in", ADMIN, deposit, replies.Wallet, bodies.Deposit, 201, once=True
    ),
    Operation(
        "POST",
        "/v1/tenants/{id}/adjustments",
        "Correct a wallet",
        STAFF,
        adjust,
        replies.Wallet,
        bodies.Adjustment,
        201,
        once=True,
    ),
    Operation(
        "POST",
        "/v1/tenants/{id}/tokens",
        "Create an API token",
        ADMIN,
        create_token,
        replies.NewToken,
        bodies.TokenBody,
        201,
    ),
    Operation(
        "GET",
        "/v1/tenants/{id}/tokens",
        "List API tokens",
        ANYONE,
        show_tokens,
        replies.Page[replies.TokenReply],
        query=PAGING,
    ),
    Operation("DELETE", "/v1/tenants/{id}/tokens/{token_id}", "Revoke an API token", ADMIN, revoke_token, status=204),
)
