"""What a screen can do, over real HTTP on a real database: enrol, poll, beat, fetch, acknowledge."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import asyncpg
import brotli
import pytest
from structlog.testing import capture_logs

from daemon.web.polls import coding_for, come_back, matches
from devices import enrolment
from devices.queries.deliveries import deliveries, delivery_counts
from playlists.ids import CampaignId, DeviceId
from playlists.playlist import Playlist, parse
from playlists.queries import Tx
from tests import world
from tests.daemon.web.caller import Api
from tests.daemon.web.screenside import Instance, instance, published
from tests.doubles import FakeClock

HOUR = timedelta(hours=1)
FILE = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
async def served(api: Api, clock: FakeClock) -> AsyncIterator[Instance]:
    async with instance(api.platform, api.platform.database, clock) as one:
        yield one


class Scene:
    """One device with its token, one campaign on it whose file lies in the media folder."""

    device: DeviceId
    campaign: CampaignId
    playlist: Playlist
    sha256: str
    token: str
    code: str

    @property
    def path(self) -> str:
        return f"/v1/devices/{self.device}"


@pytest.fixture
async def scene(served: Instance, connection: Tx, clock: FakeClock, api: Api) -> Scene:
    scene, now = Scene(), clock.now()
    owner = await world.tenant(connection, now)
    scene.sha256 = sha256(FILE).hexdigest()
    creative = await world.creative(connection, owner, now)
    await connection.execute(
        "UPDATE creatives SET sha256 = $2, size = $3 WHERE id = $1", creative, scene.sha256, len(FILE)
    )
    path = api.platform.media.path(scene.sha256)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True)
    path.write_bytes(FILE)
    scene.device = await world.device(connection, await world.store(connection, now), now)
    scene.campaign = await world.campaign(connection, owner, now, creatives=[creative])
    scene.playlist = await published(connection, [scene.device], [scene.campaign], now, -HOUR)
    scene.code, _ = await enrolment.issue_code(connection, scene.device, now, timedelta(days=30))
    _, _, body = await served.call("POST", "/v1/devices/activate", json={"code": scene.code})
    scene.token = json.loads(body)["token"]
    await served.follow()
    return scene


async def post(served: Instance, scene: Scene, what: str, body: dict[str, Any]) -> tuple[int, Any]:
    status, _, raw = await served.call("POST", f"{scene.path}/{what}", scene.token, json=body)
    return status, json.loads(raw)


async def test_a_poll_gives_the_playlist_once_and_then_says_unchanged(served: Instance, scene: Scene) -> None:
    status, headers, body = await served.call("GET", f"{scene.path}/playlist", scene.token)
    assert status == 200
    assert parse(body) == scene.playlist
    assert headers["Content-Type"] == "application/vnd.signaged.playlist+json"
    assert headers["ETag"] == f'"{scene.playlist.digest}"'
    assert headers["Playlist-Version"] == "1"
    assert headers["Playlist-Expires"] == scene.playlist.valid_until.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert headers["Vary"] == "Accept-Encoding"
    assert headers["Date"] == "Sun, 22 Nov 2026 12:00:00 GMT"
    assert 1 <= int(headers["Poll-After"]) <= 300
    etag, traced = headers["ETag"], {"X-Correlation-Id": "c-1"}
    for known, more in ((etag, {}), (f'"x", W/{etag}', traced), ("*", {"Connection": "close"})):
        asked = {"If-None-Match": known, **more}
        status, told, body = await served.call("GET", f"/api{scene.path}/playlist", scene.token, headers=asked)
        assert (status, body, told["ETag"], told["Date"]) == (304, b"", etag, headers["Date"])
        assert 1 <= int(told["Poll-After"]) <= 300
        assert not {"Content-Length", "Content-Type"} & told.keys()
        assert told.get("X-Correlation-Id") == more.get("X-Correlation-Id")


async def test_polls_ask_the_database_nothing(served: Instance, scene: Scene, postgres: str, connection: Tx) -> None:
    path, ask = f"{scene.path}/playlist", {"If-None-Match": f'"{scene.playlist.digest}"'}
    assert (await served.call("GET", path, scene.token))[0] == 200
    name = await connection.fetchval("SELECT current_database()")
    server = await asyncpg.connect(postgres)
    await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    await server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    for headers, status in ((ask, 304), ({}, 200), (ask, 304)):
        assert (await served.call("GET", path, scene.token, headers=headers))[0] == status
    beat = {"device_time": "2026-11-22T12:00:00Z", "screen": "on"}
    status, told = await post(served, scene, "heartbeat", beat)
    assert (status, told["type"]) == (503, "urn:signaged:unavailable")
    await server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    await server.close()


async def test_tokens_open_their_own_device_and_nothing_else(
    served: Instance, scene: Scene, connection: Tx, clock: FakeClock
) -> None:
    path = f"{scene.path}/playlist"
    other = await world.device(connection, await world.store(connection, clock.now()), clock.now())
    assert (await served.call("GET", path))[0] == 401
    assert (await served.call("GET", path, "nonsense"))[0] == 401
    assert (await served.call("GET", f"/v1/devices/{other}/playlist", scene.token))[0] == 404
    assert (await served.call("GET", "/v1/devices/nobody/playlist", scene.token))[0] == 404
    assert (await served.call("GET", path, scene.token))[0] == 200
    status, _, raw = await served.call("POST", "/v1/devices/activate", json={"code": scene.code})
    assert (status, json.loads(raw)["type"]) == (404, "urn:signaged:not-found")

    new, _ = await enrolment.rotate(connection, scene.device, clock.now(), timedelta(days=1))
    await served.follow()
    assert [(await served.call("GET", path, one))[0] for one in (scene.token, new)] == [200, 200]
    clock.advance(days=1)
    assert [(await served.call("GET", path, one))[0] for one in (scene.token, new)] == [401, 200]
    await enrolment.revoke(connection, scene.device, clock.now())
    await served.follow()
    assert (await served.call("GET", path, new))[0] == 401


async def test_a_token_of_another_instance_is_good_before_the_feed_has_it(
    served: Instance, scene: Scene, connection: Tx, clock: FakeClock
) -> None:
    code, _ = await enrolment.issue_code(connection, scene.device, clock.now(), timedelta(days=1))
    given = await enrolment.redeem(connection, code, clock.now())
    assert (await served.call("GET", f"{scene.path}/playlist", given.token))[0] == 200
    await served.follow()
    assert (await served.call("GET", f"{scene.path}/playlist", scene.token))[0] == 401, "its first use voids the old"


async def test_a_new_device_is_told_to_come_back(
    served: Instance, scene: Scene, connection: Tx, clock: FakeClock
) -> None:
    await connection.execute("DELETE FROM screens")
    served.screens.feed.screens.clear()
    status, headers, _ = await served.call("GET", f"{scene.path}/playlist", scene.token)
    assert (status, headers["Retry-After"]) == (503, "1")


async def test_a_beat_is_kept_and_says_whether_the_playlist_changed(
    served: Instance, scene: Scene, connection: Tx, clock: FakeClock
) -> None:
    late = (clock.now() - timedelta(seconds=45)).isoformat()
    body = {"device_time": late, "digest": scene.playlist.digest, "screen": "on", "errors": ["fan"]}
    assert await post(served, scene, "heartbeat", body) == (
        200,
        {
            "server_time": "2026-11-22T12:00:00Z",
            "playlist_changed": False,
            "actions": [],
            "next_heartbeat_seconds": 60,
        },
    )
    row = await connection.fetchrow("SELECT * FROM presence")
    assert row is not None
    assert (row["last_seen_at"], row["skew_ms"], row["errors"]) == (clock.now(), -45_000, ["fan"])
    _, heard = await post(served, scene, "heartbeat", {**body, "digest": None})
    assert heard["playlist_changed"]
    assert heard["actions"] == ["sync"]


@pytest.mark.parametrize(
    ("raw", "status", "field"),
    [
        (b"{", 400, None),
        (b'{"device_time": "2026-11-22T12:00:00Z", "screen": "on", "screen": "on"}', 400, None),
        (b'{"device_time": "2026-11-22T12:00:00Z", "screen": "\xff"}', 400, None),
        (b'{"device_time": "2026-11-22T12:00:00", "screen": "on"}', 422, "device_time"),
        (b'{"device_time": "2026-11-22T12:00:00Z", "screen": "dim"}', 422, "screen"),
        (b'{"device_time": "2026-11-22T12:00:00Z"}', 422, "screen"),
        (b'{"device_time": "2026-11-22T12:00:00Z", "screen": "on", "mood": 1}', 422, "mood"),
        (b'{"device_time": "2026-11-22T12:00:00Z", "screen": "on", "errors": ["a\\u0000"]}', 422, "errors[0]"),
        (b'{"device_time": "2026-11-22T12:00:00Z", "screen": "on", "errors": [5]}', 422, "errors[0]"),
        (b"[]", 422, "body"),
    ],
)
async def test_bad_reports_are_refused_in_words(
    served: Instance, scene: Scene, raw: bytes, status: int, field: str | None
) -> None:
    json_type = {"Content-Type": "application/json"}
    got, _, body = await served.call("POST", f"{scene.path}/heartbeat", scene.token, data=raw, headers=json_type)
    problem = json.loads(body)
    assert got == status, problem
    assert [error["field"] for error in problem.get("errors", [])] == ([field] if field else [])


async def test_plays_are_answered_one_by_one_and_charged(
    served: Instance, scene: Scene, connection: Tx, clock: FakeClock
) -> None:
    entry = scene.playlist.creatives[0]
    began = (clock.now() - timedelta(minutes=1)).isoformat()
    one = {
        "play_id": "a", "campaign_id": str(scene.campaign), "creative_id": str(entry.id), "started_at": began,
        "duration_ms": entry.duration_ms, "digest": scene.playlist.digest,
    }  # fmt: skip
    sent = [one, one, {**one, "play_id": "b", "campaign_id": None}, {**one, "play_id": "c", "variant": "x"}]
    body = {"device_time": clock.now().isoformat(), "plays": sent}
    status, told = await post(served, scene, "plays", body)
    assert status == 200
    assert [(r["play_id"], r["verdict"], r["charged"]) for r in told["results"]] == [
        ("a", "accepted", "0.003333"), ("a", "duplicate", "0.00"), ("b", "wrong_device", "0.00"),
        ("c", "accepted", "0.003333"),
    ]  # fmt: skip
    assert await connection.fetchval("SELECT spent_micros FROM campaigns") == 6_666
    status, told = await post(
        served, scene, "plays", {**body, "plays": [{**one, "play_id": f"{n}"} for n in range(1001)]}
    )
    assert (status, told["errors"][0]["field"]) == (422, "plays")
    status, told = await post(served, scene, "plays", {**body, "plays": [{**one, "duration_ms": "long"}]})
    assert (status, told["errors"][0]["field"]) == (422, "plays[0].duration_ms")


def ready(scene: Scene, state: str = "READY") -> dict[str, Any]:
    return {"digest": scene.playlist.digest, "creatives": [{"sha256": scene.sha256, "state": state}]}


async def test_a_screen_is_ready_when_its_word_and_what_was_seen_agree(
    served: Instance, scene: Scene, connection: Tx, clock: FakeClock
) -> None:
    status, told = await post(served, scene, "readiness", ready(scene))
    assert (status, told["verified"]) == (200, False), "said before the first byte was fetched"
    assert told["deliveries"] == [{"campaign_id": str(scene.campaign), "status": "OFFERED"}]
    path = f"/media/{scene.sha256}"
    half = len(FILE) // 2
    status, headers, body = await served.call("GET", path, scene.token, headers={"Range": f"bytes={half}-"})
    assert (status, body) == (206, FILE[half:])
    assert headers["Content-Range"] == f"bytes {half}-{len(FILE) - 1}/{len(FILE)}"
    assert not (await post(served, scene, "readiness", ready(scene)))[1]["verified"]
    status, headers, body = await served.call("GET", path, scene.token, headers={"Range": f"bytes=0-{half}"})
    assert (status, body) == (206, FILE[: half + 1])
    assert await post(served, scene, "readiness", ready(scene)) == (
        200,
        {"verified": True, "deliveries": [{"campaign_id": str(scene.campaign), "status": "READY"}]},
    )
    [row] = await deliveries(connection, scene.campaign, clock.now(), None, 10)
    assert (row.status, row.reason, row.ready_at) == ("READY", "VERIFIED", clock.now())
    for _ in range(50):
        if await connection.fetchval("SELECT ready_at FROM campaigns"):
            break
        await asyncio.sleep(0.1)
    assert await connection.fetchval("SELECT type FROM transitions") == "content.ready"
    assert await connection.fetchval("SELECT count(*) FROM outbox") == 1


async def test_three_corrupt_reports_fail_a_delivery_and_a_sound_one_mends_it(
    served: Instance, scene: Scene, connection: Tx, clock: FakeClock
) -> None:
    for expected in ("OFFERED", "OFFERED", "FAILED"):
        await served.call("GET", f"/media/{scene.sha256}", scene.token)
        _, told = await post(served, scene, "readiness", ready(scene, "CORRUPT"))
        assert told["deliveries"][0]["status"] == expected
    assert (await post(served, scene, "readiness", ready(scene)))[1]["verified"] is False
    await served.call("GET", f"/media/{scene.sha256}", scene.token)
    assert (await post(served, scene, "readiness", ready(scene)))[1]["verified"] is True
    counts = (await delivery_counts(connection, [scene.campaign], clock.now()))[scene.campaign]
    assert {str(status): count for status, count in counts.items() if count} == {"READY": 1}


async def test_a_download_that_breaks_off_is_not_in_full(served: Instance, scene: Scene) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    await served.call("GET", f"{scene.path}/playlist", scene.token)
    request = f"GET /media/{scene.sha256} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {scene.token}\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.encode())
    await reader.readexactly(len(FILE) // 2)
    writer.transport.abort()
    await asyncio.sleep(0.1)
    assert not (await post(served, scene, "readiness", ready(scene)))[1]["verified"]


async def test_without_an_ack_an_offer_times_out_until_the_device_is_seen_again(
    connection: Tx, served: Instance, scene: Scene, clock: FakeClock
) -> None:
    async def status() -> tuple[str, str]:
        [row] = await deliveries(connection, scene.campaign, clock.now(), None, 10)
        return row.status, row.reason

    assert await status() == ("OFFERED", "AWAITING_ACK")
    clock.advance(minutes=30)
    assert await status() == ("TIMED_OUT", "NO_ACK")
    await served.call("GET", f"{scene.path}/playlist", scene.token)
    clock.advance(seconds=1)
    await served.call("GET", f"{scene.path}/playlist", scene.token)
    await served.screens.sightings.written()
    assert await status() == ("OFFERED", "AWAITING_ACK")
    await connection.execute("UPDATE campaigns SET distributed_at = NULL")
    assert await status() == ("PENDING", "NOT_DISTRIBUTED")


async def test_media_is_immutable_conditional_and_for_those_who_may(served: Instance, scene: Scene, api: Api) -> None:
    path, size = f"/media/{scene.sha256}", len(FILE)
    status, headers, body = await served.call("GET", path, scene.token)
    assert (status, body, headers["Content-Type"]) == (200, FILE, "image/png")
    assert "immutable" in headers["Cache-Control"]
    etag = headers["ETag"]
    assert (await served.call("GET", path, scene.token, headers={"If-None-Match": etag}))[0] == 304
    status, headers, body = await served.call("HEAD", path, scene.token)
    assert (status, headers["Content-Length"], body) == (200, str(size), b"")
    status, headers, _ = await served.call("GET", path, scene.token, headers={"Range": f"bytes={size}-"})
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    ranged = {"Range": "bytes=-5", "If-Range": '"another"'}
    assert (await served.call("GET", path, scene.token, headers=ranged))[0] == 200
    status, _, body = await served.call("GET", path, scene.token, headers={**ranged, "If-Range": etag})
    assert (status, body) == (206, FILE[-5:])
    assert (await served.call("GET", path))[0] == 401
    assert (await served.call("GET", path, api.operator))[0] == 200
    _, stranger = await api.tenant(funds=None)
    assert (await served.call("GET", path, stranger))[0] == 404
    assert (await served.call("GET", f"/media/{'0' * 64}", scene.token))[0] == 404
    assert (await served.call("GET", "/media/..%2f..%2fetc", scene.token))[0] == 404


async def test_who_leaves_before_the_media_begins_is_no_failure(served: Instance, scene: Scene) -> None:
    host, _, port = served.url.removeprefix("http://").partition(":")
    asked = f"GET /media/{scene.sha256} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {scene.token}\r\n\r\n".encode()
    with capture_logs() as told:
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(asked)
            await asyncio.sleep(0)
            writer.transport.abort()
        await asyncio.sleep(0.3)
        assert (await served.call("GET", f"/media/{scene.sha256}", scene.token))[0] == 200
    assert [line["event"] for line in told if line["log_level"] == "error"] == []


async def test_media_that_another_instance_has_elsewhere_is_told_once(served: Instance, scene: Scene, api: Api) -> None:
    api.platform.media.path(scene.sha256).unlink()  # type: ignore[arg-type]
    with capture_logs() as told:
        for _ in range(2):
            assert (await served.call("GET", f"/media/{scene.sha256}", scene.token))[0] == 404
    assert [line["sha256"] for line in told if line["event"] == "media not in folder"] == [scene.sha256]


def test_headers_of_clients_are_read_as_they_mean() -> None:
    assert coding_for("gzip, deflate, br") == "br"
    assert coding_for("gzip;q=1.0, br;q=0.5") == "gzip"
    assert coding_for("br;q=0, *") == "gzip"
    assert coding_for("") == coding_for("zstd") == coding_for("gzip;q=0") == "identity"
    assert matches('W/"a", "b"', "b")
    assert not matches('"ab"', "b")


def test_polls_spread_and_come_sooner_before_a_change(clock: FakeClock) -> None:
    devices = [DeviceId(UUID(int=number * 0x9E3779B97F4A7C15)) for number in range(1, 400)]
    now = clock.now()
    first = [come_back(device, now, 300, None) for device in devices]
    assert min(first) > 150
    assert max(first) <= 300
    assert len(set(first)) > 120
    for device, after in zip(devices, first, strict=True):
        assert come_back(device, now + timedelta(seconds=after), 300, None) >= 299
    for ahead in (30, 120, 290):
        soon = [come_back(device, now, 300, now + timedelta(seconds=ahead)) for device in devices]
        assert max(soon) < ahead


async def test_compressed_bodies_are_the_same_bytes(served: Instance, scene: Scene, connection: Tx) -> None:
    body = scene.playlist.body
    await connection.execute(
        "UPDATE playlists SET body_br = $1, body_gzip = $2", brotli.compress(body), gzip.compress(body)
    )
    served.screens.feed._bodies.clear()
    for coding, unpack in (("br", brotli.decompress), ("gzip", gzip.decompress)):
        _, headers, got = await served.call(
            "GET", f"{scene.path}/playlist", scene.token, headers={"Accept-Encoding": coding}
        )
        assert headers["Content-Encoding"] == coding
        assert unpack(got) == body
