"""Online and offline: silence counts only while somebody served, in Python and in SQL alike."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from devices.presence import Beat, Outage, Status, Watch, online_since, patience, silence, skewed, status
from devices.queries.presence import announce_changes, record_beats, record_service, record_sightings, watch
from playlists.ids import DeviceId
from playlists.queries import Tx
from tests import world

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
PATIENCE = patience(5 * MINUTE, MINUTE)
GAP = 15 * SECOND


def test_patience_is_the_longer_of_two_beats_and_one_and_a_half_polls() -> None:
    assert patience(5 * MINUTE, MINUTE) == 7.5 * MINUTE
    assert patience(MINUTE, MINUTE) == 2 * MINUTE


@pytest.mark.parametrize(
    ("seen", "outages", "expected"),
    [
        (NOW - 7.5 * MINUTE, [], Status.ONLINE),
        (NOW - 7.5 * MINUTE - SECOND, [], Status.OFFLINE),
        (NOW - HOUR, [(NOW - HOUR, NOW - 5 * MINUTE)], Status.ONLINE),
        (NOW - HOUR, [(NOW - 55 * MINUTE, NOW - 5 * MINUTE)], Status.OFFLINE),  # silent 5 minutes before, 5 after
        (NOW - 10 * HOUR, [(NOW - MINUTE, NOW - SECOND)], Status.OFFLINE),  # was offline before we were
        (NOW + SECOND, [], Status.ONLINE),
    ],
)
def test_silence_in_an_outage_of_ours_is_not_the_devices(
    seen: datetime, outages: Sequence[Outage], expected: Status
) -> None:
    assert status(False, seen, Watch(NOW, outages, PATIENCE)) is expected


def test_what_was_never_seen_is_new_and_what_is_disabled_is_that() -> None:
    assert status(False, None, Watch(NOW, [], PATIENCE)) is Status.NEW
    assert status(True, NOW, Watch(NOW, [], PATIENCE)) is Status.DISABLED
    assert skewed(30_001)
    assert not skewed(-30_000)


async def seats(tx: Tx, count: int) -> list[DeviceId]:
    shop = await world.store(tx, NOW)
    return [await world.device(tx, shop, NOW) for _ in range(count)]


async def test_each_change_is_told_once_with_its_number(connection: Tx) -> None:
    one, other = await seats(connection, 2)
    await record_service(connection, NOW, GAP)
    await record_sightings(connection, [(one, NOW), (other, NOW)])
    told = await announce_changes(connection, PATIENCE, 10)
    assert {(t.device_id, t.online, t.number) for t in told} == {(one, True, 1), (other, True, 1)}
    assert not await announce_changes(connection, PATIENCE, 10)
    for minute in range(1, 9):
        await record_service(connection, NOW + minute * MINUTE, 2 * MINUTE)
    await record_beats(connection, [Beat(one, NOW + 8 * MINUTE, None, "on", 0, [])])
    [gone] = await announce_changes(connection, PATIENCE, 10)
    assert (gone.device_id, gone.online, gone.number) == (other, False, 2)
    await connection.execute("UPDATE devices SET disabled = true WHERE id = $1", one)
    [off] = await announce_changes(connection, PATIENCE, 10)
    assert (off.device_id, off.online) == (one, False)


async def test_older_news_of_a_device_changes_nothing(connection: Tx) -> None:
    [device] = await seats(connection, 1)
    await record_beats(connection, [Beat(device, NOW, "d" * 64, "on", 5, ["fan"])])
    await record_beats(connection, [Beat(device, NOW - MINUTE, None, "off", 0, [])])
    await record_sightings(connection, [(device, NOW - HOUR)])
    row = await connection.fetchrow("SELECT * FROM presence")
    assert row is not None
    assert (row["last_seen_at"], row["digest"], row["screen"], row["errors"]) == (NOW, "d" * 64, "on", ["fan"])


async def test_sql_and_python_agree_on_silence(connection: Tx) -> None:
    random = Random(7)
    devices = await seats(connection, 200)
    at = NOW - HOUR
    while at < NOW:  # an hour of serving, with breaks
        await record_service(connection, at, GAP)
        at += SECOND * random.choice([5] * 40 + [14, 16, 100, 400])
    await record_service(connection, NOW, GAP)
    assert await connection.fetchval("SELECT count(*) FROM outages") > 2
    seen = {device: NOW - SECOND * random.uniform(0, 4000) for device in devices}
    await record_sightings(connection, seen.items())
    watched = await watch(connection, PATIENCE)
    assert watched.until == NOW
    online = {device for device, last in seen.items() if silence(last, watched) <= PATIENCE}
    assert 20 < len(online) < 180
    assert online == {device for device, last in seen.items() if last >= online_since(watched)}
    told = await announce_changes(connection, PATIENCE, 1000)
    assert {one.device_id for one in told if one.online} == online
