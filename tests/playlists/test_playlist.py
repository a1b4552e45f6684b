"""The playlist itself: its bytes, what it refuses to be read from, and what plays at its edges."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from playlists.compile import compile_playlist
from playlists.daypart import Daypart
from playlists.ids import CampaignId, CreativeId, Sha256
from playlists.placement import Media, Placement, Screen
from playlists.playlist import Playlist, Showing, parse

BEGIN = datetime(2026, 11, 22, 4, tzinfo=UTC)
HOUR, SLOT = timedelta(hours=1), timedelta(minutes=5)
CAMPAIGN = CampaignId(UUID("01932f6e-0000-7000-8000-000000000001"))


def media(number: int, duration_ms: int) -> Media:
    return Media(CreativeId(UUID(int=number)), Sha256(f"{number:064x}"), 1000, "image/png", duration_ms)


def playlist(*house: Media) -> Playlist:
    """An hour of a campaign in an open shop, an open hour without it, a closed hour."""
    screen = Screen("UTC", 12, (Daypart(frozenset(range(7)), 4 * 60, 6 * 60),), house)
    placement = Placement(CAMPAIGN, (media(1, 15_000),), BEGIN, BEGIN + HOUR, (), 5)
    return compile_playlist([placement], screen, BEGIN, BEGIN + 3 * HOUR)


def test_the_body_is_canonical() -> None:
    compiled = playlist(media(2, 10_000))
    assert compiled.body.decode() == (
        '{"schema":1,"valid_from":"2026-11-22T04:00:00Z","valid_until":"2026-11-22T07:00:00Z",'
        '"timezone":"UTC","slot_seconds":300,"creatives":['
        '{"id":"00000000-0000-0000-0000-000000000001","url":"/media/' + "0" * 63 + '1",'
        '"sha256":"' + "0" * 63 + '1","size":1000,"mime":"image/png","duration_ms":15000,'
        '"campaign_id":"01932f6e-0000-7000-8000-000000000001","variant":null},'
        '{"id":"00000000-0000-0000-0000-000000000002","url":"/media/' + "0" * 63 + '2",'
        '"sha256":"' + "0" * 63 + '2","size":1000,"mime":"image/png","duration_ms":10000,'
        '"campaign_id":null,"variant":null}],"segments":['
        '{"from":"2026-11-22T04:00:00Z","until":"2026-11-22T05:00:00Z","sequence":[0,0,0,0,0,0,0,0,0,0,0,0]},'
        '{"from":"2026-11-22T05:00:00Z","until":"2026-11-22T06:00:00Z","sequence":['
        "null,null,null,null,null,null,null,null,null,null,null,null]},"
        '{"from":"2026-11-22T06:00:00Z","until":"2026-11-22T07:00:00Z","sequence":[]}],"fallback":[1]}'
    )
    assert compiled.digest == sha256(compiled.body).hexdigest()
    assert parse(compiled.body) == compiled
    assert parse(compiled.body).digest == compiled.digest


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@pytest.mark.parametrize(
    ("at", "kind", "creative", "begins", "ends"),
    [
        pytest.param(seconds(0), "ad", 0, seconds(0), seconds(15), id="the-ad-from-the-slot's-beginning"),
        pytest.param(seconds(14.999), "ad", 0, seconds(0), seconds(15), id="for-its-own-duration"),
        pytest.param(seconds(15), "house", 1, seconds(15), seconds(85), id="then-house-content"),
        pytest.param(seconds(85), "house", 2, seconds(85), seconds(175), id="its-second-item"),
        pytest.param(seconds(180), "house", 1, seconds(175), seconds(245), id="in-a-loop"),
        pytest.param(seconds(299.999), "house", 2, seconds(245), seconds(300), id="cut-at-the-slot's-end"),
        pytest.param(seconds(300), "ad", 0, seconds(300), seconds(315), id="the-next-slot"),
        pytest.param(HOUR, "house", 1, HOUR, HOUR + seconds(70), id="nobody-is-eligible"),
        pytest.param(2 * HOUR, "dark", None, 2 * HOUR, 2 * HOUR + SLOT, id="closed"),
        pytest.param(3 * HOUR - seconds(1), "dark", None, 3 * HOUR - SLOT, 3 * HOUR, id="closed-to-the-end"),
        pytest.param(3 * HOUR, "house", 1, 3 * HOUR, 3 * HOUR + seconds(70), id="after-the-horizon"),
        pytest.param(-seconds(1), "house", 2, -seconds(70), seconds(0), id="before-the-horizon"),
    ],
)
def test_what_plays(at: timedelta, kind: str, creative: int | None, begins: timedelta, ends: timedelta) -> None:
    shown = playlist(media(2, 70_000), media(3, 90_000)).at(BEGIN + at)
    assert (shown.kind, shown.creative) == (kind, creative)
    assert (shown.begins, shown.ends) == (BEGIN + begins, BEGIN + ends)
    assert shown.campaign_id == (CAMPAIGN if kind == "ad" else None)


def test_without_house_content_the_rest_is_dark() -> None:
    shown = list(playlist().showings(BEGIN, BEGIN + SLOT))
    assert [(each.kind, each.ends - each.begins) for each in shown] == [("ad", seconds(15)), ("dark", seconds(285))]


def test_instants_in_any_zone_ask_the_same() -> None:
    compiled = playlist(media(2, 10_000))
    elsewhere = datetime.fromisoformat("2026-11-22T09:45:03+05:45")
    assert compiled.at(elsewhere) == compiled.at(BEGIN + seconds(3))


def test_an_ad_that_fills_its_slot_leaves_no_house_content() -> None:
    placement = Placement(CAMPAIGN, (media(1, 300_000),), BEGIN, BEGIN + HOUR, (), 5)
    compiled = compile_playlist([placement], Screen("UTC", 12, (), (media(2, 1000),)), BEGIN, BEGIN + HOUR)
    assert list(compiled.showings(BEGIN, BEGIN + 2 * SLOT)) == [
        Showing("ad", 0, CAMPAIGN, BEGIN, BEGIN + SLOT),
        Showing("ad", 0, CAMPAIGN, BEGIN + SLOT, BEGIN + 2 * SLOT),
    ]


def put(*path: str | int, value: object) -> Callable[[Any], None]:
    def change(form: Any) -> None:
        for step in path[:-1]:
            form = form[step]
        form[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (put("schema", value=2), "schema: must be 1"),
        (put("more", value=2), "playlist: must be an object of schema"),
        (put("timezone", value=None), "timezone: must be a string"),
        (put("slot_seconds", value=7), "slot_seconds: must be 10 to 600"),
        (put("slot_seconds", value=300.0), "slot_seconds: must be a whole number"),
        (put("slot_seconds", value=True), "slot_seconds: must be a whole number"),
        (put("valid_from", value="2026-11-22T04:00:00+00:00"), "valid_from: must be an instant"),
        (put("valid_from", value="2026-11-22T04:30:00Z"), "valid_from: must be a whole hour"),
        (put("valid_until", value="2026-11-22T04:00:00Z"), "valid_until: must be after valid_from"),
        (put("valid_until", value="2026-11-22T08:00:00Z"), "segments: must end at valid_until"),
        (put("creatives", value={}), "creatives: must be a list"),
        (put("creatives", 0, value=[]), r"creatives\[0\]: must be an object of id"),
        (put("creatives", 0, "id", value="1"), r"creatives\[0\].id: must be a UUID"),
        (put("creatives", 0, "campaign_id", value=1), r"creatives\[0\].campaign_id: must be a string or null"),
        (put("creatives", 0, "sha256", value="AB" * 32), r"creatives\[0\].sha256: must be 64 hex digits"),
        (put("creatives", 0, "url", value="//elsewhere"), r"creatives\[0\].url: must be /media/"),
        (put("creatives", 0, "size", value=-1), r"creatives\[0\].size: must be a whole number"),
        (put("creatives", 0, "duration_ms", value=0), r"creatives\[0\].duration_ms: must be at least 1"),
        (put("creatives", 0, "duration_ms", value=300_001), r"segments\[0\].sequence\[0\]: must be an entry"),
        (put("segments", value=[]), "segments: must end at valid_until"),
        (put("segments", 1, "from", value="2026-11-22T04:55:00Z"), r"segments\[1\].from: must be 2026-11-22T05:00"),
        (put("segments", 1, "until", value="2026-11-22T05:00:00Z"), r"segments\[1\].until: must be a later slot"),
        (put("segments", 1, "until", value="2026-11-22T05:03:00Z"), r"segments\[1\].until: must be a later slot"),
        (put("segments", 0, "sequence", 3, value=2), r"segments\[0\].sequence\[3\]: must be an entry"),
        (put("segments", 0, "sequence", 3, value=1), r"segments\[0\].sequence\[3\]: must be an entry"),
        (put("segments", 0, "sequence", 3, value=-1), r"segments\[0\].sequence\[3\]: must be a whole number"),
        (put("fallback", 0, value=0), r"fallback\[0\]: must be an entry without a campaign"),
        (put("fallback", 0, value=9), r"fallback\[0\]: must be an entry without a campaign"),
    ],
)
def test_a_fault_is_named(change: Callable[[Any], None], fault: str) -> None:
    form = json.loads(playlist(media(2, 10_000)).body)
    change(form)
    with pytest.raises(ValueError, match=fault):
        parse(json.dumps(form).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"null", b"[]"])
def test_what_is_no_playlist_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON in UTF-8|must be an object"):
        parse(body)
