"""Announce transitions: into the outbox and the mail queue with the change, into log and metrics after it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from structlog.typing import FilteringBoundLogger

from daemon.campaigns.campaign import Reason, TransitionType
from daemon.campaigns.events import Transition
from daemon.metrics import Metrics, precreate
from daemon.notices import kinds
from daemon.notices import queries as notices
from daemon.notices.smtp import Answer
from daemon.outbox import message
from daemon.outbox import queries as outbox
from playlists.queries import Tx

PORTION = 250  # messages encoded while as many are written


async def announce(tx: Tx, transitions: Sequence[Transition], now: datetime) -> None:
    """Owe the world each transition's message and the advertiser the mails, in the transaction of the change.

    The campaigns' rows must be locked by `tx`: that is what makes a campaign's messages lie in the outbox in its
    order. While the server writes one portion of messages, the next is encoded.
    """
    writing: asyncio.Task[None] | None = None
    try:
        for first in range(0, len(transitions), PORTION):
            portion = [message.transition_message(each) for each in transitions[first : first + PORTION]]
            if writing:
                await writing
            writing = asyncio.create_task(outbox.append(tx, portion, now))
            await asyncio.sleep(0)  # it is on its way before we go on
    finally:
        if writing:
            await writing  # whatever happened, the connection must be free
    mails = [notices.owed(kind, each) for each in transitions if (kind := kinds.kind(each))]
    if mails:
        await notices.append(tx, mails, now)


def report(transitions: Sequence[Transition], metrics: Metrics, log: FilteringBoundLogger) -> None:
    """Log and count what has been committed (SPEC 13); never before the commit, which may still fail."""
    log = log.bind()  # once: a logger that is still to be bound is configured anew at every line
    counts = Counter(transition.type for transition in transitions)
    histograms = {kind: metrics.transition_lateness_seconds.labels(kind) for kind in counts}
    for transition in transitions:
        if transition.from_status != transition.to_status:
            log.info(
                "campaign status changed",
                tenant_id=str(transition.tenant_id),
                correlation_id=transition.correlation_id,
                campaign_id=str(transition.campaign_id),
                from_status=transition.from_status,
                to_status=transition.to_status,
                reason=transition.reason,
                lateness_ms=transition.lateness_ms,
            )
        lateness = transition.executed_at - transition.due_at
        histograms[transition.type].observe(max(0.0, lateness.total_seconds()))
        if transition.type == TransitionType.MISSED:
            metrics.transitions_missed_total.labels(transition.reason).inc()
    for kind, count in counts.items():
        metrics.transitions_total.labels(kind).inc(count)


def enumerate_children(metrics: Metrics) -> None:
    """Let every child of the metrics of transitions and mails exist from the first scrape."""
    precreate(metrics.transitions_total, TransitionType)
    precreate(metrics.transition_lateness_seconds, TransitionType)
    precreate(metrics.transitions_missed_total, (Reason.NEVER_DISTRIBUTED, Reason.START_DEADLINE))
    for kind in kinds.Kind:
        for answer in Answer:
            metrics.mails_total.labels(kind, answer.value)
        if kind is not kinds.Kind.DIGEST:
            metrics.mails_total.labels(kind, "digested")
