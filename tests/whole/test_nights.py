"""The nights on which clocks change, for real: PostgreSQL alone lives in them, the daemon's host is months away."""

import asyncio
import platform
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.dev.embedded import FAST_AND_LOSSY, embedded_postgres
from daemon.dev.mailbox import Mailbox, mailbox
from tests.whole import checks
from tests.whole.daemons import Api, Daemon, created_token, free_port, signaged
from tests.whole.network import EVERY_DAY, Network
from tests.whole.player import Player, instant, rfc3339

Json = dict[str, Any]
FAKETIME = Path(f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketime.so.1")
EVENING = 24.0  # seconds at least from the start of PostgreSQL to the change of the clock; a slow machine gets more
SLOT, SPOT = 10, 5  # seconds
SETTLE_AFTER = 3.0
FUNDED = "5000.00"
MINUTE, HOUR = 60.0, 3600.0

Open = tuple[float, float]  # from and until, in minutes after the change


@dataclass(frozen=True)
class Booking:
    """How a campaign is given, and the seconds before and after the change that must come of it."""

    given: Json
    begins: float
    ends: float
    shows: Json = field(default_factory=dict)  # what replies must say besides


@dataclass(frozen=True)
class Night:
    """One change of the clock, with all that follows from it worked out by hand."""

    zone: str
    at: str
    bookings: dict[str, Booking]
    inverted: tuple[str, str]  # wall times that look like a window and are none, or the other way round
    daypart: tuple[str, str]  # ends in the moment of the change in spring, spans it in autumn
    daypart_open: Open
    edge: tuple[str, str]  # opening hours that begin or end with the changed hour, this night and the next
    edge_open: tuple[Open, Open]
    inside: tuple[str, str]  # opening hours with edges in the hour that is missing or comes twice
    inside_open: tuple[Open, Open]

    @property
    def instant(self) -> float:
        return instant(self.at)


def spring(day: str, gap: str, new: str, offset: str) -> dict[str, Booking]:
    """`gap` is the hour and minute at which the missing time begins, `new` at which it has ended."""
    after = Booking(
        {"start_local": f"{day}T{new}:10", "end_local": f"{day}T{new}:36"},
        10,
        36,
        {"start_local": f"{day}T{new}:10", "start_tenant": f"{day}T{new}:10{offset}"},
    )
    moved = Booking({"start_local": f"{day}T{gap}:05", "end_local": f"{day}T{new}:38"}, 5, 38)
    return {"after": after, "gap": moved}


def autumn(day: str, last: str, new: str, offset: str) -> dict[str, Booking]:
    """`last` is the last minute before the change, `new` the hour and minute to which the clock goes back."""
    first = Booking(
        {"start_local": f"{day}T{last}:50", "end_local": f"{day}T{last}:58"},
        -10,
        -2,
        {"start_local": f"{day}T{last}:50"},
    )
    after = Booking({}, 10, 36, {"start_local": f"{day}T{new}:10", "start_tenant": f"{day}T{new}:10{offset}"})
    return {"fold": first, "after": after}


NIGHTS = [
    Night(
        zone="America/New_York",
        at="2026-03-08T07:00:00Z",
        bookings=spring("2026-03-08", "02:00", "03:00", "-04:00"),
        inverted=("2026-03-08T02:30:00", "2026-03-08T03:20:00"),
        daypart=("01:00", "03:00"),
        daypart_open=(-60, 0),
        edge=("03:00", "05:00"),
        edge_open=((0, 120), (1440, 1560)),
        inside=("00:30", "02:15"),
        inside_open=((-90, 15), (1290, 1395)),
    ),
    Night(
        zone="Europe/Berlin",
        at="2026-03-29T01:00:00Z",
        bookings=spring("2026-03-29", "02:00", "03:00", "+02:00"),
        inverted=("2026-03-29T02:30:00", "2026-03-29T03:20:00"),
        daypart=("01:00", "03:00"),
        daypart_open=(-60, 0),
        edge=("03:00", "05:00"),
        edge_open=((0, 120), (1440, 1560)),
        inside=("00:30", "02:15"),
        inside_open=((-90, 15), (1290, 1395)),
    ),
    Night(
        zone="Australia/Lord_Howe",
        at="2026-10-03T15:30:00Z",
        bookings=spring("2026-10-04", "02:00", "02:30", "+11:00"),
        inverted=("2026-10-04T02:15:00", "2026-10-04T02:35:00"),
        daypart=("01:00", "02:30"),
        daypart_open=(-60, 0),
        edge=("02:30", "05:00"),
        edge_open=((0, 150), (1440, 1590)),
        inside=("00:30", "02:15"),
        inside_open=((-90, 15), (1320, 1425)),
    ),
    Night(
        zone="America/New_York",
        at="2026-11-01T06:00:00Z",
        bookings=autumn("2026-11-01", "01:59", "01:00", "-05:00"),
        inverted=("2026-11-01T01:59:55", "2026-11-01T01:00:30"),
        daypart=("01:59", "04:00"),
        daypart_open=(-1, 180),
        edge=("00:00", "02:00"),
        edge_open=((-120, 60), (1380, 1500)),
        inside=("01:15", "01:45"),
        inside_open=((-45, -15), (1455, 1485)),
    ),
    Night(
        zone="Europe/Berlin",
        at="2026-10-25T01:00:00Z",
        bookings=autumn("2026-10-25", "02:59", "02:00", "+01:00"),
        inverted=("2026-10-25T02:59:55", "2026-10-25T02:00:30"),
        daypart=("02:59", "04:00"),
        daypart_open=(-1, 120),
        edge=("00:00", "03:00"),
        edge_open=((-180, 60), (1320, 1500)),
        inside=("02:15", "02:45"),
        inside_open=((-45, -15), (1455, 1485)),
    ),
    Night(
        zone="Australia/Lord_Howe",
        at="2026-04-04T15:00:00Z",
        bookings=autumn("2026-04-05", "01:59", "01:30", "+10:30"),
        inverted=("2026-04-05T01:59:55", "2026-04-05T01:30:30"),
        daypart=("01:59", "04:00"),
        daypart_open=(-1, 150),
        edge=("00:00", "02:00"),
        edge_open=((-120, 30), (1350, 1470)),
        inside=("01:35", "01:50"),
        inside_open=((-25, -10), (1445, 1460)),
    ),
]


@pytest.mark.skipif(not FAKETIME.exists(), reason=f"{FAKETIME} is missing: apt-get install libfaketime")
async def test_nights_on_which_clocks_change(tmp_path: Path) -> None:
    in_time = False
    for patience in (1, 2, 4):
        in_time = in_time or await lived_in_time(tmp_path / str(patience), patience)
    assert in_time, "this machine is too slow to be ready before the clocks change"


async def lived_in_time(folder: Path, patience: int) -> bool:
    """Live through all nights at once; false when the evening was too short to book everything."""
    began = time.monotonic()
    folders = [folder / f"night-{number}" for number in range(len(NIGHTS))]
    async with asyncio.TaskGroup() as group:
        for each in folders:
            each.mkdir(parents=True)
            group.create_task(initialised(each))
    evening = patience * (EVENING + 4 * (time.monotonic() - began))
    in_time = True
    try:
        async with asyncio.TaskGroup() as group:
            for night, each in zip(NIGHTS, folders, strict=True):
                group.create_task(lived(night, each, evening))
    except* TooSlow:
        in_time = False
    return in_time


async def initialised(folder: Path) -> None:
    """Make the data folder in the present: PostgreSQL alone is to live in the night."""
    async with embedded_postgres(folder / "postgres", settings=FAST_AND_LOSSY):
        pass


async def lived(night: Night, folder: Path, evening: float) -> None:
    """Live through one night, from before its change until all is settled, and check it."""
    try:
        async with world(night, folder, evening) as (daemon, session, box, ahead):
            token = await asyncio.to_thread(created_token, daemon.config)
            there = There(night, session, daemon, ahead)
            await there.build(token)
            await there.live()
            await there.check(box)
            proved = await asyncio.to_thread(signaged, daemon.config, "verify")
            assert proved.returncode == 0, proved.stdout + proved.stderr
            assert await daemon.stop() == 0, daemon.last_words()
    except Exception as error:
        error.add_note(f"on the night of {night.zone}, {night.at}")
        raise


@asynccontextmanager
async def world(
    night: Night, folder: Path, evening: float
) -> AsyncIterator[tuple[Daemon, aiohttp.ClientSession, Mailbox, float]]:
    """A daemon on a PostgreSQL whose clock is `ahead` seconds of this host's (or behind), with Kafka down."""
    ahead = round(night.instant - evening - time.time())
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{ahead:+d}", "DONT_FAKE_MONOTONIC": "1"}
    async with AsyncExitStack() as stack:
        postgres = embedded_postgres(folder / "postgres", settings=FAST_AND_LOSSY, environment=faked)
        url = await stack.enter_async_context(postgres)
        box = await stack.enter_async_context(mailbox())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        sections: Json = {
            "database": {"url": url},
            "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
            "smtp": {"url": box.url},
            "plays": {"settle_after": SETTLE_AFTER},
            "devices": {"poll_after": 2, "heartbeat": 5},
        }
        daemon = Daemon(folder, sections)
        stack.push_async_callback(daemon.end)
        daemon.start()
        await daemon.ready(session, evening)
        yield daemon, session, box, ahead


class TooSlow(Exception):
    """The clocks would change before all is booked."""


class There:
    """The shops of one night, their screens and what is booked on them."""

    def __init__(self, night: Night, session: aiohttp.ClientSession, daemon: Daemon, ahead: float) -> None:
        self.night, self.session, self.urls, self.ahead = night, session, [daemon.url], ahead
        self.network = Network()
        self.players: dict[str, Player] = {}
        self.booked: dict[str, tuple[str, Booking]] = {}  # name -> id
        self.api = Api(session, self.urls, "")

    def now(self) -> float:
        return time.time() + self.ahead

    async def build(self, token: str) -> None:
        admin = Api(self.session, self.urls, token)
        tenant = await self.network.add_tenant(admin, "Nightfall", self.night.zone, FUNDED)
        self.api = Api(self.session, self.urls, tenant["token"])
        for name, hours in (("always", None), ("edge", self.night.edge), ("inside", self.night.inside)):
            body: Json = {"code": name, "name": f"Shop {name}", "timezone": self.night.zone}
            body["opening_hours"] = [part(hours)] if hours else []
            store_id = await self.network.add_store(admin, body)
            screen = {"store_id": store_id, "name": name, "slots_per_hour": 3600 // SLOT, "cpm": "12000.00"}
            device_id, code = await self.network.add_device(admin, screen)
            self.players[name] = Player(self.session, self.urls, device_id)
            await self.players[name].activate(code)
        creative = await self.network.add_creative(self.api, "spot", SPOT * 1000)
        control = Booking({"timezone": "Asia/Tokyo", **in_tokyo(self.night.instant, 15, 40)}, 15, 40)
        begins = -1 if "fold" in self.night.bookings else -12  # the fold has its slot alone
        through = Booking({"dayparts": [part(self.night.daypart)]}, begins, 26)
        for name, booking in {**self.night.bookings, "control": control, "through": through}.items():
            await self.book(name, booking, creative)
        await self.refuse_inverted(creative)
        if self.now() > self.night.instant - 15:
            raise TooSlow

    async def book(self, name: str, booking: Booking, creative: str) -> None:
        begins, ends = self.night.instant + booking.begins, self.night.instant + booking.ends
        body = {"name": name, "budget": "500.00", "creatives": [creative], "target": {}, **booking.given}
        if "start_local" not in booking.given:
            body |= {"start_at": rfc3339(begins), "end_at": rfc3339(ends)}
        made = await self.network.book(self.api, body, begins, ends)
        assert (instant(made["start_at"]), instant(made["end_at"])) == (begins, ends), (name, made)
        for field_name, value in booking.shows.items():
            assert made[field_name] == value, (name, made)
        self.booked[name] = made["id"], booking

    async def refuse_inverted(self, creative: str) -> None:
        """What ends before it starts, once resolved, is refused where it is given."""
        start, end = self.night.inverted
        body = {"name": "inverted", "channel": "signage", "start_local": start, "end_local": end}
        refused = await self.api("POST", "/v1/campaigns", body, expect=422)
        assert refused["type"] == "urn:signaged:validation"
        assert {error["field"] for error in refused["errors"]} & {"end_local", "end_at"}, refused

    async def live(self) -> None:
        """Let the screens live until the last end, and a little longer."""
        stop = asyncio.Event()
        over = self.night.instant + max(booking.ends for _, booking in self.booked.values())
        async with asyncio.TaskGroup() as fleet:
            for player in self.players.values():
                fleet.create_task(player.live(stop, every=1.0))
            await asyncio.sleep(3)
            for name, player in self.players.items():
                self.check_screen(name, player)
            await asyncio.sleep(over + SETTLE_AFTER + 1 - self.now())
            stop.set()

    def is_open(self, name: str, after: float) -> bool:
        hours = {"always": None, "edge": self.night.edge_open, "inside": self.night.inside_open}[name]
        return hours is None or any(begins * MINUTE <= after < ends * MINUTE for begins, ends in hours)

    def eligible(self, after: float) -> set[str]:
        """The campaigns that may take the slot that begins these seconds after the change, where it is open."""
        begins, ends = self.night.daypart_open
        in_daypart = begins * MINUTE <= after and after + SPOT <= ends * MINUTE
        return {
            campaign_id
            for name, (campaign_id, booking) in self.booked.items()
            if booking.begins <= after and after + SPOT <= booking.ends and (in_daypart or name != "through")
        }

    def check_screen(self, name: str, player: Player) -> None:
        """Every slot of this night and the next, by what was worked out by hand."""
        seen: Counter[str] = Counter()
        first = (self.now() // SLOT + 1) * SLOT
        assert player.body.slot == SLOT
        for begin in (first + SLOT * number for number in range(int(27 * HOUR / SLOT))):
            after = begin - self.night.instant
            shown, expected = player.body.shows(begin), self.eligible(after)
            seen[shown.kind] += 1
            if not self.is_open(name, after):
                assert shown.kind == "dark", (name, after, shown)
            elif expected:
                assert shown.creative is not None, (name, after, shown)
                assert shown.creative["campaign_id"] in expected, (name, after, shown)
            else:
                assert shown.kind == "house", (name, after, shown)
        assert seen["house"] > 50
        assert bool(seen["dark"]) == (name != "always")
        assert bool(seen["ad"]) == self.is_open(name, 20), seen

    def check_plays(self, name: str, player: Player) -> None:
        """It played in every slot that was to be had, and told of each once."""
        slots = range(-SLOT, 5 * SLOT, SLOT)
        due = [after for after in slots if self.eligible(after) and self.is_open(name, after)]
        assert sorted(instant(play["started_at"]) - self.night.instant for play in player.reported.values()) == due

    async def check(self, box: Mailbox) -> None:
        assert abs(self.players["always"].offset - self.ahead) < 1, "server_time is not the database's"
        for name, player in self.players.items():
            self.check_plays(name, player)
        plays = checks.plays_of(self.players.values())
        campaigns = [one for one in await self.api.every("/v1/campaigns") if one["name"] in self.booked]
        assert len(campaigns) == len(self.booked)
        for campaign in campaigns:
            log = sorted(
                await self.api.every(f"/v1/campaigns/{campaign['id']}/transitions"), key=lambda row: row["sequence"]
            )
            checks.check_history(campaign, log)
            assert all(row["lateness_ms"] < 1000 for row in log if row["type"] in ("started", "completed")), log
            played = plays.get(campaign["id"], [])
            checks.check_verdicts(campaign, played, cancelled=False)
            checks.check_money(campaign, self.network, played)
            self.check_mails(campaign, box)
        checks.check_wallet(await self.api("GET", "/v1/wallet"), campaigns, FUNDED)

    def check_mails(self, campaign: Json, box: Mailbox) -> None:
        """One mail a kind, dated by the database's clock, its times in the advertiser's zone."""
        mine = [mail.message for mail in box.messages if mail.message["X-Signaged-Campaign"] == campaign["id"]]
        dates = {str(mail["X-Signaged-Kind"]): parsedate_to_datetime(mail["Date"]).timestamp() for mail in mine}
        assert len(dates) == len(mine)
        assert -1 <= dates["started"] - instant(campaign["activated_at"]) < 15
        wall, offset = campaign["start_tenant"][:19].replace("T", " "), campaign["start_tenant"][19:]
        for mail in mine:
            text = mail.get_body(("plain",))
            assert text is not None
            assert wall in text.get_content(), (wall, text.get_content())
            assert offset in text.get_content(), (offset, text.get_content())
        assert -1 <= dates["completed"] - instant(campaign["settled_at"]) < 15


def part(hours: tuple[str, str]) -> Json:
    return {"days": EVERY_DAY, "from": hours[0], "to": hours[1]}


def in_tokyo(at: float, begins: float, ends: float) -> Json:
    """Wall times of a zone that never changes, nine hours ahead."""
    times = (datetime(1970, 1, 1) + timedelta(hours=9, seconds=at + each) for each in (begins, ends))  # noqa: DTZ001
    return dict(zip(("start_local", "end_local"), (each.isoformat() for each in times), strict=True))
