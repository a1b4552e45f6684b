"""The directory that polls are answered from: it misses nothing, and outlives the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from config.settings import DatabaseSettings
from daemon import feed as feeding
from daemon.database import Database
from daemon.feed import Feed, TokenEntry
from playlists.compile import compile_playlist
from playlists.daypart import parse
from playlists.ids import DeviceId, Digest
from playlists.placement import Screen
from playlists.queries import Tx, screens
from playlists.queries.screens import Assignment, Shelf
from tests import world
from tests.doubles import FakeClock

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(DatabaseSettings(url=database_url)) as opened:
        yield opened


@pytest.fixture
async def device(connection: Tx) -> DeviceId:
    return await world.device(connection, await world.store(connection, NOW), NOW)


async def give_token(tx: Tx, device: DeviceId, token: str) -> bytes:
    digest = sha256(token.encode()).digest()
    await tx.execute(
        "INSERT INTO device_tokens (token_sha256, device_id, created_at) VALUES ($1, $2, $3)", digest, device, NOW
    )
    return digest


async def give_playlist(tx: Tx, device: DeviceId, begins: datetime = NOW) -> Digest:
    """Compile, store and assign a playlist whose digest follows from when it begins."""
    hours = (parse({"days": ["sun", "mon"], "from": "09:00", "to": "21:00"}),)
    playlist = compile_playlist([], Screen("UTC", 12, hours, ()), begins, begins + 48 * HOUR)
    body = playlist.body
    shelf = Shelf(playlist.digest, playlist.digest, begins, begins + 48 * HOUR, body, b"br" + body, b"gzip" + body)
    await screens.shelve(tx, [shelf], NOW)
    await screens.assign(tx, [Assignment(device, playlist.digest, playlist.digest, begins + 48 * HOUR)], NOW)
    return playlist.digest


async def test_it_follows_tokens_and_screens(connection: Tx, database: Database, device: DeviceId) -> None:
    feed = Feed(database)
    token = await give_token(connection, device, "one")
    digest = await give_playlist(connection, device)
    async with database.dedicated("feed") as own:
        await feed.refresh(own)
        assert feed.loaded.is_set()
        assert feed.tokens == {token: TokenEntry(device, used=False, expires_at=None)}
        assert feed.screens[device] == (digest, 1, NOW + 48 * HOUR)

        other = await give_token(connection, device, "two")
        renewed = await give_playlist(connection, device, NOW + HOUR)
        await connection.execute(
            "UPDATE device_tokens SET revoked_at = $2, changed_xid = pg_current_xact_id() WHERE token_sha256 = $1",
            token,
            NOW,
        )
        await feed.refresh(own)
        assert feed.tokens.keys() == {other}
        assert feed.screens[device] == (renewed, 2, NOW + 49 * HOUR)


async def test_what_commits_late_is_not_missed(
    connection: Tx, owner_connection: Tx, database: Database, device: DeviceId
) -> None:
    feed = Feed(database)
    async with database.dedicated("feed") as own:
        await feed.refresh(own)
        async with owner_connection.transaction():
            slow = await give_token(owner_connection, device, "slow")
            quick = await give_token(connection, device, "quick")
            await feed.refresh(own)
            assert feed.tokens.keys() == {quick}
        await feed.refresh(own)
        assert feed.tokens.keys() == {quick, slow}


async def test_bodies_are_held_within_bounds_and_asked_for_once(
    connection: Tx, database: Database, device: DeviceId
) -> None:
    digest = await give_playlist(connection, device)
    neighbour = await world.device(connection, await world.store(connection, NOW), NOW)
    other = await give_playlist(connection, neighbour, NOW + HOUR)
    generous, tight = Feed(database), Feed(database, body_bytes=1)
    async with database.dedicated("feed") as own:
        await generous.refresh(own)
        await tight.refresh(own)
    held = await generous.body(digest)
    assert held is not None
    assert (held.br, held.gzip) == (b"br" + held.identity, b"gzip" + held.identity)
    assert len(tight._bodies) == 1
    first, second = await asyncio.gather(tight.body(digest), tight.body(digest))
    assert first == second == held
    assert (await tight.body(other)) is not None
    assert len(tight._bodies) == 1
    assert await tight.body(Digest("0" * 64)) is None


async def test_it_knows_when_a_playlist_changes_next(connection: Tx, database: Database, device: DeviceId) -> None:
    digest = await give_playlist(connection, device)
    feed = Feed(database)
    async with database.dedicated("feed") as own:
        await feed.refresh(own)
    closes, opens = NOW.replace(hour=21), NOW.replace(day=23, hour=9)
    assert feed.next_change_at(digest, NOW) == closes
    assert feed.next_change_at(digest, closes) == opens
    assert feed.next_change_at(digest, NOW + 47 * HOUR) is None
    assert feed.next_change_at(Digest("0" * 64), NOW) is None


async def test_it_forgets_playlists_that_no_screen_is_given_any_more(
    connection: Tx, database: Database, device: DeviceId
) -> None:
    digest = await give_playlist(connection, device)
    feed = Feed(database)
    async with database.dedicated("feed") as own:
        await feed.refresh(own)
    await feed.let_go()
    assert feed.next_change_at(digest, NOW) is not None
    del feed.screens[device]  # as if it had been given another
    await feed.let_go()
    assert feed.next_change_at(digest, NOW) is None
    assert not feed._shared


async def test_it_serves_what_it_has_while_the_database_is_away(
    connection: Tx, owner_connection: Tx, database: Database, device: DeviceId
) -> None:
    feed = Feed(database)
    token = await give_token(connection, device, "one")
    async with following(feed, database):
        await asyncio.wait_for(feed.loaded.wait(), 5)
        await owner_connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE '%feed'"
        )
        assert feed.tokens.keys() == {token}
        another = await give_token(connection, device, "two")
        async with asyncio.timeout(5):
            while another not in feed.tokens:  # noqa: ASYNC110 - it has no event for that
                await asyncio.sleep(0.02)
    assert feed.tokens.keys() == {token, another}


@asynccontextmanager
async def following(feed: Feed, database: Database) -> AsyncIterator[None]:
    loop = asyncio.create_task(feeding.run(feed, database, FakeClock(NOW), lambda: None))
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.wait([loop])
