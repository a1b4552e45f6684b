"""Creatives: registered, flagged, and their bytes taken in."""

from typing import Final

import structlog
from aiohttp import web

from daemon.failpoints import failpoint
from daemon.media import Torn, store
from daemon.tenants import tenant_exists
from daemon.web import bodies, cursors, replies, shown, strict
from daemon.web.auth import ANYONE, STAFF, Caller, forbidden
from daemon.web.operations import PAGING, Call, Operation, Platform, Reply
from daemon.web.problems import invalid, not_found, unavailable
from playlists import creatives, queries
from playlists.faults import Faulty
from playlists.fields import identity
from playlists.ids import CreativeId, Sha256, TenantId
from playlists.queries import Row, Tx

log = structlog.get_logger("daemon.web")

_FIELDS = frozenset({"name", "sha256", "size", "mime", "duration_ms", "tenant_id", "keywords"})
_CHUNK: Final = 262_144


async def create(call: Call) -> Reply:
    """POST /v1/creatives: an operator's without a tenant is house content."""
    faults = [(str(field), "unknown field") for field in call.body if field not in _FIELDS]
    tenant_id = await _owner(call, faults)
    try:
        fields = creatives.check(call.body, call.platform.max_media_bytes)
    except Faulty as faulty:
        raise invalid([*faults, *faulty.errors]) from faulty
    if faults:
        raise invalid(faults)
    row = await queries.create_creative(call.tx, tenant_id, fields, call.now)
    return Reply(shown.creative(row), 201, {"Location": f"/v1/creatives/{row['id']}"})


async def show_all(call: Call) -> Reply:
    """GET /v1/creatives."""
    after = cursors.after_id("creatives", call.cursor)
    rows = await queries.list_creatives(
        call.tx, call.caller.tenant_id, CreativeId(after) if after else None, call.limit + 1
    )
    return Reply(cursors.page("creatives", rows, call.limit, lambda row: [row["id"]], shown.creative))


async def show(call: Call) -> Reply:
    """GET /v1/creatives/{id}."""
    return Reply(shown.creative(await _seen(call.tx, call.caller, CreativeId(call.id_of("Creative")))))


async def change(call: Call) -> Reply:
    """PATCH /v1/creatives/{id}: flags are an operator's to set."""
    creative_id = CreativeId(call.id_of("Creative"))
    await _seen(call.tx, call.caller, creative_id)
    if "flags" in call.body and not call.caller.staff:
        raise forbidden(STAFF, "Flagging")
    row = await queries.patch_creative(call.tx, creative_id, creatives.check_patch(call.body), call.now)
    if row is None:
        raise not_found("Creative")
    return Reply(shown.creative(row))


async def upload(platform: Platform, caller: Caller, request: web.Request) -> Reply:
    """PUT /v1/creatives/{id}/media: the bytes themselves, of the registered size and SHA-256; again does no harm."""
    try:
        creative_id = CreativeId(identity(request.match_info["id"]))
    except ValueError as error:
        raise not_found("Creative") from error
    async with platform.database.transaction() as tx:
        row = await _seen(tx, caller, creative_id)
    size = int(row["size"])
    announced = request.content_length
    if announced is not None and announced != size and "Content-Encoding" not in request.headers:
        raise invalid([("size", f"must be {size} bytes as registered; Content-Length is {announced}")])
    try:
        await store(platform.media, Sha256(row["sha256"]), size, request.content.iter_chunked(_CHUNK))
    except Torn as error:
        raise invalid([(error.field, str(error))]) from error
    except strict.TORN as error:
        raise strict.torn() from error
    except OSError as error:  # a full disk, a share that is gone: mended without us
        log.warning("media not stored", creative_id=str(creative_id), reason=str(error))
        raise unavailable("The media folder does not take it now; try again") from error
    failpoint("media.written")
    async with platform.database.transaction(resolve=True) as tx:
        await queries.mark_stored(tx, creative_id, platform.clock.now())
        reply = Reply(shown.creative(await _seen(tx, caller, creative_id)))
        failpoint("media.before_commit")
    failpoint("media.after_commit")
    return reply


async def _owner(call: Call, faults: list[tuple[str, str]]) -> TenantId | None:
    """Whose a new creative is: the caller's tenant's, else the one that is named, else the network's."""
    given = call.body.get("tenant_id")
    if given is None:
        return call.caller.tenant_id
    try:
        tenant_id = TenantId(identity(given))
    except ValueError as error:
        faults.append(("tenant_id", str(error)))
        return None
    if not call.caller.sees(tenant_id) or not await tenant_exists(call.tx, tenant_id):
        faults.append(("tenant_id", "is no tenant"))
    return tenant_id


async def _seen(tx: Tx, caller: Caller, creative_id: CreativeId) -> Row:
    row = await queries.creative_row(tx, creative_id)
    if row is None or not caller.sees(row["tenant_id"]):
        raise not_found("Creative")
    return row


OPERATIONS: Final = (
    Operation(
        "POST",
        "/v1/creatives",
        "Register a creative",
        ANYONE,
        create,
        replies.CreativeReply,
        bodies.CreativeBody,
        201,
        once=True,
    ),
    Operation(
        "GET", "/v1/creatives", "List creatives", ANYONE, show_all, replies.Page[replies.CreativeReply], query=PAGING
    ),
    Operation("GET", "/v1/creatives/{id}", "Get a creative", ANYONE, show, replies.CreativeReply),
    Operation(
        "PATCH",
        "/v1/creatives/{id}",
        "Rename, tag or flag a creative",
        ANYONE,
        change,
        replies.CreativeReply,
        bodies.CreativePatch,
    ),
    Operation(
        "PUT",
        "/v1/creatives/{id}/media",
        "Upload a creative's bytes",
        ANYONE,
        show,
        replies.CreativeReply,
        stream=upload,
    ),
)
