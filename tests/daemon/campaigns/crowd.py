"""Eight connections that do to the same few campaigns all that can be done to them: people, screens, two daemons."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import prometheus_client

from daemon import chores, warning
from daemon.campaigns.draft import zulu
from daemon.campaigns.errors import Refused
from daemon.campaigns.events import Transition
from daemon.campaigns.rates import Prices
from daemon.ground import Ground, Rules
from daemon.intake import Report, accept
from daemon.metrics import Metrics
from daemon.tick import LIFE, tick
from devices.contents import Library
from devices.plays import Play
from devices.queries import seats
from devices.queries.devices import patch_device
from playlists.ids import CampaignId, CreativeId, DeviceId, TenantId
from playlists.playlist import Playlist
from playlists.queries import Tx, patch_creative
from tests.conftest import APPLICATION_ROLE, connected
from tests.daemon.campaigns import world
from tests.daemon.campaigns.test_random_lives import Deed, Life
from tests.daemon.campaigns.world import HOUR, NOW
from tests.daemon.web.screenside import published

TENANTS = 2
LIMIT = 6  # campaigns of a tenant that may run at one time
BOOKED = 12  # of each tenant, before anything happens
APART = timedelta(milliseconds=300)  # the clocks of two instances
DEAR = Prices(20_000_000_000)  # a play costs about a seventh of the smallest budget
SETTLE_AFTER, PATIENCE, DAY = timedelta(minutes=5), timedelta(minutes=8), timedelta(days=1)
RULES = Rules(3, tuple(timedelta(seconds=one) for one in (5, 10, 20)), SETTLE_AFTER, DAY)
STEPS = (*LIFE, *chores.steps(90, SETTLE_AFTER, PATIENCE, DAY, 30 * DAY), *warning.steps(90, PATIENCE))
# What people do with a campaign that they see in this status, and how often; it may be in another by then.
WANTED = {
    "DRAFT": ["submit"] * 8 + ["edit", "delete"],
    "PENDING_APPROVAL": ["approve"] * 6 + ["reject", "cancel"],
    "SCHEDULED": ["edit"] * 8 + ["topup"] * 4 + ["execute", "cancel"],
    "ACTIVE": ["edit"] * 6 + ["pause"] * 4 + ["stop", "topup"] * 2 + ["cancel"],
    "PAUSED": ["resume"] * 8 + ["topup"] * 4 + ["pause", "edit"] * 2 + ["cancel"],
}
RUNNING = "SELECT id FROM campaigns WHERE start_at <= $1 AND end_at > $1 AND settled_at IS NULL"
PASSING = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)  # of a machine that has too much to do

# Whatever changes what playlists are made of marks it in the same transaction; what must leave them, urgently.
FOLLOWED = """
ALTER TABLE marks ADD COLUMN made_by xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE FUNCTION planned(c campaigns) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN c.distributed_at IS NOT NULL AND c.status IN ('SCHEDULED', 'ACTIVE', 'COMPLETED')
                     AND c.pause_causes = '{}'
           THEN format('%s %s %s', greatest(c.start_at, c.capped_until), c.end_at, c.priority) END $$;
CREATE FUNCTION followed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF planned(OLD) IS DISTINCT FROM planned(NEW) AND NOT EXISTS (
        SELECT FROM marks WHERE kind = 'campaign' AND ref = NEW.id AND made_by = pg_current_xact_id()
                            AND (urgent OR planned(NEW) IS NOT NULL)) THEN
        RAISE EXCEPTION 'no mark: campaign % was % (%), is % (%)', NEW.id, OLD.status, planned(OLD), NEW.status,
            planned(NEW);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER followed AFTER UPDATE ON campaigns DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION followed()"""


class Clock:
    """What an instance's clock shows: the crowd's time, or a moment more."""

    held = False

    def __init__(self, crowd: "Crowd", ahead: timedelta) -> None:
        self._crowd, self._ahead = crowd, ahead

    def now(self) -> datetime:
        return self._crowd.now + self._ahead


class Crowd:
    """All who are at it; `wrong` is what should never have happened, `done` counts what did."""

    tenants: list[TenantId]
    devices: list[DeviceId]
    campaigns: list[CampaignId]
    creatives: list[CreativeId]
    playlist: Playlist

    def __init__(self, url: str, seed: int) -> None:
        self.url, self.seed = url, seed
        self.now, self.library = NOW, Library()
        self.wrong: list[str] = []
        self.done: Counter[str] = Counter()

    async def gather(self, tx: Tx) -> None:
        """Tenants, two screens, and campaigns that begin within a day, all in one playlist of these screens."""
        dice = random.Random(self.seed)
        self.tenants = [
            await world.tenant(tx, "4000.00", running_limit=LIMIT, approval_limit_micros=500_000_000) for _ in range(3)
        ]
        self.devices = [await world.device(tx) for _ in range(2)]
        self.campaigns = []
        for number in range(TENANTS * BOOKED):
            start = NOW + dice.randint(0, 20) * HOUR / 2
            window: dict[str, Any] = {"start_at": zulu(start), "end_at": zulu(start + dice.randint(1, 8) * HOUR)}
            cap: dict[str, Any] = {"daily_cap": "30.00"} if number % 3 == 0 else {}
            book = world.draft if number % 4 == 0 else world.submitted
            try:
                made = await book(tx, self.tenants[number % TENANTS], allow_short_lead=True, **window, **cap)
            except Refused:
                continue  # the limit
            self.campaigns.append(made)
        self.playlist = await published(tx, self.devices, self.campaigns, NOW, -timedelta(hours=1))
        self.creatives = sorted({media.id for media in self.playlist.creatives if media.campaign_id is not None})

    async def mill(self, seconds: float) -> None:
        """Let them all do what they do for so long."""
        async with asyncio.timeout(seconds + 60), asyncio.TaskGroup() as everybody:
            for number in range(2):
                everybody.create_task(self._working(self._instance, number, seconds))
                everybody.create_task(self._working(self._screen, number, seconds))
            for number in range(3):
                everybody.create_task(self._working(self._person, number, seconds))
            everybody.create_task(self._working(self._teller, 3, seconds))

    async def _working(
        self, turn: Callable[[Tx, random.Random, int, timedelta], Awaitable[None]], number: int, seconds: float
    ) -> None:
        dice = random.Random(f"{self.seed} {turn.__name__} {number}")
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with connected(self.url) as connection:
            await connection.execute(f"SET ROLE {APPLICATION_ROLE}")
            while loop.time() < until:
                try:
                    await turn(connection, dice, number, number % 2 * APART)
                except Exception as error:  # noqa: BLE001 - what a person or a screen would have been answered with
                    self.wrong.append(f"{turn.__name__}: {type(error).__name__}: {error}")

    # Each turn begins at a time that may be past when it gets its locks.

    async def _person(self, tx: Tx, dice: random.Random, number: int, ahead: timedelta) -> None:
        campaign_id = dice.choice(self.campaigns[-60:])
        known = await tx.fetchrow("SELECT tenant_id, status FROM campaigns WHERE id = $1", campaign_id)
        wanted = WANTED.get(known["status"]) if known else None
        life = self._life(tx, dice, known["tenant_id"] if known else dice.choice(self.tenants), ahead)
        await asyncio.sleep(dice.choice([0, 0, 0.005, 0.02]))
        if wanted and dice.random() < 0.9:
            await self._lived(life, lambda: life.do(campaign_id, dice.choice(wanted)))
        else:
            await self._lived(life, dice.choice([life.book, life.act]))

    async def _teller(self, tx: Tx, dice: random.Random, number: int, ahead: timedelta) -> None:
        life = self._life(tx, dice, dice.choice(self.tenants), ahead)
        await asyncio.sleep(0.01)
        await self._lived(life, dice.choice([life.suspend, life.adjust, life.deposit, life.deposit]))

    def _life(self, tx: Tx, dice: random.Random, tenant_id: TenantId, ahead: timedelta) -> Life:
        life = Life(tx, tenant_id, dice)
        life.campaigns, life.now = dice.sample(self.campaigns, 6), self.now + ahead
        return life

    async def _lived(self, life: Life, deed: Deed) -> None:
        await life.attempt(deed)
        self.campaigns += [one for one in life.campaigns if one not in self.campaigns]
        self.done.update(life.done)

    async def _screen(self, tx: Tx, dice: random.Random, number: int, ahead: timedelta) -> None:
        now = self.now + ahead
        await asyncio.sleep(0.002)
        if dice.random() < 0.15:
            await self._network(tx, dice, now)
            return
        device = dice.choice(self.devices)  # both may report for one
        running = {row["id"] for row in await tx.fetch(RUNNING, now)}
        media = [one for one in self.playlist.creatives if one.campaign_id in running] or self.playlist.creatives
        plays = [
            Play(
                f"{dice.random()}", one.campaign_id, one.id, None,
                now - timedelta(seconds=dice.randint(11, 40)), one.duration_ms, self.playlist.digest,
            )
            for one in dice.choices(media, k=dice.randint(1, 6))
            if one.campaign_id is not None
        ]  # fmt: skip
        async with tx.transaction():
            receipt = await accept(tx, device, Report(now, plays), self.library, DEAR, now)
        self.done.update(str(one.verdict) for one in receipt.results)

    async def _network(self, tx: Tx, dice: random.Random, now: datetime) -> None:
        """What operators change of screens and creatives meanwhile, and the planner counts after them."""
        match dice.randint(0, 2):
            case 0:
                for disabled in (True, False):
                    for device in self.devices:
                        async with tx.transaction():
                            await patch_device(tx, device, {"disabled": disabled}, now, PATIENCE)
                    await self._recounted(tx)
                    await asyncio.sleep(0.1)
            case 1:
                words = dice.sample(["beer", "wine", "bread"], k=1)
                async with tx.transaction():
                    await patch_creative(tx, dice.choice(self.creatives), {"keywords": words}, now)
            case 2:
                await self._recounted(tx)

    async def _recounted(self, tx: Tx) -> None:
        async with tx.transaction():
            await seats.recount(tx, self.campaigns)

    async def _instance(self, tx: Tx, dice: random.Random, number: int, ahead: timedelta) -> None:
        self.now += timedelta(minutes=dice.choice([0, 0, 1, 5, 15]), seconds=dice.randint(0, 59))
        await self.tick(tx, ahead)
        await asyncio.sleep(dice.choice([0, 0.01]))

    async def tick(self, tx: Tx, ahead: timedelta = timedelta()) -> int:
        """One tick of an instance; how much it did."""
        done = 0

        @asynccontextmanager
        async def begin() -> AsyncIterator[Tx]:
            try:
                async with tx.transaction():
                    yield tx
            except PASSING:
                raise
            except Exception as error:
                if type(error).__name__ != "Busy":
                    self.wrong.append(f"tick: {type(error).__name__}: {error}")
                raise

        def report(transitions: Sequence[Transition]) -> None:
            nonlocal done
            done += len(transitions)
            self.done.update(f"tick {one.type}" for one in transitions)

        metrics = Metrics.create(prometheus_client.CollectorRegistry())
        await tick(Ground(begin, Clock(self, ahead), metrics, RULES, report), STEPS)
        return done
