from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jsonschema_rs
import pytest

from daemon.campaigns.campaign import TransitionType, legal_changes
from daemon.campaigns.events import Transition
from daemon.outbox.message import SHARDS, device_message, shard, transition_message
from playlists.ids import CampaignId, DeviceId, TenantId
from tests import events

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
HEADERS = [("content-type", b"application/cloudevents+json")]
MONEY = {"held": "500.00", "released": "12.345678", "spent": "487.654322", "amount": "50.00", "impressions": 7}


def transition(kind: str = "started", status_from: str | None = "SCHEDULED", status_to: str = "ACTIVE") -> Transition:
    return Transition(
        campaign_id=CampaignId(uuid4()),
        tenant_id=TenantId(uuid4()),
        sequence=3,
        type=kind,
        campaign_name='Sömmer "Sale" \U0001f31e',
        channel="signage",
        from_status=status_from,
        to_status=status_to,
        reason="USER",
        note=None,
        changes=[{"field": "name", "old": None, "new": ["a"]}],
        moved=MONEY,
        due_at=NOW - timedelta(milliseconds=1500),
        executed_at=NOW,
        scheduled_at=NOW - timedelta(seconds=2),
        started_at=None,
        total_recipients=12,
        actor="signaged",
        correlation_id="corr-1",
    )


@pytest.mark.parametrize("change", sorted(legal_changes(), key=str), ids=str)
def test_every_change_that_can_be_is_described_by_its_schema(change: tuple[str, str | None, str]) -> None:
    fact = transition(*change)
    message = transition_message(fact)
    told = events.read(str(message.key).encode(), message.body, HEADERS)
    assert told["tenantid"] == str(fact.tenant_id)
    assert told["correlationid"] == "corr-1"
    assert told["sequence"] == 3
    assert told["time"] == "2026-11-22T12:00:00.123456Z"
    assert told["data"]["lateness_ms"] == 1500
    assert told["data"]["campaign_name"] == fact.campaign_name
    assert told["data"]["released"] == "12.345678"


def test_there_is_a_schema_for_every_type_and_for_nothing_else() -> None:
    types = {f"campaign.{kind}" for kind in TransitionType} | {"device.online", "device.offline"}
    assert set(events.SCHEMAS) == {f"urn:signaged:schema:{name}:1" for name in types | {"defs", "envelope"}}


def test_schemas_refuse_what_they_do_not_describe() -> None:
    fact = transition()._replace(moved={"refunded": "1.00"})
    with pytest.raises(jsonschema_rs.ValidationError, match="refunded"):
        events.read(str(fact.campaign_id).encode(), transition_message(fact).body, HEADERS)


def test_a_device_is_its_own_subject_and_nobodys_tenant() -> None:
    device = DeviceId(uuid4())
    data = {"store_id": uuid4(), "last_seen_at": NOW}
    message = device_message(device, 9, "device.offline", NOW, "corr-2", data)
    told = events.read(str(device).encode(), message.body, HEADERS)
    assert "tenantid" not in told
    assert told["id"] == f"{device}/9"


def test_keys_spread_over_all_shards() -> None:
    assert {shard(uuid4()) for _ in range(500)} == set(range(SHARDS))
