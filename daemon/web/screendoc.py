"""What the OpenAPI document says of the device side, whose routes stand outside the operations' table."""

from typing import Any, Final

import msgspec

from daemon.web import reports
from daemon.web.polls import CONTENT_TYPE, LONGEST_WAIT

_REF: Final = "#/components/schemas/{name}"
_ID: Final = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_TEXT: Final = {"schema": {"type": "string"}}
_POLL_AFTER: Final = {"description": "Seconds after which to ask again", "schema": {"type": "integer"}}


def described() -> dict[str, Any]:
    """The paths of the device side, their schemas inline."""
    return {
        "/v1/devices/activate": {
            "post": {
                **_report("Trade an activation code for a token", reports.Activation, reports.Activated, "404"),
                "security": [],
            }
        },
        "/v1/devices/{id}/playlist": {"get": _playlist()},
        "/v1/devices/{id}/heartbeat": {
            "post": _own(_report("Say how the screen is", reports.Heartbeat, reports.Heard, "401", "404"))
        },
        "/v1/devices/{id}/readiness": {
            "post": _own(
                _report("Say what the screen holds", reports.ReadinessReport, reports.ReadinessReply, "401", "404")
            )
        },
        "/v1/devices/{id}/plays": {
            "post": _own(
                _report("Report up to 1,000 plays", reports.PlaysReport, reports.PlaysReply, "401", "404")
            )
        },
        "/media/{sha256}": {"get": _media()},
    }  # fmt: skip


def _report(summary: str, body: type[Any], reply: type[Any], *refusals: str) -> dict[str, Any]:
    return {
        "operationId": body.__name__[:1].lower() + body.__name__[1:],
        "summary": summary,
        "tags": ["screens"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _inline(body)}}},
        "responses": {
            "200": {"description": summary, "content": {"application/json": {"schema": _inline(reply)}}},
            **_refused("400", "413", "415", "422", "503", *refusals),
        },
    }


def _own(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation of a device on itself, with its own token."""
    return {**operation, "parameters": [_ID], "security": [{"deviceToken": []}]}


_WAIT: Final = {
    "name": "wait",
    "in": "query",
    "description": f"Hold an unchanged poll open for so many seconds, at most {LONGEST_WAIT}; a change ends it at once",
    "schema": {"type": "integer", "minimum": 0, "default": 0},
}


def _playlist() -> dict[str, Any]:
    headers = {
        "ETag": {"description": "The playlist's digest", **_TEXT},
        "Playlist-Version": {"description": "Only rises", "schema": {"type": "integer"}},
        "Playlist-Expires": {"description": "Its valid_until", "schema": {"type": "string", "format": "date-time"}},
        "Poll-After": _POLL_AFTER,
    }
    unchanged = {"ETag": headers["ETag"], "Poll-After": _POLL_AFTER}
    told = _own({
        "operationId": "pollPlaylist",
        "summary": "What the screen plays; 304 while it is unchanged",
        "tags": ["screens"],
        "responses": {
            "200": {"description": "The playlist", "headers": headers, "content": {CONTENT_TYPE: {"schema": {}}}},
            "304": {"description": "The playlist named in If-None-Match still stands", "headers": unchanged},
            **_refused("401", "404", "422", "503"),
        },
    })  # fmt: skip
    return {**told, "parameters": [_ID, _WAIT]}


def _media() -> dict[str, Any]:
    binary = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    sha256 = {
        "name": "sha256",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    return {
        "operationId": "getMedia",
        "summary": "A media file, whole or a byte range of it; it never changes",
        "tags": ["screens"],
        "parameters": [sha256],
        "security": [{"deviceToken": []}, {"token": []}],
        "responses": {
            "200": {"description": "The file", "content": binary},
            "206": {"description": "The range asked for", "content": binary},
            "304": {"description": "The copy named in If-None-Match is good"},
            **_refused("401", "404", "416", "503"),
        },
    }


def _refused(*statuses: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name="Problem")}
    content = {"application/problem+json": {"schema": schema}}
    return {status: {"description": "Refused", "content": content} for status in sorted(statuses)}


def _inline(shape: type[Any]) -> dict[str, Any]:
    """The JSON Schema of a shape with what it refers to in place; none of them refers to itself."""
    (schema,), components = msgspec.json.schema_components([shape], ref_template=_REF)
    names = {_REF.format(name=name): inner for name, inner in components.items()}

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return filled(names[node["$ref"]])
            return {key: filled(value) for key, value in node.items()}
        return [filled(item) for item in node] if isinstance(node, list) else node

    whole: dict[str, Any] = filled(schema)
    return whole
