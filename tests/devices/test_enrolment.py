"""Codes and tokens on a real database: who gets in, until when, and what a new player leaves behind."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devices import enrolment
from devices.device import DeviceFields
from devices.enrolment import CodeRefused, redeem, token_digest, use_first
from devices.queries import enrolment as statements
from devices.queries.devices import create_device, device_row, patch_device
from devices.queries.stores import create_store, list_stores, patch_store, store_row
from devices.store import StoreFields
from playlists.faults import Faulty
from playlists.ids import DeviceId
from playlists.queries import Tx

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BERLIN = StoreFields("b-1", "Mitte", "Europe/Berlin", "DE")


@pytest.fixture
async def device(connection: Tx) -> DeviceId:
    store = await create_store(connection, BERLIN, NOW)
    return (await create_device(connection, DeviceFields(store.id, "till 1"), NOW)).id


async def stands(tx: Tx, token: str, now: datetime = NOW) -> bool:
    return bool(await tx.fetchval(statements.STANDS, token_digest(token), now))


async def code_of(tx: Tx, device: DeviceId, now: datetime = NOW) -> str:
    return (await enrolment.issue_code(tx, device, now, 30 * DAY))[0]


async def test_a_code_is_traded_until_its_token_is_first_used(connection: Tx, device: DeviceId) -> None:
    code = await code_of(connection, device)
    first = await redeem(connection, code, NOW)
    second = await redeem(connection, f" {code.lower().replace('-', ' ')} ", NOW)
    assert first.device_id == second.device_id == device
    assert not await stands(connection, first.token), "the reply that was lost opens nothing"
    assert not await use_first(connection, token_digest(first.token), NOW)
    assert await use_first(connection, token_digest(second.token), NOW)
    assert await use_first(connection, token_digest(second.token), NOW), "a second instance may see the first use too"
    with pytest.raises(CodeRefused, match="used before"):
        await redeem(connection, code, NOW)
    assert await stands(connection, second.token)


async def test_what_is_unknown_or_expired_is_refused_in_words(connection: Tx, device: DeviceId) -> None:
    code = await code_of(connection, device)
    with pytest.raises(CodeRefused, match="expired"):
        await redeem(connection, code, NOW + 30 * DAY)
    with pytest.raises(CodeRefused, match="not found"):
        await redeem(connection, "AAAA-AAAA-AAAA", NOW)
    stored = await connection.fetchval("SELECT code_sha256 FROM activation_codes")
    assert code.encode() not in stored


async def test_a_new_player_voids_the_old_at_its_first_use_and_begins_with_nothing(
    connection: Tx, device: DeviceId
) -> None:
    old = await redeem(connection, await code_of(connection, device), NOW)
    await use_first(connection, token_digest(old.token), NOW)
    await connection.execute("INSERT INTO fetches VALUES ($1, 'abc', '{[0,9)}', 0, $2, $2)", device, NOW)
    new = await redeem(connection, await code_of(connection, device, NOW + MINUTE), NOW + MINUTE)
    assert await stands(connection, old.token), "until the new player is there, the old one plays on"
    await use_first(connection, token_digest(new.token), NOW + 2 * MINUTE)
    assert not await stands(connection, old.token)
    assert await connection.fetchval("SELECT count(*) FROM fetches") == 0
    assert await connection.fetchval("SELECT player_since FROM devices") == NOW + 2 * MINUTE


async def test_a_code_given_later_stands_when_an_earlier_one_is_used(connection: Tx, device: DeviceId) -> None:
    earlier, later = await code_of(connection, device), await code_of(connection, device, NOW + MINUTE)
    player = await redeem(connection, earlier, NOW + MINUTE)
    await use_first(connection, token_digest(player.token), NOW + MINUTE)
    assert (await redeem(connection, later, NOW + MINUTE)).device_id == device


async def test_rotation_overlaps_and_revocation_does_not(connection: Tx, device: DeviceId) -> None:
    old = await redeem(connection, await code_of(connection, device), NOW)
    await use_first(connection, token_digest(old.token), NOW)
    new, until = await enrolment.rotate(connection, device, NOW, DAY)
    assert until == NOW + DAY
    assert await use_first(connection, token_digest(new), NOW)
    assert await stands(connection, old.token, NOW + DAY - MINUTE)
    assert not await stands(connection, old.token, NOW + DAY)
    assert await enrolment.revoke(connection, device, NOW) == 2
    assert not await stands(connection, new)


async def test_of_many_who_redeem_at_once_one_token_stands(pool: Any, device: DeviceId, connection: Tx) -> None:
    code = await code_of(connection, device)

    async def one() -> str:
        async with pool.acquire() as tx, tx.transaction():
            return (await redeem(tx, code, NOW)).token

    tokens = await asyncio.gather(*(one() for _ in range(8)))
    assert sum([await stands(connection, token) for token in tokens]) == 1


async def test_the_network_is_stored_listed_changed_and_marked(connection: Tx, device: DeviceId) -> None:
    [store] = await list_stores(connection, None, 10)
    assert (await store_row(connection, store.id)) == store
    await connection.execute("DELETE FROM marks")
    assert (await patch_store(connection, store.id, {"city": "Berlin"}, NOW)) is not None
    assert await connection.fetchval("SELECT count(*) FROM marks") == 0, "no playlist knows the city"
    changed = await patch_store(connection, store.id, {"blocked": {"brands": ["ACME"]}, "city": None}, NOW)
    assert changed is not None
    assert changed.fields.city is None
    assert await connection.fetchval("SELECT blocked_keys FROM stores") == ["brand:acme"]
    patched = await patch_device(connection, device, {"disabled": True, "cpm": "7.50"}, NOW, MINUTE)
    assert patched is not None
    assert patched.status == "DISABLED"
    assert await device_row(connection, device, MINUTE) == patched
    marks = await connection.fetch("SELECT kind, ref, urgent FROM marks ORDER BY id")
    assert [tuple(mark) for mark in marks] == [("store", store.id, True), ("device", device, True)]


async def test_references_that_lead_nowhere_are_faults_of_their_field(connection: Tx, device: DeviceId) -> None:
    with pytest.raises(Faulty, match="code: is taken"):
        await create_store(connection, BERLIN, NOW)
    with pytest.raises(Faulty, match="fallback:"):
        await patch_store(connection, (await list_stores(connection, None, 1))[0].id, {"fallback": [str(device)]}, NOW)
    with pytest.raises(Faulty, match="store_id:"):
        await patch_device(connection, device, {"store_id": str(device)}, NOW, MINUTE)
