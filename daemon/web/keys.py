"""Whose token it is: a device's, from memory; the database is asked only at a token's first use or sight."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

from aiohttp import hdrs, web

from daemon.clock import Clock
from daemon.database import Database
from daemon.feed import Feed, TokenEntry
from daemon.web.auth import unauthorized
from daemon.web.problems import not_found, unavailable
from devices.enrolment import token_row, use_first
from playlists.ids import DeviceId

MOST_STRANGERS: Final = 10_000
STRANGE_FOR: Final = 1.0  # seconds for which an unknown token is not looked up again
LOOKUPS: Final = 4  # at one time; a flood of made-up tokens must not take the database from the others
TURN_SECONDS: Final = 5.0  # nor may those who wait for theirs wait for ever


class Keys:
    """The tokens of all devices, as one instance knows them."""

    def __init__(self, feed: Feed, database: Database, clock: Clock) -> None:
        self._feed, self._database, self._clock = feed, database, clock
        self._strangers: OrderedDict[bytes, float] = OrderedDict()
        self._lookups = asyncio.Semaphore(LOOKUPS)

    async def device_of(self, request: web.Request) -> DeviceId:
        """The device whose token the request carries. Raises Problem unauthorized, DatabaseUnavailable."""
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthorized("Authorization: Bearer TOKEN is missing")
        if not self._feed.loaded.is_set():
            raise unavailable("Starting up; try again")
        digest = sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        now = self._clock.now()
        entry = self._feed.tokens.get(digest) or await self._looked_up(digest)
        if entry is None or (entry.expires_at is not None and entry.expires_at <= now):
            raise unauthorized("The token is unknown, expired or revoked")
        if not entry.used:
            await self._use_first(digest, entry, now)
        return entry.device_id

    async def device_at(self, request: web.Request) -> DeviceId:
        """The device in the path, which must be the token's own: any other is not found. Raises as `device_of`."""
        device_id = await self.device_of(request)
        try:
            named = UUID(request.match_info["id"])
        except ValueError as error:
            raise not_found("Device") from error
        if named != device_id:
            raise not_found("Device")
        return device_id

    async def _use_first(self, digest: bytes, entry: TokenEntry, now: datetime) -> None:
        async with self._database.transaction() as tx:
            stands = await use_first(tx, digest, now)
        if not stands:
            self._feed.tokens.pop(digest, None)
            raise unauthorized("The token is unknown, expired or revoked")
        self._feed.tokens[digest] = entry._replace(used=True)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._lookups.acquire()
        except TimeoutError:
            raise unavailable() from None
        try:
            yield
        finally:
            self._lookups.release()

    async def _looked_up(self, digest: bytes) -> TokenEntry | None:
        """The token as the database has it: another instance may have given it out a moment ago."""
        loop = asyncio.get_running_loop()
        if self._strangers.get(digest, 0.0) > loop.time():
            return None
        async with self._turn(), self._database.transaction() as tx:
            row = await token_row(tx, digest)
        if row is None:
            self._strangers[digest] = loop.time() + STRANGE_FOR
            self._strangers.move_to_end(digest)
            if len(self._strangers) > MOST_STRANGERS:
                self._strangers.popitem(last=False)
            return None
        return TokenEntry(row["device_id"], row["used"], row["expires_at"])
