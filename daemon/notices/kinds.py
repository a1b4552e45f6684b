"""Which changes an advertiser is written to about, and what such a mail is called (SPEC 10); pure."""

from enum import StrEnum

from daemon.campaigns.campaign import PERSONAL, Reason, Status, TransitionType
from daemon.campaigns.events import SYSTEM, Transition


class Kind(StrEnum):
    """The kinds of mail, as `X-Signaged-Kind` and the metrics name them."""

    STARTED = "started"
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    MISSED = "missed"
    EXPIRED = "expired"
    PAUSED = "paused"
    RESUMED = "resumed"
    AT_RISK = "at_risk"
    RESCHEDULED = "rescheduled"
    BUDGET_USED = "budget_used"  # owed by a look at the budget, not by a change
    DIGEST = "digest"  # many of the others in one


# what is always worth a mail; the summary waits for the settlement, when its numbers are final
_ALWAYS = {
    TransitionType.STARTED: Kind.STARTED,
    TransitionType.REJECTED: Kind.REJECTED,
    TransitionType.FAILED: Kind.FAILED,
    TransitionType.MISSED: Kind.MISSED,
    TransitionType.EXPIRED: Kind.EXPIRED,
    TransitionType.AT_RISK: Kind.AT_RISK,
}


def kind(transition: Transition) -> Kind | None:
    """The mail that a transition owes; None for what the advertiser did or need not know."""
    if transition.type in _ALWAYS:
        return _ALWAYS[TransitionType(transition.type)]
    if transition.type == TransitionType.SETTLED and transition.to_status == Status.COMPLETED:
        return Kind.COMPLETED
    if transition.type == TransitionType.UPDATED and transition.actor == SYSTEM:
        return Kind.RESCHEDULED
    changed = transition.from_status != transition.to_status
    if transition.type == TransitionType.PAUSED and changed and transition.reason not in PERSONAL:
        return Kind.PAUSED
    unasked = transition.actor == SYSTEM or transition.reason == Reason.TENANT_SUSPENDED
    if transition.type == TransitionType.RESUMED and changed and unasked:
        return Kind.RESUMED
    return None
