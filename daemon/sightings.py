"""What devices show of themselves while they are served, gathered in memory and written in batches.

A poll costs no statement: that it came is noted here, once a device, and written with all others within a second.
Who needs it durable (a heartbeat, a report on downloads) waits for the write that it shares with whoever else waits.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio
import structlog

from daemon.announce import announce, report
from daemon.campaigns.queries.stopped import stopped_campaigns
from daemon.clock import Clock
from daemon.database import Connection, Database, DatabaseUnavailable
from daemon.failpoints import failpoint
from daemon.metrics import Metrics, precreate
from daemon.readiness import ready_due
from devices.presence import Beat
from devices.queries.fetches import record_fetches
from devices.queries.holding import Shown, record_shown
from devices.queries.presence import record_beats, record_service, record_sightings
from devices.readiness import Fetched, united
from playlists.ids import CampaignId, DeviceId, Sha256

log = structlog.get_logger("daemon.sightings")

EVERY = 1.0  # seconds; what was seen is in the database that soon
LONGEST_GAP = timedelta(seconds=15)  # between two writes of any instance, or nobody was serving
SERVICE_EVERY = timedelta(seconds=1)
PAUSE = 0.5  # seconds before a lost database is tried again
LAST_WRITE = 2.0  # seconds at most when the process ends


@dataclass(slots=True)
class Gathered:
    """What came in since the last write: the latest of each device, and byte ranges by device and file."""

    seen: dict[DeviceId, datetime] = field(default_factory=dict)
    shown: dict[DeviceId, Shown] = field(default_factory=dict)
    beats: dict[DeviceId, Beat] = field(default_factory=dict)
    fetched: dict[tuple[DeviceId, Sha256], Fetched] = field(default_factory=dict)
    ready: set[CampaignId] = field(default_factory=set)

    def take_back(self, older: "Gathered") -> None:
        """Put back what could not be written, beneath what has come in since."""
        self.seen = older.seen | self.seen
        self.shown = older.shown | self.shown
        self.beats = older.beats | self.beats
        self.ready |= older.ready
        for fetched in older.fetched.values():
            self.add(fetched)

    def add(self, more: Fetched) -> None:
        """Unite byte ranges with those of the same device and file."""
        key = more.device_id, more.sha256
        if known := self.fetched.get(key):
            ranges = united([*known.ranges, *more.ranges])
            more = more._replace(ranges=ranges, began_at=min(known.began_at, more.began_at))
        self.fetched[key] = more


class Sightings:
    """The gathering place of one instance; `run` empties it."""

    def __init__(self) -> None:
        self.gathered = Gathered()
        self.served_at: datetime | None = None  # when this instance last said that it serves
        self.stopped: frozenset[CampaignId] = frozenset()  # that no screen may play any more, as of the last write
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    def saw(self, device_id: DeviceId, at: datetime) -> None:
        """Note that a device was there."""
        self.gathered.seen[device_id] = at

    def showed(self, device_id: DeviceId, at: datetime, shown: Shown) -> None:
        """Note which playlist a device showed to hold, and which one it is given."""
        self.gathered.seen[device_id] = at
        self.gathered.shown[device_id] = shown

    def delivered(self, fetched: Fetched) -> None:
        """Note byte ranges that were written to a device."""
        self.gathered.add(fetched)

    def acknowledged(self, campaigns: Iterable[CampaignId]) -> None:
        """Have somebody look soon whether these campaigns are ready now."""
        self.gathered.ready.update(campaigns)

    async def beat(self, beat: Beat) -> None:
        """Keep a heartbeat; returns once it is durable. Raises DatabaseUnavailable."""
        self.gathered.beats[beat.device_id] = beat
        self.gathered.seen[beat.device_id] = beat.at
        await self.written()

    async def written(self) -> None:
        """Return once all that was noted before is durable. Raises DatabaseUnavailable."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wanted.set()
        await done

    async def wanted(self, seconds: float) -> None:
        """Wait until somebody waits for a write, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            pass

    def take(self) -> tuple[Gathered, list[asyncio.Future[None]]]:
        """All that was gathered, and who waits for it to be written."""
        taken, self.gathered = self.gathered, Gathered()
        waiting, self._waiting = self._waiting, []
        self._wanted.clear()
        return taken, waiting


async def run(
    sightings: Sightings,
    database: Database,
    clock: Clock,
    metrics: Metrics,
    threshold_percent: int,
    beat: Callable[[], None],
) -> None:
    """Write what is gathered every second, sooner when somebody waits; runs until cancelled.

    What the server refuses is told and dropped: it came from devices, and none of them may end the daemon.
    """
    precreate(metrics.step_failures_total, ("sightings",))
    while True:
        beat()
        try:
            async with database.dedicated("sightings") as connection:
                while True:
                    await sightings.wanted(EVERY)
                    beat()
                    await _write(sightings, database, connection, clock)
                    await _look_for_ready(sightings, database, connection, clock, metrics, threshold_percent)
        except DatabaseUnavailable as error:
            _refuse(sightings, error)
            await asyncio.sleep(PAUSE)
        except Exception:
            metrics.step_failures_total.labels("sightings").inc()
            log.exception("sightings not written")
            await asyncio.sleep(PAUSE)
        except asyncio.CancelledError:
            with anyio.move_on_after(LAST_WRITE, shield=True):
                await _write_the_last(sightings, database, clock)
            _refuse(sightings, DatabaseUnavailable("shutting down"))
            raise


async def _write_the_last(sightings: Sightings, database: Database, clock: Clock) -> None:
    """Keep what came in until the end; a screen would have to download it again."""
    try:
        async with database.dedicated("sightings") as connection:
            await _write(sightings, database, connection, clock)
    except DatabaseUnavailable as error:
        log.warning("last sightings not written", reason=str(error))


async def _write(sightings: Sightings, database: Database, connection: Connection, clock: Clock) -> None:
    """Write everything in one transaction, so that a device is never found silent whose sighting waits here."""
    taken, waiting = sightings.take()
    now = clock.now()
    # one row for all instances: not at every write, they would wait for each other
    serves = sightings.served_at is None or abs(now - sightings.served_at) >= SERVICE_EVERY
    try:
        async with database.transaction(on=connection) as tx:
            await record_sightings(tx, taken.seen.items())
            await record_shown(tx, taken.shown)
            await record_beats(tx, list(taken.beats.values()))
            # with the beats that wait for this: what was stopped before one of them came is told to it
            sightings.stopped = await stopped_campaigns(tx, now)
            await record_fetches(tx, list(taken.fetched.values()), now)
            if serves:
                await record_service(tx, now, LONGEST_GAP)
            failpoint("sightings.before_commit")
    except BaseException as error:
        failure = error if isinstance(error, DatabaseUnavailable) else DatabaseUnavailable("not written")
        if failure is error or not isinstance(error, Exception):  # else it would be refused again
            sightings.gathered.take_back(taken)
        _fail(waiting, failure)
        raise
    failpoint("sightings.after_commit")
    sightings.gathered.ready |= taken.ready
    sightings.served_at = now if serves else sightings.served_at
    for done in waiting:
        if not done.done():
            done.set_result(None)


async def _look_for_ready(
    sightings: Sightings,
    database: Database,
    connection: Connection,
    clock: Clock,
    metrics: Metrics,
    threshold_percent: int,
) -> None:
    """Say of campaigns that screens have just acknowledged whether they are ready; a tick finds what this misses."""
    if not sightings.gathered.ready:
        return
    among, sightings.gathered.ready = list(sightings.gathered.ready), set()
    async with database.transaction(on=connection) as tx:
        now = clock.now()
        transitions = await ready_due(tx, now, threshold_percent, among)
        await announce(tx, transitions, now)
    report(transitions, metrics, log)


def _refuse(sightings: Sightings, error: DatabaseUnavailable) -> None:
    """Let nobody wait for a write that does not come; what they brought stays gathered."""
    taken, waiting = sightings.take()
    sightings.gathered = taken
    _fail(waiting, error)


def _fail(waiting: Iterable[asyncio.Future[None]], error: DatabaseUnavailable) -> None:
    for done in waiting:
        if not done.done():
            done.set_exception(error)
