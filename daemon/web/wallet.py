"""The tenant's money: what there is, and every movement of it."""

from typing import Final

from daemon import tenants
from daemon.campaigns.queries.wallets import ledger_entries
from daemon.web import cursors, replies, shown
from daemon.web.auth import ANYONE
from daemon.web.operations import PAGING, Call, Operation, Parameter, Reply
from daemon.web.problems import invalid, not_found
from playlists.fields import identity
from playlists.ids import TenantId


async def show(call: Call) -> Reply:
    """GET /v1/wallet."""
    tenant = await tenants.tenant_row(call.tx, _owner(call))
    if tenant is None:
        raise not_found("Tenant")
    return Reply(shown.wallet(tenant))


async def show_entries(call: Call) -> Reply:
    """GET /v1/wallet/entries."""
    tenant_id = _owner(call)
    if not await tenants.tenant_exists(call.tx, tenant_id):
        raise not_found("Tenant")
    after = cursors.after_id("entries", call.cursor)
    rows = await ledger_entries(call.tx, tenant_id, after, call.limit + 1)
    return Reply(cursors.page("entries", rows, call.limit, lambda row: [row["id"]], shown.entry))


def _owner(call: Call) -> TenantId:
    """Whose wallet: an advertiser's own, else that of `?tenant_id=`."""
    named = call.request.query.get("tenant_id")
    if named is None and call.caller.tenant_id is not None:
        return call.caller.tenant_id
    if named is None:
        raise invalid([("tenant_id", "is required: name the tenant whose wallet it is")])
    try:
        tenant_id = TenantId(identity(named))
    except ValueError as error:
        raise invalid([("tenant_id", str(error))]) from error
    if not call.caller.sees(tenant_id):
        raise not_found("Tenant")
    return tenant_id


_TENANT = Parameter("tenant_id", "Whose; operators and admins must say", {"type": "string", "format": "uuid"})

OPERATIONS: Final = (
    Operation("GET", "/v1/wallet", "Get a wallet", ANYONE, show, replies.Wallet, query=(_TENANT,)),
    Operation(
        "GET",
        "/v1/wallet/entries",
        "List a wallet's entries",
        ANYONE,
        show_entries,
        replies.Page[replies.Entry],
        query=(_TENANT, *PAGING),
    ),
)
