"""A window never leaves behind what was played and paid in it: whoever moves it, and whatever clock a screen has."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.campaigns import booking, editing
from daemon.campaigns.draft import zulu
from daemon.campaigns.errors import EditNotAllowed
from daemon.campaigns.zones import moved
from daemon.invariants import PLAYS
from devices.contents import Library
from playlists.localtime import Resolved
from playlists.queries import Tx
from tests.daemon.campaigns.world import LIMITS, OPERATOR, column
from tests.daemon.scene import HOUR, NOW, SECOND, Scene, made, report

SOON = NOW + 50 * SECOND
EARLY = 5 * SECOND  # so long after SOON begins a play that is reported now: a clock may be that far ahead


@pytest.fixture
async def scene(connection: Tx) -> Scene:
    """A campaign that starts in a moment, and one screen that has it already."""
    scene = await made(connection)
    await starting(connection, scene, SOON)
    return scene


async def starting(tx: Tx, scene: Scene, at: datetime) -> None:
    await tx.execute(
        "UPDATE campaigns SET status = 'SCHEDULED', activated_at = NULL, start_at = $2 WHERE id = $1",
        scene.campaigns[0],
        at,
    )


async def played(tx: Tx, scene: Scene, began: datetime) -> None:
    [play] = scene.plays(1)
    receipt = await report(tx, scene.devices[0], [play._replace(started_at=began)], Library())
    assert [one.verdict for one in receipt.results] == ["accepted"]


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"start_at": zulu(SOON + HOUR)}, "its start has come and stands"),
        ({"end_at": zulu(SOON + 14 * SECOND)}, "its end can only be moved to later"),
    ],
)
async def test_an_edit_moves_no_window_off_what_was_played(
    connection: Tx, scene: Scene, patch: dict[str, Any], words: str
) -> None:
    await connection.execute("UPDATE devices SET slots_per_hour = 360")
    await played(connection, scene, SOON + EARLY)
    with pytest.raises(EditNotAllowed, match=words):
        await editing.edit(connection, scene.campaigns[0], patch, NOW, OPERATOR, LIMITS)
    later = {"end_at": zulu(NOW + 200 * HOUR)}
    assert await editing.edit(connection, scene.campaigns[0], later, NOW, OPERATOR, LIMITS)
    assert await connection.fetch(PLAYS.broken, 1) == []


async def test_who_starts_late_what_screens_began_by_themselves_leaves_its_start(connection: Tx, scene: Scene) -> None:
    campaign_id = scene.campaigns[0]
    await starting(connection, scene, NOW - 60 * SECOND)
    await played(connection, scene, NOW - 30 * SECOND)
    [fact] = await booking.execute(connection, campaign_id, NOW, OPERATOR)
    assert (fact.type, fact.changes, fact.lateness_ms) == ("started", [], 60_000)
    assert await column(connection, campaign_id, "(start_at, activated_at)") == (NOW - 60 * SECOND, NOW)
    assert await connection.fetch(PLAYS.broken, 1) == []


async def test_what_no_screen_had_starts_when_it_is_told_to(connection: Tx, scene: Scene) -> None:
    campaign_id = scene.campaigns[0]
    await starting(connection, scene, NOW - 60 * SECOND)
    await connection.execute("UPDATE campaigns SET distributed_at = NULL WHERE id = $1", campaign_id)
    [fact] = await booking.execute(connection, campaign_id, NOW, OPERATOR)
    assert [change["field"] for change in fact.changes] == ["start_at"]
    assert await column(connection, campaign_id, "start_at") == NOW


@pytest.mark.parametrize(
    ("row", "by", "stays"),
    [
        ({}, HOUR, True),  # its start has been played
        ({"impressions": 0}, HOUR, False),
        ({"status": "ACTIVE", "start_local": None, "end_at": NOW + HOUR}, 58 * 60 * SECOND, True),
        ({"status": "ACTIVE", "start_local": None, "end_at": NOW + HOUR}, 50 * 60 * SECOND, False),
    ],
)
def test_newer_zone_rules_move_no_window_off_what_may_have_been_played(
    row: dict[str, Any], by: timedelta, stays: bool
) -> None:
    base: dict[str, Any] = {
        "id": None, "status": "SCHEDULED", "timezone": "UTC", "start_at": SOON, "end_at": NOW + 9 * HOUR,
        "start_local": SOON.replace(tzinfo=None), "end_local": None, "start_deadline": None, "distributed_at": NOW,
        "tzdata_version": "2026f", "impressions": 1,
    }  # fmt: skip
    given = base | row
    if given["start_local"] is None:
        given["end_local"] = given["end_at"].replace(tzinfo=None)
        by = -by

    def resolve(local: datetime, _: str) -> Resolved:
        return Resolved(local.replace(tzinfo=NOW.tzinfo) + by, "normal", "2099b")

    move = moved(given, "2099b", resolve, NOW, 24 * HOUR)
    window = (given["start_at"], given["end_at"]) if move is None else (move.start_at, move.end_at)
    assert (window == (given["start_at"], given["end_at"])) is stays
