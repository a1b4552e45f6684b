"""What a person changes leaves quarantine by it: what is due next waits no longer for an old failure."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from daemon.campaigns import booking
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import claiming
from playlists.ids import CampaignId
from playlists.queries import Tx
from tests.daemon.campaigns.world import LIMITS, NOW, OPERATOR
from tests.daemon.test_tick import END, START, Ticking, booked

Deed = Callable[[Tx, CampaignId], Awaitable[list[Transition]]]


async def cancel(tx: Tx, campaign_id: CampaignId) -> list[Transition]:
    return await booking.cancel(tx, campaign_id, None, START, OPERATOR, LIMITS)


async def execute(tx: Tx, campaign_id: CampaignId) -> list[Transition]:
    return await booking.execute(tx, campaign_id, START, OPERATOR)


@pytest.mark.parametrize(
    ("deed", "then", "what"),
    [(cancel, START + timedelta(minutes=5), ["settled"]), (execute, END, ["completed"])],
)
async def test_what_follows_is_done_in_time(connection: Tx, deed: Deed, then: datetime, what: list[str]) -> None:
    _, [campaign_id] = await booked(connection, 1)
    await connection.execute("UPDATE campaigns SET distributed_at = $1", NOW)
    await claiming.quarantine(connection, campaign_id, "started", "it failed", START, timedelta(days=2))
    ticking = Ticking(connection)
    assert await ticking.at(START) == []
    await deed(connection, campaign_id)
    assert await ticking.at(then) == what
    assert ticking.quarantined() == 0
