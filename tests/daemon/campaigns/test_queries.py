"""What replies are made of: lists that page without gaps, in the order they promise."""

import pytest

from daemon.campaigns import queries
from daemon.campaigns.queries import After
from playlists.ids import CampaignId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR
from tests.daemon.test_tick import END, START, Ticking


@pytest.mark.parametrize(
    ("search", "found"), [("%", 1), ("SALE_50", 1), ("sale", 2), ("\0", 0), ("\ud800", 0), ("x", 0)]
)
async def test_a_search_takes_its_words_literally(connection: Tx, search: str, found: int) -> None:
    tenant_id = await world.tenant(connection)
    for name in ("Sale_50%", "Winter sale"):
        await world.draft(connection, tenant_id, name=name)
    rows = await queries.list_campaigns(connection, tenant_id, None, None, search, None, 10)
    assert len(rows) == found


async def test_what_comes_is_told_soonest_first_page_by_page(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    for _ in range(2):
        await world.submitted(connection, tenant_id)
    told: list[tuple[str, CampaignId]] = []
    after: After | None = None
    while page := await queries.upcoming(connection, tenant_id, END, 24 * HOUR, after, 2):
        told += [(row["kind"], row["campaign_id"]) for row in page]
        after = After(page[-1]["due_at"], page[-1]["campaign_id"], page[-1]["kind"])
    assert [kind for kind, _ in told] == ["distribute", "distribute", "start", "start", "end", "end"]
    assert len(set(told)) == 6
    assert not await queries.upcoming(connection, await world.tenant(connection), END, 24 * HOUR, None, 9)
    # what is due and not done yet is still to come
    late = await queries.upcoming(connection, tenant_id, START, 24 * HOUR, None, 9)
    assert {row["kind"]: row["due_at"] for row in late} == {"distribute": START - 24 * HOUR, "start": START}


async def test_what_was_done_is_told_newest_first_page_by_page(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    for _ in range(3):
        await world.submitted(connection, tenant_id)
    ticking = Ticking(connection)
    for instant in (START - 24 * HOUR, START, END):
        await ticking.at(instant)
    told: list[str] = []
    after: After | None = None
    while page := await queries.executions(connection, tenant_id, after, 2):
        told += [queries.KINDS[row["type"]] for row in page]
        after = After(page[-1]["executed_at"], page[-1]["campaign_id"], page[-1]["sequence"])
    assert told == ["complete"] * 3 + ["start"] * 3 + ["distribute"] * 3


async def test_a_wallet_lists_what_moved_in_order(connection: Tx) -> None:
    tenant_id = await world.tenant(connection, funds="300.00")
    await world.device(connection)
    await world.submitted(connection, tenant_id)
    entries = await queries.ledger_entries(connection, tenant_id, None, 10)
    assert [(entry["kind"], entry["amount_micros"]) for entry in entries] == [
        ("deposit", 300_000_000),
        ("hold", 100_000_000),
    ]
    assert await queries.ledger_entries(connection, tenant_id, entries[-1]["id"], 10) == []
