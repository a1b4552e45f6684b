"""A day's cap on a real database: what it stops, until when, and that no order of plays gets round it."""

import asyncio
from collections import defaultdict
from datetime import date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from daemon.compiling import Reach, opened
from daemon.database import set_codecs
from daemon.metrics import Metrics
from daemon.planner import step
from devices.contents import Library
from devices.plays import Play
from playlists.compile import compile_playlist
from playlists.ids import CampaignId
from playlists.placement import Screen
from playlists.playlist import Playlist, parse
from playlists.queries import Tx, mark_network, screens
from playlists.queries.placements import placements
from tests.daemon.scene import HOUR, NOW, PRICE, SECOND, Scene, made, money, report, set_budget

AUCKLAND = "Pacific/Auckland"  # there, NOW is one o'clock in the morning of the 23rd
MIDNIGHT, NEXT = NOW - HOUR, NOW + 23 * HOUR
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def scene(connection: Tx) -> Scene:
    return await made(connection)


async def set_cap(tx: Tx, campaign: CampaignId, micros: int, timezone: str = AUCKLAND) -> None:
    await tx.execute(
        "UPDATE campaigns SET daily_cap_micros = $2, timezone = $3, capped_until = NULL WHERE id = $1",
        campaign, micros, timezone,
    )  # fmt: skip


async def capped_until(tx: Tx, campaign: CampaignId) -> datetime | None:
    found: datetime | None = await tx.fetchval("SELECT capped_until FROM campaigns WHERE id = $1", campaign)
    return found


async def spends(tx: Tx, campaign: CampaignId) -> dict[date, int]:
    rows = await tx.fetch("SELECT * FROM daily_spends WHERE campaign_id = $1 ORDER BY spent_on", campaign)
    return {row["spent_on"]: row["spent_micros"] for row in rows}


async def planned(tx: Tx) -> Playlist:
    """What a screen plays whose playlist is made at NOW."""
    placed = await placements(tx, NOW - 24 * HOUR, NOW + 48 * HOUR)
    return compile_playlist(placed, Screen("UTC", 12, (), ()), NOW - HOUR, NOW + 47 * HOUR)


def shown(playlist: Playlist, campaign: CampaignId, begin: datetime, end: datetime) -> bool:
    slots = range((end - begin) // (5 * MINUTE))
    return any(playlist.at(begin + 5 * MINUTE * slot).campaign_id == campaign for slot in slots)


def at(play: Play, began: datetime, name: str) -> Play:
    return play._replace(started_at=began, play_id=name)


async def test_a_used_up_day_takes_a_campaign_off_the_screens_until_midnight(connection: Tx, scene: Scene) -> None:
    campaign = scene.campaigns[0]
    await set_cap(connection, campaign, 2 * PRICE + 1)
    receipt = await report(connection, scene.devices[0], scene.plays(4), Library())
    assert [(one.verdict, one.charged_micros) for one in receipt.results] == [
        ("accepted", PRICE), ("accepted", PRICE), ("accepted", 1), ("unpaid", 0)
    ]  # fmt: skip
    assert (receipt.transitions, receipt.moved) == ([], True)
    found = await money(connection, campaign)
    assert (found["status"], found["impressions"], found["spent_micros"]) == ("ACTIVE", 4, 2 * PRICE + 1)
    assert await capped_until(connection, campaign) == NEXT
    assert [tuple(row) for row in await connection.fetch("SELECT ref, urgent FROM marks")] == [(campaign, True)]

    playlist = await planned(connection)
    assert not shown(playlist, campaign, NOW - HOUR, NEXT)
    assert shown(playlist, campaign, NEXT, NEXT + 2 * HOUR), "it is planned again from midnight, with nobody's help"
    assert shown(playlist, scene.campaigns[1], NOW, NEXT)

    again = await report(connection, scene.devices[1], scene.plays(2), Library())
    assert [one.verdict for one in again.results] == ["unpaid", "unpaid"]
    assert not again.moved, "it is off the screens already"
    tomorrow = [at(play, NEXT + n * SECOND, f"n{n}") for n, play in enumerate(scene.plays(4))]
    later = await report(connection, scene.devices[0], tomorrow, Library(), NEXT + MINUTE)
    assert [one.charged_micros for one in later.results] == [PRICE, PRICE, 1, 0]
    assert await capped_until(connection, campaign) == NEXT + 24 * HOUR
    assert await spends(connection, campaign) == {date(2026, 11, day): 2 * PRICE + 1 for day in (23, 24)}


async def test_screens_follow_at_once_and_nothing_happens_at_midnight(connection: Tx, scene: Scene) -> None:
    campaign, device = scene.campaigns[0], scene.devices[0]
    metrics = Metrics.create(CollectorRegistry())
    async with opened(1, Reach()) as compiler:

        async def plan(now: datetime) -> tuple[int, Playlist]:
            """How many screens changed, and what the first is given now."""
            changed = 0
            while await screens.work_waits(connection, now, now + compiler.reach.renewal):
                async with connection.transaction():
                    done = await step(connection, now, compiler, metrics)
                assert done is not None
                changed += done.changed
            body = await connection.fetchval(
                "SELECT p.body FROM screens s JOIN playlists p USING (digest) WHERE s.device_id = $1", device
            )
            return changed, parse(body)

        await mark_network(connection, NOW)
        _, before = await plan(NOW)
        assert shown(before, campaign, NOW, NOW + HOUR)
        await set_cap(connection, campaign, PRICE)
        await report(connection, device, scene.plays(1), Library())
        changed, after = await plan(NOW)
        assert changed == 2
        assert not shown(after, campaign, NOW, NEXT)
        assert shown(after, campaign, NEXT, NEXT + HOUR)
        # it may be renewed in the meantime, or then, and says the same
        assert shown((await plan(NEXT - SECOND))[1], campaign, NEXT, NEXT + HOUR)
        assert shown((await plan(NEXT))[1], campaign, NEXT, NEXT + HOUR)


async def test_yesterdays_plays_use_up_yesterday(connection: Tx, scene: Scene) -> None:
    campaign = scene.campaigns[0]
    await set_cap(connection, campaign, PRICE)
    edge = [MIDNIGHT - timedelta(microseconds=1), MIDNIGHT, MIDNIGHT - HOUR]
    late = [at(scene.plays(1)[0], began, f"l{n}") for n, began in enumerate(edge[::2])]
    receipt = await report(connection, scene.devices[0], late, Library())
    assert [(one.verdict, one.counted_on) for one in receipt.results] == [
        ("accepted", date(2026, 11, 22)), ("unpaid", date(2026, 11, 22))
    ]  # fmt: skip
    assert not receipt.moved
    assert await capped_until(connection, campaign) is None
    receipt = await report(connection, scene.devices[1], [at(late[0], MIDNIGHT, "m")], Library())
    assert [(one.verdict, one.counted_on) for one in receipt.results] == [("accepted", date(2026, 11, 23))]
    assert await capped_until(connection, campaign) == NEXT


async def test_a_day_that_clocks_ahead_used_up_counts_from_its_midnight(connection: Tx, scene: Scene) -> None:
    campaign, play = scene.campaigns[0], scene.plays(1)[0]
    await set_cap(connection, campaign, PRICE)
    before = MIDNIGHT - MINUTE
    receipt = await report(connection, scene.devices[0], [at(play, MIDNIGHT + MINUTE, "f")], Library(), before)
    assert [(one.verdict, receipt.moved) for one in receipt.results] == [("accepted", False)]
    receipt = await report(connection, scene.devices[0], [at(play, MIDNIGHT, "g")], Library(), MIDNIGHT + MINUTE)
    assert [(one.verdict, receipt.moved) for one in receipt.results] == [("unpaid", True)]
    assert await capped_until(connection, campaign) == NEXT


async def test_a_cap_below_a_price_and_a_budget_below_a_cap(connection: Tx, scene: Scene) -> None:
    first, second = scene.campaigns
    await set_cap(connection, first, 5)
    await set_cap(connection, second, 2 * PRICE)
    await set_budget(connection, second, 2 * PRICE)
    sent = scene.plays(2) + scene.plays(3, "q", campaign=1)
    receipt = await report(connection, scene.devices[0], sent, Library())
    assert [one.charged_micros for one in receipt.results] == [5, 0, PRICE, PRICE, 0]
    assert [paused.reason for paused in receipt.transitions] == ["BUDGET_EXHAUSTED"]
    assert (await money(connection, second))["status"] == "PAUSED"
    assert await capped_until(connection, second) == NEXT, "a top-up brings it back tomorrow, not today"


async def test_in_its_last_day_it_leaves_for_good(connection: Tx, scene: Scene) -> None:
    campaign = scene.campaigns[0]
    await connection.execute("UPDATE campaigns SET end_at = $2 WHERE id = $1", campaign, NOW + HOUR)
    await set_cap(connection, campaign, PRICE)
    await report(connection, scene.devices[0], scene.plays(1), Library())
    assert await capped_until(connection, campaign) == NEXT
    assert campaign not in {item.campaign_id for item in (await planned(connection)).creatives}


async def test_the_same_plays_cost_the_same_however_they_come(connection: Tx, scene: Scene) -> None:
    campaign, zone = scene.campaigns[0], ZoneInfo(AUCKLAND)
    for seed in range(14):
        random, library = Random(seed), Library()
        budget = random.choice([PRICE, 9 * PRICE + 5, 10**8, 10**8])
        cap = random.choice([1, 2 * PRICE, 5 * PRICE + 7, 10**7])
        await connection.execute("DELETE FROM plays")
        await connection.execute("DELETE FROM pauses")
        async with connection.transaction():  # the application may not, and need not
            await connection.execute("SET LOCAL ROLE NONE; DELETE FROM daily_spends; DELETE FROM ledger")
        await set_budget(connection, campaign, budget)
        await set_cap(connection, campaign, cap)
        sent = [
            (device, at(play, NOW - random.randrange(200) * MINUTE, f"{n}"))
            for device in scene.devices
            for n, play in enumerate(scene.plays(random.randint(1, 12)))
        ]
        waiting, now = sent + random.choices(sent, k=random.randint(0, 10)), NOW
        random.shuffle(waiting)
        while waiting:
            device, some = waiting[0][0], random.randint(1, 6)
            batch, rest = waiting[:some], waiting[some:]
            waiting = [one for one in batch if one[0] != device] + rest
            await report(connection, device, [play for owner, play in batch if owner == device], library, now)
            now += random.randrange(60) * SECOND
        days: dict[date, int] = defaultdict(int)
        for _, play in sent:
            days[play.started_at.astimezone(zone).date()] += PRICE
        found = await money(connection, campaign)
        assert found["spent_micros"] == min(budget, sum(min(cap, day) for day in days.values()))
        assert found["impressions"] == len(sent)
        booked = await spends(connection, campaign)
        assert max(booked.values()) <= cap
        assert sum(booked.values()) == found["spent_micros"]


async def test_two_devices_at_once_over_one_day(database_url: str, connection: Tx, scene: Scene) -> None:
    cap = 25 * PRICE + 7
    await set_cap(connection, scene.campaigns[0], cap)

    async def screen(device: int) -> None:
        own = await asyncpg.connect(database_url)
        await set_codecs(own)
        try:
            for batch in range(10):
                await report(own, scene.devices[device % 2], scene.plays(2, f"a{batch}-"), Library())
        finally:
            await own.close()

    await asyncio.gather(*(screen(device) for device in range(4)))  # each twice, as after a lost reply
    found = await money(connection, scene.campaigns[0])
    assert (found["spent_micros"], found["impressions"]) == (cap, 40)
    assert await spends(connection, scene.campaigns[0]) == {date(2026, 11, 23): cap}
    assert await connection.fetchval("SELECT count(*) FROM marks") == 1
