"""What polls are answered from: all device tokens and screens in memory, following the database."""

import asyncio
import gc
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson
import structlog

from daemon.clock import Clock, ClockUnset
from daemon.database import Connection, Database, DatabaseUnavailable, deadline
from daemon.failpoints import failpoint
from devices.queries.following import tokens_since
from playlists.ids import DeviceId, Digest
from playlists.queries import Row, screens

log = structlog.get_logger("daemon.feed")

CHANNEL = "signaged_screens"  # the planner tells here that it changed some; a note that is lost costs a poll
POLL = 0.25  # seconds between looks
RETRY = 0.5  # seconds until the database is asked again
ROWS_AT_ONCE = 1_000  # taken in before others have the loop
BODIES_AT_ONCE = 20
CALL_SECONDS = 5.0  # of a call that does no work
LOAD_SECONDS = 60.0  # for a first reading of a million devices
LET_GO_EVERY = timedelta(minutes=1)
MOST_WAITING = 10_000  # devices that somebody waits for; the other half of the connections stays free by default
_NEVER: "array[int]" = array("q")


class TokenEntry(NamedTuple):
    """Whose token it is, whether it was used yet and when it ends; a revoked one has no entry."""

    device_id: DeviceId
    used: bool
    expires_at: datetime | None


class ScreenEntry(NamedTuple):
    """The playlist that a screen is given; screens with the same one share the entry."""

    digest: Digest
    version: int
    valid_until: datetime


class Bodies(NamedTuple):
    """A playlist's bytes, plain and compressed."""

    identity: bytes
    br: bytes
    gzip: bytes


class Feed:
    """The directory of one instance; `tokens` by their SHA-256. It is as new as the last look, 250 ms at most.

    While the database is away it stays as it is. Nobody but `run` writes to it, except who uses a token first.
    """

    def __init__(self, database: Database, body_bytes: int = 64 << 20) -> None:
        """Begin empty; at most `body_bytes` of bodies are kept."""
        self.tokens: dict[bytes, TokenEntry] = {}
        self.screens: dict[DeviceId, ScreenEntry] = {}
        self.loaded = asyncio.Event()  # set once everything was read
        self._database = database
        self._shared: dict[tuple[Digest, int], ScreenEntry] = {}
        self._changes: dict[Digest, array[int]] = {}  # Unix seconds
        self._bodies: OrderedDict[Digest, Bodies] = OrderedDict()
        self._room = body_bytes
        self._waiting: dict[DeviceId, set[asyncio.Future[None]]] = {}
        self._dismissed = False
        self._asked: dict[Digest, asyncio.Task[Bodies | None]] = {}
        self._followed = 0  # what transactions below this did is known

    async def body(self, digest: Digest) -> Bodies | None:
        """The bytes of a playlist, None if there is none; from memory, else from the database, asked once for all.

        Raises DatabaseUnavailable.
        """
        held = self._bodies.get(digest)
        if held is not None:
            self._bodies.move_to_end(digest)
            return held
        if digest not in self._asked:
            self._asked[digest] = asyncio.create_task(self._fetch(digest))
            self._asked[digest].add_done_callback(_heard)
        return await asyncio.shield(self._asked[digest])

    async def another(self, device_id: DeviceId, digest: Digest, seconds: float) -> None:
        """Return once the device is given another playlist than this, or the time is up; at once when too many wait."""
        screen = self.screens.get(device_id)
        if screen is None or screen.digest != digest or self._dismissed or len(self._waiting) >= MOST_WAITING:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(device_id, set()).add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        finally:
            waiters = self._waiting.get(device_id, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(device_id, None)

    def dismiss(self) -> None:
        """Let nobody wait any more: the process is to end."""
        self._dismissed = True
        self._wake(list(self._waiting))

    def _wake(self, devices: Iterable[DeviceId]) -> None:
        for device_id in devices:
            for waiter in self._waiting.get(device_id, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def next_change_at(self, digest: Digest, now: datetime) -> datetime | None:
        """When what is planned changes next after `now`: a start, an end or an opening; None if not known or never."""
        changes = self._changes.get(digest, _NEVER)
        index = bisect_right(changes, now.timestamp())
        return datetime.fromtimestamp(changes[index], UTC) if index < len(changes) else None

    async def refresh(self, connection: Connection) -> None:
        """Take in all that was committed since the last time. Raises DatabaseUnavailable."""
        async with self._database.transaction(on=connection) as tx:
            upcoming = await screens.snapshot(tx)
        if upcoming < self._followed:
            log.warning("the database went back and is read anew")
            self._followed = 0
        new = await self._take_in(connection)
        failpoint("feed.followed")
        self._followed = upcoming
        self.loaded.set()
        for first in range(0, len(new), BODIES_AT_ONCE):
            async with self._database.transaction(on=connection) as tx:
                for row in await screens.bodies(tx, new[first : first + BODIES_AT_ONCE]):
                    self._hold(row)

    async def _take_in(self, connection: Connection) -> list[Digest]:
        """Read the tokens and screens that changed; the digests that are new."""
        # A first reading replaces what is held, but only when it is whole.
        tokens, given = (self.tokens, self.screens) if self._followed else ({}, {})
        new: dict[Digest, None] = {}
        awaited: list[DeviceId] = []
        async with self._database.transaction(LOAD_SECONDS, on=connection) as tx:
            cursor = await tokens_since(tx, self._followed)
            while rows := await cursor.fetch(ROWS_AT_ONCE):
                _take_tokens(tokens, rows)
            cursor = await screens.screens_since(tx, self._followed)
            while rows := await cursor.fetch(ROWS_AT_ONCE):
                for row in rows:
                    given[row["device_id"]] = entry = self._entry(row)
                    if entry.digest not in self._changes:
                        new[entry.digest] = None
                    if row["device_id"] in self._waiting:
                        awaited.append(row["device_id"])
        self.tokens, self.screens = tokens, given
        self._wake(awaited)
        return list(new)

    def _entry(self, row: Row) -> ScreenEntry:
        key = row["digest"], row["version"]
        entry = self._shared.get(key)
        if entry is None:
            entry = self._shared[key] = ScreenEntry(*key, row["valid_until"])
        return entry

    def _hold(self, row: Row) -> Bodies:
        """Keep a playlist's bodies, the longest unused making room, and when what it plans changes."""
        digest, held = row["digest"], Bodies(row["body"], row["body_br"], row["body_gzip"])
        if digest not in self._changes:
            segments = orjson.loads(held.identity)["segments"]
            begins = (datetime.fromisoformat(segment["from"]) for segment in segments[1:])
            self._changes[digest] = array("q", (int(instant.timestamp()) for instant in begins))
        if digest not in self._bodies:
            self._bodies[digest] = held
            self._room -= sum(map(len, held))
        while self._room < 0 and len(self._bodies) > 1:
            _, old = self._bodies.popitem(last=False)
            self._room += sum(map(len, old))
        return held

    async def _fetch(self, digest: Digest) -> Bodies | None:
        try:
            async with self._database.transaction() as tx:
                rows = await screens.bodies(tx, [digest])
            return self._hold(rows[0]) if rows else None
        finally:
            del self._asked[digest]

    async def let_go(self) -> None:
        """Forget what is known of playlists that no screen is given any more."""
        current: dict[tuple[Digest, int], ScreenEntry] = {}
        for number, entry in enumerate(list(self.screens.values())):
            current[entry.digest, entry.version] = entry
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._shared = current
        given = {digest for digest, _ in current}
        self._changes = {digest: begins for digest, begins in self._changes.items() if digest in given}


def _heard(fetch: "asyncio.Task[Bodies | None]") -> None:
    # Whoever asked may be gone; those who are not hear of the error too.
    if not fetch.cancelled():
        fetch.exception()


def _take_tokens(tokens: dict[bytes, TokenEntry], rows: Sequence[Row]) -> None:
    for row in rows:
        if row["revoked"]:
            tokens.pop(row["token_sha256"], None)
        else:
            tokens[row["token_sha256"]] = TokenEntry(row["device_id"], row["used"], row["expires_at"])


async def run(feed: Feed, database: Database, clock: Clock, beat: Callable[[], None]) -> None:
    """Keep the feed as new as the database, until cancelled; without a database it stays as it is."""
    while True:
        beat()
        try:
            async with database.dedicated("feed") as connection:
                await _follow(feed, connection, clock, beat)
        except (DatabaseUnavailable, ClockUnset):
            pass  # the seam has told it
        except Exception:
            log.exception("following the database failed")
        await asyncio.sleep(RETRY)


async def _follow(feed: Feed, connection: Connection, clock: Clock, beat: Callable[[], None]) -> None:
    told = asyncio.Event()
    async with deadline(connection, CALL_SECONDS):
        await connection.add_listener(CHANNEL, lambda *_: told.set())
    let_go_at = clock.now() + LET_GO_EVERY
    while True:
        beat()
        told.clear()
        first = not feed.loaded.is_set()
        await feed.refresh(connection)
        if first:
            gc.freeze()  # what was read stays: a full collection need not walk through a million entries
        if clock.now() >= let_go_at:
            await feed.let_go()
            let_go_at = clock.now() + LET_GO_EVERY
        try:
            async with asyncio.timeout(POLL):
                await told.wait()
        except TimeoutError:
            continue
