"""The same key, the same answer, the effect once: also at one time, after a refusal, and for a day only."""

import asyncio

from tests.daemon.web.caller import Api

DEPOSIT = {"amount": "10.00", "reference": "wire"}


async def funded(api: Api, tenant: str) -> str:
    return str((await api.ok("GET", f"/v1/wallet?tenant_id={tenant}"))["funded"])


async def test_a_repeated_call_is_answered_alike_and_done_once(api: Api) -> None:
    tenant, token = await api.tenant(funds=None)
    key = {"Idempotency-Key": "k-1"}
    first = await api.call("POST", f"/v1/tenants/{tenant}/deposits", api.admin, json=DEPOSIT, headers=key)
    spaced = '{ "reference": "wire", "amount": "10.00" }'
    again = await api.call(
        "POST",
        f"/api/v1/tenants/{tenant}/deposits",
        api.admin,
        data=spaced,
        headers={**key, "Content-Type": "application/json"},
    )
    assert (first.status, again.status) == (201, 201)
    assert first.raw == again.raw
    assert await funded(api, tenant) == "10.00"
    other = await api.call(
        "POST", f"/v1/tenants/{tenant}/deposits", api.admin, json={**DEPOSIT, "amount": "20.00"}, headers=key
    )
    assert (other.status, other.kind) == (409, "idempotency-mismatch")

    draft = {"name": "Once", "channel": "signage"}
    made = [await api.call("POST", "/v1/campaigns", token, json=draft, headers=key) for _ in range(2)]
    assert [one.status for one in made] == [201, 201]
    assert made[0].headers["Location"] == made[1].headers["Location"]
    assert made[0].headers["ETag"] == made[1].headers["ETag"]
    assert len((await api.ok("GET", "/v1/campaigns", token))["items"]) == 1


async def test_a_key_is_one_tokens_on_one_path(api: Api) -> None:
    tenant, _ = await api.tenant(funds=None)
    other, _ = await api.tenant(funds=None)
    key = {"Idempotency-Key": "k"}
    for one in (tenant, other):
        await api.ok("POST", f"/v1/tenants/{one}/deposits", json=DEPOSIT, headers=key)
    assert (await funded(api, tenant), await funded(api, other)) == ("10.00", "10.00")


async def test_concurrent_uses_take_effect_once(api: Api) -> None:
    tenant, _ = await api.tenant(funds=None)
    calls = (
        api.call("POST", f"/v1/tenants/{tenant}/deposits", api.admin, json=DEPOSIT, headers={"Idempotency-Key": "race"})
        for _ in range(10)
    )
    statuses = {answer.status for answer in await asyncio.gather(*calls)}
    assert statuses <= {201, 409}
    assert await funded(api, tenant) == "10.00"


async def test_a_refusal_is_kept_and_leaves_nothing(api: Api) -> None:
    tenant, token = await api.tenant(funds=None)
    await api.screens()
    path = f"/v1/campaigns/{(await api.draft(token, await api.creative(token)))['id']}/submit"
    key = {"Idempotency-Key": "k"}
    poor = await api.call("POST", path, token, headers=key)
    assert (poor.status, poor.kind) == (409, "insufficient-funds")
    await api.ok("POST", f"/v1/tenants/{tenant}/deposits", json={"amount": "900.00", "reference": "x"})
    again = await api.call("POST", path, token, headers=key)
    assert (again.status, again.raw) == (409, poor.raw)
    assert again.headers["Content-Type"] == "application/problem+json"
    fresh = await api.call("POST", path, token, headers={"Idempotency-Key": "k2"})
    assert fresh.status == 200
    async with api.platform.database.transaction() as tx:
        assert await tx.fetchval("SELECT count(*) FROM outbox WHERE type = 'scheduled'") == 1


async def test_a_key_is_kept_for_a_day(api: Api) -> None:
    tenant, _ = await api.tenant(funds=None)
    path, key = f"/v1/tenants/{tenant}/deposits", {"Idempotency-Key": "k"}
    await api.ok("POST", path, json=DEPOSIT, headers=key)
    api.clock.advance(hours=23)
    await api.ok("POST", path, json=DEPOSIT, headers=key)
    assert await funded(api, tenant) == "10.00"
    api.clock.advance(hours=2)
    await api.ok("POST", path, json=DEPOSIT, headers=key)
    assert await funded(api, tenant) == "20.00"


async def test_what_failed_in_the_middle_can_be_tried_again(api: Api) -> None:
    tenant, _ = await api.tenant(funds=None)
    path, key = f"/v1/tenants/{tenant}/deposits", {"Idempotency-Key": "k"}
    async with api.platform.database.transaction() as tx:
        await tx.execute("SELECT FROM tenants WHERE id = $1 FOR UPDATE", tenant)
        stuck = asyncio.create_task(api.call("POST", path, api.admin, json=DEPOSIT, headers=key))
        await asyncio.sleep(0.2)
        busy = await api.call("POST", path, api.admin, json=DEPOSIT, headers=key)
        assert (busy.status, busy.kind) == (409, "idempotency-mismatch")
    assert (await stuck).status == 201
    assert (await api.call("POST", path, api.admin, json=DEPOSIT, headers=key)).status == 201
    assert await funded(api, tenant) == "10.00"


async def test_a_key_that_is_none(api: Api) -> None:
    tenant, _ = await api.tenant(funds=None)
    for key in ("", "x" * 256, "a\tb"):
        answer = await api.call(
            "POST", f"/v1/tenants/{tenant}/deposits", api.admin, json=DEPOSIT, headers={"Idempotency-Key": key}
        )
        assert (answer.status, list(answer.fields)) == (422, ["Idempotency-Key"])


async def test_tokens_take_no_key(api: Api) -> None:
    tenant, _ = await api.tenant(funds=None)
    key = {"Idempotency-Key": "k"}
    made = [
        await api.ok("POST", f"/v1/tenants/{tenant}/tokens", json={"role": "advertiser"}, headers=key) for _ in range(2)
    ]
    assert made[0]["token"] != made[1]["token"]
