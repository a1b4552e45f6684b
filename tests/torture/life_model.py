"""What SPEC 3 and 5 say of one tenant's life, told a second time: small, pure, and without a database.

Each deed answers with the name of the refusal, or None when it was done. Instants are aware and in UTC, money is in
micros, a campaign is known by its number.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.torture.booked import Booked

LEAD = timedelta(hours=24)
SETTLE_AFTER = timedelta(minutes=5)
APPROVAL_LIFE = timedelta(days=30)
LONGEST_PRICED_MS = 15_000
SUBMITTED = ("PENDING_APPROVAL", "SCHEDULED", "ACTIVE", "PAUSED")
PERSONS = ("USER", "OPERATOR", "EMERGENCY_STOP")


def utc_of(local: datetime, zone: str) -> datetime:
    """A wall time as `compatible` takes it: on by the gap where there is none, the first where there are two."""
    return local.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)


@dataclass
class Tenancy:
    """A tenant, its wallet and its campaigns as they should be."""

    available: int
    funded: int
    running_limit: int
    approval_limit: int
    suspended: bool = False
    campaigns: list[Booked] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)

    @property
    def held(self) -> int:
        """What all campaigns hold."""
        return sum(each.held for each in self.campaigns)

    @property
    def spent(self) -> int:
        """What all campaigns spent."""
        return sum(each.spent for each in self.campaigns)

    # What people do.

    def fund(self, amount: int) -> None:
        """Money comes in, or goes by an adjustment; nothing of it is held."""
        self.available += amount
        self.funded += amount

    def adjust(self, amount: int) -> str | None:
        """An operator's correction; no wallet falls below zero by it."""
        if self.available + amount < 0:
            return "InsufficientFunds"
        self.fund(amount)
        return None

    def book(self, new: Booked) -> str | None:
        """A new DRAFT."""
        if new.end <= new.start or (new.deadline and not new.start <= new.deadline <= new.end):
            return "Invalid"
        new.log.append(("created", None, "DRAFT", None))
        self.campaigns.append(new)
        return None

    def submit(self, one: Booked, now: datetime, who: str = "USER") -> str | None:
        """Hold the budget of a DRAFT; scheduled, or put before an operator."""
        if one.status != "DRAFT":
            return "InvalidTransition"
        if one.end <= now:
            return "Invalid"
        if self.suspended and who == "USER":
            return "TenantSuspended"
        if self._crowded(one, one.start, one.end):
            return "RunningLimit"
        if self.available < one.budget:
            return "InsufficientFunds"
        reason = "CREATIVE_FLAGGED" if one.flagged else None
        if one.budget > self.approval_limit and not reason:
            reason = "OVER_APPROVAL_LIMIT"
        self.available -= one.budget
        one.held, one.submitted_at = one.budget, now
        if reason:
            one.moved("submitted", "PENDING_APPROVAL", reason)
        else:
            one.moved("scheduled", "SCHEDULED")
            self._hold_back(one, now)
        return None

    def _crowded(self, one: Booked, start: datetime, end: datetime) -> bool:
        rivals = [
            each
            for each in self.campaigns
            if each is not one and each.status in SUBMITTED and each.start < end and each.end > start
        ]
        return any(
            sum(each.start <= at < each.end for each in rivals) >= self.running_limit
            for at in [start, *(each.start for each in rivals if each.start > start)]
        )

    def approve(self, one: Booked, now: datetime) -> str | None:
        """Let what awaits a decision be scheduled."""
        if one.status != "PENDING_APPROVAL" or self._approve_by(one) <= now:
            return "InvalidTransition"
        one.moved("approved", "SCHEDULED", "OPERATOR")
        self._hold_back(one, now)
        return None

    def reject(self, one: Booked, now: datetime) -> str | None:
        """Send back what awaits a decision."""
        if one.status != "PENDING_APPROVAL":
            return "InvalidTransition"
        self._close(one, "rejected", "REJECTED", "OPERATOR")
        return None

    def _close(self, one: Booked, kind: str, to: str, reason: str | None) -> None:
        self._release(one)
        one.settled = True
        one.moved(kind, to, reason)

    def _release(self, one: Booked) -> None:
        self.available += one.held
        one.released, one.held = one.released + one.held, 0

    def redraft(self, one: Booked, budget: int, name: str) -> str | None:
        """Edit budget and name of a DRAFT, or of a REJECTED campaign, which becomes a DRAFT."""
        if one.status not in ("DRAFT", "REJECTED"):
            return "EditNotAllowed"
        one.budget, one.name = budget, name
        one.held = one.spent = one.released = 0
        one.submitted_at, one.settled = None, False
        one.moved("updated", "DRAFT")
        return None

    def execute(self, one: Booked, now: datetime, who: str) -> str | None:
        """Start what is scheduled at once."""
        if one.status != "SCHEDULED" or one.end <= now:
            return "InvalidTransition"
        if self._crowded(one, now, one.end):
            return "RunningLimit"
        if one.start > now or one.distributed_at is None:
            one.start = now
        one.moved("started", "ACTIVE", who)
        self._halt_at_start(one, now)
        return None

    def pause(self, one: Booked, now: datetime, who: str) -> str | None:
        """Take a running campaign from the screens, or add a person's cause."""
        if one.status not in ("ACTIVE", "PAUSED") or who in one.causes or one.end <= now:
            return "InvalidTransition"
        one.begin(who, now)
        one.moved("paused", "PAUSED", who)
        return None

    def resume(self, one: Booked, now: datetime, who: str) -> str | None:
        """End what persons paused."""
        mine = ("USER",) if who == "USER" else PERSONS
        if one.status != "PAUSED" or one.end <= now or any(cause not in mine for cause in one.causes):
            return "InvalidTransition"
        one.finish(list(one.causes), now)
        one.moved("resumed", "ACTIVE", who)
        return None

    def suspend(self, now: datetime) -> None:
        """Nothing of the tenant's may play from now on."""
        self.suspended = True
        for one in self.campaigns:
            if one.status in ("SCHEDULED", "ACTIVE", "PAUSED") and "TENANT_SUSPENDED" not in one.causes:
                one.begin("TENANT_SUSPENDED", now)
                if one.status != "SCHEDULED":
                    one.moved("paused", "PAUSED", "TENANT_SUSPENDED")

    def reinstate(self, now: datetime) -> None:
        """What nothing else stops may play again."""
        self.suspended = False
        for one in self.campaigns:
            if one.status in ("SCHEDULED", "PAUSED") and "TENANT_SUSPENDED" in one.causes:
                one.finish(["TENANT_SUSPENDED"], now)
                if one.status == "PAUSED" and not one.causes:
                    one.moved("resumed", "ACTIVE", "TENANT_SUSPENDED")

    def edit(self, one: Booked, now: datetime, field: str, value: Any) -> str | None:
        """Change the priority, the start or the end of a booked campaign, as the edit table lets people."""
        editable = {
            "SCHEDULED": ("priority", "start", "end"),
            "ACTIVE": ("priority", "end"),
            "PAUSED": ("priority", "end"),
        }
        if field not in editable.get(one.status, ()) or one.end <= now:
            return "EditNotAllowed"
        edited = replace(one, **{field: value})
        in_order = edited.start < edited.end and (not one.deadline or edited.start <= one.deadline <= edited.end)
        if not in_order or (field == "end" and edited.end <= now):
            return "Invalid"
        moved = edited.start != one.start
        if moved and (one.start <= now or one.impressions or edited.start < one.start):
            return "EditNotAllowed"
        if (one.status != "SCHEDULED" or one.impressions) and edited.end < one.end:
            return "EditNotAllowed"
        if edited.end > one.end and self._crowded(one, max(edited.start, one.end), edited.end):
            return "RunningLimit"
        one.priority, one.start, one.end = edited.priority, edited.start, edited.end
        one.moved("updated")
        if moved and one.start > now + LEAD:
            one.distributed_at = None
        return None

    def cancel(self, one: Booked, now: datetime, who: str) -> str | None:
        """End a campaign for good, or withdraw it."""
        if one.status not in SUBMITTED:
            return "InvalidTransition"
        if one.status == "PENDING_APPROVAL":
            self._close(one, "cancelled", "CANCELLED", who)
            return None
        one.moved("cancelled", "CANCELLED", who)
        one.closed_at = now
        if one.distributed_at is None:
            self._settle(one)
        else:
            one.settle_at = now + SETTLE_AFTER
        return None

    def topup(self, one: Booked, now: datetime, amount: int, who: str) -> str | None:
        """Let a budget grow by a further hold."""
        if one.status not in ("SCHEDULED", "ACTIVE", "PAUSED") or one.end <= now:
            return "InvalidTransition"
        if self.available < amount:
            return "InsufficientFunds"
        self.available -= amount
        one.budget, one.held = one.budget + amount, one.held + amount
        one.moved("budget.increased", None, who)
        if "BUDGET_EXHAUSTED" in one.causes:
            one.finish(["BUDGET_EXHAUSTED"], now)
            if not one.causes:
                one.moved("resumed", "ACTIVE", "BUDGET_EXHAUSTED")
        return None

    def delete(self, one: Booked, _: datetime) -> str | None:
        """Take a DRAFT out of every list."""
        if one.status != "DRAFT":
            return "InvalidTransition"
        one.moved("deleted")
        return None

    # What time does.

    def tick(self, now: datetime) -> None:
        """All that is due, in the order of SPEC 3."""
        for work in (self._complete, self._start, self._settle_due, self._distribute, self._expire):
            for one in self.campaigns:
                work(one, now)

    def _complete(self, one: Booked, now: datetime) -> None:
        if one.status in ("ACTIVE", "PAUSED") and one.end <= now:
            one.settle_at = one.end + SETTLE_AFTER
            one.moved("completed", "COMPLETED")

    def _start(self, one: Booked, now: datetime) -> None:
        if one.status != "SCHEDULED" or one.start > now:
            return
        unseen = one.distributed_at is None
        if unseen and (one.end <= now or (one.deadline is not None and one.deadline < now)):
            self._close(
                one,
                "missed",
                "MISSED",
                "START_DEADLINE" if one.deadline and one.deadline < one.end else "NEVER_DISTRIBUTED",
            )
            return
        one.moved("started", "ACTIVE")
        if one.end <= now:
            self._complete(one, now)
        else:
            self._halt_at_start(one, now)

    def _halt_at_start(self, one: Booked, now: datetime) -> None:
        if one.causes:  # it stands since before
            one.moved("paused", "PAUSED", one.causes[-1])
        if not one.held:
            self._halt(one, "BUDGET_EXHAUSTED", now)

    def _halt(self, one: Booked, cause: str, now: datetime) -> None:
        if one.status in ("ACTIVE", "PAUSED") and cause not in one.causes:
            one.begin(cause, now)
            one.moved("paused", "PAUSED", cause)

    def _hold_back(self, one: Booked, now: datetime) -> None:
        if self.suspended:
            one.begin("TENANT_SUSPENDED", now)

    def _settle_due(self, one: Booked, now: datetime) -> None:
        over = one.status in ("COMPLETED", "CANCELLED", "FAILED") and not one.settled
        if over and one.settle_at is not None and one.settle_at <= now:
            self._settle(one)

    def _settle(self, one: Booked) -> None:
        self._release(one)
        one.settled = True
        one.moved("settled")

    def _distribute(self, one: Booked, now: datetime) -> None:
        waits = one.status in ("SCHEDULED", "ACTIVE") and one.distributed_at is None
        if waits and not one.causes and one.start - LEAD <= now < one.end:
            one.distributed_at = now
            one.moved("content.distributed")

    def _approve_by(self, one: Booked) -> datetime:
        return one.end if one.submitted_at is None else min(one.end, one.submitted_at + APPROVAL_LIFE)

    def _expire(self, one: Booked, now: datetime) -> None:
        if one.status == "PENDING_APPROVAL" and self._approve_by(one) <= now:
            self._close(one, "expired", "EXPIRED", "NOT_APPROVED")

    # What screens do.

    def play(self, one: Booked, play_id: str, began: datetime, now: datetime, ms: int, price: int) -> tuple[str, int]:
        """The verdict on a play of `ms` and what it is charged."""
        if play_id in self.answered:
            return "duplicate", 0
        self.answered.add(play_id)
        verdict = self._judged(one, began, now, ms)
        if verdict != "accepted":
            return verdict, 0
        day = began.astimezone(ZoneInfo(one.zone)).date()
        rest = one.held if one.cap is None else min(one.held, one.cap - one.of_day.get(day, 0))
        charged = min(price, rest)
        one.held, one.spent, one.impressions = one.held - charged, one.spent + charged, one.impressions + 1
        one.of_day[day] = one.of_day.get(day, 0) + charged
        if not one.held:
            self._halt(one, "BUDGET_EXHAUSTED", now)
        self._cap(one, now)
        return ("accepted" if rest else "unpaid"), charged

    def _cap(self, one: Booked, now: datetime) -> None:
        """Off the screens until midnight is what has used up the day that it is."""
        today = now.astimezone(ZoneInfo(one.zone)).date()
        if one.cap is not None and one.of_day.get(today, 0) >= one.cap and now < one.end:
            one.capped_until = utc_of(datetime.combine(today + timedelta(days=1), time()), one.zone)

    def _judged(self, one: Booked, began: datetime, now: datetime, ms: int) -> str:
        rules: list[tuple[str, Callable[[], bool]]] = [
            ("future", lambda: began - now > timedelta(minutes=5)),
            ("too_old", lambda: now - began > timedelta(hours=4)),
            ("outside_window", lambda: began < one.start or began + timedelta(milliseconds=ms) > one.end),
            ("campaign_closed", lambda: self._stopped(one, began)),
            ("late", lambda: one.settled),
        ]
        return next((verdict for verdict, applies in rules if applies()), "accepted")

    def _stopped(self, one: Booked, began: datetime) -> bool:
        paused = any(
            cause != "BUDGET_EXHAUSTED" and since <= began and (until is None or began < until)
            for cause, since, until in one.pauses
        )
        return paused or (one.closed_at is not None and began >= one.closed_at)


def price_of(cpm: int, ms: int, priority: int) -> int:
    """What a play costs, floored once."""
    factor = 110 if priority >= 9 else 90 if priority <= 3 else 100
    return cpm * min(ms, LONGEST_PRICED_MS) * factor // (1000 * LONGEST_PRICED_MS * 100)
