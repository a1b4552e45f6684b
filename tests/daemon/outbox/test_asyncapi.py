"""The AsyncAPI document is valid, and says of every event what the code says."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import yaml

from config.settings import KafkaSettings
from daemon.campaigns.campaign import TransitionType
from daemon.outbox.message import schema_uri
from tests import events

SHIPPED = files("daemon.outbox")
DOCUMENT: dict[str, Any] = yaml.safe_load(SHIPPED.joinpath("asyncapi.yaml").read_text())
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
CAMPAIGNS = {f"campaign.{kind}" for kind in TransitionType}
DEVICES = {"device.online", "device.offline"}


def test_it_is_asyncapi() -> None:
    meta = orjson.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_bytes())
    checked = jsonschema_rs.Draft7Validator(meta)
    checked.validate(DOCUMENT)
    with pytest.raises(jsonschema_rs.ValidationError):
        checked.validate(DOCUMENT | {"operations": {"tell": {"action": "shout"}}})


def test_it_names_the_topics_and_types_that_are_sent_and_no_others() -> None:
    assert set(MESSAGES) == CAMPAIGNS | DEVICES
    kafka = KafkaSettings(bootstrap_servers="a:1")
    for name, address, types in (("campaigns", kafka.topic, CAMPAIGNS), ("devices", kafka.devices_topic, DEVICES)):
        channel = DOCUMENT["channels"][name]
        assert channel["address"] == address
        assert channel["messages"] == {kind: {"$ref": f"#/components/messages/{kind}"} for kind in types}
    assert {one["channel"]["$ref"] for one in DOCUMENT["operations"].values()} == {
        "#/channels/campaigns",
        "#/channels/devices",
    }


@pytest.mark.parametrize("kind", sorted(MESSAGES))
def test_each_event_refers_to_the_shipped_schema_of_its_version(kind: str) -> None:
    envelope, own = MESSAGES[kind]["payload"]["allOf"]
    schema = orjson.loads(SHIPPED.joinpath(own["properties"]["data"]["$ref"]).read_bytes())
    assert own["properties"]["type"] == {"const": kind}
    assert own["properties"]["dataschema"] == {"const": schema_uri(kind)} == {"const": schema["$id"]}
    assert schema["title"] == MESSAGES[kind]["title"]
    assert orjson.loads(SHIPPED.joinpath(envelope["$ref"]).read_bytes()) == events.SCHEMAS[schema_uri("envelope")]
