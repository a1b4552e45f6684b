"""Campaigns that fall due together, written in bulk as booking, distribution and earlier ticks would have left them.

What must become of each is known here, before and without the daemon: the model that a history is held against.
"""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from playlists.ids import CreativeId, DeviceId, TenantId
from playlists.localtime import tzdata_version
from playlists.queries import Tx
from tests.torture.history import Expected, Step

HOUR = timedelta(hours=1)
ZONE, OLD_RULES = "Europe/Berlin", "2020.1"


class Kind(StrEnum):
    """What a campaign waits for."""

    STARTING = "starting"
    ENDING = "ending"
    SETTLING = "settling"
    CANCELLED = "cancelled"
    MISSING = "missing"
    EXPIRING = "expiring"
    DISTRIBUTING = "distributing"
    LIVING = "living"
    MOVING = "moving"  # its wall time was resolved by old rules, an hour too early


_CREATED: Step = ("created", None, "DRAFT")
_SCHEDULED: Step = ("scheduled", "DRAFT", "SCHEDULED")
_DISTRIBUTED: Step = ("content.distributed", "SCHEDULED", "SCHEDULED")
_STARTED: Step = ("started", "SCHEDULED", "ACTIVE")
_BOOKED = (_CREATED, _SCHEDULED)
_RAN = (*_BOOKED, _DISTRIBUTED, _STARTED)


class Shape(NamedTuple):
    """A kind's log before and what time must add to it, whether its money goes back, the mails owed for it.

    Times are distances from the instant at which it is due.
    """

    past: tuple[Step, ...]
    due: tuple[Step, ...]
    begins: timedelta
    ends: timedelta
    releases: bool = False
    mails: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        return self.past[-1][2]


SHAPES = {
    Kind.STARTING: Shape((*_BOOKED, _DISTRIBUTED), (_STARTED,), 0 * HOUR, 90 * HOUR, mails=("started",)),
    Kind.ENDING: Shape(
        (*_RAN, ("paused", "ACTIVE", "PAUSED")), (("completed", "PAUSED", "COMPLETED"),), -9 * HOUR, 0 * HOUR,
        causes=("USER",),
    ),
    Kind.SETTLING: Shape(
        (*_RAN, ("completed", "ACTIVE", "COMPLETED")), (("settled", "COMPLETED", "COMPLETED"),), -9 * HOUR, -1 * HOUR,
        releases=True, mails=("completed",),
    ),
    Kind.CANCELLED: Shape(
        (*_BOOKED, _DISTRIBUTED, ("cancelled", "SCHEDULED", "CANCELLED")), (("settled", "CANCELLED", "CANCELLED"),),
        9 * HOUR, 90 * HOUR, releases=True,
    ),
    Kind.MISSING: Shape(
        # due as soon as it is written: with an end ahead it would be started late
        _BOOKED, (("missed", "SCHEDULED", "MISSED"),), -9 * HOUR, -1 * HOUR, releases=True, mails=("missed",)
    ),
    Kind.EXPIRING: Shape(
        (_CREATED, ("submitted", "DRAFT", "PENDING_APPROVAL")), (("expired", "PENDING_APPROVAL", "EXPIRED"),),
        -1 * HOUR, 0 * HOUR, releases=True, mails=("expired",),
    ),
    Kind.DISTRIBUTING: Shape(_BOOKED, (_DISTRIBUTED,), 24 * HOUR, 90 * HOUR),
    Kind.LIVING: Shape(
        (*_BOOKED, _DISTRIBUTED), (_STARTED, ("completed", "ACTIVE", "COMPLETED")),
        timedelta(seconds=2), timedelta(seconds=8), mails=("started",),
    ),
    Kind.MOVING: Shape(
        _BOOKED, (("updated", "SCHEDULED", "SCHEDULED"),), 30 * 24 * HOUR, 40 * 24 * HOUR, mails=("rescheduled",)
    ),
}  # fmt: skip
# of a thousand: those that owe no mail are many, since a mail costs more than all else
PARTS = {
    Kind.STARTING: 30,
    Kind.ENDING: 440,
    Kind.SETTLING: 20,
    Kind.CANCELLED: 440,
    Kind.MISSING: 20,
    Kind.EXPIRING: 20,
    Kind.DISTRIBUTING: 10,
    Kind.LIVING: 10,
    Kind.MOVING: 10,
}


class Planned(NamedTuple):
    """A campaign of the plan."""

    id: UUID
    tenant_id: TenantId
    kind: Kind
    budget_micros: int
    spent_micros: int = 0  # by one play, before


class Ground(NamedTuple):
    """What the campaigns stand on: each tenant with its creative, and the devices they are for."""

    tenants: Sequence[tuple[TenantId, CreativeId]]
    devices: Sequence[DeviceId]


@dataclass
class Plan:
    """All that was written so far."""

    ground: Ground
    campaigns: list[Planned] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(4))
    _number: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def burst(self, tx: Tx, count: int, due_at: datetime) -> None:
        """Write so many campaigns that are due at one instant, of all kinds, in the caller's transaction."""
        await self.write(tx, self.chance.choices(list(PARTS), list(PARTS.values()), k=count), due_at)

    async def write(self, tx: Tx, kinds: Sequence[Kind], due_at: datetime) -> None:
        """Write a campaign of each of these kinds."""
        ids = [row["id"] for row in await tx.fetch("SELECT uuidv7() AS id FROM generate_series(1, $1)", len(kinds))]
        made = [self._drawn(one, kind) for one, kind in zip(ids, kinds, strict=True)]
        devices = {one.id: self.chance.choice(self.ground.devices) for one in made}
        creatives = dict(self.ground.tenants)
        await _copy(tx, "campaigns", [_campaign(one, due_at, next(self._number)) for one in made])
        await _copy(tx, "transitions", [row for one in made for row in _log(one, due_at)])
        parts = [{"campaign_id": one.id, "position": 0, "creative_id": creatives[one.tenant_id]} for one in made]
        await _copy(tx, "campaign_creatives", parts)
        targets = [{"campaign_id": one.id, "devices": [devices[one.id]], "longest_ms": 5000} for one in made]
        await _copy(tx, "targets", targets)
        await _copy(tx, "pauses", [row for one in made for row in _pauses(one, due_at)])
        played = [one for one in made if one.spent_micros]
        await _copy(tx, "plays", [_play(one, devices[one.id], creatives[one.tenant_id], due_at) for one in played])
        await _copy(tx, "ledger", [row for one in made for row in _entries(one, due_at)])
        await _take(tx, made)
        self.campaigns += made

    def _drawn(self, one: UUID, kind: Kind) -> Planned:
        budget = 1_000_000 * self.chance.randint(100, 900)
        spent = self.chance.randint(1, budget) if kind is Kind.SETTLING else 0
        return Planned(one, self.chance.choice(self.ground.tenants)[0], kind, budget, spent)

    def model(self) -> dict[UUID, Expected]:
        """What must have become of all of them once nothing is due any more."""
        return {one.id: expected(one) for one in self.campaigns}


def expected(one: Planned) -> Expected:
    """What must have become of one campaign."""
    shape = SHAPES[one.kind]
    released = one.budget_micros - one.spent_micros if shape.releases else 0
    mails = Counter(shape.mails)
    log = shape.past + shape.due
    return Expected(one.tenant_id, log, len(shape.past), one.budget_micros, released, mails, one.spent_micros)


async def ground(tx: Tx, tenants: int, devices: int, funded_micros: int, now: datetime) -> Ground:
    """Write tenants with money and a stored creative each, and stores with one screen each."""
    tenant_ids = await tx.fetch(
        """WITH made AS (
            INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, funded_micros,
                                 available_micros, created_at, updated_at)
            SELECT 'Bulk ' || n, 'EUR', 'Europe/Berlin', 'ads' || n || '@example.org', 1000000, 0, $2, $2, $3, $3
            FROM generate_series(1, $1) n RETURNING id
        ), funded AS (
            INSERT INTO ledger (tenant_id, kind, debit, credit, amount_micros, at)
            SELECT id, 'deposit', 'cash', 'available', $2, $3 FROM made
        )
        SELECT id FROM made""",
        tenants, funded_micros, now,
    )  # fmt: skip
    creatives = await tx.fetch(
        """INSERT INTO creatives (tenant_id, name, sha256, size, mime, duration_ms, state, created_at, updated_at)
           SELECT id, 'Spot', encode(sha256(id::text::bytea), 'hex'), 1000, 'image/png', 5000, 'STORED', $2, $2
           FROM unnest($1::uuid[]) AS owner (id) RETURNING tenant_id, id""",
        [row["id"] for row in tenant_ids], now,
    )  # fmt: skip
    screens = await tx.fetch(
        """WITH made AS (
            INSERT INTO stores (code, name, timezone, created_at, updated_at)
            SELECT 'bulk-' || n, 'Bulk ' || n, 'Europe/Berlin', $2, $2 FROM generate_series(1, $1) n RETURNING id
        )
        INSERT INTO devices (store_id, name, created_at, updated_at)
        SELECT id, 'door', $2, $2 FROM made RETURNING id""",
        devices, now,
    )  # fmt: skip
    return Ground(
        [(TenantId(row["tenant_id"]), CreativeId(row["id"])) for row in creatives],
        [DeviceId(row["id"]) for row in screens],
    )


def _campaign(one: Planned, due_at: datetime, number: int) -> dict[str, Any]:
    shape = SHAPES[one.kind]
    types = {step[0] for step in shape.past}
    begins_at, ends_at = due_at + shape.begins, due_at + shape.ends
    over = shape.status in ("COMPLETED", "CANCELLED")
    return {
        "id": one.id,
        "tenant_id": one.tenant_id,
        "name": f"{one.kind} {number}",
        "channel": "signage",
        "status": shape.status,
        "status_reason": shape.causes[0] if shape.causes else None,
        "pause_causes": list(shape.causes),
        "sequence": len(shape.past),
        "timezone": ZONE,
        "start_at": begins_at,
        "end_at": ends_at,
        "start_local": _an_hour_later(begins_at) if one.kind is Kind.MOVING else None,
        "tzdata_version": OLD_RULES if one.kind is Kind.MOVING else tzdata_version(),
        "budget_micros": one.budget_micros,
        "held_micros": one.budget_micros - one.spent_micros,
        "spent_micros": one.spent_micros,
        "impressions": int(one.spent_micros > 0),
        "total_recipients": 1,
        "submitted_at": due_at - 10 * HOUR,
        "distributed_at": due_at - 10 * HOUR if "content.distributed" in types else None,
        "activated_at": begins_at if "started" in types else None,
        "completed_at": ends_at if shape.status == "COMPLETED" else None,
        "settle_at": due_at if over else None,
        "approve_by": due_at + HOUR if shape.status == "PENDING_APPROVAL" else None,
        "risk_checked_at": due_at,
        "correlation_id": f"bulk-{number}",
        "created_by": "tests",
        "created_at": due_at - 10 * HOUR,
        "updated_at": due_at - 10 * HOUR,
    }


def _an_hour_later(instant: datetime) -> datetime:
    """The wall time of an instant an hour later, as its column keeps it."""
    return (instant + HOUR).astimezone(ZoneInfo(ZONE)).replace(tzinfo=None)


def _log(one: Planned, due_at: datetime) -> list[dict[str, Any]]:
    return [
        {
            "campaign_id": one.id,
            "sequence": sequence,
            "tenant_id": one.tenant_id,
            "type": kind,
            "from_status": before,
            "to_status": after,
            "reason": SHAPES[one.kind].causes[0] if kind == "paused" else None,
            "due_at": due_at - 10 * HOUR,
            "executed_at": due_at - 10 * HOUR,
            "actor": "tests",
            "correlation_id": "bulk",
        }
        for sequence, (kind, before, after) in enumerate(SHAPES[one.kind].past, 1)
    ]


def _pauses(one: Planned, due_at: datetime) -> list[dict[str, Any]]:
    causes = SHAPES[one.kind].causes
    return [{"campaign_id": one.id, "cause": cause, "began_at": due_at - HOUR} for cause in causes]


def _play(one: Planned, device: DeviceId, creative: CreativeId, due_at: datetime) -> dict[str, Any]:
    return {
        "device_id": device,
        "play_id": str(one.id),
        "campaign_id": one.id,
        "creative_id": creative,
        "started_at": due_at - 5 * HOUR,
        "duration_ms": 5000,
        "verdict": "accepted",
        "price_micros": one.spent_micros,
        "charged_micros": one.spent_micros,
        "received_at": due_at - 4 * HOUR,
    }


def _entries(one: Planned, due_at: datetime) -> list[dict[str, Any]]:
    moves: list[tuple[int | None, str, str, str, int, datetime]] = [
        (2, "hold", "available", "held", one.budget_micros, due_at - 10 * HOUR)
    ]
    moves += [(None, "charge", "held", "spent", one.spent_micros, due_at - 4 * HOUR)] if one.spent_micros else []
    return [
        {
            "tenant_id": one.tenant_id,
            "campaign_id": one.id,
            "sequence": sequence,
            "kind": kind,
            "debit": debit,
            "credit": credit,
            "amount_micros": amount,
            "at": at,
        }
        for sequence, kind, debit, credit, amount, at in moves
    ]


async def _take(tx: Tx, made: Sequence[Planned]) -> None:
    """Move the holds out of the wallets; these are locked in the order in which everybody locks them."""
    amounts: dict[TenantId, int] = {}
    for one in made:
        amounts[one.tenant_id] = amounts.get(one.tenant_id, 0) + one.budget_micros
    await tx.fetch("SELECT id FROM tenants WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE", list(amounts))
    await tx.execute(
        """UPDATE tenants SET available_micros = available_micros - taken.amount
           FROM unnest($1::uuid[], $2::bigint[]) AS taken (id, amount) WHERE tenants.id = taken.id""",
        list(amounts), list(amounts.values()),
    )  # fmt: skip


async def _copy(tx: Tx, table: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        await tx.copy_records_to_table(table, records=[tuple(row.values()) for row in rows], columns=list(rows[0]))
