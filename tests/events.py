"""Reads what Kafka was given as a stranger would: by the CloudEvents SDK, and every event against its JSON Schema."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs
import orjson
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

SCHEMAS = {
    schema["$id"]: schema
    for file in files("daemon.outbox").joinpath("schemas").iterdir()
    for schema in [orjson.loads(file.read_bytes())]
}


@cache
def validator(uri: str) -> jsonschema_rs.Validator:
    registry = jsonschema_rs.Registry(list(SCHEMAS.items()))
    return jsonschema_rs.validator_for(SCHEMAS[uri], registry=registry, validate_formats=True)


def read(key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    """Check one Kafka record in every way there is and give its JSON."""
    told: dict[str, Any] = orjson.loads(value)
    validator("urn:signaged:schema:envelope:1").validate(told)
    validator(told["dataschema"]).validate(told["data"])
    event = from_structured_event(KafkaMessage(dict(headers), key, value), JSONFormat())
    assert dict(headers)["content-type"] == b"application/cloudevents+json"
    assert event.get_specversion() == "1.0"
    assert (event.get_type(), event.get_subject()) == (told["type"], told["subject"])
    assert event.get_id() == f"{told['subject']}/{event.get_extension('sequence')}"
    assert told["dataschema"] == f"urn:signaged:schema:{told['type']}:1"
    assert event.get_data() == told["data"]
    assert key == told["subject"].encode()
    return told
