"""Ready and failed campaigns: decided over the whole audience, once, on a real database."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from daemon.readiness import fail_due, ready_due
from devices.delivery import Reason, Status
from devices.queries.deliveries import deliveries, delivery_counts, record_deliveries
from devices.readiness import FileState, Held, judge, reported, united
from devices.targets import Target
from playlists.ids import CampaignId, DeviceId, Digest, Sha256
from playlists.queries import Tx
from tests import world
from tests.interrupted import interrupted

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
A, B = Sha256("a" * 64), Sha256("b" * 64)
WHOLE, PART = Held(whole=True, corruptions=0), Held(whole=False, corruptions=2)
READY, MISSING, CORRUPT = FileState.READY, FileState.MISSING, FileState.CORRUPT


@pytest.mark.parametrize(
    ("said", "held", "expected"),
    [
        ({A: READY, B: READY}, {A: WHOLE, B: WHOLE}, (Status.READY, Reason.VERIFIED)),
        ({A: READY, B: READY}, {A: WHOLE, B: PART}, (Status.OFFERED, Reason.UNVERIFIED)),
        ({A: READY, B: READY}, {A: WHOLE}, (Status.OFFERED, Reason.UNVERIFIED)),
        ({A: READY}, {A: WHOLE, B: WHOLE}, (Status.OFFERED, Reason.MISSING)),
        ({A: READY, B: MISSING}, {A: WHOLE, B: WHOLE}, (Status.OFFERED, Reason.MISSING)),
        ({A: READY, B: CORRUPT}, {A: WHOLE, B: PART}, (Status.OFFERED, Reason.CORRUPT)),
        ({A: READY, B: CORRUPT}, {A: WHOLE, B: Held(False, 3)}, (Status.FAILED, Reason.CORRUPT)),
        ({A: READY, B: MISSING}, {A: WHOLE, B: Held(False, 3)}, (Status.FAILED, Reason.CORRUPT)),
        ({A: READY, B: READY}, {A: WHOLE, B: Held(True, 3)}, (Status.READY, Reason.VERIFIED)),
    ],
)
def test_a_delivery_is_what_was_said_and_seen(
    said: dict[Sha256, FileState], held: dict[Sha256, Held], expected: tuple[Status, Reason]
) -> None:
    assert judge([A, B], said, held) == expected


def test_the_worse_word_counts_and_ranges_unite() -> None:
    assert reported([(A, READY), (A, CORRUPT), (A, MISSING), (B, READY)]) == {A: CORRUPT, B: READY}
    assert united([(5, 9), (0, 3), (3, 5), (12, 12), (10, 11), (1, 2)]) == [(0, 9), (10, 11)]


async def scene(tx: Tx, count: int) -> tuple[CampaignId, list[DeviceId]]:
    owner = await world.tenant(tx, NOW)
    shop = await world.store(tx, NOW, tags=["mall"])
    devices = [await world.device(tx, shop, NOW) for _ in range(count)]
    creative = await world.creative(tx, owner, NOW)
    target = Target(include_tags=frozenset({"mall"}))
    return await world.campaign(tx, owner, NOW, creatives=[creative], target=target), devices


async def tell(tx: Tx, campaign: CampaignId, devices: Sequence[DeviceId], status: Status) -> None:
    for device in devices:
        await record_deliveries(tx, device, Digest("d" * 64), {campaign: (status, Reason.CORRUPT)}, NOW)


async def test_ready_is_said_once_at_the_threshold_of_the_whole_audience(connection: Tx) -> None:
    campaign, devices = await scene(connection, 10)
    await tell(connection, campaign, devices[:8], Status.READY)
    assert not await ready_due(connection, NOW, 90)
    await tell(connection, campaign, devices[8:9], Status.READY)
    [ready] = await ready_due(connection, NOW, 90)
    assert (ready.type, ready.from_status, ready.to_status) == ("content.ready", "ACTIVE", "ACTIVE")
    await tell(connection, campaign, devices[:5], Status.FAILED)
    await tell(connection, campaign, devices, Status.READY)
    assert not await ready_due(connection, NOW, 90)


async def test_only_a_whole_audience_of_failures_fails_a_campaign_and_not_at_once(connection: Tx) -> None:
    campaign, devices = await scene(connection, 3)
    await tell(connection, campaign, devices[:2], Status.FAILED)
    assert not await fail_due(connection, NOW + 31 * MINUTE, MINUTE), "silence is no failure"
    await tell(connection, campaign, devices, Status.FAILED)
    assert not await fail_due(connection, NOW + 29 * MINUTE, MINUTE)
    [failed] = await fail_due(connection, NOW + 30 * MINUTE, MINUTE)
    assert (failed.type, failed.to_status, failed.reason) == ("failed", "FAILED", "DEVICES_FAILED")
    assert not await fail_due(connection, NOW + 31 * MINUTE, MINUTE)
    assert await connection.fetchval("SELECT settle_at FROM campaigns") == NOW + 31 * MINUTE


async def test_who_is_ready_while_failures_are_counted_saves_its_campaign(connection: Tx) -> None:
    campaign, devices = await scene(connection, 3)
    await tell(connection, campaign, devices, Status.FAILED)
    counted = interrupted(connection, 3, lambda: tell(connection, campaign, devices[:1], Status.READY))
    assert not await fail_due(counted, NOW + 30 * MINUTE, MINUTE)
    assert await connection.fetchval("SELECT status FROM campaigns") == "ACTIVE"


async def test_lists_cover_the_audience_and_who_has_left_it(connection: Tx) -> None:
    campaign, devices = await scene(connection, 4)
    await tell(connection, campaign, devices[:2], Status.READY)
    await connection.execute("UPDATE devices SET disabled = true WHERE id = ANY($1::uuid[])", [devices[0], devices[3]])
    first = await deliveries(connection, campaign, NOW, None, 2)
    rest = await deliveries(connection, campaign, NOW, first[-1].device_id, 2)
    assert [(one.device_id, one.status) for one in [*first, *rest]] == [
        (devices[0], "REMOVED"), (devices[1], "READY"), (devices[2], "OFFERED")
    ]  # fmt: skip
    counts = (await delivery_counts(connection, [campaign], NOW))[campaign]
    assert {status: count for status, count in counts.items() if count} == {Status.READY: 1, Status.OFFERED: 1}
