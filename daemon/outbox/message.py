"""What the world is told of a change: CloudEvents 1.0 in structured JSON, by hand and pure (SPEC 9)."""

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from daemon.campaigns.events import Transition
from playlists.ids import DeviceId

CONTENT_TYPE = "application/cloudevents+json"
SOURCE = "urn:signaged"
VERSION = 1  # of the schemas; raised when a consumer of the old one could misread the new one
SHARDS = 8  # how many relays can work side by side; a key stays in one


class Topic(StrEnum):
    """Which stream a message belongs to; the relay's settings say what Kafka calls it."""

    CAMPAIGNS = "campaigns"
    DEVICES = "devices"


class Message(NamedTuple):
    """One row of the outbox before it has one: `body` is all that Kafka gets, `key` keeps its order."""

    topic: str
    key: UUID
    sequence: int
    type: str
    body: bytes


def shard(key: UUID) -> int:
    """The share of the relay's work that a key belongs to, 0 to SHARDS - 1; ids end in random bits."""
    return key.int % SHARDS


def schema_uri(event: str) -> str:
    """What `dataschema` names: the schema of one type of event, with its version."""
    return f"urn:signaged:schema:{event}:{VERSION}"


def transition_data(transition: Transition) -> dict[str, Any]:
    """The `data` of a campaign's message (SPEC 9): the change, and beside it what it moved."""
    data: dict[str, Any] = {
        "campaign_id": str(transition.campaign_id),
        "campaign_name": transition.campaign_name,
        "channel": transition.channel,
        "status_from": transition.from_status,
        "status_to": transition.to_status,
        "reason": transition.reason,
        "note": transition.note,
        "actor": transition.actor,
        "due_at": transition.due_at,
        "executed_at": transition.executed_at,
        "lateness_ms": transition.lateness_ms,
        "scheduled_at": transition.scheduled_at,
        "started_at": transition.started_at,
        "total_recipients": transition.total_recipients,
        **transition.moved,
    }
    if transition.changes or transition.type == "updated":  # an edit that changed nothing says so
        data["changes"] = transition.changes
    return data


def transition_message(transition: Transition) -> Message:
    """The one message of a transition; same sequence, key and subject the campaign.

    Raises orjson.JSONEncodeError (a TypeError) for text that is not Unicode.
    """
    data, event = transition_data(transition), f"campaign.{transition.type}"
    extensions = {"tenantid": str(transition.tenant_id), "correlationid": transition.correlation_id}
    body = _envelope(data["campaign_id"], event, transition.sequence, transition.executed_at, extensions, data)
    return Message(Topic.CAMPAIGNS, transition.campaign_id, transition.sequence, transition.type, body)


def device_message(
    device_id: DeviceId, number: int, event: str, at: datetime, correlation_id: str, data: dict[str, Any]
) -> Message:
    """A device's `device.online` or `device.offline`, its `number`th announcement, with what `data` adds."""
    told = {"device_id": str(device_id), **data}
    body = _envelope(str(device_id), event, number, at, {"correlationid": correlation_id}, told)
    return Message(Topic.DEVICES, device_id, number, event, body)


def _envelope(
    subject: str, event: str, sequence: int, at: datetime, extensions: dict[str, str], data: dict[str, Any]
) -> bytes:
    # `sequence` is a JSON number: consumers compare it, and as text "10" would sort before "9"
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": f"{subject}/{sequence}",
            "source": SOURCE,
            "type": event,
            "subject": subject,
            "time": at,
            "datacontenttype": "application/json",
            "dataschema": schema_uri(event),
            **extensions,
            "sequence": sequence,
            "data": data,
        },
        option=orjson.OPT_UTC_Z,
    )
