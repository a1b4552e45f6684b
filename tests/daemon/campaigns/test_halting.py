"""Causes of a pause add up in any order and end in any order; a campaign runs again when none is left."""

import random
from collections.abc import Awaitable, Callable

import pytest

from daemon.campaigns import booking, halting, lifecycle, suspending
from daemon.campaigns.asking import Caller
from daemon.campaigns.errors import InvalidTransition
from daemon.campaigns.events import Transition
from daemon.campaigns.ledger import Charge, charge
from daemon.campaigns.money import micros
from daemon.campaigns.queries import changes
from daemon.campaigns.queries.suspending import Word
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from playlists.queries.placements import placements
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, NOW, OPERATOR, advertiser

STEPS = 120
USERS, OPERATORS, STOP = "USER", "OPERATOR", "EMERGENCY_STOP"
EMPTY, NOBODY, SUSPENDED = "BUDGET_EXHAUSTED", "NO_ELIGIBLE_DEVICES", "TENANT_SUSPENDED"


class Model:
    """What SPEC 3 says of pauses, and nothing else."""

    def __init__(self) -> None:
        self.causes: list[str] = []

    def add(self, cause: str) -> bool:
        """A person's cause is refused when it stands."""
        if cause in self.causes:
            return False
        self.causes.append(cause)
        return True

    def end(self, cause: str) -> None:
        if cause in self.causes:
            self.causes.remove(cause)

    def resume(self, operator: bool) -> bool:
        standing = set(self.causes)
        if not standing or standing & {EMPTY, NOBODY, SUSPENDED} or (standing & {OPERATORS, STOP} and not operator):
            return False
        self.causes.clear()
        return True


class Real:
    """The same on a campaign of the database."""

    def __init__(self, tx: Tx, tenant_id: TenantId, campaign_id: CampaignId) -> None:
        self.tx, self.tenant_id, self.campaign_id, self.now = tx, tenant_id, campaign_id, NOW
        self.user = advertiser(tenant_id)

    async def accepted(self, deed: Awaitable[list[Transition]]) -> bool:
        try:
            return bool(await deed)
        except InvalidTransition:
            return False

    async def pause(self, who: Caller) -> bool:
        return await self.accepted(halting.pause(self.tx, self.campaign_id, None, self.now, who))

    async def stop(self) -> bool:
        return await self.accepted(halting.stop(self.tx, self.campaign_id, "recall", self.now, OPERATOR))

    async def resume(self, who: Caller) -> bool:
        return await self.accepted(halting.resume(self.tx, self.campaign_id, self.now, who))

    async def spend(self) -> None:
        row = await changes.lock(self.tx, self.campaign_id, None)
        assert row is not None
        await charge(self.tx, [Charge(self.campaign_id, row["held_micros"], 1)], self.now)
        await lifecycle.exhaust(self.tx, [self.campaign_id], self.now)

    async def topup(self) -> None:
        await booking.topup(self.tx, self.campaign_id, micros("50.00"), self.now, self.user)

    async def turn(self, suspended: bool) -> None:
        await suspending.turn(self.tx, self.tenant_id, suspended, self.now, Word("token:o", "c"))

    async def devices(self, there: bool) -> None:
        await self.tx.execute("UPDATE devices SET disabled = $1", not there)
        await self.tx.execute("UPDATE campaigns SET total_recipients = $1", int(there))  # as the planner does
        await lifecycle.desert(self.tx, self.now)
        await lifecycle.revive(self.tx, self.now)


@pytest.mark.parametrize("seed", range(4))
async def test_causes_add_up_and_end_in_any_order(connection: Tx, seed: int) -> None:
    dice, model = random.Random(seed), Model()
    tenant_id = await world.tenant(connection, funds="100000.00")
    await world.device(connection)
    campaign_id = await world.submitted(connection, tenant_id)
    await booking.execute(connection, campaign_id, NOW, OPERATOR)
    await connection.execute("UPDATE campaigns SET distributed_at = $1", NOW)
    real = Real(connection, tenant_id, campaign_id)
    seen: set[frozenset[str]] = set()

    async def devices(there: bool) -> None:
        await real.devices(there)
        if there:
            model.end(NOBODY)
        elif not model.causes:  # what does not run needs no devices
            model.add(NOBODY)

    async def same(said: bool, done: Awaitable[bool]) -> None:
        assert await done is said

    async def silent(done: Awaitable[None], change: Callable[[str], object], cause: str) -> None:
        await done
        change(cause)

    async def relieve() -> None:
        """All that the system holds against it ends, and an operator lets it go on."""
        await silent(real.turn(suspended=False), model.end, SUSPENDED)
        await silent(real.topup(), model.end, EMPTY)
        await devices(there=True)
        await same(model.resume(operator=True), real.resume(OPERATOR))

    deeds: list[Callable[[], Awaitable[None]]] = [
        lambda: same(model.add(USERS), real.pause(real.user)),
        lambda: same(model.add(OPERATORS), real.pause(OPERATOR)),
        lambda: same(model.add(STOP), real.stop()),
        lambda: same(model.resume(operator=False), real.resume(real.user)),
        lambda: same(model.resume(operator=True), real.resume(OPERATOR)),
        lambda: silent(real.spend(), model.add, EMPTY),
        lambda: silent(real.topup(), model.end, EMPTY),
        lambda: silent(real.turn(suspended=True), model.add, SUSPENDED),
        lambda: silent(real.turn(suspended=False), model.end, SUSPENDED),
        lambda: devices(there=False),
        lambda: devices(there=True),
        relieve,
    ]
    for _ in range(STEPS):
        real.now += HOUR / 100
        await dice.choice(deeds)()
        row = await connection.fetchrow(
            """SELECT status, status_reason, pause_causes, ARRAY(SELECT cause FROM pauses WHERE campaign_id = c.id
               AND ended_at IS NULL ORDER BY cause) AS standing FROM campaigns c WHERE id = $1""",
            campaign_id,
        )
        assert row is not None
        assert (row["status"], row["pause_causes"]) == ("PAUSED" if model.causes else "ACTIVE", model.causes)
        assert row["standing"] == sorted(model.causes)
        assert row["status_reason"] == (model.causes[-1] if model.causes else None)
        placed = await placements(connection, real.now, real.now + HOUR)
        assert [one.campaign_id for one in placed] == ([] if model.causes else [campaign_id])
        seen.add(frozenset(model.causes))
    assert len(seen) > 12


async def test_an_exhausted_campaign_without_devices_pauses_by_both(connection: Tx) -> None:
    tenant_id = await world.tenant(connection)
    await world.device(connection)
    campaign_id = await world.submitted(connection, tenant_id)
    await connection.execute("UPDATE devices SET disabled = true")
    await connection.execute("UPDATE campaigns SET total_recipients = 0, distributed_at = $1", NOW)
    await connection.execute("UPDATE campaigns SET held_micros = 0, spent_micros = budget_micros")
    done = await booking.execute(connection, campaign_id, NOW, OPERATOR)
    assert [each.reason for each in done] == ["OPERATOR", EMPTY, NOBODY]
    assert await world.column(connection, campaign_id, "pause_causes") == [EMPTY, NOBODY]
