"""The document and the router say the same; nothing that anybody sends is answered with a 5xx or by silence."""

import re
from typing import Any

import jsonschema_rs

from daemon.web.server import OPERATIONS
from tests.daemon.web.caller import Api
from tests.daemon.web.promises import promised

SOME_ID = "01a201ab-71bb-738f-bf8a-5ac51e530d1a"
NOT_BUILT = [
    ("POST", f"/v1/campaigns/{SOME_ID}/stop"),
    ("GET", f"/v1/campaigns/{SOME_ID}/stats"),
    ("POST", f"/v1/campaigns/{SOME_ID}/preview"),
    ("POST", f"/v1/campaigns/{SOME_ID}/test"),
    ("POST", f"/v1/campaigns/{SOME_ID}/clone"),
]
ODD_BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"5",
    b"{",
    b"{} {}",
    b'{"name": 1, "name": 2}',
    b'{"name": NaN}',
    b'{"name": 1e999}',
    b'{"name": ' + b"9" * 5000 + b"}",
    b"\xff\xfe{}",
    b'\xef\xbb\xbf{"name": "x"}',
    b'{"name": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"name": "\\u0000", "note": "\\u0000", "amount": "\\u0000"}',
    b"[" * 30_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"name": {"name": {"name": []}}, "amount": {}, "note": [], "fallback": {}, "target": 5, "tags": {"a": 1}}',
    b'{"name": true, "size": true, "size_": 1, "duration_ms": 1e400}',
    b'{"tenant_id": 5, "store_id": [], "budget": 5, "creatives": {}, "target": {"stores": [{}], "x": 1}}',
    b'{"size": 1e30, "priority": 99999999999999999999, "latitude": 1e308, "running_limit": 99999999999999999999}',
    b'{"start_at": "9999-12-31T23:59:59+00:00", "end_at": "0001-01-01T00:00:00-23:59", "name": "abc"}',
    b'{"start_local": "9999-12-31T23:59:59", "end_local": "0001-01-01T00:00:00", "name": "abc", "channel": "signage"}',
    b'{"start_at": "0001-01-01T00:00:00+14:00", "name": "abc", "channel": "signage"}',
    '{"name": "𝕏 ﷽ ÅÅ", "email": "ü@ü.example", "reference": "\u202e", "amount": "١.٠٠"}'.encode(),
    b'{"dayparts": [{"days": [[]], "from": {}, "to": "24:00"}], "opening_hours": [[]], "blocked": {"brands": [[]]}}',
    b'{"device_time": "2026-01-01T00:00:00Z", "plays": [{}], "creatives": [[]], "digest": "x", "code": "y"}',
    b'{"__proto__": {}, "": 1, " ": 2}',
]
READ_FIRST_KINDS = {"malformed", "validation", "too-large", "unsupported-media-type", "not-found", "unauthorized"}


async def test_every_route_is_in_the_document_and_back(api: Api) -> None:
    told = await api.ok("GET", "/openapi.json")
    assert told == promised()
    written = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    routed = {
        (route.method, resource.canonical)
        for resource in api.app.router.resources()
        for route in resource
        if route.method not in ("*", "HEAD")
    }
    mirrored = {(method, path.removeprefix("/api")) for method, path in routed if path.startswith("/api/")}
    served = {(method, path) for method, path in routed if not path.startswith("/api/")} - {("GET", "/openapi.json")}
    assert written == served
    assert mirrored == {(method, path) for method, path in served if path.startswith("/v1/")}


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*(references(inner) for inner in node.values()))
    return set().union(*(references(inner) for inner in node)) if isinstance(node, list) else set()


def test_the_document_is_sound() -> None:
    told = promised()
    assert told["openapi"] == "3.1.0"
    names = [operation["operationId"] for methods in told["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
    for name, schema in told["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid(schema), name
    for reference in references(told):
        found: Any = told
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    for path, methods in told["paths"].items():
        for operation in methods.values():
            named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


async def test_elsewhere_there_is_nothing(api: Api) -> None:
    nowhere = ["/", "/v1", "/v1/", "/v1/campaigns/", "/v2/campaigns", "/api/v1/nothing", "/%ff%00"]
    for method, path in [*NOT_BUILT, *(("GET", path) for path in nowhere)]:
        answer = await api.call(method, path, api.admin, json={} if method == "POST" else None)
        assert (answer.status, answer.kind) == (404, "not-found"), path
        assert answer.headers["X-Correlation-Id"]


async def test_another_method_is_told_which_there_are(api: Api) -> None:
    for path in ("/v1/campaigns", "/api/v1/campaigns"):
        answer = await api.call("PUT", path, api.admin)
        assert (answer.status, answer.kind) == (405, "method-not-allowed")
        assert answer.headers["Allow"] == "GET, HEAD, POST"
    head = await api.call("HEAD", "/v1/campaigns", api.admin)
    assert (head.status, head.raw) == (200, b"")
    assert (await api.call("OPTIONS", "/v1/campaigns", api.admin)).status == 405


async def test_malformed_bodies_are_refused_everywhere(api: Api) -> None:
    writing = [(one.method, one.path) for one in OPERATIONS if one.method not in ("GET", "DELETE")]
    json = {"Content-Type": "application/json"}
    for method, path in writing:
        target = re.sub(r"\{\w+\}", SOME_ID, path)
        for body in ODD_BODIES:
            answer = await api.call(method, target, api.admin, data=body, headers=json)
            assert answer.status < 500, (method, path, body[:80], answer.raw)
            assert answer.status >= 400 or body == b"", (method, path, body[:80], answer.raw)
            assert answer.kind in READ_FIRST_KINDS, (method, path, body[:80], answer.raw)


STRICT = [
    (b"", 400, "malformed"),
    (b"{", 400, "malformed"),
    (b'{"name": "a"} x', 400, "malformed"),
    (b'{"name": "a", "name": "b"}', 400, "malformed"),
    (b'{"name": "\xff"}', 400, "malformed"),
    (b'{"name": "\\ud800"}', 400, "malformed"),
    (b'{"name": Infinity}', 400, "malformed"),
    (b'{"name": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "malformed"),
    (b"[]", 422, "validation"),
    (b'{"name": "a\\u0000b"}', 422, "validation"),
    (b" " * 65_537, 413, "too-large"),
]


async def test_json_is_taken_strictly(api: Api) -> None:
    _, token = await api.tenant(funds=None)
    for body, status, kind in STRICT:
        answer = await api.call("POST", "/v1/campaigns", token, data=body, headers={"Content-Type": "application/json"})
        assert (answer.status, answer.kind) == (status, kind), body[:80]
        assert answer.body["title"]
        assert answer.body["detail"]


async def test_a_number_without_end_is_told_in_our_words(api: Api) -> None:
    for number in (b"9" * 5_000, b"1e999"):
        answer = await api.call(
            "POST",
            "/v1/tenants",
            api.admin,
            data=b'{"size": ' + number + b"}",
            headers={"Content-Type": "application/json"},
        )
        assert answer.body["detail"] == "The body is not JSON: a number is too large"


async def test_a_body_is_json_by_its_own_account(api: Api) -> None:
    for sent in ("text/plain", "application/merge-patch+json", "application/json; charset=latin1"):
        answer = await api.call("POST", "/v1/tenants", api.admin, data=b"{}", headers={"Content-Type": sent})
        assert (answer.status, answer.kind) == (415, "unsupported-media-type")


async def test_a_body_without_end_is_too_large(api: Api) -> None:
    async def endless() -> Any:
        for _ in range(1_000):
            yield b" " * 1_000

    answer = await api.call(
        "POST", "/v1/tenants", api.admin, data=endless(), headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.kind) == (413, "too-large")


async def test_answers_are_stamped_and_counted(api: Api) -> None:
    answer = await api.call("GET", "/api/v1/wallet", api.admin, headers={"X-Correlation-Id": "mine"})
    assert answer.headers["X-Correlation-Id"] == "mine"
    assert answer.headers["Date"] == "Sun, 22 Nov 2026 12:00:00 GMT"
    for given in ("a b", "x" * 129, "ü"):
        made = (await api.call("GET", "/v1/wallet", api.admin, headers={"X-Correlation-Id": given})).headers
        assert made["X-Correlation-Id"] not in ("", given)
    await api.call("GET", "/secret/path", api.admin)
    labels = {"listener": "api", "route": "/v1/wallet", "method": "GET", "code": "422"}
    assert api.registry.get_sample_value("signaged_http_requests_total", labels) == 4
    labels = {"listener": "api", "route": "unmatched", "method": "GET", "code": "404"}
    assert api.registry.get_sample_value("signaged_http_requests_total", labels) == 1


async def test_a_database_that_is_away_is_a_503_that_says_when_to_come_again(api: Api) -> None:
    await api.platform.database._pool.close()
    answer = await api.call("GET", "/v1/campaigns", api.admin)
    assert (answer.status, answer.kind, answer.headers["Retry-After"]) == (503, "unavailable", "1")
