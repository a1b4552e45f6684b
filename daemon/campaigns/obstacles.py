"""What keeps a campaign from every screen at an instant: its status, its pauses, its window; pure (SPEC 3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from daemon.campaigns.campaign import PERSONAL, Reason, Status
from devices.obstacles import Obstacle


class Row(Protocol):
    """A row of the database by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any:
        """A column's value."""


class Code(StrEnum):
    """Why a campaign is on no screen, in the order in which reasons are told; causes of the system by their names."""

    NOT_BOOKED = "NOT_BOOKED"
    NOT_SUBMITTED = "NOT_SUBMITTED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    MISSED = "MISSED"
    COMPLETED = "COMPLETED"
    EMERGENCY_STOP = "EMERGENCY_STOP"
    TENANT_SUSPENDED = "TENANT_SUSPENDED"
    PAUSED = "PAUSED"  # by a person
    BLACKOUT = "BLACKOUT"
    WAVE_GATE = "WAVE_GATE"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    NO_ELIGIBLE_DEVICES = "NO_ELIGIBLE_DEVICES"
    BEFORE_START = "BEFORE_START"
    AFTER_END = "AFTER_END"
    NOT_DISTRIBUTED = "NOT_DISTRIBUTED"
    DAILY_CAP = "DAILY_CAP"


class Pause(NamedTuple):
    """A cause that stands, since when, and what the log says of who set it."""

    cause: str
    since: datetime
    note: str | None
    actor: str | None


@dataclass(frozen=True, slots=True)
class AsAt:
    """A campaign as it was, is or is planned to be at an instant.

    `status` None: it was not booked yet. `since`, `reason`, `note`, `actor` are those of the change to the status.
    """

    at: datetime
    status: Status | None
    since: datetime | None
    reason: str | None
    note: str | None
    actor: str | None
    start_at: datetime | None
    end_at: datetime | None
    distributed: bool
    distribute_at: datetime | None  # when it is due to be, if it is not yet
    pauses: tuple[Pause, ...]
    capped_until: datetime | None

    @property
    def expected(self) -> bool:
        """Whether it is let into the playlists (SPEC 6), with some of its window left, also behind a used-up day."""
        resumes_at = max(self.at, self.capped_until or self.at)
        left = self.end_at is not None and resumes_at < self.end_at
        return self.distributed and not self.pauses and left and self.status in _IN_PLAYLISTS


_IN_PLAYLISTS = frozenset({Status.SCHEDULED, Status.ACTIVE, Status.COMPLETED})
_TO_PLAY = frozenset({Status.SCHEDULED, Status.ACTIVE, Status.PAUSED})


def as_at(row: Row, log: Sequence[Row], pauses: Iterable[Row], at: datetime, now: datetime, lead: timedelta) -> AsAt:
    """A campaign at an instant, from its row, its whole log and all its pauses; `lead` is that of distribution.

    Of the past the log tells; what is to come is what is planned now.
    """
    before = [entry for entry in log if entry["executed_at"] <= at]
    later = log[len(before) :] if at < now else []
    status: Status | None = Status(row["status"])
    distributed = row["distributed_at"] is not None
    if at < now:
        status, distributed = Status(before[-1]["to_status"]) if before else None, _was_distributed(before)
    led: Row = next((one for one in reversed(before) if one["to_status"] == status != one["from_status"]), _UNKNOWN)
    start_at, end_at = _then(later, "start_at", row["start_at"]), _then(later, "end_at", row["end_at"])
    due_at = None
    if not distributed and start_at and row["submitted_at"]:
        due_at = max(start_at - lead, row["submitted_at"])
    return AsAt(
        at=at,
        status=status,
        since=led["executed_at"],
        reason=led["reason"],
        note=led["note"] or (row["status_note"] if at >= now else None),
        actor=led["actor"],
        start_at=start_at,
        end_at=end_at,
        distributed=distributed,
        distribute_at=due_at,
        pauses=tuple(_standing(pauses, log, at)) if status in _TO_PLAY else (),
        capped_until=row["capped_until"] if at >= now else None,
    )


_UNKNOWN: Row = {"executed_at": None, "reason": None, "note": None, "actor": None}


def _was_distributed(before: Sequence[Row]) -> bool:
    distributed = False
    for entry in before:
        if entry["type"] == "content.distributed":
            distributed = True
        elif any(change["field"] == "distributed_at" for change in entry["changes"]):
            distributed = False
    return distributed


def _then(later: Sequence[Row], field: str, today: datetime | None) -> datetime | None:
    """What a field said before the changes that came later."""
    for entry in later:
        for change in entry["changes"]:
            if change["field"] == field:
                return datetime.fromisoformat(change["old"]) if change["old"] else None
    return today


def _standing(pauses: Iterable[Row], log: Sequence[Row], at: datetime) -> list[Pause]:
    said = {(entry["reason"], entry["executed_at"]): entry for entry in log if entry["type"] == "paused"}
    found = []
    for pause in pauses:
        if pause["began_at"] <= at and (pause["ended_at"] is None or at < pause["ended_at"]):
            entry = said.get((pause["cause"], pause["began_at"]))
            told = (entry["note"], entry["actor"]) if entry else (None, None)
            found.append(Pause(pause["cause"], pause["began_at"], *told))
    return found


def obstacles(campaign: AsAt, now: datetime) -> list[Obstacle]:
    """Why the campaign is on no screen at the instant, widest first; none if nothing of its own is in the way."""
    found = [*_of_status(campaign), *map(_of_pause, campaign.pauses), *_of_time(campaign, now)]
    return sorted(found, key=lambda one: _ORDER[one.code])


_ORDER = {str(code): place for place, code in enumerate(Code)}

_STATUSES = {
    None: (Code.NOT_BOOKED, "It was not booked yet"),
    Status.DRAFT: (Code.NOT_SUBMITTED, "It is a draft that was never submitted, or not again"),
    Status.PENDING_APPROVAL: (Code.AWAITING_APPROVAL, "It awaits an operator's approval"),
    Status.REJECTED: (Code.REJECTED, "An operator has rejected it"),
    Status.EXPIRED: (Code.EXPIRED, "Nobody approved it in time"),
    Status.CANCELLED: (Code.CANCELLED, "It was cancelled"),
    Status.FAILED: (Code.FAILED, "It was given up"),
    Status.MISSED: (Code.MISSED, "It missed its window"),
    Status.COMPLETED: (Code.COMPLETED, "It is over"),
}


def _of_status(campaign: AsAt) -> list[Obstacle]:
    if campaign.status not in _STATUSES:
        return []
    code, words = _STATUSES[campaign.status]
    return [
        Obstacle(
            code,
            f"{words}: {campaign.note}" if campaign.note else words,
            since=campaign.since,
            reason=campaign.reason,
            note=campaign.note,
            actor=campaign.actor,
        )
    ]


_CAUSES = {
    Reason.EMERGENCY_STOP: "An operator has stopped it; an operator may resume it",
    Reason.TENANT_SUSPENDED: "Its tenant is suspended",
    Reason.BUDGET_EXHAUSTED: "Its budget is used up; a top-up lets it go on",
    Reason.NO_ELIGIBLE_DEVICES: "No device is eligible",
    Reason.USER: "Its tenant has paused it",
    Reason.OPERATOR: "An operator has paused it",
}


def _of_pause(pause: Pause) -> Obstacle:
    words = next((words for cause, words in _CAUSES.items() if cause == pause.cause), f"It is paused: {pause.cause}")
    return Obstacle(
        Code.PAUSED if pause.cause in PERSONAL else Code(pause.cause),
        f"{words}: {pause.note}" if pause.note else words,
        since=pause.since,
        reason=pause.cause,
        note=pause.note,
        actor=pause.actor,
    )


def _of_time(campaign: AsAt, now: datetime) -> list[Obstacle]:
    found = []
    if campaign.start_at and campaign.at < campaign.start_at:
        found.append(Obstacle(Code.BEFORE_START, "It has not begun", until=campaign.start_at))
    if campaign.end_at and campaign.end_at <= campaign.at and campaign.status is not Status.COMPLETED:
        found.append(Obstacle(Code.AFTER_END, "Its window is over", since=campaign.end_at))
    due_at = campaign.distribute_at
    to_come = due_at is not None and now < due_at <= campaign.at
    if campaign.status in _TO_PLAY and not campaign.distributed and not to_come:
        found.append(Obstacle(Code.NOT_DISTRIBUTED, "It is in no playlist yet", until=due_at))
    if campaign.capped_until and campaign.at < campaign.capped_until:
        words = "It has used up its daily cap and goes on after midnight"
        found.append(Obstacle(Code.DAILY_CAP, words, until=campaign.capped_until))
    return found
