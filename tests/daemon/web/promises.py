"""What the OpenAPI document promises, held against every answer that a test is given."""

import re
from functools import cache
from typing import Any

import jsonschema_rs

from daemon.web.openapi import document
from daemon.web.screendoc import described
from daemon.web.server import OPERATIONS


@cache
def promised() -> dict[str, Any]:
    return document(OPERATIONS, described(), "0.1.0")


@cache
def patterns() -> list[tuple[re.Pattern[str], str]]:
    """Templates as patterns, those without parameters first."""
    paths = sorted(promised()["paths"], key=lambda path: path.count("{"))
    return [(re.compile("(/api)?" + re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in paths]


@cache
def validator(path: str, method: str, status: int, content_type: str) -> jsonschema_rs.Draft202012Validator | None:
    """What the body of an answer must be; None where the document promises nothing of it."""
    operation = promised()["paths"][path].get(method.lower())
    if operation is None:
        return None
    told = operation["responses"].get(str(status))
    assert told is not None, f"{method} {path} may not answer {status}"
    if "$ref" in told:
        told = promised()["components"]["responses"][told["$ref"].rpartition("/")[2]]
    schema = told.get("content", {}).get(content_type.partition(";")[0], {}).get("schema")
    assert schema is not None or not content_type or status == 304, f"{method} {path} {status}: {content_type}"
    if schema is None or schema.get("format") == "binary":
        return None
    return jsonschema_rs.Draft202012Validator({**schema, "components": promised()["components"]})


def check(method: str, target: str, status: int, content_type: str, body: Any) -> None:
    path = next((path for pattern, path in patterns() if pattern.fullmatch(target.partition("?")[0])), None)
    found = validator(path, method, status, content_type) if path is not None else None
    if found is not None:
        found.validate(body)
