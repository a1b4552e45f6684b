"""Uploads: whole and right, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

from daemon.media import MediaFolder, sweep
from playlists.ids import Sha256
from tests.daemon.web.caller import PNG, Api

DIGEST = Sha256(sha256(PNG).hexdigest())
BODY = {"name": "Spot", "sha256": DIGEST, "size": len(PNG), "mime": "image/png", "duration_ms": 10_000}


async def registered(api: Api, **more: Any) -> tuple[str, str]:
    _, token = await api.tenant()
    made = await api.ok("POST", "/v1/creatives", token, json={**BODY, **more})
    assert (made["state"], made["flags"], made["keywords"]) == ("MISSING", [], [])
    return f"/v1/creatives/{made['id']}", token


def files(media: MediaFolder) -> list[str]:
    return [str(path.relative_to(media.folder)) for path in media.folder.rglob("*") if path.is_file()]


async def test_the_bytes_are_stored_under_their_hash(api: Api) -> None:
    path, token = await registered(api)
    stored = await api.ok("PUT", f"{path}/media", token, data=PNG)
    assert stored["state"] == "STORED"
    assert (await api.ok("GET", path, token))["state"] == "STORED"
    assert files(api.platform.media) == [f"{DIGEST[:2]}/{DIGEST}"]
    assert api.platform.media.path(DIGEST).read_bytes() == PNG
    assert api.platform.media.size(DIGEST) == len(PNG)
    assert (await api.call("PUT", f"{path}/media", token, data=PNG)).status == 200


async def test_other_bytes_are_refused(api: Api) -> None:
    path, token = await registered(api)

    async def streamed(content: bytes) -> AsyncIterator[bytes]:
        yield content

    for content, field in ((PNG[:-1], "size"), (PNG + b"x", "size"), (b"", "size"), (PNG[:-1] + b"x", "sha256")):
        for data in (content, streamed(content)):
            answer = await api.call("PUT", f"{path}/media", token, data=data)
            assert (answer.status, list(answer.fields)) == (422, [field])
    assert (await api.ok("GET", path, token))["state"] == "MISSING"
    assert files(api.platform.media) == []


async def test_a_folder_that_takes_nothing_is_no_fault_of_the_upload(api: Api) -> None:
    path, token = await registered(api)
    folder = api.platform.media.folder
    folder.write_bytes(b"in its place")
    answer = await api.call("PUT", f"{path}/media", token, data=PNG)
    assert (answer.status, answer.kind, answer.headers["Retry-After"]) == (503, "unavailable", "1")
    folder.unlink()
    assert (await api.ok("PUT", f"{path}/media", token, data=PNG))["state"] == "STORED"


async def test_an_upload_that_breaks_off_leaves_nothing(api: Api) -> None:
    path, token = await registered(api)
    host, port = api.url.removeprefix("http://").split(":")
    for head in (f"Content-Length: {len(PNG)}", "Transfer-Encoding: chunked"):
        reader, writer = await asyncio.open_connection(host, int(port))
        start = PNG[:500] if "Length" in head else b"1f4\r\n" + PNG[:500] + b"\r\n"
        request = f"PUT {path}/media HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{head}\r\n\r\n"
        writer.write(request.encode() + start)
        await writer.drain()
        for _ in range(100):
            if files(api.platform.media):
                break
            await asyncio.sleep(0.02)
        writer.close()
        for _ in range(100):
            if not files(api.platform.media):
                break
            await asyncio.sleep(0.02)
        assert files(api.platform.media) == []
        assert not await reader.read()
    assert (await api.ok("GET", path, token))["state"] == "MISSING"


async def test_only_stored_creatives_are_submitted(api: Api) -> None:
    path, token = await registered(api)
    await api.screens()
    draft = await api.draft(token, path.rpartition("/")[2])
    refused = await api.call("POST", f"/v1/campaigns/{draft['id']}/submit", token)
    assert (refused.status, list(refused.fields)) == (422, ["creatives"])
    await api.ok("PUT", f"{path}/media", token, data=PNG)
    assert (await api.ok("POST", f"/v1/campaigns/{draft['id']}/submit", token))["status"] == "SCHEDULED"


async def test_a_creatives_body_is_checked(api: Api) -> None:
    tenant, token = await api.tenant(funds=None)
    bad = {
        "name": "",
        "sha256": DIGEST.upper(),
        "size": 0,
        "mime": "text/html",
        "duration_ms": "1",
        "flags": [],
        "tenant_id": "me",
    }
    answer = await api.call("POST", "/v1/creatives", token, json=bad)
    assert (answer.status, set(answer.fields)) == (422, set(bad))
    large = await api.call("POST", "/v1/creatives", token, json={**BODY, "size": 10_000_001})
    assert list(large.fields) == ["size"]
    named = await api.ok("POST", "/v1/creatives", api.operator, json={**BODY, "tenant_id": tenant, "keywords": ["a"]})
    assert (named["tenant_id"], named["keywords"]) == (tenant, ["a"])
    path = f"/v1/creatives/{named['id']}"
    assert (await api.call("PATCH", path, token, json={"flags": ["ADULT"]})).status == 403
    assert (await api.ok("PATCH", path, api.operator, json={"flags": ["ADULT"]}))["flags"] == ["ADULT"]
    fixed = await api.call("PATCH", path, api.operator, json={"size": 1, "flags": ["SMOKE"]})
    assert (fixed.status, set(fixed.fields)) == (422, {"size", "flags"})
    assert (await api.ok("PATCH", path, token, json={"name": "New", "keywords": None}))["keywords"] == []


async def test_what_killed_uploads_left_is_swept(api: Api) -> None:
    media = api.platform.media
    assert sweep(media) == 0
    unfinished = media.folder / ".unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "tmpx").write_bytes(b"part")
    assert sweep(media) == 0
    assert sweep(media, older_than_seconds=-1) == 1
    assert files(media) == []
