"""The planner: from a mark to the screens it touches, whatever dies in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from config.settings import DatabaseSettings
from daemon import planner
from daemon.compiling import Compiler, Reach, opened
from daemon.database import Database
from daemon.house import FILE, SHIPPED
from daemon.metrics import Metrics
from daemon.planner import step
from devices.audience import set_target
from devices.targets import Target
from playlists import playlist
from playlists.ids import CampaignId, CreativeId, DeviceId
from playlists.playlist import Playlist
from playlists.queries import (
    Tx,
    mark_campaigns,
    mark_device,
    mark_network,
    mark_store,
    mark_stored,
    screens,
    set_house_fallback,
)
from tests import world
from tests.doubles import FakeClock

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.create(CollectorRegistry())


@pytest.fixture(scope="module")
async def compiler() -> AsyncIterator[Compiler]:
    async with opened(2, Reach()) as children:
        yield children


Plan = Callable[..., Awaitable[int]]


@pytest.fixture
async def plan(connection: Tx, compiler: Compiler, metrics: Metrics) -> Plan:
    """Plan on the test's connection until nothing is left; how many screens changed."""

    async def until_done(now: datetime = NOW) -> int:
        changed = 0
        while await screens.work_waits(connection, now, now + compiler.reach.renewal):
            async with connection.transaction():
                done = await step(connection, now, compiler, metrics)
            assert done is not None
            changed += done.changed
        return changed

    return until_done


async def on_screen(tx: Tx, device: DeviceId) -> Playlist:
    body = await tx.fetchval(
        "SELECT p.body FROM screens s JOIN playlists p ON p.digest = s.digest WHERE s.device_id = $1", device
    )
    return playlist.parse(body)


async def campaigns_on(tx: Tx, device: DeviceId) -> set[CampaignId]:
    return {e.campaign_id for e in (await on_screen(tx, device)).creatives if e.campaign_id is not None}


async def house_on(tx: Tx, device: DeviceId) -> list[CreativeId]:
    shown = await on_screen(tx, device)
    return [shown.creatives[index].id for index in shown.fallback]


async def versions(tx: Tx) -> dict[DeviceId, int]:
    return {row["device_id"]: row["version"] for row in await tx.fetch("SELECT device_id, version FROM screens")}


async def test_a_mark_reaches_the_screens_it_touches_and_no_other(connection: Tx, plan: Plan) -> None:
    owner = await world.tenant(connection, NOW)
    picture = await world.creative(connection, owner, NOW)
    here, there = await world.store(connection, NOW, tags=["mall"]), await world.store(connection, NOW)
    meant, neighbour = [await world.device(connection, shop, NOW) for shop in (here, there)]
    off = await world.device(connection, here, NOW, disabled=True)
    await mark_network(connection, NOW)
    assert await plan() == 3
    assert await campaigns_on(connection, meant) == set()
    assert await house_on(connection, meant) == [SHIPPED.creative_id]

    target = Target(include_tags=frozenset({"mall"}))
    campaign = await world.campaign(connection, owner, NOW, creatives=[picture], target=target)
    await mark_campaigns(connection, [campaign], NOW)
    assert await plan() == 1
    assert await campaigns_on(connection, meant) == {campaign}
    assert await campaigns_on(connection, neighbour) == await campaigns_on(connection, off) == set()
    shown = (await on_screen(connection, meant)).at(NOW)
    assert (shown.kind, shown.campaign_id) == ("ad", campaign)

    await world.end_campaign(connection, campaign)
    await mark_campaigns(connection, [campaign], NOW, urgent=True)
    assert await plan() == 1
    assert await campaigns_on(connection, meant) == set()
    assert await versions(connection) == {meant: 3, neighbour: 1, off: 1}
    assert await connection.fetchval("SELECT count(*) FROM grants WHERE device_id = $1", meant) == 2
    assert await connection.fetchval("SELECT count(*) FROM marks") == 0


async def test_what_blocks_excludes_or_disables_takes_off(connection: Tx, plan: Plan) -> None:
    owner = await world.tenant(connection, NOW)
    picture = await world.creative(connection, owner, NOW)
    shop = await world.store(connection, NOW)
    device = await world.device(connection, shop, NOW)
    campaign = await world.campaign(
        connection, owner, NOW, creatives=[picture], target=Target(block_keys=frozenset({"brand:acme"}))
    )
    await mark_device(connection, device, NOW)
    await plan()
    assert await campaigns_on(connection, device) == {campaign}

    await connection.execute("UPDATE stores SET blocked_keys = '{brand:acme}' WHERE id = $1", shop)
    await mark_store(connection, shop, NOW)
    await plan()
    assert await campaigns_on(connection, device) == set()

    await connection.execute("UPDATE stores SET blocked_keys = '{}' WHERE id = $1", shop)
    await mark_store(connection, shop, NOW)
    await plan()
    assert await campaigns_on(connection, device) == {campaign}

    await set_target(connection, campaign, Target(exclude_devices=frozenset({device})))
    await mark_campaigns(connection, [campaign], NOW)
    await plan()
    assert await campaigns_on(connection, device) == set()

    await set_target(connection, campaign, Target())
    await connection.execute("UPDATE devices SET disabled = true WHERE id = $1", device)
    await mark_campaigns(connection, [campaign], NOW)
    await plan()
    assert await campaigns_on(connection, device) == set()


async def test_house_content_is_the_stores_else_the_networks_else_the_shipped(connection: Tx, plan: Plan) -> None:
    mine, missing = [await world.creative(connection, None, NOW, stored=stored) for stored in (True, False)]
    shop = await world.store(connection, NOW)
    device = await world.device(connection, shop, NOW)
    await mark_device(connection, device, NOW)
    await plan()
    assert await house_on(connection, device) == [SHIPPED.creative_id]
    await set_house_fallback(connection, [missing], NOW)
    await plan()
    assert await house_on(connection, device) == [SHIPPED.creative_id]
    await mark_stored(connection, missing, NOW)
    await plan()
    assert await house_on(connection, device) == [missing]
    await connection.execute("UPDATE stores SET fallback = $2 WHERE id = $1", shop, [mine, missing])
    await mark_store(connection, shop, NOW)
    await plan()
    assert await house_on(connection, device) == [mine, missing]


def test_the_shipped_image_is_what_it_says() -> None:
    content = FILE.read_bytes()
    assert (len(content), sha256(content).hexdigest()) == (SHIPPED.size, SHIPPED.sha256)


async def test_equal_inputs_share_one_playlist(connection: Tx, plan: Plan, metrics: Metrics) -> None:
    owner = await world.tenant(connection, NOW)
    picture = await world.creative(connection, owner, NOW)
    shops = [await world.store(connection, NOW) for _ in range(5)]
    devices = [await world.device(connection, shop, NOW) for shop in shops for _ in range(4)]
    odd = await world.device(connection, shops[0], NOW, slots_per_hour=60)
    await world.campaign(connection, owner, NOW, creatives=[picture])
    await mark_network(connection, NOW)
    assert await plan() == len(devices) + 1
    assert await connection.fetchval("SELECT count(DISTINCT digest) FROM screens") == 2
    assert await connection.fetchval("SELECT count(*) FROM playlists") == 2
    assert await on_screen(connection, odd) != await on_screen(connection, devices[0])
    assert metrics.compiles_total.labels("ok")._value.get() == 2

    await mark_network(connection, NOW)
    assert await plan() == 0
    assert set((await versions(connection)).values()) == {1}
    assert metrics.compiles_total.labels("ok")._value.get() == 2


async def test_what_is_in_a_playlist_is_what_overlaps_it(connection: Tx, plan: Plan) -> None:
    owner = await world.tenant(connection, NOW)
    picture = await world.creative(connection, owner, NOW)
    device = await world.device(connection, await world.store(connection, NOW), NOW)

    async def one(**kind: object) -> CampaignId:
        return await world.campaign(connection, owner, NOW, creatives=[picture], **kind)  # type: ignore[arg-type]

    running, tomorrow = await one(), await one(begins=24 * HOUR, ends=30 * HOUR, status="SCHEDULED")
    await one(distributed=False)
    await one(status="PENDING_APPROVAL")
    await one(begins=50 * HOUR, ends=60 * HOUR, status="SCHEDULED")
    await one(begins=-50 * HOUR, ends=-49 * HOUR)
    over = await one(begins=-2 * HOUR, ends=-timedelta(minutes=1))
    paused = await one()
    await connection.execute("UPDATE campaigns SET status = 'PAUSED', pause_causes = '{USER}' WHERE id = $1", paused)
    await mark_network(connection, NOW)
    await plan()
    shown = await on_screen(connection, device)
    found = await campaigns_on(connection, device)
    assert found - {over} == {running, tomorrow}
    # One that has ended stays for as long as the horizon knows its time: what was planned does not change by it.
    assert (over in found) == (shown.valid_from < NOW - timedelta(minutes=1))


async def test_renewal_comes_in_time_and_changes_nothing_planned(connection: Tx, plan: Plan) -> None:
    owner = await world.tenant(connection, NOW)
    pictures = [await world.creative(connection, owner, NOW) for _ in range(3)]
    device = await world.device(connection, await world.store(connection, NOW), NOW)
    for number in range(3):
        await world.campaign(connection, owner, NOW, creatives=pictures, ends=(3 + 30 * number) * HOUR)
    await mark_network(connection, NOW)
    await plan()
    renewals, before, now = 0, await on_screen(connection, device), NOW
    while now < NOW + 60 * HOUR:
        now += HOUR
        renewals += await plan(now)
        after = await on_screen(connection, device)
        assert after.valid_from <= now
        assert after.valid_until - now > 26 * HOUR
        for minute in range(0, 26 * 60, 7):
            instant = now + timedelta(minutes=minute, seconds=1)
            assert describe(before, instant) == describe(after, instant)
        before = after
    assert 2 <= renewals <= 6
    assert (await versions(connection))[device] == 1 + renewals


def describe(shown: Playlist, instant: datetime) -> tuple[object, ...]:
    item = shown.at(instant)
    creative = None if item.creative is None else shown.creatives[item.creative].id
    return item.kind, item.campaign_id, creative, item.begins, item.ends


async def test_of_two_planners_one_plans(
    connection: Tx, owner_connection: Tx, compiler: Compiler, metrics: Metrics
) -> None:
    device = await world.device(connection, await world.store(connection, NOW), NOW)
    await mark_device(connection, device, NOW)
    async with connection.transaction():
        assert await step(connection, NOW, compiler, metrics) is not None
        async with owner_connection.transaction():
            assert await step(owner_connection, NOW, compiler, metrics) is None
    async with owner_connection.transaction():
        done = await step(owner_connection, NOW, compiler, metrics)
    assert done is not None
    assert done.planned == 0


async def test_a_planner_that_dies_leaves_all_of_it_to_the_next(
    connection: Tx, owner_connection: "asyncpg.Connection[asyncpg.Record]", plan: Plan, metrics: Metrics
) -> None:
    device = await world.device(connection, await world.store(connection, NOW), NOW)
    await mark_device(connection, device, NOW)
    async with opened(1, Reach()) as doomed:
        await owner_connection.execute("BEGIN")
        assert await step(owner_connection, NOW, doomed, metrics) is not None
        owner_connection.terminate()  # as the kernel does for a process that is killed
    await eventually(connection, f"SELECT pg_try_advisory_xact_lock({screens.PLANNER})")
    assert await plan() == 1
    assert await versions(connection) == {device: 1}


async def test_an_input_that_cannot_be_compiled_stands_alone(connection: Tx, plan: Plan, metrics: Metrics) -> None:
    hours = [{"days": ["sun"], "from": "09:00", "to": "21:00"}]
    odd = await world.store(connection, NOW, timezone="Mars/Olympus", opening_hours=hours)
    even = await world.store(connection, NOW, opening_hours=hours)
    strange, sound = await world.device(connection, odd, NOW), await world.device(connection, even, NOW)
    await mark_network(connection, NOW, urgent=True)
    assert await plan() == 1
    assert (await versions(connection)).keys() == {sound}
    assert metrics.compiles_total.labels("failed")._value.get() == 1
    await connection.execute("UPDATE stores SET timezone = 'Europe/Berlin' WHERE id = $1", odd)
    await mark_store(connection, odd, NOW)
    assert await plan() == 1
    assert strange in await versions(connection)


async def test_what_is_urgent_goes_first(
    connection: Tx, compiler: Compiler, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "SCREENS_A_PORTION", 3)
    shop = await world.store(connection, NOW)
    devices = [await world.device(connection, shop, NOW) for _ in range(8)]
    await mark_network(connection, NOW)
    async with connection.transaction():
        await step(connection, NOW, compiler, metrics)
    await mark_device(connection, devices[-1], NOW + HOUR, urgent=True)
    async with connection.transaction():
        done = await step(connection, NOW + HOUR, compiler, metrics)
    assert done is not None
    assert done.changed == 1
    assert devices[-1] in await versions(connection)


async def test_playlists_are_forgotten_four_hours_after_their_end(connection: Tx, plan: Plan) -> None:
    owner = await world.tenant(connection, NOW)
    picture = await world.creative(connection, owner, NOW)
    device = await world.device(connection, await world.store(connection, NOW), NOW)
    await mark_device(connection, device, NOW)
    await plan()
    first = await on_screen(connection, device)
    campaign = await world.campaign(connection, owner, NOW, creatives=[picture], ends=1000 * HOUR)
    await mark_campaigns(connection, [campaign], NOW)
    await plan()
    kept = first.valid_until + planner.KEPT
    assert await screens.forget(connection, kept - planner.KEPT, 100) == 0
    assert await screens.forget(connection, kept + timedelta(seconds=1) - planner.KEPT, 100) == 1
    # the one on the screen stays however old it is
    assert await screens.forget(connection, NOW + 1000 * HOUR, 100) == 0
    assert await connection.fetchval("SELECT count(*) FROM grants") == 1
    assert await campaigns_on(connection, device) == {campaign}


async def test_the_loop_follows_marks_and_counts_recipients(database_url: str, connection: Tx) -> None:
    owner = await world.tenant(connection, NOW)
    picture = await world.creative(connection, owner, NOW)
    shop = await world.store(connection, NOW)
    unmarked = await world.device(connection, shop, NOW)
    campaign = await world.campaign(connection, owner, NOW, creatives=[picture])
    settings = DatabaseSettings(url=database_url)
    metrics = Metrics.create(CollectorRegistry())
    async with Database.open(settings) as database, running(database, FakeClock(NOW), metrics):
        await eventually(connection, "SELECT count(*) = 1 FROM screens")
        await eventually(connection, "SELECT total_recipients = 1 FROM campaigns")
        another = await world.device(connection, shop, NOW)
        await mark_device(connection, another, NOW)
        await eventually(connection, "SELECT count(*) = 2 FROM screens")
        await eventually(connection, "SELECT total_recipients = 2 FROM campaigns")
        await world.end_campaign(connection, campaign)
        await mark_campaigns(connection, [campaign], NOW, urgent=True)
        await eventually(connection, "SELECT min(version) = 2 FROM screens")
    assert await campaigns_on(connection, unmarked) == set()


@asynccontextmanager
async def running(database: Database, clock: FakeClock, metrics: Metrics) -> AsyncIterator[None]:
    """The planner's loop, for the block."""
    loop = asyncio.create_task(planner.run(database, clock, metrics, lambda: None, asyncio.Event(), Reach()))
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.wait([loop])


async def eventually(tx: Tx, question: str) -> None:
    async with asyncio.timeout(5):
        while not await tx.fetchval(question):  # noqa: ASYNC110 - what it waits for is in the database
            await asyncio.sleep(0.02)


async def test_a_count_that_must_wait_is_no_work(connection: Tx, owner_connection: Tx) -> None:
    owner = await world.tenant(connection, NOW)
    await world.device(connection, await world.store(connection, NOW), NOW)
    campaign = await world.campaign(connection, owner, NOW, creatives=[await world.creative(connection, owner, NOW)])
    recounts = planner.Recounts()
    async with owner_connection.transaction():
        await owner_connection.execute("SELECT FROM campaigns WHERE id = $1 FOR UPDATE", campaign)
        assert await recounts.portion(connection) == 0, "else the loop would ask again and again without a pause"
    assert [await recounts.portion(connection) for _ in range(2)] == [1, 0]
    assert await connection.fetchval("SELECT total_recipients FROM campaigns") == 1


async def test_the_settings_say_how_far_playlists_reach(connection: Tx, metrics: Metrics) -> None:
    await world.device(connection, await world.store(connection, NOW), NOW)
    await mark_network(connection, NOW)
    reach = Reach.of(timedelta(hours=12), timedelta(hours=5))
    async with opened(1, reach) as compiler, connection.transaction():
        await step(connection, NOW, compiler, metrics)
    ends = await connection.fetchval("SELECT valid_until FROM screens")
    covered = await connection.fetchval("SELECT valid_until - valid_from FROM playlists")
    assert covered == timedelta(hours=12)
    assert timedelta(hours=5) < ends - NOW <= timedelta(hours=12)
