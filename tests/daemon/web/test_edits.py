"""Edits of booked campaigns over HTTP: what they answer, what they tell the world, and what screens make of them."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from daemon.compiling import Compiler, Reach, opened
from tests.daemon.web.caller import PNG, Api
from tests.daemon.web.following import distributed, on_screen, planned

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
async def compiler() -> AsyncIterator[Compiler]:
    async with opened(1, Reach()) as children:
        yield children


async def test_an_edit_is_answered_versioned_and_told(api: Api) -> None:
    _, token = await api.tenant()
    await api.screens()
    draft = await api.draft(token, await api.creative(token))
    path = f"/v1/campaigns/{draft['id']}"
    booked = await api.ok("POST", f"{path}/submit", token)
    later = (datetime.fromisoformat(booked["end_at"]) + HOUR).isoformat()
    edited = await api.call(
        "PATCH", path, token, json={"end_at": later, "name": "Longer"}, headers={"If-Match": f'"{booked["version"]}"'}
    )
    assert (edited.status, edited.headers["ETag"]) == (200, f'"{booked["version"] + 1}"')
    assert (edited.body["status"], edited.body["name"]) == ("SCHEDULED", "Longer")
    stale = await api.call("PATCH", path, token, json={"priority": 1}, headers={"If-Match": f'"{booked["version"]}"'})
    assert (stale.status, stale.kind) == (412, "version-mismatch")
    for patch in ({"budget": "900.00"}, {"start_at": api.clock.now().isoformat()}, {"target": {"include_tags": ["x"]}}):
        refused = await api.call("PATCH", path, token, json=patch)
        assert (refused.status, refused.kind) == (409, "edit-not-allowed"), patch
        assert refused.body["detail"].startswith("Campaign is SCHEDULED; ")
    assert (await api.ok("GET", path, token))["version"] == booked["version"] + 1
    row = (await api.ok("GET", f"{path}/transitions", token))["items"][-1]
    assert (row["type"], row["from"], row["to"]) == ("updated", "SCHEDULED", "SCHEDULED")
    assert [change["field"] for change in row["changes"]] == ["name", "end_at"]
    async with api.platform.database.transaction() as tx:
        body = await tx.fetchval("SELECT body FROM outbox WHERE key = $1 ORDER BY id DESC LIMIT 1", draft["id"])
    event = json.loads(body)
    assert (event["type"], event["data"]["changes"]) == ("campaign.updated", row["changes"])


async def test_screens_follow_an_edit(api: Api, compiler: Compiler) -> None:
    _, token = await api.tenant()
    [here], [there] = await api.screens(), await api.screens()
    first, second = await api.creative(token), await api.creative(token, PNG + b"another")
    start = api.clock.now() + 20 * HOUR
    draft = await api.draft(token, first, start_at=start.isoformat(), allow_short_lead=True, target={"devices": [here]})
    path = f"/v1/campaigns/{draft['id']}"
    await api.ok("POST", f"{path}/submit", token)
    await distributed(api, draft["id"])
    await planned(api, compiler)
    assert (await on_screen(api, here)).at(start).kind == "ad"

    await api.ok("PATCH", path, token, json={"start_at": (start + HOUR).isoformat(), "target": {}})
    await planned(api, compiler)
    for device in (here, there):
        shown = await on_screen(api, device)
        assert (shown.at(start).kind, shown.at(start + HOUR).kind) == ("house", "ad")

    # beyond the lead it is out of every playlist, until it is due again
    await api.ok("PATCH", path, token, json={"start_at": (start + 6 * HOUR).isoformat()})
    await planned(api, compiler)
    assert not any(entry.campaign_id for entry in (await on_screen(api, here)).creatives)
    assert (await api.ok("GET", path, token))["distributed_at"] is None
    api.clock.advance(hours=3)
    await distributed(api, draft["id"])
    await planned(api, compiler)
    assert (await on_screen(api, here)).at(start + 6 * HOUR).kind == "ad"
    kinds = [row["type"] for row in (await api.ok("GET", f"{path}/transitions", token))["items"]]
    assert kinds.count("content.distributed") == 2

    await api.ok("POST", f"{path}/execute", token)
    await api.ok("PATCH", path, token, json={"creatives": [first, second], "priority": 9})
    await planned(api, compiler)
    assert {str(entry.id) for entry in (await on_screen(api, there)).creatives if entry.campaign_id} == {first, second}
