"""Reads what Kafka was given as a stranger would: by the CloudEvents SDK, and every event against its JSON Schema.

Every message that any test, or any daemon that it starts, leaves in a test's database is recorded there by a trigger
and validated when the test ends.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import asyncpg
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


# whoever inserts, under whatever role; messages for a topic that does not exist are a test's own
RECORD = """
CREATE SCHEMA told;
CREATE UNLOGGED TABLE told.messages (key uuid NOT NULL, type text NOT NULL, body bytea NOT NULL);
CREATE FUNCTION told.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO told.messages SELECT key, type, body FROM added WHERE topic IN ('campaigns', 'devices');
    RETURN NULL;
END $$;
CREATE TRIGGER record AFTER INSERT ON outbox REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION told.record()"""

RECORDED = "SELECT key, type, body FROM told.messages"


async def check_recorded(url: str) -> None:
    """Fail unless every message of a database was valid; it was made from one where RECORD ran."""
    connection = await asyncpg.connect(url)
    try:
        for key, kind, body in await connection.fetch(RECORDED):
            told = valid(body)
            assert told["subject"] == str(key)
            assert told["type"] in (kind, f"campaign.{kind}")
    finally:
        await connection.close()


def valid(value: bytes) -> dict[str, Any]:
    """Give an event's JSON once envelope and data are as their schemas say."""
    told: dict[str, Any] = orjson.loads(value)
    validator("urn:signaged:schema:envelope:1").validate(told)
    assert told["dataschema"] == f"urn:signaged:schema:{told['type']}:1"
    validator(told["dataschema"]).validate(told["data"])
    return told


def read(key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    """Check one Kafka record in every way there is and give its JSON."""
    told = valid(value)
    event = from_structured_event(KafkaMessage(dict(headers), key, value), JSONFormat())
    assert dict(headers)["content-type"] == b"application/cloudevents+json"
    assert event.get_specversion() == "1.0"
    assert (event.get_type(), event.get_subject()) == (told["type"], told["subject"])
    assert event.get_id() == f"{told['subject']}/{event.get_extension('sequence')}"
    assert event.get_data() == told["data"]
    assert key == told["subject"].encode()
    return told
