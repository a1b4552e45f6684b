"""What a stored body says of a campaign is what the playlist plays."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from playlists.compile import compile_playlist
from playlists.daypart import Daypart
from playlists.ids import CampaignId, CreativeId, Sha256
from playlists.placement import Media, Placement, Screen
from playlists.planned import Planned, planned

BEGIN = datetime(2026, 11, 22, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ONE, OTHER, WAITING = (CampaignId(UUID(int=number)) for number in (1, 2, 3))
SCREEN = Screen("UTC", 6, (Daypart(frozenset(range(7)), 8 * 60, 20 * 60),), ())


def placement(campaign_id: CampaignId, begins: timedelta, ends: timedelta, scheduled: bool = True) -> Placement:
    media = Media(CreativeId(UUID(int=campaign_id.int + 100)), Sha256("a" * 64), 1000, "image/png", 60_000)
    return Placement(campaign_id, (media,), BEGIN + begins, BEGIN + ends, (), 5, scheduled)


PLAYLIST = compile_playlist(
    [
        placement(ONE, 0 * HOUR, 40 * HOUR),
        placement(OTHER, 10 * HOUR + 5 * MINUTE, 10 * HOUR + 25 * MINUTE),
        placement(WAITING, 0 * HOUR, 40 * HOUR, scheduled=False),
    ],
    SCREEN, BEGIN, BEGIN + 30 * HOUR,
)  # fmt: skip


@pytest.mark.parametrize("campaign_id", [ONE, OTHER])
def test_the_next_slot_is_the_next_that_the_playlist_shows(campaign_id: CampaignId) -> None:
    for quarter in range(30 * 4):
        at = BEGIN + quarter * 15 * MINUTE
        slot = BEGIN + (at - BEGIN) // (10 * MINUTE) * 10 * MINUTE
        shown = (one.begins for one in PLAYLIST.showings(slot, PLAYLIST.valid_until) if one.campaign_id == campaign_id)
        assert planned(PLAYLIST.body, campaign_id, at).next_at == next(shown, None)


def test_around_is_the_stretch_in_which_the_same_are_eligible() -> None:
    about = {hour: planned(PLAYLIST.body, OTHER, BEGIN + hour * HOUR).around for hour in (9, 10.2, 10.6, 11)}
    assert about == {9: False, 10.2: True, 10.6: False, 11: False}
    assert not planned(PLAYLIST.body, ONE, BEGIN + 7 * HOUR).around  # the shop is closed
    assert planned(PLAYLIST.body, ONE, BEGIN + 8 * HOUR).around


def test_the_youngest_past_the_longest_sequence_has_no_slot() -> None:
    crowd = [placement(CampaignId(UUID(int=number)), 0 * HOUR, 48 * HOUR) for number in range(1, 23 * 6 + 2)]
    body = compile_playlist(crowd, Screen("UTC", 6, (), ()), BEGIN, BEGIN + 48 * HOUR).body
    assert planned(body, crowd[-1].campaign_id, BEGIN + HOUR) == Planned(True, True, False, None)
    assert planned(body, crowd[-2].campaign_id, BEGIN + HOUR).around


def test_what_is_not_there() -> None:
    assert planned(PLAYLIST.body, CampaignId(UUID(int=9)), BEGIN) == Planned(False, True, False, None)
    assert planned(PLAYLIST.body, WAITING, BEGIN + 9 * HOUR) == Planned(True, True, False, None)
    assert planned(PLAYLIST.body, ONE, BEGIN + 30 * HOUR) == Planned(True, False, False, None)
    assert not planned(PLAYLIST.body, ONE, BEGIN - MINUTE).covered
