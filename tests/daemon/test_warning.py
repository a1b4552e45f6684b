"""Warnings on a real database: what is not ready before a start, silent after it, or nearly spent; each once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.campaigns import lifecycle
from daemon.outbox.message import transition_message
from daemon.tick import Step
from daemon.warning import CHECKS, PORTION, STORES, steps
from devices.delivery import Reason, Status
from devices.queries.deliveries import record_deliveries
from devices.queries.presence import record_service, record_sightings
from devices.targets import Target
from playlists.ids import CampaignId, DeviceId, Digest
from playlists.queries import Tx
from tests import events, world
from tests.daemon.test_tick import Ticking

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
START = NOW + 12 * HOUR
STEPS: tuple[Step, ...] = steps(90, timedelta(minutes=8))


@pytest.fixture
def ticking(connection: Tx) -> Ticking:
    return Ticking(connection)


async def scene(tx: Tx, stores: int = 3, per_store: int = 4, **more: Any) -> tuple[CampaignId, list[list[DeviceId]]]:
    """A campaign in the playlists that starts in twelve hours, and the screens of its stores."""
    owner = await world.tenant(tx, NOW)
    shops = [await world.store(tx, NOW, tags=["mall"]) for _ in range(stores)]
    devices = [[await world.device(tx, shop, NOW) for _ in range(per_store)] for shop in shops]
    values: dict[str, Any] = {"status": "SCHEDULED", "begins": 12 * HOUR, "ends": 30 * HOUR} | more
    creative = await world.creative(tx, owner, NOW)
    target = Target(include_tags=frozenset({"mall"}))
    campaign = await world.campaign(tx, owner, NOW, creatives=[creative], target=target, **values)
    await tx.execute("UPDATE campaigns SET total_recipients = $1", stores * per_store)
    return campaign, devices


async def ready(tx: Tx, campaign: CampaignId, devices: list[DeviceId]) -> None:
    for device in devices:
        await record_deliveries(tx, device, Digest("d" * 64), {campaign: (Status.READY, Reason.VERIFIED)}, NOW)


async def mails(tx: Tx) -> list[str]:
    return [row["kind"] for row in await tx.fetch("SELECT kind FROM mails ORDER BY id")]


async def test_too_few_ready_screens_are_told_once_a_check_with_their_stores(connection: Tx, ticking: Ticking) -> None:
    campaign, [one, other, _] = await scene(connection)
    await ready(connection, campaign, [*one, *other[:3]])
    assert await ticking.at(START - 6 * HOUR - timedelta(microseconds=1), STEPS) == []
    assert await ticking.at(START - 6 * HOUR, STEPS) == ["at_risk"]
    [told] = ticking.reported
    assert (told.from_status, told.to_status, told.reason, told.due_at) == (
        "SCHEDULED", "SCHEDULED", "NOT_READY", START - 6 * HOUR,
    )  # fmt: skip
    assert {key: told.moved[key] for key in ("ready", "recipients", "stores_at_risk")} == {
        "ready": 7, "recipients": 12, "stores_at_risk": 2,
    }  # fmt: skip
    assert [(store["devices"], store["ready"]) for store in told.moved["stores"]] == [(4, 0), (4, 3)]
    events.valid(transition_message(told).body)
    assert await ticking.at(START - 6 * HOUR + MINUTE, STEPS) == []
    assert await ticking.at(START - HOUR, STEPS) == ["at_risk"]
    assert await ticking.at(START - MINUTE, STEPS) == []
    assert await mails(connection) == ["at_risk", "at_risk"]


async def test_one_that_fails_is_left_out_until_its_next_check_and_the_others_are_told(
    connection: Tx, owner_connection: Tx, ticking: Ticking
) -> None:
    campaigns = [(await scene(connection, stores=1))[0] for _ in range(PORTION)]
    await owner_connection.execute(f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON transitions FOR EACH ROW
        WHEN (NEW.campaign_id = '{campaigns[1]}') EXECUTE FUNCTION refuse()""")
    assert await ticking.at(START - 6 * HOUR, STEPS) == ["at_risk"] * (PORTION - 1)
    assert ticking.good
    assert {each.campaign_id for each in ticking.reported} == {*campaigns} - {campaigns[1]}
    assert await ticking.at(START - 6 * HOUR + MINUTE, STEPS) == []
    await owner_connection.execute("DROP TRIGGER refuse ON transitions")
    assert await ticking.at(START - HOUR, STEPS) == ["at_risk"] * PORTION


async def test_enough_ready_screens_are_no_news(connection: Tx, ticking: Ticking) -> None:
    campaign, stores = await scene(connection, stores=1, per_store=10)
    await ready(connection, campaign, stores[0][:9])
    assert await ticking.at(START - 6 * HOUR, STEPS) == []
    # one that was ready has left the audience: eight of nine are too few
    await connection.execute("UPDATE devices SET disabled = true WHERE id = $1", stores[0][0])
    await connection.execute("UPDATE campaigns SET total_recipients = 9")
    assert await ticking.at(START - HOUR, STEPS) == ["at_risk"]


async def test_after_downtime_only_the_last_check_is_made_and_none_after_the_start(
    connection: Tx, ticking: Ticking
) -> None:
    await scene(connection)
    assert await ticking.at(START - MINUTE, STEPS) == ["at_risk"]
    assert ticking.reported[0].due_at == START - HOUR
    await connection.execute("UPDATE campaigns SET risk_checked_at = NULL")
    assert await ticking.at(START, STEPS) == []


async def test_a_start_that_moves_later_is_checked_anew(connection: Tx, ticking: Ticking) -> None:
    await scene(connection)
    assert await ticking.at(START - HOUR, STEPS) == ["at_risk"]
    await connection.execute("UPDATE campaigns SET start_at = start_at + interval '30 minutes'")
    assert await ticking.at(START - 45 * MINUTE, STEPS) == []
    assert await ticking.at(START - 30 * MINUTE, STEPS) == ["at_risk"]


async def test_what_was_offered_after_the_check_and_what_is_in_no_playlist_is_not_judged(
    connection: Tx, ticking: Ticking
) -> None:
    await scene(connection)
    for state in ("distributed_at = NULL", f"distributed_at = '{START - CHECKS[0]}'", "pause_causes = '{USER}'"):
        await connection.execute(f"UPDATE campaigns SET {state}")
        assert await ticking.at(START - 6 * HOUR + MINUTE, STEPS) == [], state


async def test_an_audience_of_nobody_is_a_risk_and_a_large_one_names_the_worst(
    connection: Tx, ticking: Ticking
) -> None:
    await scene(connection, stores=STORES + 3, per_store=1)
    assert await ticking.at(START - 6 * HOUR, STEPS) == ["at_risk"]
    assert ticking.reported[0].moved["stores_at_risk"] == STORES + 3
    assert len(ticking.reported[0].moved["stores"]) == STORES
    await connection.execute("UPDATE devices SET disabled = true")
    assert await ticking.at(START - HOUR, STEPS) == ["at_risk"]
    assert ticking.reported[0].reason == "NO_ELIGIBLE_DEVICES"


async def started(tx: Tx) -> tuple[CampaignId, list[list[DeviceId]]]:
    campaign, stores = await scene(tx, status="ACTIVE", begins=timedelta())
    await record_service(tx, NOW, HOUR)
    return campaign, stores


async def test_screens_that_are_all_silent_are_told_of_after_an_hour_once(connection: Tx, ticking: Ticking) -> None:
    campaign, stores = await started(connection)
    await record_sightings(connection, [(stores[0][0], NOW - MINUTE)])
    await record_service(connection, NOW + 59 * MINUTE, HOUR)
    assert await ticking.at(NOW + 59 * MINUTE, STEPS) == []
    await record_service(connection, NOW + HOUR, HOUR)
    assert await ticking.at(NOW + HOUR, STEPS) == ["at_risk"]
    [told] = ticking.reported
    assert (told.campaign_id, told.from_status, told.reason, told.due_at) == (
        campaign, "ACTIVE", "DEVICES_OFFLINE", NOW + HOUR,
    )  # fmt: skip
    assert told.moved["stores_at_risk"] == 3
    events.valid(transition_message(told).body)
    assert await ticking.at(NOW + 5 * HOUR, STEPS) == []
    assert await mails(connection) == ["at_risk"]


async def test_one_screen_seen_since_the_start_is_enough(connection: Tx, ticking: Ticking) -> None:
    _, stores = await started(connection)
    await record_sightings(connection, [(stores[2][3], NOW + MINUTE)])
    await record_service(connection, NOW + HOUR, HOUR)
    assert await ticking.at(NOW + HOUR, STEPS) == []
    assert await ticking.at(NOW + 5 * HOUR, STEPS) == []


async def test_time_in_which_nobody_served_is_not_the_screens(connection: Tx, ticking: Ticking) -> None:
    await started(connection)
    await record_service(connection, NOW + 3 * HOUR, HOUR)  # an outage of three hours
    assert await ticking.at(NOW + 3 * HOUR, STEPS) == []
    await record_service(connection, NOW + 4 * HOUR, 2 * HOUR)
    assert await ticking.at(NOW + 4 * HOUR, STEPS) == ["at_risk"]


async def test_nine_tenths_of_a_budget_are_told_once_and_again_after_a_top_up(connection: Tx, ticking: Ticking) -> None:
    campaign, _ = await scene(connection, status="ACTIVE", begins=timedelta())
    spend = "UPDATE campaigns SET held_micros = budget_micros - $1::bigint, spent_micros = $1 WHERE id = $2"
    await connection.execute(spend, 89_999_999, campaign)
    await ticking.at(NOW + MINUTE, STEPS)
    assert await mails(connection) == []
    await connection.execute(spend, 90_000_000, campaign)
    for minutes in (2, 3):
        await ticking.at(NOW + minutes * MINUTE, STEPS)
        assert ticking.reported == []
        assert await mails(connection) == ["budget_used"]
    top_up = "UPDATE campaigns SET budget_micros = 200000000, held_micros = 110000000, sequence = sequence + 1"
    await connection.execute(top_up)
    await ticking.at(NOW + 4 * MINUTE, STEPS)
    assert await mails(connection) == ["budget_used"]
    await connection.execute(spend, 180_000_001, campaign)
    await ticking.at(NOW + 5 * MINUTE, STEPS)
    assert await mails(connection) == ["budget_used", "budget_used"]


async def test_what_is_used_up_at_once_is_told_by_its_pause_alone(connection: Tx, ticking: Ticking) -> None:
    campaign, _ = await scene(connection, status="ACTIVE", begins=timedelta())
    await connection.execute("UPDATE campaigns SET held_micros = 0, spent_micros = budget_micros")
    async with connection.transaction():
        await lifecycle.exhaust(connection, [campaign], NOW)
    await ticking.at(NOW + MINUTE, STEPS)
    assert await mails(connection) == []
