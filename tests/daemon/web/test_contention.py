"""What a caller is told when the database ends its request for another's sake: come again, and nothing was done."""

import asyncio

from playlists.queries import Tx
from tests.daemon.web.caller import Answer, Api

WAITING = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"


async def test_a_deadlock_is_503_and_keeps_nothing_under_its_key(api: Api, owner_connection: Tx) -> None:
    _, token = await api.tenant()
    await api.screens()
    draft = await api.draft(token, await api.creative(token))

    async def topped() -> Answer:
        key = {"Idempotency-Key": "k"}
        return await api.call(
            "POST", f"/v1/campaigns/{draft['id']}/topup", token, json={"amount": "50.00"}, headers=key
        )

    await api.ok("POST", f"/v1/campaigns/{draft['id']}/submit", token)
    await owner_connection.execute("SET deadlock_timeout = '30s'")  # the request is the one that notices
    async with owner_connection.transaction():  # somebody who takes locks in the wrong order
        await owner_connection.execute("SELECT FROM tenants FOR NO KEY UPDATE")
        asking = asyncio.create_task(topped())
        while not await owner_connection.fetchval(WAITING):  # noqa: ASYNC110 - it is in the database
            await asyncio.sleep(0.01)
        await owner_connection.execute("SELECT FROM campaigns FOR NO KEY UPDATE")
        refused = await asking
    assert (refused.status, refused.kind, refused.headers["Retry-After"]) == (503, "unavailable", "1")
    assert (await api.ok("GET", "/v1/wallet", token))["held"] == "500.00"
    again = await topped()
    assert (again.status, again.body["budget"]) == (200, "550.00")
    assert (await api.ok("GET", "/v1/wallet", token))["held"] == "550.00"
