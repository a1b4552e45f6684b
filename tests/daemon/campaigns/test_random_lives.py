"""Whatever a tenant does in whatever order, and whenever a tick comes: the invariants hold after every step."""

import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon import tenants
from daemon.announce import announce
from daemon.campaigns import booking, editing, halting, lifecycle, suspending
from daemon.campaigns.draft import topup, zulu
from daemon.campaigns.errors import Refused
from daemon.campaigns.events import Transition
from daemon.campaigns.ledger import Charge, charge
from daemon.campaigns.queries.suspending import Word
from daemon.verify import verify
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, OPERATOR, advertiser
from tests.daemon.test_tick import Ticking

STEPS = 60

Deed = Callable[[], Awaitable[list[Transition]]]


class Life:
    """One tenant's life: a database connection, a clock, and dice."""

    def __init__(self, tx: Tx, tenant_id: TenantId, dice: random.Random) -> None:
        self.tx, self.tenant_id, self.dice = tx, tenant_id, dice
        self.now: datetime = NOW
        self.campaigns: list[CampaignId] = []
        self.ticking = Ticking(tx)
        self.done: dict[str, int] = {}

    async def step(self) -> None:
        deeds: list[Deed] = [self.book, self.act, self.act, self.act, self.play, self.suspend, self.adjust]
        deed = self.dice.choice([*deeds, None])
        if deed is None:
            await self.pass_time()
        else:
            await self.attempt(deed)

    async def attempt(self, deed: Deed) -> None:
        """Do it as one transaction, or be refused; `done` counts what was done."""
        try:
            async with self.tx.transaction():
                await announce(self.tx, await deed(), self.now)
        except Refused:
            return
        self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1

    async def book(self) -> list[Transition]:
        start = self.now + self.dice.randint(-2, 40) * HOUR
        end = start + self.dice.randint(1, 30) * HOUR
        given = await world.body(
            self.tx,
            self.tenant_id,
            start_at=zulu(start),
            end_at=zulu(end),
            allow_short_lead=True,
            budget=self.dice.choice(["100.00", "250.00", "600.00"]),
        )
        user = advertiser(self.tenant_id)
        campaign_id, transitions = await booking.create(self.tx, self.tenant_id, given, self.now, user, LIMITS)
        self.campaigns.append(campaign_id)
        if self.dice.random() < 0.8:
            transitions += await booking.submit(self.tx, campaign_id, self.now, user, LIMITS)
        return transitions

    async def act(self) -> list[Transition]:
        if not self.campaigns:
            return []
        return await self.do(self.dice.choice(self.campaigns[-6:]))

    async def do(self, campaign_id: CampaignId, *wanted: str) -> list[Transition]:
        """One of these actions, or any, on a campaign."""
        now, who = self.now, self.dice.choice([OPERATOR, advertiser(self.tenant_id)])
        arguments = {
            "edit": (now, who, LIMITS),
            "submit": (now, who, LIMITS),
            "approve": (now, who),
            "reject": ("no", now, who),
            "execute": (now, who),
            "pause": (None, now, who),
            "stop": (None, now, OPERATOR),
            "resume": (now, who),
            "cancel": (None, now, who, LIMITS),
            "topup": (topup("50.00", LIMITS), now, who),
            "delete": (now, who),
        }
        action = self.dice.choice(wanted or list(arguments))
        given = (await self.patch(campaign_id), *arguments[action]) if action == "edit" else arguments[action]
        room = next(room for room in (booking, editing, halting) if hasattr(room, action))
        transitions: list[Transition] = await getattr(room, action)(self.tx, campaign_id, *given)
        self.done[action] = self.done.get(action, 0) + 1
        return transitions

    async def patch(self, campaign_id: CampaignId) -> dict[str, Any]:
        """Something else of a campaign, which its status may or may not take."""
        if self.dice.random() < 0.3:
            return {"budget": "120.00", "name": f"Renamed {self.dice.random()}"}
        later = zulu(self.now + self.dice.randint(0, 60) * HOUR)
        field = self.dice.choice(["start_at", "end_at", "end_at", "priority", "target", "creatives"])
        if field == "creatives":
            known = await self.tx.fetch(
                "SELECT creative_id FROM campaign_creatives WHERE campaign_id = $1 ORDER BY position", campaign_id
            )
            owner = await world.column(self.tx, campaign_id, "tenant_id")
            return {field: [*(str(row[0]) for row in known), str(await world.creative(self.tx, owner))]}
        values = {"start_at": later, "end_at": later, "priority": self.dice.randint(1, 10), "target": {}}
        return {field: values[field]}

    async def adjust(self) -> list[Transition]:
        """An operator corrects the wallet."""
        given = {"amount": self.dice.choice(["-60.00", "-5.00", "30.00"]), "reason": "a mistake"}
        await tenants.adjust(self.tx, self.tenant_id, given, "token:operator", self.now)
        return []

    async def deposit(self) -> list[Transition]:
        """Somebody pays in."""
        await tenants.deposit(self.tx, self.tenant_id, {"amount": "20.00", "reference": "an invoice"}, self.now)
        return []

    async def suspend(self) -> list[Transition]:
        """The tenant is suspended, or let go on."""
        word = Word("token:operator", "an-operator-asked")
        return await suspending.turn(self.tx, self.tenant_id, self.dice.random() < 0.4, self.now, word)

    async def play(self) -> list[Transition]:
        """A play of a campaign that runs, charged as much as it can pay of a random price."""
        row = await self.tx.fetchrow(
            """SELECT * FROM campaigns WHERE status = 'ACTIVE' AND end_at > $1 AND start_at <= $1
               ORDER BY id LIMIT 1 FOR NO KEY UPDATE""",
            self.now,
        )
        if row is None:
            return []
        price = self.dice.randint(1, 90_000_000)
        charged = min(price, row["held_micros"])
        await charge(self.tx, [Charge(row["id"], charged, 1)], self.now)
        await self.tx.execute(
            """INSERT INTO plays (device_id, play_id, campaign_id, started_at, duration_ms, verdict, price_micros,
                                  charged_micros, received_at)
               SELECT id, $1, $2, $3, 0, CASE WHEN $5::bigint > 0 THEN 'accepted' ELSE 'unpaid' END, $4, $5, $3
               FROM devices LIMIT 1""",
            f"play {self.dice.random()}",
            row["id"],
            self.now,
            price,
            charged,
        )
        return await lifecycle.exhaust(self.tx, [row["id"]], self.now)

    async def pass_time(self) -> None:
        self.now += timedelta(minutes=self.dice.choice([1, 5, 59, 600, 1500]))
        await self.ticking.at(self.now)
        assert self.ticking.good


@pytest.mark.parametrize("seed", range(6))
async def test_the_invariants_hold_after_every_step(connection: Tx, seed: int) -> None:
    tenant_id = await world.tenant(connection, funds="2000.00", approval_limit_micros=500_000_000, running_limit=3)
    await world.device(connection)
    life = Life(connection, tenant_id, random.Random(seed))
    for _ in range(STEPS):
        await life.step()
        async with connection.transaction():
            report = await verify(connection)
        assert report.violations == []
    assert {"book", "act", "play"} <= set(life.done)
