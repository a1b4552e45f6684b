"""A screen as an outsider would write one from SPEC 6 and 7 alone: it shares no code with the daemon.

It polls, fetches, acks, beats and reports what it would have shown.
"""

import asyncio
import hashlib
import itertools
import json
import time
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDictProxy

Json = dict[str, Any]
AHEAD = 60.0  # seconds that a screen can go on by what it holds, whoever answers


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


class Shown(NamedTuple):
    """What a screen shows at an instant (`ad`, `house` or `dark`), and the stretch in which it does."""

    kind: str
    creative: Json | None
    begin: float
    end: float


class Body:
    """One pulled playlist; `shows(t)` is the rule of SPEC 6 written a second time."""

    def __init__(self, raw: bytes) -> None:
        self.digest = hashlib.sha256(raw).hexdigest()
        self.json: Json = json.loads(raw)
        self.creatives: list[Json] = self.json["creatives"]
        self.slot: float = self.json["slot_seconds"]
        self.segments = [(instant(s["from"]), instant(s["until"]), s["sequence"]) for s in self.json["segments"]]

    def shows(self, t: float) -> Shown:
        begin = t // self.slot * self.slot
        for start, until, sequence in self.segments:
            if start <= begin < until:
                return self._in_segment(t, begin, sequence)
        return Shown("house", None, begin, begin + self.slot)

    def _in_segment(self, t: float, begin: float, sequence: list[int | None]) -> Shown:
        if not sequence:
            return Shown("dark", None, begin, begin + self.slot)
        index = sequence[int(begin // self.slot) % len(sequence)]
        if index is None:
            return Shown("house", None, begin, begin + self.slot)
        creative = self.creatives[index]
        ends = begin + creative["duration_ms"] / 1000
        return Shown("ad", creative, begin, ends) if t < ends else Shown("house", None, ends, begin + self.slot)


class Reply(NamedTuple):
    status: int
    headers: CIMultiDictProxy[str]
    raw: bytes

    def json(self) -> Json:
        assert self.status == 200, (self.status, self.raw)
        answer: Json = json.loads(self.raw)
        return answer


class Player:
    """One screen. `urls` are the daemons it may ask; it moves on when one does not answer."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], device_id: str) -> None:
        self.session, self.urls, self.device_id = session, urls, device_id
        self.phase = zlib.crc32(device_id.encode())  # as unlike others' as it is the same in every run
        self.token = ""
        self.tries = 60  # five a second
        self.offset = 0.0  # the server's clock minus ours, in seconds, and how much more it may be
        self.doubt = 0.0
        self.held: Body | None = None
        self.have: set[str] = set()
        self.acked = ""
        self.plan: dict[float, tuple[str, Shown]] = {}  # the coming slots, and the playlist that has them
        self.pending: list[Json] = []
        self.reported: dict[str, Json] = {}
        self.verdicts: dict[str, tuple[Json, float]] = {}  # and when at the latest they were heard

    @property
    def body(self) -> Body:
        assert self.held is not None, "never polled"
        return self.held

    def now(self) -> float:
        return time.time() + self.offset

    async def call(self, method: str, path: str, body: Json | None = None, known: Body | None = None) -> Reply:
        headers = {"If-None-Match": f'"{known.digest}"'} if known else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        for attempt in range(self.tries):
            url = self.urls[(self.phase + attempt) % len(self.urls)]
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self.session.request(method, url + path, json=body, headers=headers) as reply:
                    raw = await reply.read()
                assert reply.status != 500, (method, path, raw)
                if reply.status < 500:
                    return Reply(reply.status, reply.headers, raw)
            await asyncio.sleep(0.2)
        raise AssertionError(f"{method} {path}: no daemon answered")

    async def activate(self, code: str) -> None:
        asked = time.time()
        reply = (await self.call("POST", "/v1/devices/activate", {"code": code})).json()
        assert reply["device_id"] == self.device_id
        self.token = reply["token"]
        self.set_clock(reply, asked)

    async def poll(self) -> Reply:
        reply = await self.call("GET", f"/v1/devices/{self.device_id}/playlist", known=self.held)
        assert reply.status in (200, 304), (reply.status, reply.raw)
        assert int(reply.headers["Poll-After"]) > 0
        assert abs(parsedate_to_datetime(reply.headers["Date"]).timestamp() - self.now()) < 15, "not the server's date"
        if reply.status == 200:
            self.held = Body(reply.raw)
        assert reply.headers["ETag"] == f'"{self.body.digest}"', "the digest is of the bytes"
        self.foresee()
        return reply

    async def fetch(self) -> None:
        for creative in self.body.creatives:
            if creative["sha256"] not in self.have:
                reply = await self.call("GET", creative["url"])
                assert reply.status == 200, (reply.status, reply.raw)
                assert hashlib.sha256(reply.raw).hexdigest() == creative["sha256"]
                assert (len(reply.raw), reply.headers["Content-Type"]) == (creative["size"], creative["mime"])
                self.have.add(creative["sha256"])

    async def ack(self) -> None:
        body = self.body
        states = [{"sha256": one, "state": "READY"} for one in dict.fromkeys(c["sha256"] for c in body.creatives)]
        told = {"digest": body.digest, "creatives": states}
        reply = (await self.call("POST", f"/v1/devices/{self.device_id}/readiness", told)).json()
        if reply["verified"]:
            self.acked = body.digest
        else:
            self.have.clear()  # a killed daemon forgot what it delivered: fetch again

    async def beat(self) -> Json:
        told = {"device_time": rfc3339(self.now()), "screen": "on"} | (
            {"digest": self.held.digest} if self.held else {}
        )
        asked = time.time()
        reply = (await self.call("POST", f"/v1/devices/{self.device_id}/heartbeat", told)).json()
        self.set_clock(reply, asked)
        return reply

    def set_clock(self, reply: Json, asked: float) -> None:
        self.offset = instant(reply["server_time"]) - time.time()
        self.doubt = time.time() - asked

    def foresee(self) -> None:
        """Plan the next minute by the playlist held now: what has begun goes on by the one held then."""
        body, now = self.body, self.now()
        begin = now // body.slot * body.slot + body.slot
        while begin < now + AHEAD:
            self.plan[begin] = body.digest, body.shows(begin)
            begin += body.slot

    def watch(self) -> None:
        """Log every ad whose slot has ended since the last look."""
        for begin in sorted(self.plan):
            if begin + self.body.slot > self.now():
                return
            digest, shown = self.plan.pop(begin)
            if shown.creative is not None:
                self.pending.append({
                    "play_id": str(uuid.uuid4()),
                    "campaign_id": shown.creative["campaign_id"],
                    "creative_id": shown.creative["id"],
                    "started_at": rfc3339(begin),
                    "duration_ms": shown.creative["duration_ms"],
                    "digest": digest,
                })  # fmt: skip

    async def report(self) -> None:
        if not self.pending:
            return
        batch, self.pending = self.pending, []
        told = {"device_time": rfc3339(self.now()), "plays": batch}
        reply = (await self.call("POST", f"/v1/devices/{self.device_id}/plays", told)).json()
        assert [one["play_id"] for one in reply["results"]] == [play["play_id"] for play in batch]
        for play, result in zip(batch, reply["results"], strict=True):
            self.reported[play["play_id"]] = play
            # `duplicate` where a batch was sent again because its first answer was lost
            self.verdicts[play["play_id"]] = result, self.now() + self.doubt

    async def live(self, until: asyncio.Event, *, every: float = 2.0) -> None:
        """Do all that a screen does, until told to stop."""
        await asyncio.sleep(self.phase % 100 / 100 * every)
        for turn in itertools.count():
            await self.poll()
            await self.fetch()
            if self.acked != self.body.digest:
                await self.ack()
            if turn % 5 == 0:
                await self.beat()
            self.watch()
            await self.report()
            if until.is_set():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await until.wait()
