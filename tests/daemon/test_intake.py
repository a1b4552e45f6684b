"""Plays against money on a real database: any order, repetition, split or concurrency of them costs the same."""

import asyncio
from datetime import timedelta
from random import Random

import asyncpg
import pytest

from daemon.campaigns.rates import Prices, Rate
from daemon.database import set_codecs
from devices.contents import Library
from playlists.daypart import parse
from playlists.ids import DeviceId, Digest
from playlists.queries import Tx
from tests import world
from tests.daemon.scene import NOW, PRICE, SECOND, Scene, made, money, report, set_budget


@pytest.fixture
async def scene(connection: Tx) -> Scene:
    return await made(connection)


async def test_a_play_is_charged_once_and_answered_in_order(connection: Tx, scene: Scene) -> None:
    library = Library()
    first, other = scene.plays(2), scene.plays(1, "q", campaign=1)
    sent = [first[0], other[0], first[0], first[1]._replace(duration_ms=1)]
    receipt = await report(connection, scene.devices[0], sent, library)
    assert [(one.verdict, one.charged_micros) for one in receipt.results] == [
        ("accepted", PRICE), ("accepted", PRICE), ("duplicate", 0), ("too_short", 0)
    ]  # fmt: skip
    again = await report(connection, scene.devices[0], [first[1], first[0]], library)
    assert [one.verdict for one in again.results] == ["duplicate", "duplicate"], "a refused play was answered too"
    assert await money(connection, scene.campaigns[0]) == {
        "status": "ACTIVE", "held_micros": 100_000_000 - PRICE, "spent_micros": PRICE, "impressions": 1,
        "posted": PRICE, "charged": PRICE,
    }  # fmt: skip
    assert await connection.fetchval("SELECT count(*) FROM ledger") == 2, "one posting per campaign and batch"


async def test_a_devices_own_price_and_the_priority_of_now_count(connection: Tx, scene: Scene) -> None:
    await connection.execute("UPDATE devices SET cpm_micros = 15000000 WHERE id = $1", scene.devices[0])
    await connection.execute("UPDATE campaigns SET priority = 9")
    receipt = await report(connection, scene.devices[0], scene.plays(1), Library())
    assert receipt.results[0].charged_micros == 11_000


async def test_the_rate_of_the_shops_own_hour_counts_whenever_it_is_reported(connection: Tx, scene: Scene) -> None:
    await connection.execute("UPDATE stores SET category = 'Bakery', timezone = 'Asia/Kathmandu'")  # 17:45 there
    early = parse({"days": ["sun"], "from": "17:00", "to": "17:44"})
    card = Prices(5_000_000, (Rate(15_000_000, "bakery", early), Rate(30_000_000, "bar")))
    play = scene.plays(1)[0]
    sent = [play._replace(play_id=f"{n}", started_at=NOW - timedelta(minutes=n)) for n in (0, 1, 2, 45, 46)]
    receipt = await report(connection, scene.devices[0], sent, Library(), NOW + timedelta(minutes=9), card)
    assert [one.charged_micros for one in receipt.results] == [PRICE, PRICE, 10_000, 10_000, PRICE]


async def test_the_play_that_empties_a_budget_pauses_its_campaign(connection: Tx, scene: Scene) -> None:
    campaign = scene.campaigns[0]
    await set_budget(connection, campaign, 2 * PRICE + 1)
    receipt = await report(connection, scene.devices[0], scene.plays(4), Library())
    assert [(one.verdict, one.charged_micros) for one in receipt.results] == [
        ("accepted", PRICE), ("accepted", PRICE), ("accepted", 1), ("unpaid", 0)
    ]  # fmt: skip
    [paused] = receipt.transitions
    assert (paused.type, paused.from_status, paused.to_status) == ("paused", "ACTIVE", "PAUSED")
    assert paused.reason == "BUDGET_EXHAUSTED"
    assert (await money(connection, campaign))["impressions"] == 4
    assert await connection.fetchval("SELECT urgent FROM marks") is True
    assert await connection.fetchval("SELECT count(*) FROM outbox") == 1
    later = await report(connection, scene.devices[1], scene.plays(1), Library())
    assert [one.verdict for one in later.results] == ["unpaid"]
    assert not later.transitions
    assert (await money(connection, campaign))["impressions"] == 5


async def test_what_was_not_given_or_is_over_costs_nothing(connection: Tx, scene: Scene) -> None:
    [play] = scene.plays(1)
    stranger = await world.device(connection, await world.store(connection, NOW), NOW)
    assert (await report(connection, stranger, [play], Library())).results[0].verdict == "wrong_device"
    unknown = play._replace(digest=Digest("f" * 64), play_id="u")
    assert (await report(connection, stranger, [unknown], Library())).results[0].verdict == "unknown_playlist"
    await connection.execute(
        "INSERT INTO pauses (campaign_id, cause, began_at) VALUES ($1, 'USER', $2)",
        scene.campaigns[0],
        NOW - 31 * SECOND,
    )
    late = [play, play._replace(play_id="x", started_at=play.started_at - 5 * SECOND)]
    found = await report(connection, scene.devices[0], late, Library())
    assert [one.verdict for one in found.results] == ["campaign_closed", "accepted"]
    await connection.execute("UPDATE pauses SET cause = 'BUDGET_EXHAUSTED'")
    assert (await report(connection, scene.devices[1], [play], Library())).results[0].verdict == "accepted"


async def test_the_same_plays_cost_the_same_however_they_come(connection: Tx, scene: Scene) -> None:
    for seed in range(12):
        random, library = Random(seed), Library()
        campaign = scene.campaigns[0]
        budget = random.choice([1, PRICE, 7 * PRICE + 5, 10**8])
        await connection.execute("DELETE FROM plays")
        await connection.execute("DELETE FROM pauses")
        await set_budget(connection, campaign, budget)
        before = await connection.fetchval("SELECT coalesce(sum(amount_micros), 0) FROM ledger")
        sent = [(device, play) for device in scene.devices for play in scene.plays(random.randint(1, 12))]
        waiting = sent + random.choices(sent, k=random.randint(0, 10))
        random.shuffle(waiting)
        while waiting:
            device, some = waiting[0][0], random.randint(1, 6)
            batch, rest = waiting[:some], waiting[some:]
            waiting = [one for one in batch if one[0] != device] + rest
            await report(connection, device, [play for owner, play in batch if owner == device], library)
        row = await connection.fetchrow("SELECT spent_micros, impressions FROM campaigns WHERE id = $1", campaign)
        assert row is not None
        assert (row["spent_micros"], row["impressions"]) == (min(budget, PRICE * len(sent)), len(sent))
        posted = await connection.fetchval("SELECT coalesce(sum(amount_micros), 0) FROM ledger") - before
        assert posted == row["spent_micros"]


async def test_two_devices_at_once_over_one_budget(database_url: str, connection: Tx, scene: Scene) -> None:
    budget = 25 * PRICE + 7
    for campaign in scene.campaigns:
        await set_budget(connection, campaign, budget)

    async def screen(device: DeviceId, flip: bool) -> None:
        own = await asyncpg.connect(database_url)
        await set_codecs(own)
        try:
            for batch in range(10):
                some = scene.plays(2, f"a{batch}-") + scene.plays(2, f"b{batch}-", campaign=1)
                await report(own, device, some[::-1] if flip else some, Library())
        finally:
            await own.close()

    # twice each: the same report on two connections, as after a reply that was lost
    await asyncio.gather(*(screen(device, flip) for device in scene.devices for flip in (False, True)))
    for campaign in scene.campaigns:
        found = await money(connection, campaign)
        assert (found["spent_micros"], found["held_micros"], found["impressions"]) == (budget, 0, 40)
        assert found["status"] == "PAUSED"
    assert await connection.fetchval("SELECT count(*) FROM transitions WHERE type = 'paused'") == 2
