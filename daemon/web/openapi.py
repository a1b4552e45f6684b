"""The OpenAPI 3.1 document, made from the same table as the router."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from daemon.web import replies
from daemon.web.auth import Role
from daemon.web.operations import Operation
from daemon.web.problems import CONTENT_TYPE, KINDS

_REF: Final = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key gives the same answer for 24 hours; with another body 409",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The version (ETag) that the change is meant for; 412 when it has changed since",
    "schema": {"type": "string", "examples": ['"3"']},
}
_CORRELATION = {
    "name": "X-Correlation-Id",
    "in": "header",
    "description": "Echoed, and carried into the transition log and the events; made when absent",
    "schema": {"type": "string", "maxLength": 128},
}


def document(operations: Sequence[Operation], more: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The whole document; `more` are paths that are served and described elsewhere (the screens')."""
    _, components = msgspec.json.schema_components(_shapes(operations), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    for path, described in more.items():
        paths.setdefault(path, {}).update(described)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "signaged",
            "version": version,
            "summary": "Books, distributes, starts and settles advertising campaigns on digital signage screens.",
            "description": "Every path answers under /api as well. Instants are UTC, money is a decimal string, lists "
            "go on with next_cursor. Refusals are RFC 9457 problems.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {_name(kind): _problem(kind) for kind in KINDS},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token: its tenant and role"},
                "deviceToken": {"type": "http", "scheme": "bearer", "description": "A device's token"},
            },
        },
        "security": [{"token": []}],
    }


def _shapes(operations: Iterable[Operation]) -> list[Any]:
    shapes: list[Any] = [replies.Problem]
    for operation in operations:
        shapes += [shape for shape in (operation.body, *_replies(operation)) if shape is not None]
    return list(dict.fromkeys(shapes))


def _replies(operation: Operation) -> tuple[Any, ...]:
    return operation.reply if isinstance(operation.reply, tuple) else (operation.reply,)


def _schema(shape: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([shape], ref_template=_REF)
    return schema


def _described(operation: Operation) -> dict[str, Any]:
    roles = ", ".join(sorted(operation.roles))
    described: dict[str, Any] = {
        "operationId": _operation_id(operation.method, operation.path),
        "summary": operation.summary,
        "description": f"Roles: {roles}." + _limits(operation),
        "tags": [operation.path.split("/")[2]],
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    if operation.body is not None:
        content = {"application/json": {"schema": _schema(operation.body)}}
        described["requestBody"] = {"required": not operation.empty, "content": content}
    if operation.stream is not None:
        binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        described["requestBody"] = {"required": True, "content": binary}
    return described


def _limits(operation: Operation) -> str:
    narrowed = Role.ADVERTISER in operation.roles
    return " An advertiser's token reaches its own tenant alone; anything else is 404." if narrowed else ""


def _operation_id(method: str, path: str) -> str:
    words = _PARAMETER.sub(r"\1", path.removeprefix("/v1").strip("/")).replace("/", "_")
    return f"{method.lower()}_{words}"


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in _PARAMETER.findall(path)
    ]


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    told = _path_parameters(operation.path)
    told += [
        {"name": one.name, "in": "query", "description": one.summary, "schema": dict(one.schema)}
        for one in operation.query
    ]
    told += [_KEY] if operation.once else []
    told += [_IF_MATCH] if operation.versioned else []
    return [*told, _CORRELATION]


def _responses(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": operation.summary}
    schemas = [_schema(shape) for shape in _replies(operation) if shape is not None]
    if schemas:
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        answer["content"] = {"application/json": {"schema": schema}}
    if operation.status == 201:
        answer["headers"] = {"Location": {"schema": {"type": "string"}}}
    told: dict[str, Any] = {str(operation.status): answer}
    for kind in _refusals(operation):
        told.setdefault(str(KINDS[kind][0]), {"$ref": f"#/components/responses/{_name(kind)}"})
    return told


def _refusals(operation: Operation) -> list[str]:
    """The kinds of problems, one per status, that the operation may answer with."""
    kinds = ["unauthorized", "forbidden", "internal", "unavailable"]
    if "{" in operation.path or any(one.name == "tenant_id" for one in operation.query):
        kinds.append("not-found")
    if operation.query or operation.body is not None or operation.stream is not None:
        kinds.append("validation")
    if operation.body is not None:
        kinds += ["malformed", "too-large", "unsupported-media-type"]
    if operation.stream is not None:
        kinds.append("malformed")
    if operation.once or operation.versioned:
        kinds.append("invalid-transition" if operation.versioned else "idempotency-mismatch")
    return kinds + (["version-mismatch"] if operation.versioned else [])


def _problem(kind: str) -> dict[str, Any]:
    status, title = KINDS[kind]
    return {
        "description": f"{status}: {title}",
        "content": {CONTENT_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }


def _name(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("-"))
