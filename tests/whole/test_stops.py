"""An emergency stop, a suspension and an approval that never came, as a real daemon shows them to screens."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.dev.mailbox import Mailbox
from tests.whole.daemons import Api, Daemon, created_token, running, until
from tests.whole.player import Body, Player, rfc3339
from tests.whole.shop import Shop, is_planned, is_status

TARGET = 30.0  # seconds from the stop until no screen has it (SPEC 7)
EXPIRES = 3  # seconds that an approval may take


@pytest.fixture
async def daemon(tmp_path: Path, empty_database_url: str, smtp: Mailbox) -> AsyncIterator[Daemon]:
    sections: dict[str, Any] = {
        "database": {"url": empty_database_url, "pool_size": 6},
        "kafka": {"bootstrap_servers": "127.0.0.1:1"},  # away: nothing here needs it
        "smtp": {"url": smtp.url},
        "booking": {"min_lead": 0, "approval_wait": EXPIRES},
        "plays": {"settle_after": 1},
    }
    async with running(tmp_path, sections) as one:
        yield one


async def test_what_may_not_play_leaves_the_screens_and_comes_back(daemon: Daemon) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=70)) as session:
        await daemon.ready(session)
        shop = Shop(session, daemon)
        player = await shop.open()
        operator = Api(session, [daemon.url], await asyncio.to_thread(created_token, daemon.config, "operator"))
        running_id = await shop.book("Running", 2, 600)
        later_id = await shop.book("Later", 300, 900)
        forgotten = await awaiting_approval(shop, operator)
        await until(lambda: is_status(shop, running_id, "ACTIVE"), 20)
        await until(lambda: is_planned(player, {running_id, later_id}), 20)
        assert (await player.beat())["actions"] == []

        waiting = asyncio.create_task(long_poll(player))
        await asyncio.sleep(0.3)
        stopped = await operator("POST", f"/v1/campaigns/{running_id}/stop", {"note": "a recall"})
        began = time.monotonic()
        assert (stopped["status"], stopped["status_reason"]) == ("PAUSED", "EMERGENCY_STOP")
        assert (await player.beat())["actions"] == ["stop", "sync"]
        body = await asyncio.wait_for(waiting, TARGET)
        assert {one["campaign_id"] for one in body.creatives} == {later_id, None}
        assert (await operator("GET", f"/v1/campaigns/{running_id}"))["screens_holding"] == 1
        player.held = body
        assert (await player.beat())["actions"] == []
        assert (await operator("GET", f"/v1/campaigns/{running_id}"))["screens_holding"] == 0
        assert time.monotonic() - began < TARGET

        waiting = asyncio.create_task(long_poll(player))
        await operator("PATCH", f"/v1/tenants/{shop.tenant['id']}", {"status": "SUSPENDED"})
        player.held = await asyncio.wait_for(waiting, TARGET)
        assert {one["campaign_id"] for one in player.held.creatives} == {None}
        await shop.api("POST", f"/v1/campaigns/{running_id}/cancel", expect=403)
        await operator("PATCH", f"/v1/tenants/{shop.tenant['id']}", {"status": "ACTIVE"})
        await operator("POST", f"/v1/campaigns/{running_id}/resume")
        await until(lambda: is_planned(player, {running_id, later_id}), 20)

        await check_expired(shop, operator, forgotten)

        waiting = asyncio.create_task(long_poll(player))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        assert await daemon.stop() == 0
        assert time.monotonic() - began < 10, "a poll that waits holds nobody up"
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() or waiting.exception()  # whom nobody answers any more


async def awaiting_approval(shop: Shop, operator: Api) -> str:
    """A campaign whose creative somebody has to look at; its id."""
    flagged = await shop.network.add_creative(shop.api, "wine", 1000)
    await operator("PATCH", f"/v1/creatives/{flagged}", {"flags": ["ALCOHOL"]})
    body = {
        "name": "Wine", "channel": "signage", "budget": "100.00", "creatives": [flagged], "target": {},
        "start_at": rfc3339(time.time() + 3600), "end_at": rfc3339(time.time() + 7200),
    }  # fmt: skip
    booked = await shop.api("POST", "/v1/campaigns", body)
    assert (await shop.api("POST", f"/v1/campaigns/{booked['id']}/submit"))["status"] == "PENDING_APPROVAL"
    return str(booked["id"])


async def check_expired(shop: Shop, operator: Api, campaign_id: str) -> None:
    await until(lambda: is_status(shop, campaign_id, "EXPIRED"), 20)
    expired = (await shop.log(campaign_id))[-1]
    assert (expired["type"], expired["reason"], expired["actor"]) == ("expired", "NOT_APPROVED", "signaged")
    assert expired["lateness_ms"] < 2000
    [done] = [one for one in await operator.every("/v1/schedule/executions") if one["kind"] == "expire"]
    assert (done["outcome"], done["due_at"]) == ("EXPIRED", expired["due_at"])
    wallet = await shop.api("GET", "/v1/wallet")
    assert wallet["held"] == "200.00", "of the two others"


async def long_poll(player: Player) -> Body:
    """Ask again and again for another playlist than the one held, each time for as long as one may wait."""
    path = f"{player.urls[0]}/v1/devices/{player.device_id}/playlist?wait=30"
    headers = {"Authorization": f"Bearer {player.token}", "If-None-Match": f'"{player.body.digest}"'}
    while True:
        async with player.session.get(path, headers=headers) as reply:
            assert reply.status in (200, 304)
            if reply.status == 200:
                return Body(await reply.read())
