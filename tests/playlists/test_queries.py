"""Creatives from body to row, and the marks that their changes leave."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from devices.audience import set_target
from devices.targets import Target, block_keys
from playlists.creatives import CreativeFields, check, check_patch
from playlists.faults import Faulty
from playlists.ids import CampaignId, CreativeId, DeviceId, Sha256, StoreId
from playlists.queries import (
    Tx,
    create_creative,
    creative_row,
    creative_rows,
    house_fallback,
    list_creatives,
    mark_campaigns,
    mark_device,
    mark_network,
    mark_store,
    mark_stored,
    patch_creative,
    set_house_fallback,
)
from tests import world
from tests.conftest import connected

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BODY = {"name": "Spring", "sha256": "0a" * 32, "size": 1000, "mime": "video/mp4", "duration_ms": 15_000}
FIELDS = check(BODY, 1 << 30)


async def marks(tx: Tx) -> list[tuple[str, object, bool]]:
    """The marks since the last look."""
    rows = await tx.fetch("WITH taken AS (DELETE FROM marks RETURNING *) SELECT * FROM taken ORDER BY id")
    return [(row["kind"], row["ref"], row["urgent"]) for row in rows]


def test_a_creative_is_read_from_its_body() -> None:
    assert check({**BODY, "keywords": ["sale", "Sale", "sale"]}, 1000) == CreativeFields(
        "Spring", Sha256("0a" * 32), 1000, "video/mp4", 15_000, ("sale", "Sale")
    )
    assert check_patch({"keywords": None, "flags": ["ADULT", "ALCOHOL"]}) == {
        "keywords": (),
        "flags": ("ALCOHOL", "ADULT"),
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("name", "a\x00b"),
        ("sha256", "0A" * 32),
        ("sha256", "0a" * 31),
        ("size", 0),
        ("size", 1001),
        ("size", True),
        ("size", 1.5),
        ("mime", "text/html"),
        ("duration_ms", 3_600_001),
        ("keywords", "sale"),
        ("keywords", [""]),
        ("keywords", ["\ud800"]),
    ],
)
def test_a_faulty_field_is_named(field: str, value: object) -> None:
    with pytest.raises(Faulty) as refused:
        check({**BODY, field: value}, 1000)
    assert [name for name, _ in refused.value.errors] == [field]


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Faulty) as refused:
        check({"name": 1, "mime": None}, 1000)
    assert {name for name, _ in refused.value.errors} == {"name", "mime", "sha256", "size", "duration_ms"}
    with pytest.raises(Faulty) as refused:
        check_patch({"flags": ["WAR"], "size": 3})
    assert {name for name, _ in refused.value.errors} == {"flags", "size"}


async def test_creatives_are_kept_and_listed_by_owner(connection: Tx) -> None:
    owner, other = await world.tenant(connection, NOW), await world.tenant(connection, NOW)
    mine = [await create_creative(connection, owner, FIELDS, NOW) for _ in range(3)]
    house = await create_creative(connection, None, FIELDS, NOW)
    assert mine[0]["state"] == "MISSING"
    assert mine[0]["keywords"] == []
    ids = [row["id"] for row in mine]
    assert [row["id"] for row in await list_creatives(connection, owner, None, 2)] == ids[:2]
    assert [row["id"] for row in await list_creatives(connection, owner, ids[1], 2)] == ids[2:]
    assert await list_creatives(connection, other, None, 20) == []
    assert len(await list_creatives(connection, None, None, 20)) == 4
    assert (await creative_rows(connection, ids[:1])).keys() == {ids[0]}
    assert await creative_row(connection, CreativeId(uuid4())) is None
    assert await patch_creative(connection, CreativeId(uuid4()), {"name": "x"}, NOW) is None
    renamed = await patch_creative(connection, house["id"], {"name": "Winter", "flags": ("ADULT",)}, NOW)
    assert renamed is not None
    assert (renamed["name"], renamed["flags"], renamed["sha256"]) == ("Winter", ["ADULT"], FIELDS.sha256)
    assert await marks(connection) == []


async def test_new_keywords_reach_the_campaigns_that_show_them(connection: Tx) -> None:
    owner = await world.tenant(connection, NOW)
    one = (await create_creative(connection, owner, FIELDS, NOW))["id"]
    two = (await create_creative(connection, owner, FIELDS, NOW))["id"]
    await patch_creative(connection, two, {"keywords": ("Beer",)}, NOW)
    campaign = await world.campaign(connection, owner, NOW, creatives=[one, two])
    await world.campaign(connection, owner, NOW, creatives=[two])
    keys = block_keys("Acme", None, ["beer"])
    await set_target(connection, campaign, Target(block_keys=frozenset(keys), longest_ms=15_000))
    assert await marks(connection) == []

    await patch_creative(connection, one, {"keywords": ("SALE", "beer")}, NOW)
    assert await marks(connection) == [("campaign", campaign, True)]
    held = await connection.fetchrow("SELECT * FROM targets WHERE campaign_id = $1", campaign)
    assert held is not None
    assert held["block_keys"] == block_keys("acme", None, ["sale", "BEER"])
    assert held["longest_ms"] == 15_000

    await patch_creative(connection, one, {"keywords": ("beer", "Sale")}, NOW)
    assert await marks(connection) == []  # nothing that a store could block has changed


async def test_keywords_of_two_creatives_changed_at_once_both_count(connection: Tx, database_url: str) -> None:
    owner = await world.tenant(connection, NOW)
    one, two = [await world.creative(connection, owner, NOW) for _ in range(2)]
    campaign_id = await world.campaign(connection, owner, NOW, creatives=[one, two])
    async with connected(database_url) as first, connected(database_url) as second:

        async def change() -> None:
            async with second.transaction():
                await patch_creative(second, two, {"keywords": ("wine",)}, NOW)

        begun = first.transaction()
        await begun.start()
        await patch_creative(first, one, {"keywords": ("beer",)}, NOW)
        changing = asyncio.create_task(change())
        while not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
            assert not changing.done()
            await asyncio.sleep(0.01)
        await begun.commit()
        await changing
    keys = await connection.fetchval("SELECT block_keys FROM targets WHERE campaign_id = $1", campaign_id)
    assert keys == ["keyword:beer", "keyword:wine"]


async def test_media_count_from_when_they_are_stored(connection: Tx) -> None:
    owner = await world.tenant(connection, NOW)
    own = (await create_creative(connection, owner, FIELDS, NOW))["id"]
    shop_only = (await create_creative(connection, None, FIELDS, NOW))["id"]
    everywhere = (await create_creative(connection, None, FIELDS, NOW))["id"]
    shop = await world.store(connection, NOW, fallback=[shop_only, everywhere])
    await set_house_fallback(connection, [everywhere], NOW)
    assert await house_fallback(connection) == [everywhere]
    assert await marks(connection) == [("network", None, False)]

    assert await mark_stored(connection, own, NOW)
    assert not await mark_stored(connection, own, NOW)
    assert await marks(connection) == []
    assert await mark_stored(connection, shop_only, NOW)
    assert await marks(connection) == [("store", shop, False)]
    assert await mark_stored(connection, everywhere, NOW)
    assert await marks(connection) == [("network", None, False)]


async def test_marks_say_what_changed(connection: Tx) -> None:
    ids = [uuid4() for _ in range(4)]
    await mark_campaigns(connection, [], NOW)
    await mark_campaigns(connection, [CampaignId(ids[0]), CampaignId(ids[1])], NOW, urgent=True)
    await mark_store(connection, StoreId(ids[2]), NOW)
    await mark_device(connection, DeviceId(ids[3]), NOW + timedelta(seconds=1))
    await mark_network(connection, NOW, urgent=True)
    assert await marks(connection) == [
        ("campaign", ids[0], True),
        ("campaign", ids[1], True),
        ("store", ids[2], False),
        ("device", ids[3], False),
        ("network", None, True),
    ]
