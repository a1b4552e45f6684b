"""An emergency stop reaches every screen that holds what was stopped, and the answer says how many still do."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from devices import enrolment
from playlists.ids import CampaignId, DeviceId
from playlists.playlist import Playlist
from playlists.queries import Tx
from tests import world
from tests.daemon.web.caller import Api
from tests.daemon.web.screenside import Instance, instance, published
from tests.doubles import FakeClock

HOUR = timedelta(hours=1)


@pytest.fixture
async def served(api: Api, clock: FakeClock) -> AsyncIterator[Instance]:
    async with instance(api.platform, api.platform.database, clock) as one:
        yield one


class Scene:
    """Three screens with tokens that play two campaigns, and what an operator and an advertiser see of one."""

    def __init__(self, served: Instance, api: Api) -> None:
        self.served, self.api = served, api
        self.devices: list[DeviceId] = []
        self.tokens: list[str] = []
        self.stopped: CampaignId
        self.other: CampaignId
        self.old: Playlist

    async def poll(self, number: int, digest: str | None = None, query: str = "") -> tuple[int, str]:
        """Status and digest."""
        headers = {"If-None-Match": f'"{digest}"'} if digest else {}
        path = f"/v1/devices/{self.devices[number]}/playlist{query}"
        status, told, _ = await self.served.call("GET", path, self.tokens[number], headers=headers)
        return status, told.get("ETag", "").strip('"')

    async def beat(self, number: int, digest: str | None = None) -> list[str]:
        body: dict[str, Any] = {"device_time": self.served.clock.now().isoformat(), "screen": "on"}
        path = f"/v1/devices/{self.devices[number]}/heartbeat"
        body |= {"digest": digest} if digest else {}
        status, _, raw = await self.served.call("POST", path, self.tokens[number], json=body)
        assert status == 200
        actions: list[str] = json.loads(raw)["actions"]
        return actions

    async def holding(self) -> int | None:
        await self.served.screens.sightings.written()
        told = await self.api.ok("GET", f"/v1/campaigns/{self.stopped}")
        number: int | None = told["screens_holding"]
        return number

    async def act(self, action: str, token: str, **body: Any) -> Any:
        return await self.api.call("POST", f"/v1/campaigns/{self.stopped}/{action}", token, json=body)


@pytest.fixture
async def scene(served: Instance, api: Api, connection: Tx, clock: FakeClock) -> Scene:
    scene, now = Scene(served, api), clock.now()
    owner = await world.tenant(connection, now)
    creative = await world.creative(connection, owner, now)
    scene.stopped, scene.other = [await world.campaign(connection, owner, now, creatives=[creative]) for _ in range(2)]
    store = await world.store(connection, now)
    for _ in range(3):
        scene.devices.append(await world.device(connection, store, now))
        code, _ = await enrolment.issue_code(connection, scene.devices[-1], now, timedelta(days=30))
        _, _, raw = await served.call("POST", "/v1/devices/activate", json={"code": code})
        scene.tokens.append(json.loads(raw)["token"])
    scene.old = await published(connection, scene.devices, [scene.stopped, scene.other], now, -HOUR)
    await served.follow()
    return scene


async def test_every_screen_that_holds_it_is_told_until_none_does(scene: Scene, connection: Tx) -> None:
    old = scene.old.digest
    assert (await scene.poll(0))[0] == 200
    assert (await scene.poll(1, old))[0] == 304
    assert await scene.holding() is None  # the third has never asked
    assert await scene.beat(0, old) == []
    answer = await scene.act("stop", scene.api.operator, note="a recall")
    assert (answer.status, answer.body["status"]) == (200, "PAUSED")
    assert answer.body["screens_holding"] == 2
    assert (answer.body["status_reason"], answer.body["status_note"]) == ("EMERGENCY_STOP", "a recall")
    assert await scene.holding() == 2
    await scene.served.follow()
    # nothing has been compiled yet: who holds it is told all the same, whether it says what it holds or not
    assert await scene.beat(0, old) == ["stop", "sync"]
    assert await scene.beat(1) == ["stop", "sync"]
    assert await scene.beat(2) == ["sync"]
    new = await published(connection, scene.devices, [scene.other], scene.served.clock.now(), -HOUR)
    await scene.served.follow()
    assert await scene.beat(0, old) == ["stop", "sync"]
    assert await scene.poll(0, old) == (200, new.digest)
    assert await scene.holding() == 2  # sent is not held
    assert await scene.poll(0, new.digest) == (304, new.digest)
    assert await scene.holding() == 1
    assert await scene.beat(0, new.digest) == []
    assert await scene.beat(1, new.digest) == []
    assert await scene.holding() == 0
    assert await scene.beat(1, old) == ["stop", "sync"]  # it has gone back to what it knew
    assert await scene.holding() == 1
    assert await scene.poll(1) == (200, new.digest)  # it has nothing, and is given the new one
    assert await scene.holding() == 0
    assert (await scene.act("resume", scene.api.operator)).status == 200
    await scene.served.follow()
    assert await scene.beat(1, old) == ["sync"]
    assert await scene.holding() is None


async def test_a_stop_is_an_operators_to_make_and_to_end(scene: Scene, connection: Tx) -> None:
    tenant = await connection.fetchval("SELECT tenant_id FROM campaigns WHERE id = $1", scene.stopped)
    made = await scene.api.ok("POST", f"/v1/tenants/{tenant}/tokens", json={"role": "advertiser"})
    user = made["token"]
    assert (await scene.act("stop", user)).status == 403
    assert (await scene.act("pause", user)).status == 200
    assert (await scene.act("stop", scene.api.operator)).status == 200
    again = await scene.act("stop", scene.api.admin)
    assert (again.status, again.body["detail"]) == (409, "Campaign is PAUSED by EMERGENCY_STOP already")
    resumed = await scene.act("resume", user)
    assert (resumed.status, resumed.kind) == (409, "invalid-transition")
    assert resumed.body["detail"] == "Campaign is PAUSED by EMERGENCY_STOP; resume needs an operator"
    marks = await connection.fetch("SELECT urgent FROM marks WHERE ref = $1", scene.stopped)
    assert [row["urgent"] for row in marks] == [True, True]
    done = await scene.act("resume", scene.api.operator)
    assert (done.status, done.body["status"], done.body["status_reason"]) == (200, "ACTIVE", None)
    assert await scene.api.ok("POST", f"/v1/campaigns/{scene.stopped}/stop", scene.api.operator)
    assert (await scene.act("cancel", user)).body["status"] == "CANCELLED"
    await scene.served.follow()
    assert await scene.beat(0, scene.old.digest) == ["stop", "sync"]  # still on its screen


async def test_a_poll_waits_for_a_change_and_is_woken_by_it(scene: Scene, connection: Tx) -> None:
    old, now = scene.old.digest, scene.served.clock.now()
    assert await scene.poll(0, old, "?wait=0") == (304, old)
    for wrong in ("?wait=", "?wait=-1", "?wait=1.5", "?wait=soon"):
        assert (await scene.poll(0, old, wrong))[0] == 422
    began = time.monotonic()
    assert await scene.poll(0, old, "?wait=1") == (304, old)
    assert 0.9 < time.monotonic() - began < 5
    assert (await scene.poll(0, None, "?wait=30"))[0] == 200  # it has nothing: there is nothing to wait for
    polls = [asyncio.create_task(scene.poll(number, old, "?wait=3000")) for number in (0, 1)]
    while len(scene.served.screens.feed._waiting) < 2:  # noqa: ASYNC110 - nobody tells that it waits
        await asyncio.sleep(0.01)
    new = await published(connection, scene.devices[:1], [scene.other], now, -HOUR)
    await scene.served.follow()
    assert await asyncio.wait_for(polls[0], 5) == (200, new.digest)
    assert not polls[1].done()
    await connection.execute("UPDATE device_tokens SET revoked_at = $2, changed_xid = pg_current_xact_id() WHERE "
                             "device_id = $1", scene.devices[1], now)  # fmt: skip
    await scene.served.follow()
    scene.served.screens.feed.dismiss()  # what the end of the process does
    assert (await asyncio.wait_for(polls[1], 5))[0] == 401
    assert not scene.served.screens.feed._waiting
