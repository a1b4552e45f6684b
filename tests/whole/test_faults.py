"""Servers that are absent, go and come back, and a daemon that is told to end or killed in the middle of its work."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from daemon.dev.embedded import embedded_kafka
from daemon.dev.mailbox import Mailbox, mailbox
from playlists.queries import Tx
from tests.gate import silent
from tests.whole import checks
from tests.whole.daemons import Daemon, free_port, running, until
from tests.whole.postgres import Postgres
from tests.whole.shop import Shop, consumed, is_planned, is_settled, is_status

Json = dict[str, Any]
SETTLE_AFTER = 1.0


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as opened:
        yield opened


@pytest.fixture
async def stoppable(tmp_path: Path) -> AsyncIterator[Postgres]:
    """Initialised and stopped."""
    server = Postgres(tmp_path / "postgres")
    await server.start()
    await server.stop()
    yield server
    await server.stop()


async def test_all_that_it_needs_comes_late_goes_and_comes_back(
    tmp_path: Path, stoppable: Postgres, session: aiohttp.ClientSession
) -> None:
    kafka, smtp, topic = free_port(), free_port(), f"faults-{secrets.token_hex(4)}"
    sections: Json = {
        "database": {"url": stoppable.url},
        "kafka": {"bootstrap_servers": f"127.0.0.1:{kafka}", "topic": topic},
        "smtp": {"url": f"smtp://127.0.0.1:{smtp}"},
        "plays": {"settle_after": SETTLE_AFTER},
    }
    async with running(tmp_path, sections) as daemon:
        await until(lambda: answers(session, daemon, 200, 503), 10)
        await stoppable.start()
        assert await daemon.ready(session, 10) < 5
        shop = Shop(session, daemon)
        player = await shop.open()
        before = await shop.book("starts before", 1.5, 60)
        during = await shop.book("starts while it is away", 6, 12)
        await until(lambda: is_planned(player, {before, during}), 5)
        await until(lambda: is_status(shop, before, "ACTIVE"), 5)
        await stoppable.crash()
        await until(lambda: answers(session, daemon, 200, 503), 5)
        assert (await player.poll()).status == 304, "a screen is served whatever the database does"
        await asyncio.sleep(max(0, shop.network.campaigns[during]["starts"] + 0.5 - time.time()))
        await stoppable.start()
        assert await daemon.ready(session, 10) < 5
        await until(lambda: is_status(shop, during, "ACTIVE"), 5)
        started = next(row for row in await shop.log(during) if row["type"] == "started")
        assert 500 <= started["lateness_ms"] < 10_000
        await shop.api("POST", f"/v1/campaigns/{before}/cancel")
        async with embedded_kafka(kafka) as bootstrap, mailbox(smtp) as box:
            await until(lambda: is_settled(shop, 2), 20)
            await shop.check(before)
            await told_late(shop, bootstrap, topic, box)
        assert await daemon.stop() == 0, daemon.last_words()


async def told_late(shop: Shop, bootstrap: str, topic: str, box: Mailbox) -> None:
    """What was held back while nobody took it is told, whole and in order."""
    campaigns = await shop.api.every("/v1/campaigns")
    logs = {one["id"]: await shop.log(one["id"]) for one in campaigns}
    events = await consumed(bootstrap, topic, sum(map(len, logs.values())))
    for campaign in campaigns:
        checks.check_events(campaign, logs[campaign["id"]], events)
    async with asyncio.timeout(20):
        mails = await box.until(3)
    kinds = sorted(str(mail.message["X-Signaged-Kind"]) for mail in mails)
    assert kinds == ["completed", "started", "started"]


async def test_told_to_end_in_mid_tick_with_nobody_answering_it_ends_in_order(
    tmp_path: Path, empty_database_url: str, session: aiohttp.ClientSession
) -> None:
    async with silent() as kafka, silent() as smtp:
        sections: Json = {
            "database": {"url": empty_database_url},
            "kafka": {"bootstrap_servers": f"127.0.0.1:{kafka}"},
            "smtp": {"url": f"smtp://127.0.0.1:{smtp}"},
            "plays": {"settle_after": 0},
        }
        async with running(tmp_path, sections) as daemon:
            await daemon.ready(session)
            shop = Shop(session, daemon)
            player = await shop.open()
            campaign = await shop.book("starts in the tick", 1, 11)
            await until(lambda: is_planned(player, {campaign}), 5)
            held = await asyncpg.connect(empty_database_url)
            async with held.transaction():
                await held.execute("SELECT FROM tenants FOR UPDATE")
                await until(lambda: waits_for_a_lock(held), 20)  # the tick, at its start
                began = time.monotonic()
                assert await daemon.stop() == 0, daemon.last_words()
                assert time.monotonic() - began < 20
            await held.close()
            daemon.start()
            assert await daemon.ready(session) < 10
            assert (await player.poll()).status == 304, "not the same playlist after a restart"
            await until(lambda: is_settled(shop, 1), 20)
            await shop.check()
            await daemon.kill()
            daemon.start()
            assert await daemon.ready(session) < 10
            assert (await player.poll()).status == 304
            await shop.check()


async def answers(session: aiohttp.ClientSession, daemon: Daemon, livez: int, readyz: int) -> bool:
    return (await daemon.probe(session, "livez"), await daemon.probe(session, "readyz")) == (livez, readyz)


async def waits_for_a_lock(connection: Tx) -> bool:
    waiting = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())"
    )
    return bool(await connection.fetchval(waiting))
