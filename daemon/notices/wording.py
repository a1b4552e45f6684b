"""What mails say in words: a subject and a sentence for each kind, and the reasons of changes; pure (SPEC 10)."""

from daemon.notices.kinds import Kind

SUBJECTS = {
    Kind.STARTED: "{name} has started",
    Kind.COMPLETED: "{name} is completed: {impressions} impressions",
    Kind.REJECTED: "{name} was rejected",
    Kind.FAILED: "{name} has failed",
    Kind.MISSED: "{name} was missed",
    Kind.EXPIRED: "{name} has expired",
    Kind.PAUSED: "{name} is paused",
    Kind.RESUMED: "{name} goes on",
    Kind.AT_RISK: "{name} is at risk",
    Kind.RESCHEDULED: "{name} has new times",
    Kind.BUDGET_USED: "{name} has used 90 % of its budget",
}
SENTENCES = {
    Kind.STARTED: "Your campaign has started.",
    Kind.COMPLETED: "Your campaign is completed and settled. These numbers are final.",
    Kind.REJECTED: "Your campaign was not approved. Its budget is back in your wallet; edit it to submit it again.",
    Kind.FAILED: "Your campaign cannot be carried out. What is left of its budget goes back to your wallet.",
    Kind.MISSED: "Your campaign's time has passed before it was on any screen. Its budget is back in your wallet.",
    Kind.EXPIRED: "Your campaign was not approved in time. Its budget is back in your wallet.",
    Kind.PAUSED: "Your campaign is paused and off the screens.",
    Kind.RESUMED: "Your campaign goes on.",
    Kind.AT_RISK: "Your campaign may reach fewer screens than you booked. You need not do anything.",
    Kind.RESCHEDULED: "Newer time zone rules concern your campaign's local times. Below is when it runs.",
    Kind.BUDGET_USED: "Your campaign has used 90 % of its budget. Used up, it pauses; a top-up lets it go on.",
}
# what a digest calls them
EVENTS = {
    Kind.STARTED: "started",
    Kind.COMPLETED: "completed",
    Kind.REJECTED: "rejected",
    Kind.FAILED: "failed",
    Kind.MISSED: "missed",
    Kind.EXPIRED: "expired",
    Kind.PAUSED: "paused",
    Kind.RESUMED: "resumed",
    Kind.AT_RISK: "at risk",
    Kind.RESCHEDULED: "rescheduled",
    Kind.BUDGET_USED: "90 % of budget used",
}
REASONS = {
    "USER": "somebody of yours asked for it",
    "OPERATOR": "an operator of the network decided so",
    "BUDGET_EXHAUSTED": "its budget is used up; a top-up lets it go on",
    "NO_ELIGIBLE_DEVICES": "no screen is eligible for it",
    "TENANT_SUSPENDED": "your organisation is suspended",
    "EMERGENCY_STOP": "it was stopped by an operator of the network",
    "NEVER_DISTRIBUTED": "it was never distributed to screens",
    "START_DEADLINE": "it could not start before its deadline",
    "NOT_APPROVED": "nobody decided on it in time",
    "DEVICES_FAILED": "none of its screens could take its content",
    "TRANSITION_FAILED": "a technical fault of ours",
    "NOT_READY": "too few of its screens hold its content so far; each plays as soon as it does",
    "DEVICES_OFFLINE": "none of its screens has been heard of since it started; each plays as soon as it is back",
    "TZDATA": "newer time zone data",
}


def reason_in_words(reason: str) -> str:
    """A reason as a clause; a code that has no words stays a code."""
    return REASONS.get(reason, reason)
