"""Who may do what (SPEC 11): tokens, roles, other tenants, suspension, and what each sees of the network."""

import re
from hashlib import sha256

from daemon.web import server
from daemon.web.auth import Role
from tests.daemon.web.caller import Api

STORE = {"code": "A1", "name": "Shop", "timezone": "Europe/Berlin", "country": "DE", "tags": ["mall"]}
TENANT = {"name": "T", "currency": "EUR", "timezone": "Europe/Berlin", "email": "t@example.com"}


async def test_no_token_no_answer(api: Api) -> None:
    for header in (None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer wrong", "bearer \xe9"):
        headers = {} if header is None else {"Authorization": header}
        answer = await api.call("GET", "/v1/campaigns", headers=headers)
        assert (answer.status, answer.kind) == (401, "unauthorized"), header
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_revoked_token_is_void_at_once(api: Api) -> None:
    tenant, token = await api.tenant()
    tokens = (await api.ok("GET", f"/v1/tenants/{tenant}/tokens", token))["items"]
    assert [set(one) for one in tokens] == [{"id", "role", "name", "created_at"}]
    await api.ok("DELETE", f"/v1/tenants/{tenant}/tokens/{tokens[0]['id']}")
    assert (await api.call("GET", "/v1/campaigns", token)).status == 401
    assert (await api.call("DELETE", f"/v1/tenants/{tenant}/tokens/{tokens[0]['id']}", api.admin)).status == 404


async def test_a_stored_token_is_not_the_token(api: Api) -> None:
    _, token = await api.tenant()
    async with api.platform.database.transaction() as tx:
        stored = [row["token_sha256"] for row in await tx.fetch("SELECT token_sha256 FROM api_tokens")]
    assert sha256(token.encode()).digest() in stored
    assert not any(token.encode() in one for one in stored)


ADMINS = [
    ("POST", "/v1/tenants", TENANT),
    ("POST", "/v1/tenants/{tenant}/deposits", {"amount": "1.00", "reference": "x"}),
    ("POST", "/v1/tenants/{tenant}/tokens", {"role": "advertiser"}),
    ("PATCH", "/v1/tenants/{tenant}", {"name": "N"}),
]
OPERATORS: list[tuple[str, str, object]] = [
    ("POST", "/v1/stores", STORE),
    ("POST", "/v1/devices", {}),
    ("PUT", "/v1/house", {"fallback": []}),
    ("PATCH", "/v1/stores/{tenant}", {}),
    ("PATCH", "/v1/devices/{tenant}", {}),
    ("POST", "/v1/devices/{tenant}/activation", None),
    ("POST", "/v1/devices/{tenant}/token", None),
    ("DELETE", "/v1/devices/{tenant}/token", None),
    ("POST", "/v1/campaigns/{tenant}/approve", None),
    ("POST", "/v1/campaigns/{tenant}/reject", {"note": "no"}),
]


async def test_tenants_and_money_are_the_admins(api: Api) -> None:
    tenant, token = await api.tenant()
    for method, path, body in ADMINS:
        for caller in (api.operator, token):
            answer = await api.call(method, path.format(tenant=tenant), caller, json=body)
            assert (answer.status, answer.kind) == (403, "forbidden")
            assert "platform_admin" in answer.body["detail"]
        assert (await api.call(method, path.format(tenant=tenant), api.admin, json=body)).status < 300


async def test_the_network_and_decisions_are_the_operators(api: Api) -> None:
    tenant, token = await api.tenant()
    for method, path, body in OPERATORS:
        answer = await api.call(method, path.format(tenant=tenant), token, json=body)
        assert (answer.status, answer.kind) == (403, "forbidden")
        assert "operator" in answer.body["detail"]
        for staff in (api.operator, api.admin):
            assert (await api.call(method, path.format(tenant=tenant), staff, json=body)).status not in (401, 403)


async def test_what_is_anothers_is_not_there(api: Api) -> None:
    tenant, owner = await api.tenant()
    _, stranger = await api.tenant()
    creative = await api.creative(owner)
    campaign = (await api.draft(owner, creative))["id"]
    paths = [
        ("GET", f"/v1/tenants/{tenant}"),
        ("GET", f"/v1/tenants/{tenant}/tokens"),
        ("GET", f"/v1/wallet?tenant_id={tenant}"),
        ("GET", f"/v1/wallet/entries?tenant_id={tenant}"),
        ("GET", f"/v1/creatives/{creative}"),
        ("PATCH", f"/v1/creatives/{creative}"),
        ("PUT", f"/v1/creatives/{creative}/media"),
        ("GET", f"/v1/campaigns/{campaign}"),
        ("PATCH", f"/v1/campaigns/{campaign}"),
        ("DELETE", f"/v1/campaigns/{campaign}"),
        ("GET", f"/v1/campaigns/{campaign}/transitions"),
        ("GET", f"/v1/campaigns/{campaign}/deliveries"),
        *(("POST", f"/v1/campaigns/{campaign}/{act}") for act in ("submit", "execute", "pause", "resume", "cancel")),
    ]
    for method, path in paths:
        answer = await api.call(method, path, stranger, json=None if method == "GET" else {})
        assert (answer.status, answer.kind) == (404, "not-found"), (method, path)
    for path in ("/v1/campaigns", "/v1/creatives", "/v1/wallet/entries?limit=200", "/v1/schedule/upcoming"):
        assert str(campaign) not in (await api.call("GET", path, stranger)).raw.decode()
    assert len((await api.ok("GET", "/v1/tenants", stranger))["items"]) == 1
    assert len((await api.ok("GET", "/v1/tenants", api.operator))["items"]) == 2
    named = await api.call(
        "POST", "/v1/campaigns", stranger, json={"name": "Mine", "channel": "signage", "tenant_id": tenant}
    )
    assert (named.status, list(named.fields)) == (422, ["tenant_id"])
    borrowed = await api.call(
        "POST", "/v1/campaigns", stranger, json={"name": "Mine", "channel": "signage", "creatives": [creative]}
    )
    assert (borrowed.status, list(borrowed.fields)) == (422, ["creatives"])


async def test_no_such_thing(api: Api) -> None:
    for path in ("campaigns", "tenants", "stores", "devices", "creatives"):
        for one in ("7", "01a201ab-71bb-738f-bf8a-5ac51e530d1a", "%00", "..%2f", "x" * 300):
            answer = await api.call("GET", f"/v1/{path}/{one}", api.admin)
            assert (answer.status, answer.kind) == (404, "not-found"), (path, one)


async def test_operators_book_for_a_tenant_they_name(api: Api) -> None:
    tenant, token = await api.tenant()
    unnamed = await api.call("POST", "/v1/campaigns", api.operator, json={"name": "x", "channel": "signage"})
    assert (unnamed.status, set(unnamed.fields)) == (422, {"tenant_id", "name"})
    booked = await api.ok(
        "POST", "/v1/campaigns", api.operator, json={"name": "For you", "channel": "signage", "tenant_id": tenant}
    )
    assert booked["tenant_id"] == tenant
    assert (await api.ok("GET", f"/v1/campaigns/{booked['id']}", token))["created_by"].startswith("token:")


async def test_a_suspended_tenant_reads_and_writes_nothing(api: Api) -> None:
    tenant, token = await api.tenant()
    creative = await api.creative(token)
    draft = await api.draft(token, creative)
    suspended = await api.ok("PATCH", f"/v1/tenants/{tenant}", api.operator, json={"status": "SUSPENDED"})
    assert suspended["status"] == "SUSPENDED"
    for path in ("/v1/campaigns", f"/v1/campaigns/{draft['id']}", "/v1/wallet", f"/v1/tenants/{tenant}"):
        assert (await api.call("GET", path, token)).status == 200
    writes = [
        ("POST", "/v1/campaigns"),
        ("PATCH", f"/v1/campaigns/{draft['id']}"),
        ("DELETE", f"/v1/campaigns/{draft['id']}"),
        ("POST", f"/v1/campaigns/{draft['id']}/submit"),
        ("POST", "/v1/creatives"),
        ("PUT", f"/v1/creatives/{creative}/media"),
    ]
    for method, path in writes:
        answer = await api.call(method, path, token, json={})
        assert (answer.status, answer.kind) == (403, "forbidden"), path
    nothing = "01a201ab-71bb-738f-bf8a-5ac51e530d1a"
    for each in (one for one in server.OPERATIONS if Role.ADVERTISER in one.roles):
        answer = await api.call(each.method, re.sub(r"\{\w+\}", nothing, each.path), token)
        assert (answer.status == 403) is (each.method != "GET"), (each.method, each.path)
    await api.ok("PATCH", f"/v1/tenants/{tenant}", api.operator, json={"status": "ACTIVE"})
    await api.ok("DELETE", f"/v1/campaigns/{draft['id']}", token)


async def test_an_advertiser_sees_names_ids_and_tags_of_the_network(api: Api) -> None:
    _, token = await api.tenant()
    store = await api.ok("POST", "/v1/stores", json={**STORE, "blocked": {"brands": ["Acme"]}})
    assert store["blocked"] == {"brands": ["Acme"], "categories": [], "keywords": []}
    device = await api.ok("POST", "/v1/devices", json={"store_id": store["id"], "name": "D", "cpm": "7.50"})
    assert (device["status"], device["cpm"], device["slots_per_hour"], device["digest"]) == ("NEW", "7.50", 12, None)
    assert await api.ok("GET", f"/v1/stores/{store['id']}", token) == {
        "id": store["id"],
        "name": "Shop",
        "tags": ["mall"],
    }
    glance = {"id": device["id"], "store_id": store["id"], "name": "D", "tags": []}
    assert await api.ok("GET", f"/v1/devices/{device['id']}", token) == glance
    assert (await api.ok("GET", "/v1/devices", token))["items"] == [glance]
    assert (await api.ok("GET", "/v1/stores?tag=mall", token))["items"][0]["name"] == "Shop"
    assert (await api.ok("GET", f"/v1/devices?store_id={store['id']}"))["items"][0] == device


async def test_the_network_is_kept(api: Api) -> None:
    store = await api.ok("POST", "/v1/stores", json={**STORE, "opening_hours": [_hours("22:00", "06:00")]})
    changed = await api.ok("PATCH", f"/v1/stores/{store['id']}", json={"city": "Bonn", "tags": None})
    assert (changed["city"], changed["tags"], changed["opening_hours"]) == ("Bonn", [], [_hours("22:00", "06:00")])
    taken = await api.call("POST", "/v1/stores", api.admin, json=STORE)
    assert (taken.status, list(taken.fields)) == (422, ["code"])
    wrong = await api.call("POST", "/v1/devices", api.admin, json={"store_id": store["id"], "slots_per_hour": 7})
    assert (wrong.status, set(wrong.fields)) == (422, {"name", "slots_per_hour"})
    device = await api.ok("POST", "/v1/devices", json={"store_id": store["id"], "name": "D"})
    off = await api.ok("PATCH", f"/v1/devices/{device['id']}", json={"disabled": True})
    assert (off["disabled"], off["status"]) == (True, "DISABLED")
    code = await api.call("POST", f"/v1/devices/{device['id']}/activation", api.operator)
    assert (code.status, set(code.body), code.body["expires_at"]) == (
        201,
        {"code", "expires_at"},
        "2026-12-22T12:00:00Z",
    )
    token = await api.call("POST", f"/v1/devices/{device['id']}/token", api.operator, json={})
    assert (token.status, token.body["device_id"]) == (201, device["id"])
    assert (await api.call("DELETE", f"/v1/devices/{device['id']}/token", api.operator)).status == 204


def _hours(begin: str, end: str) -> dict[str, object]:
    return {"days": ["mon", "sun"], "from": begin, "to": end}


async def test_house_content_is_the_networks_own(api: Api) -> None:
    _, token = await api.tenant()
    foreign = await api.creative(token)
    house = await api.creative(api.operator)
    assert (await api.ok("PUT", "/v1/house", api.operator, json={"fallback": [house]})) == {"fallback": [house]}
    assert (await api.ok("GET", "/v1/house", token)) == {"fallback": [house]}
    for bad in ([foreign], ["x"], "x", [house, "01a201ab-71bb-738f-bf8a-5ac51e530d1a"]):
        answer = await api.call("PUT", "/v1/house", api.operator, json={"fallback": bad})
        assert (answer.status, list(answer.fields)) == (422, ["fallback"])
    assert (await api.call("GET", f"/v1/creatives/{house}", token)).status == 404
    assert (await api.ok("PUT", "/v1/house", json={"fallback": []})) == {"fallback": []}


async def test_a_tenants_body_is_checked(api: Api) -> None:
    bad = {"name": "", "currency": "USD", "timezone": "Nowhere", "email": "none", "running_limit": -1, "colour": 1}
    answer = await api.call("POST", "/v1/tenants", api.admin, json=bad)
    assert (answer.status, set(answer.fields)) == (422, set(bad))
    tenant, _ = await api.tenant(funds=None)
    told = await api.ok("GET", f"/v1/tenants/{tenant}")
    assert (told["running_limit"], told["approval_limit"], told["wallet"]["funded"]) == (5, "10000.00", "0.00")
    changed = await api.ok("PATCH", f"/v1/tenants/{tenant}", json={"running_limit": 50, "approval_limit": "1.50"})
    assert (changed["running_limit"], changed["approval_limit"]) == (50, "1.50")
    cleared = await api.ok("PATCH", f"/v1/tenants/{tenant}", json={"running_limit": None})
    assert (cleared["running_limit"], cleared["approval_limit"]) == (5, "1.50")
    fixed = await api.call("PATCH", f"/v1/tenants/{tenant}", api.admin, json={"currency": "EUR", "name": None})
    assert (fixed.status, set(fixed.fields)) == (422, {"currency", "name"})
    for amount in ("0.00", "-1.00", "1.005", "1e3", "NaN", "9999999999.00", 5, None, ""):
        answer = await api.call(
            "POST", f"/v1/tenants/{tenant}/deposits", api.admin, json={"amount": amount, "reference": "x"}
        )
        assert (answer.status, list(answer.fields)) == (422, ["amount"]), amount
    role = await api.call("POST", f"/v1/tenants/{tenant}/tokens", api.admin, json={"role": "operator"})
    assert (role.status, list(role.fields)) == (422, ["role"])
