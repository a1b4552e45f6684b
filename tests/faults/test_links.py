"""A whole daemon behind a link that dies in the ways links die: nothing hangs, nothing is lost, nobody restarts it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest

from daemon.dev.mailbox import Mailbox, mailbox
from tests.daemon.process import NOWHERE, signaged
from tests.gate import Gate, gate_to, silent
from tests.whole import checks
from tests.whole.daemons import Daemon, running, until
from tests.whole.shop import Shop, consumed, is_planned, is_settled, is_status

Json = dict[str, Any]
STATEMENT, CONNECT = 2.0, 1.0  # seconds, of the daemon's settings
SLACK = 1.5  # on a machine that others use too
BACK = 5.0  # seconds within which all is well again (SPEC 13 gives no restart)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as opened:
        yield opened


@pytest.fixture
async def gate(database_url: str) -> AsyncIterator[Gate]:
    parts = urlsplit(database_url)
    async with gate_to(parts.hostname or "", parts.port or 5432) as opened:
        yield opened


def black_hole(gate: Gate) -> None:
    gate.freeze()


def half_open(gate: Gate) -> None:
    gate.vanish()


def trickle(gate: Gate) -> None:
    gate.trickle(64, 0.3)


def refused(gate: Gate) -> None:
    gate.shut()


def sections(url: str, bootstrap: str, topic: str, smtp: str) -> Json:
    timeouts = {"statement_timeout": STATEMENT, "connect_timeout": CONNECT}
    return {
        "database": {"url": url, **timeouts},
        "kafka": {"bootstrap_servers": bootstrap, "topic": topic},
        "smtp": {"url": smtp},
        "plays": {"settle_after": 0},
    }


@pytest.mark.torture
@pytest.mark.parametrize("lose", [black_hole, half_open, trickle, refused])
async def test_every_loop_ends_in_time_and_goes_on_when_the_link_is_back(
    lose: Callable[[Gate], None],
    tmp_path: Path,
    database_url: str,
    gate: Gate,
    kafka_bootstrap: str,
    session: aiohttp.ClientSession,
) -> None:
    topic = f"links-{secrets.token_hex(4)}"
    async with mailbox() as box:
        settings = sections(gate.url(database_url), kafka_bootstrap, topic, box.url)
        async with running(tmp_path, settings) as daemon:
            await daemon.ready(session)
            shop = Shop(session, daemon)
            player = await shop.open()
            during = await shop.book("starts meanwhile", 3, 60)
            await until(lambda: is_planned(player, {during}), 5)
            lose(gate)
            began = time.monotonic()
            while time.monotonic() < began + 4:
                await request_ends(session, daemon, shop.tenant["token"])
                assert await daemon.probe(session, "livez") == 200
                assert (await player.poll()).status == 304, "a screen is served whatever the link does"
                await asyncio.sleep(0.2)
            gate.open()
            after = await all_goes_on(shop, during, box)
            await until(lambda: is_status(shop, after, "ACTIVE"), BACK)
            for one in (during, after):
                await shop.api("POST", f"/v1/campaigns/{one}/cancel")
            await until(lambda: is_settled(shop, 2), BACK)
            await shop.check(during, after)
            logs = {one: await shop.log(one) for one in (during, after)}
            events = await consumed(kafka_bootstrap, topic, sum(map(len, logs.values())))
            for campaign in await shop.api.every("/v1/campaigns"):
                checks.check_events(campaign, logs[campaign["id"]], events)
            assert await daemon.stop() == 0, daemon.last_words()
        assert not {"loop died", "loop ended"} & {line["event"] for line in daemon.logged()}


async def request_ends(session: aiohttp.ClientSession, daemon: Daemon, token: str) -> None:
    began = time.monotonic()
    async with session.get(f"{daemon.url}/v1/campaigns", headers={"Authorization": f"Bearer {token}"}) as reply:
        assert reply.status in (200, 503)
    assert time.monotonic() - began < 2 * (STATEMENT + CONNECT) + SLACK


async def all_goes_on(shop: Shop, during: str, box: Mailbox) -> str:
    """The tick has started the campaign, its mail is sent, and a new one is planned and followed; that one's id."""
    began = time.monotonic()
    await shop.daemon.ready(shop.session, BACK)
    await until(lambda: is_status(shop, during, "ACTIVE"), BACK)
    after = await shop.book("booked after", 1, 60)
    player = shop.player
    await until(lambda: is_planned(player, {after}), BACK)
    async with asyncio.timeout(BACK):
        await box.until(1)
    assert time.monotonic() - began < BACK + SLACK
    return after


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "never arrived"])
async def test_lost_commit_of_a_request_is_answered_by_what_became_of_it(
    arrives: bool, tmp_path: Path, database_url: str, gate: Gate, session: aiohttp.ClientSession
) -> None:
    settings = sections(gate.url(database_url), "127.0.0.1:1", "none", "smtp://127.0.0.1:1")
    async with running(tmp_path, settings) as daemon:
        await daemon.ready(session)
        shop = Shop(session, daemon)
        await shop.open()
        token = {"Authorization": f"Bearer {shop.tenant['token']}"}
        connection = await asyncpg.connect(database_url)
        try:
            gate.lose_commit(arrives=arrives, of=b"INSERT INTO campaigns")
            body = {"name": "only once", "channel": "signage"}
            async with session.post(f"{daemon.url}/v1/campaigns", json=body, headers=token) as reply:
                status = reply.status
            count = await connection.fetchval("SELECT count(*) FROM campaigns")
        finally:
            await connection.close()
        assert gate.committed == [arrives]
        assert (status, count) == ((201, 1) if arrives else (503, 0))
        assert await daemon.stop() == 0


async def test_terminated_sessions_are_replaced_within_seconds(
    tmp_path: Path, database_url: str, gate: Gate, session: aiohttp.ClientSession
) -> None:
    settings = sections(gate.url(database_url), "127.0.0.1:1", "none", "smtp://127.0.0.1:1")
    async with running(tmp_path, settings) as daemon:
        await daemon.ready(session)
        shop = Shop(session, daemon)
        player = await shop.open()
        connection = await asyncpg.connect(database_url)
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        await connection.close()
        assert len(ended) > 5
        began = time.monotonic()
        campaign = await shop.book("booked after", 0.5, 60)
        await until(lambda: is_planned(player, {campaign}), BACK)
        await until(lambda: is_status(shop, campaign, "ACTIVE"), BACK)
        assert time.monotonic() - began < BACK + SLACK
        assert await daemon.stop() == 0


@pytest.mark.torture
async def test_drain_ends_in_time_with_all_three_black_holed(
    tmp_path: Path, database_url: str, gate: Gate, session: aiohttp.ClientSession
) -> None:
    async with silent() as kafka, silent() as smtp:
        settings = sections(gate.url(database_url), f"127.0.0.1:{kafka}", "none", f"smtp://127.0.0.1:{smtp}")
        del settings["database"]["statement_timeout"], settings["database"]["connect_timeout"]
        async with running(tmp_path, settings) as daemon:
            await daemon.ready(session)
            shop = Shop(session, daemon)
            await shop.open()
            await shop.book("owes a mail and messages", 0.5, 60)
            await asyncio.sleep(1.5)
            gate.freeze()
            waiting = asyncio.create_task(request_status(session, daemon, shop.tenant["token"]))
            await asyncio.sleep(1)
            began = time.monotonic()
            assert await daemon.stop() == 0, daemon.last_words()
            assert time.monotonic() - began < 20
            waiting.cancel()


async def request_status(session: aiohttp.ClientSession, daemon: Daemon, token: str) -> int:
    async with session.get(f"{daemon.url}/v1/campaigns", headers={"Authorization": f"Bearer {token}"}) as reply:
        return reply.status


@pytest.mark.torture
async def test_every_command_ends_on_a_dead_link(database_url: str, gate: Gate) -> None:
    gate.freeze()
    environ = NOWHERE | {"SIGNAGED_DATABASE__URL": gate.url(database_url), "SIGNAGED_DATABASE__CONNECT_TIMEOUT": "1"}
    commands = ("migrate", "verify", "token create --role operator", "outbox list", "device list", "clock accept")
    began = time.monotonic()
    for command, ended in zip(
        commands, await asyncio.gather(*(signaged(*one.split(), environ=environ) for one in commands)), strict=True
    ):
        assert ended.code == 69, (command, ended.err)
        assert "the database is not available" in ended.err
    assert time.monotonic() - began < 40
