"""Why is it not running here? Asked over HTTP of a network with real playlists, widest reason first."""

import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from daemon.compiling import Compiler, Reach, opened
from devices.presence import Beat
from devices.queries.presence import record_beats, record_service
from playlists.compile import compile_playlist
from playlists.daypart import Daypart
from playlists.ids import CampaignId, CreativeId, Sha256
from playlists.placement import Media, Placement, Screen
from tests.daemon.web.caller import Api
from tests.daemon.web.following import distributed, planned

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
async def compiler() -> AsyncIterator[Compiler]:
    async with opened(1, Reach()) as children:
        yield children


async def taken(api: Api, devices: list[str], campaign_id: str) -> None:
    """The screens are there, hold what they were given and are ready."""
    now = api.clock.now()
    async with api.platform.database.transaction() as tx:
        rows = await tx.fetch("SELECT device_id, digest FROM screens WHERE device_id = ANY ($1::uuid[])", devices)
        await record_service(tx, now, HOUR)
        await record_beats(tx, [Beat(row["device_id"], now, row["digest"], "on", 0, []) for row in rows])
        await tx.execute(
            """INSERT INTO deliveries (campaign_id, device_id, status, reason, ready_at, digest, updated_at)
               SELECT $1, device_id, 'READY', 'VERIFIED', $2, digest, $2 FROM screens WHERE device_id = ANY ($3::uuid[])
               ON CONFLICT DO NOTHING""",
            campaign_id,
            now,
            devices,
        )


async def told(api: Api, token: str, campaign_id: str, **query: str) -> tuple[bool, list[str]]:
    answer = await api.ok("GET", f"/v1/campaigns/{campaign_id}/explain", token, params=query)
    return answer["running"], [reason["code"] for reason in answer["reasons"]]


async def test_every_answer_on_the_way_to_the_screen_and_off_it(api: Api, compiler: Compiler) -> None:
    _, token = await api.tenant()
    one, other = await api.screens(2)
    creative = await api.creative(token)
    draft = await api.draft(token, creative, target={"devices": [one]})
    campaign = draft["id"]
    path = f"/v1/campaigns/{campaign}"
    assert (await told(api, token, campaign))[1][0] == "NOT_SUBMITTED"
    await api.ok("POST", f"{path}/submit", token)
    assert await told(api, token, campaign) == (False, ["BEFORE_START", "NOT_DISTRIBUTED", "NO_PLAYLIST", "OFFLINE"])
    start = draft["start_at"]
    inside = api.clock.now() + 49 * HOUR

    api.clock.advance(hours=47)
    await distributed(api, campaign)
    await planned(api, compiler)
    whole = await api.ok("GET", f"{path}/explain", token, params={"device_id": one})
    assert [reason["code"] for reason in whole["reasons"]] == ["BEFORE_START", "OFFLINE", "NOT_READY"]
    assert whole["reasons"][0] == {"code": "BEFORE_START", "detail": "It has not begun", "until": start}
    assert (whole["campaign_id"], whole["device_id"], whole["devices"]) == (campaign, one, 1)
    assert whole["store_id"]
    # what is planned for an hour after the start needs no screen that has reported yet
    assert await told(api, token, campaign, at=inside.isoformat()) == (True, [])

    await taken(api, [one], campaign)
    api.clock.advance(hours=2)
    await taken(api, [one], campaign)
    assert await told(api, token, campaign) == (True, [])
    assert await told(api, token, campaign, device_id=one) == (True, [])
    assert await told(api, token, campaign, device_id=other) == (False, ["NOT_TARGETED"])
    store = await api.ok("GET", f"{path}/explain", token, params={"store_id": whole["store_id"]})
    assert (store["running"], store["devices"], store["devices_running"]) == (True, 2, 1)
    assert [(reason["code"], reason["devices"]) for reason in store["reasons"]] == [("NOT_TARGETED", 1)]

    await api.ok("POST", f"{path}/execute", token)
    await api.ok("POST", f"{path}/pause", token, json={"note": "out of stock"})
    running, codes = await told(api, token, campaign)
    assert (running, codes) == (False, ["PAUSED"])
    paused = (await api.ok("GET", f"{path}/explain", token))["reasons"][0]
    assert (paused["reason"], paused["note"], paused["actor"][:6]) == ("USER", "out of stock", "token:")
    assert paused["since"] == api.clock.now().isoformat().replace("+00:00", "Z")
    await planned(api, compiler)
    await api.ok("POST", f"{path}/resume", token)
    assert await told(api, token, campaign) == (False, ["NOT_IN_PLAYLIST"])
    await planned(api, compiler)
    assert await told(api, token, campaign) == (True, [])
    api.clock.advance(hours=1)
    # the log knows the start that `execute` has moved since, the grants the playlist of then
    assert await told(api, token, campaign, at=(api.clock.now() - 2.5 * HOUR).isoformat()) == (False, ["BEFORE_START"])
    assert await told(api, token, campaign, at=(api.clock.now() - 2 * HOUR).isoformat()) == (True, [])
    await api.ok("POST", f"{path}/cancel", api.operator, json={"note": "recalled"})
    assert (await told(api, token, campaign))[1][0] == "CANCELLED"
    assert await told(api, token, campaign, at="2020-01-01T00:00:00Z") == (False, ["NOT_BOOKED", "BEFORE_START"])


async def test_whoever_may_see_the_campaign_may_ask_of_any_place(api: Api) -> None:
    _, token = await api.tenant()
    _, stranger = await api.tenant()
    [here], [there] = await api.screens(), await api.screens()
    draft = await api.draft(token, await api.creative(token))
    path = f"/v1/campaigns/{draft['id']}/explain"
    elsewhere = (await api.ok("GET", f"/v1/devices/{there}", token))["store_id"]
    for query, field, words in (
        ({"store_id": "7"}, "store_id", "must be an id"),
        ({"store_id": draft["id"]}, "store_id", "is no store"),
        ({"device_id": elsewhere}, "device_id", "is no device"),
        ({"device_id": here, "store_id": elsewhere}, "device_id", "is not in that store"),
        ({"at": "noon"}, "at", "must be an RFC 3339 instant such as 2026-11-22T04:00:00Z"),
        ({"at": ""}, "at", "must be an RFC 3339 instant such as 2026-11-22T04:00:00Z"),
    ):
        answer = await api.call("GET", path, token, params=query)
        assert (answer.status, answer.kind, answer.fields) == (422, "validation", {field: words})
    for one in (here, there):
        for asking in (token, api.operator, api.admin):
            assert (await api.call("GET", path, asking, params={"device_id": one})).status == 200
    assert (await api.call("GET", path, stranger)).status == 404
    unencoded = await api.call("GET", f"{path}?at=2026-11-22T13:30:00+01:00", token)
    assert unencoded.body["at"] == "2026-11-22T12:30:00Z"


async def test_ten_thousand_devices_are_one_quick_answer(api: Api) -> None:
    _, token = await api.tenant()
    await api.screens()
    creative = await api.creative(token)
    draft = await api.draft(token, creative, allow_short_lead=True)
    path = f"/v1/campaigns/{draft['id']}"
    await api.ok("POST", f"{path}/submit", token)
    await api.ok("POST", f"{path}/execute", token)
    await distributed(api, draft["id"])
    body = busy_playlist(api.clock.now(), CampaignId(UUID(draft["id"])))
    async with api.platform.database.transaction() as tx:
        await tx.execute(LARGE_NETWORK, api.clock.now(), body, draft["id"])
        await record_service(tx, api.clock.now(), HOUR)
    began = time.perf_counter()
    answer = await api.ok("GET", f"{path}/explain", token)
    took = time.perf_counter() - began
    assert (answer["running"], answer["devices"], answer["devices_running"]) == (True, 10_001, 9_000)
    assert {reason["code"]: reason["devices"] for reason in answer["reasons"]} == {
        "NO_PLAYLIST": 1, "OFFLINE": 1, "NOT_READY": 1_001,
    }  # fmt: skip
    assert took < 3.0  # 1 s on a quiet machine; here others are at work


def busy_playlist(now: datetime, campaign_id: CampaignId) -> bytes:
    """The body of a playlist of 60 campaigns with day-parts of their own."""
    placed = [
        Placement(
            CampaignId(UUID(int=number)) if number else campaign_id,
            (Media(CreativeId(UUID(int=number + 1)), Sha256(f"{number:064x}"), 1000, "image/png", 10_000),),
            now - HOUR,
            now + 100 * HOUR,
            (Daypart(frozenset(range(7)), number * 10, 24 * 60 - number),) if number else (),
            5,
        )
        for number in range(60)
    ]
    begins = now.replace(minute=0, second=0, microsecond=0)
    return compile_playlist(placed, Screen("UTC", 12, (), ()), begins, begins + 48 * HOUR).body


# 1,000 stores in 20 rhythms of opening hours, 10 devices each, one in ten not ready yet, 400 distinct playlists
LARGE_NETWORK = """
WITH shops AS (
    INSERT INTO stores (code, name, timezone, opening_hours, created_at, updated_at)
    SELECT 'L' || n, 'L' || n, CASE WHEN n % 2 = 0 THEN 'Europe/Berlin' ELSE 'UTC' END,
           jsonb_build_array('{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "to": "23:00"}'::jsonb
                             || jsonb_build_object('from', '0' || n % 10 || ':00')), $1, $1
    FROM generate_series(1, 1000) AS n RETURNING id
), players AS (
    INSERT INTO devices (store_id, name, created_at, updated_at)
    SELECT id, 'A screen', $1, $1 FROM shops, generate_series(1, 10) RETURNING id
), numbered AS (
    SELECT id, n, lpad((n % 400)::text, 64, '0') AS digest
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM players) one
), bodies AS (
    INSERT INTO playlists (digest, input_digest, valid_from, valid_until, body, body_br, body_gzip, created_at)
    SELECT lpad(n::text, 64, '0'), lpad(n::text, 64, '0'), $1, $1 + interval '48 hours', $2, '', '', $1
    FROM generate_series(0, 399) AS n RETURNING digest
), given AS (
    INSERT INTO screens (device_id, digest, input_digest, version, valid_until, assigned_at)
    SELECT id, digest, digest, 1, $1 + interval '48 hours', $1 FROM numbered
), there AS (
    INSERT INTO presence (device_id, last_seen_at, digest) SELECT id, $1, digest FROM numbered
)
INSERT INTO deliveries (campaign_id, device_id, status, reason, ready_at, updated_at)
SELECT $3, id, 'READY', 'VERIFIED', $1, $1 FROM numbered WHERE n % 10 <> 0
"""
