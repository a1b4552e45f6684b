"""Every change of status that SPEC 3 knows, done as it happens, with its reasons; and everything else refused."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from daemon.announce import announce
from daemon.campaigns import booking, editing, halting, lifecycle, suspending
from daemon.campaigns.campaign import TRANSITIONS, Reason, Status, TransitionType
from daemon.campaigns.draft import zulu
from daemon.campaigns.errors import InvalidTransition
from daemon.campaigns.events import Transition
from daemon.campaigns.ledger import Charge, charge
from daemon.campaigns.money import micros
from daemon.campaigns.queries import changes
from daemon.campaigns.queries.suspending import Word
from daemon.tick import once
from daemon.verify import verify
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, OPERATOR, advertiser
from tests.daemon.test_tick import Ticking

START, END = NOW + 48 * HOUR, NOW + 72 * HOUR
LATE = END + timedelta(minutes=5)

Row = tuple[str, str | None, str, str | None]  # type, from, to, reason
# The table of SPEC 3, a line a cause.
TABLE: set[Row] = {
    ("created", None, "DRAFT", None),
    ("scheduled", "DRAFT", "SCHEDULED", None),
    ("submitted", "DRAFT", "PENDING_APPROVAL", "CREATIVE_FLAGGED"),
    ("submitted", "DRAFT", "PENDING_APPROVAL", "OVER_APPROVAL_LIMIT"),
    ("approved", "PENDING_APPROVAL", "SCHEDULED", "OPERATOR"),
    ("rejected", "PENDING_APPROVAL", "REJECTED", "OPERATOR"),
    ("expired", "PENDING_APPROVAL", "EXPIRED", "NOT_APPROVED"),
    ("cancelled", "PENDING_APPROVAL", "CANCELLED", "USER"),
    ("updated", "REJECTED", "DRAFT", None),
    ("started", "SCHEDULED", "ACTIVE", None),
    ("started", "SCHEDULED", "ACTIVE", "USER"),
    ("completed", "ACTIVE", "COMPLETED", None),
    ("completed", "PAUSED", "COMPLETED", None),
    ("settled", "COMPLETED", "COMPLETED", None),
    ("settled", "CANCELLED", "CANCELLED", None),
    ("settled", "FAILED", "FAILED", None),
    *(("paused", "ACTIVE", "PAUSED", str(cause)) for cause in (
        Reason.USER, Reason.OPERATOR, Reason.BUDGET_EXHAUSTED, Reason.NO_ELIGIBLE_DEVICES, Reason.TENANT_SUSPENDED,
        Reason.EMERGENCY_STOP)),
    ("paused", "PAUSED", "PAUSED", "USER"),
    ("paused", "PAUSED", "PAUSED", "EMERGENCY_STOP"),
    ("paused", "PAUSED", "PAUSED", "TENANT_SUSPENDED"),
    *(("resumed", "PAUSED", "ACTIVE", str(cause)) for cause in (
        Reason.USER, Reason.OPERATOR, Reason.BUDGET_EXHAUSTED, Reason.NO_ELIGIBLE_DEVICES, Reason.TENANT_SUSPENDED)),
    ("cancelled", "SCHEDULED", "CANCELLED", "USER"),
    ("cancelled", "ACTIVE", "CANCELLED", "OPERATOR"),
    ("cancelled", "PAUSED", "CANCELLED", "USER"),
    ("missed", "SCHEDULED", "MISSED", "NEVER_DISTRIBUTED"),
    ("missed", "SCHEDULED", "MISSED", "START_DEADLINE"),
    *(("failed", status, "FAILED", "DEVICES_FAILED") for status in ("SCHEDULED", "ACTIVE", "PAUSED")),
}  # fmt: skip
AUDIENCE = (once("desert", lifecycle.desert), once("revive", lifecycle.revive))


class Lives:
    """Campaigns of one tenant and the ways to change them, each announced as the daemon does."""

    def __init__(self, tx: Tx, tenant_id: TenantId) -> None:
        self.tx, self.tenant_id, self.user = tx, tenant_id, advertiser(tenant_id)
        self.ticking = Ticking(tx)

    async def book(self, **more: Any) -> CampaignId:
        campaign_id = await world.draft(self.tx, self.tenant_id, allow_short_lead=True, **more)
        await self.do(booking.submit(self.tx, campaign_id, NOW, self.user, LIMITS))
        return campaign_id

    async def running(self) -> CampaignId:
        campaign_id = await self.book()
        await self.do(booking.execute(self.tx, campaign_id, NOW, self.user))
        return campaign_id

    async def do(self, deed: Awaitable[list[Transition]]) -> None:
        async with self.tx.transaction():
            await announce(self.tx, await deed, NOW)

    async def pause(self, campaign_id: CampaignId) -> None:
        await self.do(halting.pause(self.tx, campaign_id, None, NOW, self.user))

    async def cancel(self, campaign_id: CampaignId, operator: bool = False) -> None:
        await self.do(booking.cancel(self.tx, campaign_id, None, NOW, OPERATOR if operator else self.user, LIMITS))


async def approvals(lives: Lives) -> None:
    flagged = str(await world.creative(lives.tx, lives.tenant_id, flags=["GAMBLING"]))
    approved, rejected, withdrawn, _ = [await lives.book(budget="600.00") for _ in range(4)]
    await lives.book(creatives=[flagged])
    await lives.do(booking.approve(lives.tx, approved, NOW, OPERATOR))
    await lives.do(booking.reject(lives.tx, rejected, "no", NOW, OPERATOR))
    await lives.do(editing.edit(lives.tx, rejected, {"priority": 9}, NOW, lives.user, LIMITS))
    await lives.cancel(withdrawn)


async def persons(lives: Lives) -> None:
    one, other, stopped = [await lives.running() for _ in range(3)]
    await lives.pause(one)
    await lives.do(halting.stop(lives.tx, one, None, NOW, OPERATOR))
    await lives.do(halting.resume(lives.tx, one, NOW, OPERATOR))
    await lives.pause(one)
    await lives.do(halting.resume(lives.tx, one, NOW, lives.user))
    await lives.do(halting.pause(lives.tx, other, None, NOW, OPERATOR))
    await lives.pause(other)
    await lives.cancel(other)
    await lives.do(halting.stop(lives.tx, stopped, None, NOW, OPERATOR))
    await lives.cancel(one, operator=True)
    await lives.cancel(await lives.book())


async def system(lives: Lives) -> None:
    campaign_id = await lives.running()
    await changes.lock(lives.tx, campaign_id, None)
    await charge(lives.tx, [Charge(campaign_id, micros("100.00"), 0)], NOW)
    await lives.do(lifecycle.exhaust(lives.tx, [campaign_id], NOW))
    await lives.do(booking.topup(lives.tx, campaign_id, micros("50.00"), NOW, lives.user))
    word = Word("token:operator", "c")
    await lives.do(suspending.turn(lives.tx, lives.tenant_id, True, NOW, word))
    await lives.do(suspending.turn(lives.tx, lives.tenant_id, False, NOW, word))
    for there in (False, True):
        await lives.tx.execute("UPDATE devices SET disabled = $1", not there)
        await lives.tx.execute("UPDATE campaigns SET total_recipients = $1", int(there))
        await lives.ticking.at(NOW, AUDIENCE)
    # the spend above has no play: what it paid is taken back before anybody looks
    await lives.tx.execute("INSERT INTO plays (device_id, play_id, campaign_id, started_at, duration_ms, verdict,"
                           " price_micros, charged_micros, received_at) SELECT id, 'p', $1, $2, 0, 'accepted', $3, $3,"
                           " $2 FROM devices", campaign_id, NOW, micros("100.00"))  # fmt: skip
    await lives.tx.execute("UPDATE campaigns SET impressions = 1 WHERE id = $1", campaign_id)


async def failures(lives: Lives) -> None:
    scheduled, active, paused = await lives.book(), await lives.running(), await lives.running()
    await lives.pause(paused)
    note = "every device of its audience has failed to take its content"
    for one in (scheduled, active, paused):
        await lives.do(lifecycle.fail(lives.tx, [one], Reason.DEVICES_FAILED, note, NOW, LIMITS.settle_after))


async def time(lives: Lives) -> None:
    await lives.book(start_deadline=zulu(START))
    await lives.book()
    await lives.pause(await lives.running())
    await lives.running()
    distributed = await lives.book()
    await lives.tx.execute("UPDATE campaigns SET distributed_at = $2 WHERE id = $1", distributed, NOW)


LIVES: tuple[Callable[[Lives], Awaitable[None]], ...] = (approvals, persons, system, failures, time)


async def test_every_line_of_the_table_happens_and_nothing_else(connection: Tx) -> None:
    tenant_id = await world.tenant(
        connection, funds="100000.00", running_limit=100, approval_limit_micros=micros("500.00")
    )
    await world.device(connection)
    lives = Lives(connection, tenant_id)
    for life in LIVES:
        await life(lives)
    await lives.ticking.at(LATE)  # whatever was left to time, after an outage
    await lives.ticking.at(LATE + HOUR)
    rows = await connection.fetch(
        """SELECT DISTINCT type, from_status, to_status, reason FROM transitions
           WHERE from_status IS DISTINCT FROM to_status OR type IN ('paused', 'settled')"""
    )
    assert {tuple(row) for row in rows} == TABLE
    async with connection.transaction():
        assert (await verify(connection)).violations == []


def test_the_table_has_every_change_of_status() -> None:
    changes_of_status = {
        (str(kind), str(source), str(rule.target))
        for kind, rules in TRANSITIONS.items()
        for rule in rules
        for source in rule.sources
        if rule.target is not None and (rule.target != source or kind is TransitionType.PAUSED)
    }
    assert {row[:3] for row in TABLE if row[0] not in ("created", "settled")} == changes_of_status


NEEDS = {
    "submit": "DRAFT",
    "delete": "DRAFT",
    "approve": "PENDING_APPROVAL",
    "reject": "PENDING_APPROVAL",
    "execute": "SCHEDULED",
    "pause": "ACTIVE or PAUSED",
    "stop": "ACTIVE or PAUSED",
    "resume": "PAUSED",
    "topup": "SCHEDULED, ACTIVE or PAUSED",
    "cancel": "PENDING_APPROVAL, SCHEDULED, ACTIVE or PAUSED",
}


@pytest.mark.parametrize("status", list(Status))
async def test_what_the_table_has_not_is_refused_and_says_what_it_needs(connection: Tx, status: Status) -> None:
    campaign_id = await world.become(connection, status, "TENANT_SUSPENDED")
    deeds: dict[str, Callable[[], Awaitable[object]]] = {
        "submit": lambda: booking.submit(connection, campaign_id, NOW, OPERATOR, LIMITS),
        "delete": lambda: booking.delete(connection, campaign_id, NOW, OPERATOR),
        "approve": lambda: booking.approve(connection, campaign_id, NOW, OPERATOR),
        "reject": lambda: booking.reject(connection, campaign_id, "no", NOW, OPERATOR),
        "execute": lambda: booking.execute(connection, campaign_id, NOW, OPERATOR),
        "pause": lambda: halting.pause(connection, campaign_id, None, NOW, OPERATOR),
        "stop": lambda: halting.stop(connection, campaign_id, None, NOW, OPERATOR),
        "resume": lambda: halting.resume(connection, campaign_id, NOW, OPERATOR),
        "topup": lambda: booking.topup(connection, campaign_id, micros("50.00"), NOW, OPERATOR),
        "cancel": lambda: booking.cancel(connection, campaign_id, None, NOW, OPERATOR, LIMITS),
    }
    for action, needs in NEEDS.items():
        refused = await refusal(connection, deeds[action])
        if status not in needs.replace(",", "").split():
            assert refused == f"Campaign is {status}; {action} needs {needs}"
        elif action == "resume":
            assert refused == "Campaign is PAUSED by TENANT_SUSPENDED; resume ends only a person's pause"
        else:
            assert refused is None, action


async def refusal(tx: Tx, deed: Callable[[], Awaitable[object]]) -> str | None:
    """In which words it is refused as not belonging to the status; undone in any case."""
    undo = tx.transaction()
    await undo.start()
    try:
        await deed()
    except InvalidTransition as refused:
        return refused.detail
    finally:
        await undo.rollback()
    return None
