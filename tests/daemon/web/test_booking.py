"""A campaign from draft to its end over HTTP: what each call answers, what it costs, what it leaves in the log."""

import asyncio
from datetime import timedelta

from daemon.web.cursors import encode as made
from tests.daemon.web.caller import Api

NOBODY = "00000000-0000-7000-8000-000000000000"


async def wallet(api: Api, token: str) -> tuple[str, str, str, str]:
    told = await api.ok("GET", "/v1/wallet", token)
    return told["funded"], told["available"], told["held"], told["spent"]


async def submitted(api: Api, token: str, **more: object) -> dict[str, object]:
    creative = await api.creative(token)
    draft = await api.draft(token, creative, **more)
    made: dict[str, object] = await api.ok("POST", f"/v1/campaigns/{draft['id']}/submit", token)
    return made


async def test_a_booking_goes_all_the_way(api: Api) -> None:
    tenant, token = await api.tenant()
    devices = await api.screens(3)
    creative = await api.creative(token)
    start = api.clock.now() + timedelta(hours=48)
    answer = await api.call(
        "POST",
        "/v1/campaigns",
        token,
        headers={"X-Correlation-Id": "booking-7"},
        json={
            "name": "Autumn",
            "channel": "signage",
            "start_at": start.isoformat(),
            "end_local": "2026-11-25T13:00:00",
            "timezone": "America/New_York",
            "budget": "500",
            "creatives": [creative],
            "target": {"devices": devices[:2], "exclude_tags": ["x"]},
            "dayparts": [{"days": ["tue", "wed"], "from": "09:00", "to": "24:00"}],
        },
    )
    draft = answer.body
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v1/campaigns/{draft['id']}"
    assert (answer.headers["ETag"], answer.headers["X-Correlation-Id"]) == ('"1"', "booking-7")
    assert draft["start_at"] == "2026-11-24T12:00:00Z"
    assert draft["end_at"] == "2026-11-25T18:00:00Z"
    assert (draft["start_local"], draft["end_local"]) == ("2026-11-24T07:00:00", "2026-11-25T13:00:00")
    assert (draft["start_tenant"], draft["end_tenant"]) == ("2026-11-24T13:00:00+01:00", "2026-11-25T19:00:00+01:00")
    assert (draft["status"], draft["budget"], draft["total_recipients"]) == ("DRAFT", "500.00", 2)
    assert draft["target"] == {"devices": sorted(devices[:2]), "exclude_tags": ["x"]}
    assert draft["dayparts"] == [{"days": ["tue", "wed"], "from": "09:00", "to": "24:00"}]
    assert draft["deliveries"]["PENDING"] == 2

    path = f"/v1/campaigns/{draft['id']}"
    booked = await api.call("POST", f"{path}/submit", token)
    assert (booked.body["status"], booked.headers["ETag"]) == ("SCHEDULED", '"2"')
    assert await wallet(api, token) == ("10000.00", "9500.00", "500.00", "0.00")
    assert api.woken

    coming = (await api.ok("GET", "/v1/schedule/upcoming?hours=80", token))["items"]
    assert [(one["kind"], one["due_at"]) for one in coming] == [
        ("distribute", "2026-11-23T12:00:00Z"),
        ("start", "2026-11-24T12:00:00Z"),
        ("end", "2026-11-25T18:00:00Z"),
    ]
    assert coming[1]["due_local"] == "2026-11-24T07:00:00"

    topped = await api.ok("POST", f"{path}/topup", token, json={"amount": "50.00"})
    assert topped["budget"] == "550.00"
    ended = await api.ok("POST", f"{path}/cancel", token, json={"note": "no more"})
    assert (ended["status"], ended["status_reason"], ended["status_note"]) == ("CANCELLED", "USER", "no more")
    assert (ended["released"], ended["settled_at"]) == ("550.00", "2026-11-22T12:00:00Z")
    assert await wallet(api, token) == ("10000.00", "10000.00", "0.00", "0.00")

    log = (await api.ok("GET", f"{path}/transitions", token))["items"]
    assert [(row["sequence"], row["type"], row["from"], row["to"]) for row in log] == [
        (1, "created", None, "DRAFT"),
        (2, "scheduled", "DRAFT", "SCHEDULED"),
        (3, "budget.increased", "SCHEDULED", "SCHEDULED"),
        (4, "cancelled", "SCHEDULED", "CANCELLED"),
        (5, "settled", "CANCELLED", "CANCELLED"),
    ]
    entries = (await api.ok("GET", "/v1/wallet/entries", token))["items"]
    assert [(row["kind"], row["amount"]) for row in entries] == [
        ("deposit", "10000.00"),
        ("hold", "500.00"),
        ("hold", "50.00"),
        ("release", "550.00"),
    ]
    assert entries[1]["campaign_id"] == draft["id"]
    assert (await api.ok("GET", f"/v1/wallet?tenant_id={tenant}", api.operator))["available"] == "10000.00"


async def test_every_transition_is_announced_in_the_transaction_of_the_change(api: Api) -> None:
    _, token = await api.tenant()
    await api.screens()
    booked = await submitted(api, token)
    async with api.platform.database.transaction() as tx:
        told = await tx.fetch("SELECT sequence, type, body FROM outbox WHERE key = $1 ORDER BY id", booked["id"])
    assert [(row["sequence"], row["type"]) for row in told] == [(1, "created"), (2, "scheduled")]


async def test_an_executed_campaign_runs_is_paused_and_resumed_by_who_may(api: Api) -> None:
    _, token = await api.tenant()
    await api.screens()
    path = f"/v1/campaigns/{(await submitted(api, token))['id']}"
    running = await api.ok("POST", f"{path}/execute", token)
    assert (running["status"], running["start_at"]) == ("ACTIVE", "2026-11-22T12:00:00Z")
    assert running["activated_at"] == "2026-11-22T12:00:00Z"
    paused = await api.ok("POST", f"{path}/pause", api.operator, json={"note": "looking into it"})
    assert (paused["status"], paused["status_reason"]) == ("PAUSED", "OPERATOR")
    refused = await api.call("POST", f"{path}/resume", token)
    assert (refused.status, refused.kind) == (409, "invalid-transition")
    assert "operator" in refused.body["detail"]
    assert (await api.ok("POST", f"{path}/resume", api.operator))["status"] == "ACTIVE"
    done = (await api.ok("GET", "/v1/schedule/executions?limit=100", token))["items"]
    assert [(one["kind"], one["outcome"]) for one in done if one["kind"] == "start"] == [("start", "ACTIVE")]


async def test_flagged_and_dear_campaigns_wait_for_an_operator(api: Api) -> None:
    _, token = await api.tenant(approval_limit="400.00")
    await api.screens()
    waiting = await submitted(api, token)
    assert waiting["status"] == "PENDING_APPROVAL"
    path = f"/v1/campaigns/{waiting['id']}"
    forbidden = await api.call("POST", f"{path}/approve", token)
    assert (forbidden.status, forbidden.kind) == (403, "forbidden")
    assert "operator" in forbidden.body["detail"]
    noteless = await api.call("POST", f"{path}/reject", api.operator, json={})
    assert (noteless.status, list(noteless.fields)) == (422, ["note"])
    rejected = await api.ok("POST", f"{path}/reject", api.operator, json={"note": "too loud"})
    assert (rejected["status"], rejected["status_note"], rejected["released"]) == ("REJECTED", "too loud", "500.00")
    again = await api.ok("PATCH", path, token, json={"name": "Quieter", "budget": "300.00"})
    assert (again["status"], again["name"]) == ("DRAFT", "Quieter")
    assert (await api.ok("POST", f"{path}/submit", token))["status"] == "SCHEDULED"

    creative = await api.creative(token)
    await api.ok("PATCH", f"/v1/creatives/{creative}", api.operator, json={"flags": ["ALCOHOL"]})
    flagged = await api.draft(token, creative, budget="100.00")
    assert (await api.ok("POST", f"/v1/campaigns/{flagged['id']}/submit", token))["status"] == "PENDING_APPROVAL"
    assert (await api.ok("POST", f"/v1/campaigns/{flagged['id']}/approve", api.operator))["status"] == "SCHEDULED"


async def test_a_draft_is_edited_and_deleted(api: Api) -> None:
    _, token = await api.tenant()
    creative = await api.creative(token)
    draft = await api.draft(token, creative, brand="Acme")
    path = f"/v1/campaigns/{draft['id']}"
    edited = await api.ok("PATCH", path, token, json={"priority": 9, "brand": None, "start_at": None})
    assert (edited["priority"], edited["brand"], edited["start_at"], edited["start_local"]) == (9, None, None, None)
    assert edited["version"] == 2
    changes = (await api.ok("GET", f"{path}/transitions", token))["items"][1]["changes"]
    assert {"field": "priority", "old": 5, "new": 9} in changes
    stale = await api.call("PATCH", path, token, json={"priority": 1}, headers={"If-Match": '"1"'})
    assert (stale.status, stale.kind) == (412, "version-mismatch")
    for tag in ('"2"', "*", '"7", "4"', "5"):
        assert (await api.call("PATCH", path, token, json={"priority": 1}, headers={"If-Match": tag})).status == 200
    for tag in ('W/"6"', "5", '"6x"'):
        answer = await api.call("POST", f"{path}/submit", token, headers={"If-Match": tag})
        assert answer.status == 412, tag
    gone = await api.call("DELETE", path, token)
    assert (gone.status, gone.raw) == (204, b"")
    for method in ("GET", "PATCH", "DELETE"):
        assert (await api.call(method, path, token, json={})).status == 404
    assert (await api.ok("GET", "/v1/campaigns", token))["items"] == []


async def test_what_cannot_be_booked_says_why_field_by_field(api: Api) -> None:
    _, token = await api.tenant()
    bad = await api.call(
        "POST",
        "/v1/campaigns",
        token,
        json={
            "name": "x",
            "channel": "radio",
            "budget": "99.99",
            "start_at": "2026-11-24",
            "end_at": "2026-11-25T00:00:00Z",
            "end_local": "2026-11-25T00:00:00",
            "timezone": "Mars/Olympus",
            "priority": "5",
            "creatives": ["01a201ab-71bb-738f-bf8a-5ac51e530d1a"],
            "target": {"shops": []},
            "colour": "red",
        },
    )
    assert (bad.status, bad.kind) == (422, "validation")
    assert bad.headers["Content-Type"] == "application/problem+json"
    assert bad.fields["budget"] == "must be between 100.00 and 1000000.00"
    assert bad.fields["colour"] == "unknown field"
    expected = {"name", "channel", "budget", "start_at", "end_local", "timezone", "priority", "colour"}
    assert expected <= set(bad.fields)
    assert any(field.startswith("target") for field in bad.fields)

    await api.screens()
    bare = await api.ok("POST", "/v1/campaigns", token, json={"name": "Bare", "channel": "signage"})
    unfinished = await api.call("POST", f"/v1/campaigns/{bare['id']}/submit", token)
    assert unfinished.status == 422
    assert set(unfinished.fields) == {"start_at", "end_at", "budget", "creatives", "target"}


async def test_conflicts_name_the_numbers(api: Api) -> None:
    _, token = await api.tenant(funds="600.00", running_limit=1)
    creative = await api.creative(token)
    first = await api.draft(token, creative)
    nobody = await api.call("POST", f"/v1/campaigns/{first['id']}/submit", token)
    assert (nobody.status, nobody.kind) == (409, "no-eligible-devices")
    await api.screens()
    await api.ok("POST", f"/v1/campaigns/{first['id']}/submit", token)
    twice = await api.call("POST", f"/v1/campaigns/{first['id']}/submit", token)
    assert (twice.status, twice.body["detail"]) == (409, "Campaign is SCHEDULED; submit needs DRAFT")
    named = await api.call("POST", "/v1/campaigns", token, json={"name": first["name"], "channel": "signage"})
    assert (named.status, named.kind) == (409, "name-taken")
    second = await api.draft(token, creative, budget="100.00")
    crowded = await api.call("POST", f"/v1/campaigns/{second['id']}/submit", token)
    assert (crowded.status, crowded.kind) == (409, "running-limit")
    assert first["name"] in crowded.body["detail"]
    later = api.clock.now() + timedelta(days=30)
    await api.ok(
        "PATCH",
        f"/v1/campaigns/{second['id']}",
        token,
        json={"start_at": later.isoformat(), "end_at": (later + timedelta(days=1)).isoformat(), "budget": "500.00"},
    )
    poor = await api.call("POST", f"/v1/campaigns/{second['id']}/submit", token)
    assert (poor.status, poor.kind) == (409, "insufficient-funds")
    assert poor.body["detail"] == "Available 100.00, needed 500.00"
    fixed = await api.call("PATCH", f"/v1/campaigns/{first['id']}", token, json={"brand": "Acme"})
    assert (fixed.status, fixed.kind) == (409, "edit-not-allowed")


async def test_submits_at_one_time_keep_to_the_running_limit(api: Api) -> None:
    _, token = await api.tenant(running_limit=3)
    await api.screens()
    creative = await api.creative(token)
    drafts = [await api.draft(token, creative, budget="100.00") for _ in range(8)]
    answers = await asyncio.gather(*(api.call("POST", f"/v1/campaigns/{one['id']}/submit", token) for one in drafts))
    assert sorted(answer.status for answer in answers) == [200] * 3 + [409] * 5
    assert await wallet(api, token) == ("10000.00", "9700.00", "300.00", "0.00")


async def test_lists_are_filtered_and_go_on_where_they_ended(api: Api) -> None:
    _, token = await api.tenant()
    _, other = await api.tenant()
    for name in ("100% Äpfel", "100 pears", "under_score", "underXscore", "plums"):
        await api.ok("POST", "/v1/campaigns", token, json={"name": name, "channel": "signage"})
    await api.ok("POST", "/v1/campaigns", other, json={"name": "plums", "channel": "signage"})

    async def names(query: str, who: str = token) -> list[str]:
        params = dict(part.split("=") for part in query.split("&"))
        return [one["name"] for one in (await api.ok("GET", "/v1/campaigns", who, params=params))["items"]]

    assert await names("search=ÄPFEL") == ["100% Äpfel"]
    assert await names("search=%") == ["100% Äpfel"]
    assert await names("search=R_S") == ["under_score"]
    assert await names("status=DRAFT&channel=signage&search=pl") == ["plums"]
    assert await names("status=ACTIVE,PAUSED") == []
    assert await names("search=plums", api.operator) == ["plums", "plums"]

    seen, cursor = [], None
    while True:
        page = await api.ok("GET", "/v1/campaigns", token, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        seen += [one["name"] for one in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == ["100% Äpfel", "100 pears", "under_score", "underXscore", "plums"]


BAD_QUERIES = [
    ("/v1/campaigns?limit=0", "limit"),
    ("/v1/campaigns?limit=201", "limit"),
    ("/v1/campaigns?limit=ten", "limit"),
    ("/v1/campaigns?limit=", "limit"),
    ("/v1/campaigns?status=RUNNING", "status"),
    ("/v1/campaigns?status=", "status"),
    ("/v1/campaigns?cursor=nonsense", "cursor"),
    ("/v1/tenants?cursor=WyJjYW1wYWlnbnMiLDFd", "cursor"),
    ("/v1/schedule/upcoming?hours=0", "hours"),
    ("/v1/schedule/upcoming?cursor=e30", "cursor"),
    ("/v1/schedule/executions?cursor=%F0", "cursor"),
    (f"/v1/schedule/executions?cursor={made('executions', '2026-01-01T00:00:00Z', NOBODY, 2**31)}", "cursor"),
    (f"/v1/schedule/upcoming?cursor={made('upcoming', '2026-01-01T00:00:00Z', NOBODY, chr(0))}", "cursor"),
    ("/v1/campaigns?search=%00", "search"),
    ("/v1/stores?tag=a%00", "tag"),
    ("/v1/devices?store_id=7", "store_id"),
    ("/v1/wallet", "tenant_id"),
]


async def test_a_bad_query_names_its_parameter(api: Api) -> None:
    for path, field in BAD_QUERIES:
        answer = await api.call("GET", path, api.operator)
        assert (answer.status, list(answer.fields)) == (422, [field]), path


async def test_a_post_of_nothing_is_told_what_is_missing(api: Api) -> None:
    _, token = await api.tenant()
    made = await api.ok("POST", "/v1/campaigns", token, json={"name": "Bare", "channel": "signage"})
    for path, caller, fields in (
        ("/v1/campaigns", token, {"name", "channel"}),
        (f"/v1/campaigns/{made['id']}/reject", api.operator, {"note"}),
        (f"/v1/campaigns/{made['id']}/topup", token, {"amount"}),
    ):
        answer = await api.call("POST", path, caller)
        assert (answer.status, set(answer.fields)) == (422, fields), path


async def test_lists_by_time_go_on_where_they_ended(api: Api) -> None:
    _, token = await api.tenant()
    await api.screens()
    booked = [await submitted(api, token, budget="100.00") for _ in range(3)]
    for one in booked:
        await api.ok("POST", f"/v1/campaigns/{one['id']}/execute", token)
    for path, count in (("/v1/schedule/executions", 3), ("/v1/schedule/upcoming?hours=100", 6)):
        whole = (await api.ok("GET", path, token, params=[("limit", "200")] if "?" not in path else None))["items"]
        assert len(whole) >= count - 3
        parts, cursor = [], ""
        while True:
            joint = "&" if "?" in path else "?"
            page = await api.ok("GET", f"{path}{joint}limit=1" + (f"&cursor={cursor}" if cursor else ""), token)
            parts += page["items"]
            if not (cursor := page["next_cursor"] or ""):
                break
        assert parts == whole


async def test_deliveries_list_the_whole_audience(api: Api) -> None:
    _, token = await api.tenant()
    devices = await api.screens(3)
    await api.ok("PATCH", f"/v1/devices/{devices[0]}", json={"disabled": True})
    booked = await submitted(api, token)
    first = await api.ok("GET", f"/v1/campaigns/{booked['id']}/deliveries?limit=1", token)
    rest = await api.ok("GET", f"/v1/campaigns/{booked['id']}/deliveries?cursor={first['next_cursor']}", token)
    listed = [*first["items"], *rest["items"]]
    assert {row["device_id"] for row in listed} == set(devices[1:])
    assert {row["status"] for row in listed} == {"PENDING"}
    assert booked["total_recipients"] == 2


async def test_what_is_coming_counts_the_audience_of_now(api: Api) -> None:
    _, token = await api.tenant()
    await api.screens()
    await submitted(api, token)
    await api.screens(2)  # they join at once
    coming = (await api.ok("GET", "/v1/schedule/upcoming?hours=80", token))["items"]
    assert {(one["total_recipients"], one["ready"]) for one in coming} == {(3, 0)}
