"""A simulated screen: a plain HTTP client of the public device API that plays what it pulled (SPEC 6, 7)."""

import asyncio
import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from playlists.playlist import Playlist, Showing, parse

LONGEST_BACKOFF = 30.0
PLAYS_A_REPORT = 200
_AWAY = (aiohttp.ClientError, TimeoutError, OSError)  # what is tried again later


class Gone(Exception):
    """The daemon does not know this screen's token any more."""


@dataclass(slots=True)
class Screen:
    """One player. It keeps its own time: the server's, as last told, carried on by the monotonic clock."""

    device_id: str
    token: str
    url: str
    session: aiohttp.ClientSession
    downloads: asyncio.Semaphore
    counts: Counter[str]
    remember: Callable[[str, str], None]  # device id and token, kept for the next run

    playlist: Playlist | None = None
    ready: bool = False
    _digest: str = ""
    _held: set[str] = field(default_factory=set)
    _ahead: float = 0.0  # server's Unix time minus the monotonic clock
    _played_until: datetime | None = None
    _unreported: list[dict[str, Any]] = field(default_factory=list)
    _backoff: float = 0.5
    _called: asyncio.Event = field(default_factory=asyncio.Event)  # a heartbeat said that there is something to fetch

    async def activate(self, code: str) -> None:
        """Trade an activation code for a token; asked again until it is answered."""
        while True:
            with contextlib.suppress(*_AWAY):
                reply = await self._call("POST", "/v1/devices/activate", {"code": code})
                self.token = reply["token"]
                self.remember(self.device_id, self.token)
                return
            await self._wait()

    async def live(self) -> None:
        """Poll, fetch, acknowledge, play and report until cancelled; what fails is tried again later.

        Raises a group of Gone when the token is worth nothing any more.
        """
        async with asyncio.TaskGroup() as group:
            for loop in (self._polling, self._beating, self._playing):
                group.create_task(loop())

    def now(self) -> datetime:
        """The server's time, as far as this screen knows it."""
        return datetime.fromtimestamp(time.monotonic() + self._ahead, UTC)

    async def _polling(self) -> None:
        while True:
            after = None
            with contextlib.suppress(*_AWAY):
                after = await self._poll()
                if self.playlist is not None and not self.ready:
                    await self._fetch(self.playlist)
                    await self._acknowledge(self.playlist)
                self._backoff = 0.5
            if after is None:
                await self._wait()
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(after if self.ready else min(after, 2.0)):
                        await self._called.wait()
                self._called.clear()

    async def _poll(self) -> float:
        """Ask for the playlist; the seconds after which to ask again."""
        headers = {"If-None-Match": f'"{self._digest}"'} if self._digest else {}
        async with self._request("GET", f"/v1/devices/{self.device_id}/playlist", headers=headers) as reply:
            self.counts["polls"] += 1
            after = float(reply.headers["Poll-After"])
            if reply.status == 200:
                playlist = parse(await reply.read())
                self.playlist, self._digest, self.ready = playlist, playlist.digest, False
                self.counts["playlists"] += 1
        return after

    async def _fetch(self, playlist: Playlist) -> None:
        for entry in playlist.creatives:
            if entry.sha256 in self._held:
                continue
            async with self.downloads, self._request("GET", entry.url) as reply:
                digest, size = hashlib.sha256(), 0
                async for chunk in reply.content.iter_chunked(1 << 16):
                    digest.update(chunk)
                    size += len(chunk)
            if digest.hexdigest() == entry.sha256:
                self._held.add(entry.sha256)
                self.counts["files"] += 1
                self.counts["bytes"] += size

    async def _acknowledge(self, playlist: Playlist) -> None:
        files = {entry.sha256 for entry in playlist.creatives}
        states = [{"sha256": one, "state": "READY" if one in self._held else "MISSING"} for one in sorted(files)]
        body = {"digest": playlist.digest, "creatives": states}
        reply = await self._call("POST", f"/v1/devices/{self.device_id}/readiness", body)
        self.ready = bool(reply["verified"])
        if not self.ready:
            self._held.clear()  # the daemon saw less than we have, as after a crash of its own: fetch again

    async def _beating(self) -> None:
        pause = 1.0
        while True:
            with contextlib.suppress(*_AWAY):
                body = {"device_time": self.now().isoformat(), "digest": self._digest or None, "screen": "on"}
                reply = await self._call("POST", f"/v1/devices/{self.device_id}/heartbeat", body)
                self._ahead = datetime.fromisoformat(reply["server_time"]).timestamp() - time.monotonic()
                pause = float(reply["next_heartbeat_seconds"])
                if reply["actions"]:  # `sync`, and `stop` with it: the new playlist has not what must stop
                    self._called.set()
            await asyncio.sleep(pause)

    async def _playing(self) -> None:
        while True:
            await asyncio.sleep(2.0)
            self._log_what_ended()
            if self._unreported:
                with contextlib.suppress(*_AWAY):
                    await self._report()

    def _log_what_ended(self) -> None:
        now, playlist = self.now(), self.playlist
        if playlist is None or not self._ahead:
            return
        if self._played_until is None:  # just switched on
            self._played_until = now
        for showing in playlist.showings(max(self._played_until, now - timedelta(minutes=5)), now):
            if showing.ends > now:
                break
            if showing.kind == "ad" and showing.begins >= self._played_until and showing.creative is not None:
                self._unreported.append(self._play(playlist, showing, showing.creative))
            self._played_until = showing.ends

    def _play(self, playlist: Playlist, showing: Showing, creative: int) -> dict[str, Any]:
        entry = playlist.creatives[creative]
        self.counts["plays"] += 1
        return {
            "play_id": str(uuid4()),
            "campaign_id": str(entry.campaign_id),
            "creative_id": str(entry.id),
            "started_at": showing.begins.isoformat(),
            "duration_ms": entry.duration_ms,
            "digest": playlist.digest,
        }

    async def _report(self) -> None:
        batch = self._unreported[:PLAYS_A_REPORT]
        body = {"device_time": self.now().isoformat(), "plays": batch}
        reply = await self._call("POST", f"/v1/devices/{self.device_id}/plays", body)
        del self._unreported[: len(batch)]
        self.counts.update(result["verdict"] for result in reply["results"])

    async def _call(self, method: str, path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        async with self._request(method, path, data=orjson.dumps(body), headers=headers) as reply:
            return orjson.loads(await reply.read())

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, data: bytes = b""
    ) -> Any:
        bearer = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self.session.request(
            method, self.url + path, headers={**bearer, **(headers or {})}, data=data or None
        ) as reply:
            if reply.status == 401:
                raise Gone(self.device_id)
            reply.raise_for_status()
            yield reply

    async def _wait(self) -> None:
        self.counts["retries"] += 1
        await asyncio.sleep(self._backoff)
        self._backoff = min(self._backoff * 2, LONGEST_BACKOFF)
