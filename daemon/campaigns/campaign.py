"""What a campaign can be, what may follow what, and what may be edited when: the tables of SPEC 3, pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from playlists.ids import CampaignId, TenantId


class Status(StrEnum):
    """Where a campaign is in its life."""

    DRAFT = "DRAFT"
    PENDING_APPROVAL = "PENDING_APPROVAL"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    SCHEDULED = "SCHEDULED"
    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    MISSED = "MISSED"


class Reason(StrEnum):
    """Why a transition happened, as a code; the words that people gave stand in its note."""

    USER = "USER"
    OPERATOR = "OPERATOR"
    CREATIVE_FLAGGED = "CREATIVE_FLAGGED"  # submitted for approval, not scheduled
    OVER_APPROVAL_LIMIT = "OVER_APPROVAL_LIMIT"  # as above
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    NO_ELIGIBLE_DEVICES = "NO_ELIGIBLE_DEVICES"
    TENANT_SUSPENDED = "TENANT_SUSPENDED"
    EMERGENCY_STOP = "EMERGENCY_STOP"
    NEVER_DISTRIBUTED = "NEVER_DISTRIBUTED"  # missed, its whole window long
    START_DEADLINE = "START_DEADLINE"  # missed, past its start_deadline
    NOT_APPROVED = "NOT_APPROVED"  # expired
    TRANSITION_FAILED = "TRANSITION_FAILED"  # failed, after its retries
    TZDATA = "TZDATA"  # updated: newer zone rules moved it
    DEVICES_FAILED = "DEVICES_FAILED"  # failed, its whole audience did
    NOT_READY = "NOT_READY"  # at risk, too few screens hold it shortly before its start
    DEVICES_OFFLINE = "DEVICES_OFFLINE"  # at risk, no screen was heard of in the hour since its start


class TransitionType(StrEnum):
    """What the log, the messages (behind `campaign.`) and the metrics call a change (SPEC 9)."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    SUBMITTED = "submitted"
    SCHEDULED = "scheduled"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    STARTED = "started"
    PAUSED = "paused"
    RESUMED = "resumed"
    COMPLETED = "completed"
    MISSED = "missed"
    FAILED = "failed"
    SETTLED = "settled"
    BUDGET_INCREASED = "budget.increased"
    CONTENT_DISTRIBUTED = "content.distributed"
    CONTENT_READY = "content.ready"
    AT_RISK = "at_risk"


class Rule(NamedTuple):
    """From which statuses a change may come and where it leads; no target: the status stays."""

    sources: frozenset[Status]
    target: Status | None


def _rule(*sources: Status, to: Status | None = None) -> Rule:
    return Rule(frozenset(sources), to)


_DRAFT, _PENDING, _REJECTED = Status.DRAFT, Status.PENDING_APPROVAL, Status.REJECTED
_SCHEDULED, _ACTIVE, _PAUSED = Status.SCHEDULED, Status.ACTIVE, Status.PAUSED

# Every change there is; `created` comes from nothing. A pause on a PAUSED campaign adds a cause.
TRANSITIONS: dict[TransitionType, tuple[Rule, ...]] = {
    TransitionType.CREATED: (_rule(to=_DRAFT),),
    TransitionType.UPDATED: (_rule(_REJECTED, to=_DRAFT), _rule(_DRAFT, _PENDING, _SCHEDULED, _ACTIVE, _PAUSED)),
    TransitionType.DELETED: (_rule(_DRAFT),),
    TransitionType.SUBMITTED: (_rule(_DRAFT, to=_PENDING),),
    TransitionType.SCHEDULED: (_rule(_DRAFT, to=_SCHEDULED),),
    TransitionType.APPROVED: (_rule(_PENDING, to=_SCHEDULED),),
    TransitionType.REJECTED: (_rule(_PENDING, to=_REJECTED),),
    TransitionType.EXPIRED: (_rule(_PENDING, to=Status.EXPIRED),),
    TransitionType.CANCELLED: (_rule(_PENDING, _SCHEDULED, _ACTIVE, _PAUSED, to=Status.CANCELLED),),
    TransitionType.STARTED: (_rule(_SCHEDULED, to=_ACTIVE),),
    TransitionType.PAUSED: (_rule(_ACTIVE, _PAUSED, to=_PAUSED),),
    TransitionType.RESUMED: (_rule(_PAUSED, to=_ACTIVE),),
    TransitionType.COMPLETED: (_rule(_ACTIVE, _PAUSED, to=Status.COMPLETED),),
    TransitionType.MISSED: (_rule(_SCHEDULED, to=Status.MISSED),),
    TransitionType.FAILED: (_rule(_SCHEDULED, _ACTIVE, _PAUSED, to=Status.FAILED),),
    TransitionType.SETTLED: (_rule(Status.COMPLETED, Status.CANCELLED, Status.FAILED),),
    TransitionType.BUDGET_INCREASED: (_rule(_SCHEDULED, _ACTIVE, _PAUSED),),
    TransitionType.CONTENT_DISTRIBUTED: (_rule(_SCHEDULED, _ACTIVE),),
    TransitionType.CONTENT_READY: (_rule(_SCHEDULED, _ACTIVE, _PAUSED),),
    TransitionType.AT_RISK: (_rule(_SCHEDULED, _ACTIVE),),
}

# Once per campaign and occurrence, whatever crashes and however many run.
ONCE = frozenset({"started", "completed", "settled", "missed", "expired"})

# Nothing moves a campaign out of these; CANCELLED, COMPLETED and FAILED are settled once more.
TERMINAL = frozenset({Status.EXPIRED, Status.COMPLETED, Status.CANCELLED, Status.FAILED, Status.MISSED})

# Whose windows count against the tenant's limit of running campaigns.
SUBMITTED = frozenset({_PENDING, _SCHEDULED, _ACTIVE, _PAUSED})

FIELDS = frozenset({
    "name", "description", "timezone", "start_at", "start_local", "end_at", "end_local", "budget", "creatives",
    "target", "priority", "dayparts", "daily_cap", "start_policy", "start_deadline", "allow_short_lead", "brand",
    "category", "channel",
})  # fmt: skip

# Which fields a PATCH may change; a status that is not here has none. Once it is booked a start only moves later,
# a target and creatives only grow, and once it runs its end only moves later: `editing` sees to that.
_ALWAYS = frozenset({"name", "priority", "end_at", "end_local", "target"})
EDITABLE: dict[Status, frozenset[str]] = {
    _DRAFT: FIELDS,
    _REJECTED: FIELDS,
    _SCHEDULED: _ALWAYS | {"start_at", "start_local"},
    _ACTIVE: _ALWAYS | {"creatives"},
    _PAUSED: _ALWAYS | {"creatives"},
}

# Causes of a pause that a person sets and ends; the others end with what caused them.
PERSONAL = frozenset({Reason.USER, Reason.OPERATOR})
RESUMABLE = PERSONAL | {Reason.EMERGENCY_STOP}  # what a resume ends
OPERATORS = frozenset({Reason.OPERATOR, Reason.EMERGENCY_STOP})  # of those, what only an operator's does


def successor(kind: TransitionType, status: Status) -> Status | None:
    """The status that a change of this kind leads to from `status`; None where SPEC 3 has no such change."""
    for rule in TRANSITIONS[kind]:
        if status in rule.sources:
            return rule.target or status
    return None


def leaves_playlists(
    distributed_at: datetime | None, old: datetime | None, new: datetime | None, now: datetime, lead: timedelta
) -> bool:
    """Whether a start that moves, beyond the distribution's lead, takes its campaign out of the playlists (SPEC 3)."""
    return distributed_at is not None and new is not None and new != old and new > now + lead


def legal_changes() -> frozenset[tuple[str, str | None, str]]:
    """Every (type, from, to) that the log of a campaign may show."""
    changes: set[tuple[str, str | None, str]] = {("created", None, "DRAFT")}
    for kind, rules in TRANSITIONS.items():
        for rule in rules:
            changes |= {(str(kind), str(source), str(rule.target or source)) for source in rule.sources}
    return frozenset(changes)


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign's state as it is stored: what changes with its life, money in micros, instants aware."""

    id: CampaignId
    tenant_id: TenantId
    name: str
    channel: str
    status: Status
    status_reason: str | None
    status_note: str | None
    version: int
    sequence: int  # of its last transition
    start_at: datetime | None
    end_at: datetime | None
    start_local: datetime | None
    budget_micros: int | None
    held_micros: int
    spent_micros: int
    released_micros: int
    impressions: int
    pause_causes: tuple[str, ...]
    allow_short_lead: bool
    total_recipients: int
    submitted_at: datetime | None
    distributed_at: datetime | None
    activated_at: datetime | None
    settle_at: datetime | None
    settled_at: datetime | None
    deleted_at: datetime | None
    correlation_id: str  # of the booking; what a tick does carries it
