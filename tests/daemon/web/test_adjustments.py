"""Corrections of a wallet: signed, with a reason, by an operator; never more than is available, never twice."""

import asyncio

import pytest

from daemon.verify import verify
from tests.daemon.web.caller import Api

REASON = "invoice 2026-117 was paid twice"


async def test_a_correction_moves_what_is_available_and_its_entry_tells(api: Api) -> None:
    tenant, token = await api.tenant(funds="100.00")
    path = f"/v1/tenants/{tenant}/adjustments"
    more = await api.call("POST", path, api.operator, json={"amount": "12.50", "reason": "goodwill"})
    assert (more.status, more.body["funded"], more.body["available"]) == (201, "112.50", "112.50")
    less = await api.call("POST", path, api.admin, json={"amount": "-112.50", "reason": REASON})
    assert (less.status, less.body["funded"], less.body["available"]) == (201, "0.00", "0.00")
    _, *entries = (await api.ok("GET", "/v1/wallet/entries", token))["items"]
    assert [(one["kind"], one["amount"], one["reference"], one["campaign_id"]) for one in entries] == [
        ("adjustment", "12.50", "goodwill", None),
        ("adjustment", "-112.50", REASON, None),
    ]
    async with api.platform.database.transaction() as tx:
        assert (await verify(tx)).violations == []
    async with api.platform.database.transaction() as tx:
        actors = await tx.fetch("SELECT actor FROM ledger WHERE kind = 'adjustment' ORDER BY id")
    assert all(row["actor"].startswith("token:") for row in actors)
    assert len({row["actor"] for row in actors}) == 2, "an operator and an admin"


async def test_what_is_held_is_not_to_be_taken(api: Api) -> None:
    tenant, token = await api.tenant(funds="700.00")
    await api.screens()
    campaign = await api.draft(token, await api.creative(token), budget="500.00")
    await api.ok("POST", f"/v1/campaigns/{campaign['id']}/submit", token)
    path, body = f"/v1/tenants/{tenant}/adjustments", {"amount": "-200.01", "reason": REASON}
    refused = await api.call("POST", path, api.operator, json=body)
    assert (refused.status, refused.kind) == (409, "insufficient-funds")
    assert "200.00" in refused.body["detail"]
    assert "200.01" in refused.body["detail"]
    wallet = await api.ok("POST", path, api.operator, json={**body, "amount": "-200.00"})
    assert (wallet["funded"], wallet["available"], wallet["held"]) == ("500.00", "0.00", "500.00")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"amount": "0.00", "reason": "x"}, "amount"),
        ({"amount": "-0", "reason": "x"}, "amount"),
        ({"amount": "+1.00", "reason": "x"}, "amount"),
        ({"amount": "--1.00", "reason": "x"}, "amount"),
        ({"amount": "1.001", "reason": "x"}, "amount"),
        ({"amount": 5, "reason": "x"}, "amount"),
        ({"amount": "1000000000.01", "reason": "x"}, "amount"),
        ({"amount": "-999999999999.99", "reason": "x"}, "amount"),
        ({"reason": "x"}, "amount"),
        ({"amount": "1.00"}, "reason"),
        ({"amount": "1.00", "reason": ""}, "reason"),
        ({"amount": "1.00", "reason": "   "}, "reason"),
        ({"amount": "1.00", "reason": "x" * 201}, "reason"),
        ({"amount": "1.00", "reason": None}, "reason"),
        ({"amount": "1.00", "reason": "x", "reference": "y"}, "reference"),
    ],
)
async def test_a_body_that_cannot_be_names_its_field(api: Api, body: dict[str, object], field: str) -> None:
    tenant, _ = await api.tenant(funds="1.00")
    answer = await api.call("POST", f"/v1/tenants/{tenant}/adjustments", api.operator, json=body)
    assert (answer.status, answer.kind, list(answer.fields)) == (422, "validation", [field])


async def test_a_wallet_holds_what_a_number_can(api: Api) -> None:
    tenant, _ = await api.tenant(funds=None)
    async with api.platform.database.transaction() as tx:
        most = 2**63 - 1 - 999_000_000
        await tx.execute("UPDATE tenants SET funded_micros = $1, available_micros = $1", most)
    path = f"/v1/tenants/{tenant}/adjustments"
    answer = await api.call("POST", path, api.operator, json={"amount": "1000.00", "reason": "x"})
    assert (answer.status, answer.fields) == (422, {"amount": "is more than a wallet can hold"})


async def test_only_staff_corrects_and_only_who_is_there(api: Api) -> None:
    tenant, token = await api.tenant()
    body = {"amount": "1.00", "reason": "x"}
    for whose in (tenant, "01a201ab-71bb-738f-bf8a-5ac51e530d1a"):
        answer = await api.call("POST", f"/v1/tenants/{whose}/adjustments", token, json=body)
        assert (answer.status, answer.kind) == (403, "forbidden")
        assert "operator" in answer.body["detail"]
    gone = await api.call("POST", "/v1/tenants/01a201ab-71bb-738f-bf8a-5ac51e530d1a/adjustments", api.admin, json=body)
    assert (gone.status, gone.kind) == (404, "not-found")


async def test_many_at_once_take_no_more_than_there_is_and_a_key_once(api: Api) -> None:
    tenant, _ = await api.tenant(funds="100.00")
    path, body = f"/v1/tenants/{tenant}/adjustments", {"amount": "-30.00", "reason": REASON}
    answers = await asyncio.gather(*(api.call("POST", path, api.operator, json=body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] * 3 + [409] * 5
    key = {"Idempotency-Key": "k"}
    small = {"amount": "-4.00", "reason": REASON}
    again = [await api.call("POST", path, api.operator, json=small, headers=key) for _ in range(3)]
    assert {(answer.status, answer.body["available"]) for answer in again} == {(201, "6.00")}
    assert (await api.ok("GET", f"/v1/wallet?tenant_id={tenant}"))["funded"] == "6.00"
