"""The mailer: brings owed mails to the mail server, one at a time, whatever is down (SPEC 10).

A mail is claimed in one transaction, sent outside of any, and marked in a second. So a kill can repeat the one mail
that the server had taken and nobody had marked; its Message-ID stays the same. Several mailers work side by side.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

import anyio
import structlog
from aiosmtplib import SMTP

from config.settings import SmtpSettings
from daemon.clock import Clock, ClockUnset
from daemon.database import Database, DatabaseUnavailable
from daemon.failpoints import failpoint
from daemon.metrics import Metrics
from daemon.notices import mail, queries
from daemon.notices.kinds import Kind
from daemon.notices.queries import Claim
from daemon.notices.smtp import Answer, Reply, ServerUnavailable, send, session, words

log = structlog.get_logger("daemon.notices.mailer")

POLL_SECONDS = 1.0
PROBE_SECONDS = 30.0  # without mail, asks whether the server is there
LONGEST_PAUSE = 15.0  # between tries to reach the server
MARGIN = timedelta(seconds=5)  # of a lease, beyond what connecting and sending may take together
MARK_SECONDS = 30.0  # tries that long to note what the server has taken
PARTING_SECONDS = 2.0
FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=15), timedelta(hours=1)
GIVE_UP = timedelta(days=5)


@dataclass(slots=True)
class Mailer:
    """What every part of the mailer needs, and when the server was last heard of."""

    database: Database
    clock: Clock
    metrics: Metrics
    settings: SmtpSettings
    beat: Callable[[], None]
    heard: float = -PROBE_SECONDS


async def run(
    database: Database,
    clock: Clock,
    metrics: Metrics,
    settings: SmtpSettings,
    wake: asyncio.Event,
    beat: Callable[[], None],
) -> None:
    """Send until cancelled. `wake` may be set after a commit to be quicker than the next poll."""
    mailer = Mailer(database, clock, metrics, settings, beat)
    pause = POLL_SECONDS
    while True:
        beat()
        wake.clear()
        try:
            await _drain(mailer)
            pause = POLL_SECONDS
        except ServerUnavailable as error:
            _note_smtp(mailer, up=False, reason=str(error))
            pause = min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)
            continue
        except (DatabaseUnavailable, ClockUnset):
            pass  # the database's own seam tells of it
        with anyio.move_on_after(POLL_SECONDS):
            await wake.wait()


async def _drain(mailer: Mailer) -> None:
    """Send what is due, over one session, until nothing is; without mail, see now and then whether one can be had.

    Raises ServerUnavailable, DatabaseUnavailable.
    """
    async with AsyncExitStack() as closing:
        client: SMTP | None = None
        while claim := await _claimed(mailer):
            failpoint("mailer.claimed")
            mailer.beat()
            ends = time.monotonic() + mailer.settings.timeout.total_seconds()
            if client is None or not client.is_connected:
                client = await _session_for(mailer, claim, closing)
            await _undisturbed(_deliver(mailer, client, claim, ends))
        if client is None and time.monotonic() - mailer.heard > PROBE_SECONDS:
            await closing.enter_async_context(session(mailer.settings))
            _note_smtp(mailer, up=True)


async def _session_for(mailer: Mailer, claim: Claim, closing: AsyncExitStack) -> SMTP:
    """A new session; without one the claimed mail is given back, not counted as tried."""
    try:
        client = await closing.enter_async_context(session(mailer.settings))
    except ServerUnavailable as error:
        async with mailer.database.transaction() as tx:
            await queries.put_off(tx, claim.id, mailer.clock.now(), str(error), counted=False)
        raise
    _note_smtp(mailer, up=True)
    failpoint("mailer.connected")
    return client


def _note_smtp(mailer: Mailer, *, up: bool, reason: str = "") -> None:
    if up:
        mailer.heard = time.monotonic()
    if mailer.metrics.components["smtp"] != up:
        if up:
            log.info("smtp available")
        else:
            log.warning("smtp unavailable", reason=reason)
    mailer.metrics.note("smtp", up=up)


async def _claimed(mailer: Mailer) -> Claim | None:
    """The next mail with all that it says."""
    lease = mailer.settings.timeout + MARGIN
    async with mailer.database.transaction() as tx:
        claim = await queries.claim(tx, mailer.clock.now(), lease)
        if claim and claim.notice.kind is Kind.COMPLETED:
            summary = await queries.summary(tx, claim.notice.campaign_id, mail.STORES)
            claim = claim._replace(notice=claim.notice._replace(summary=summary))
    return claim


async def _deliver(mailer: Mailer, client: SMTP, claim: Claim, ends: float) -> None:
    """Send one mail, which must end at a monotonic time, and note what became of it."""
    sender = mailer.settings.sender
    try:
        letter = mail.message(claim.notice, sender, mailer.clock.now())
    except ValueError as error:
        reply = Reply(Answer.REFUSED, words(error))
    else:
        reply = await send(client, letter, sender, max(1.0, ends - time.monotonic()))
    if reply.answer is Answer.SENT:
        mailer.heard = time.monotonic()
    else:
        log.warning(
            "mail not sent", campaign_id=str(claim.notice.campaign_id), kind=claim.notice.kind, reason=reply.words
        )
    failpoint("mailer.replied")
    answer = await _noted(mailer, claim, reply)
    failpoint("mailer.marked")
    mailer.metrics.mails_total.labels(claim.notice.kind, answer.value).inc()


async def _noted(mailer: Mailer, claim: Claim, reply: Reply) -> Answer:
    """Write the outcome down, again and again while the database is away: forgotten, the mail would be sent twice."""
    giving_up = time.monotonic() + MARK_SECONDS
    while True:
        try:
            async with mailer.database.transaction() as tx:
                now = mailer.clock.now()
                if reply.answer is Answer.SENT:
                    await queries.mark_sent(tx, claim.id, now)
                    failpoint("mailer.before_commit")
                    return Answer.SENT
                if reply.answer is Answer.REFUSED or now - claim.created_at > GIVE_UP:
                    await queries.park(tx, claim.id, now, reply.words)
                    return Answer.REFUSED
                until = now + min(FIRST_RETRY * 2 ** min(claim.attempts, 10), LONGEST_RETRY)
                await queries.put_off(tx, claim.id, until, reply.words, counted=True)
                return Answer.DEFERRED
        except DatabaseUnavailable:
            if time.monotonic() > giving_up:
                raise
            mailer.beat()
            await asyncio.sleep(POLL_SECONDS / 4)


async def _undisturbed(work: Coroutine[None, None, None]) -> None:
    """Run to the end what a cancellation should not cut in two, if it ends soon."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task], timeout=PARTING_SECONDS)
        task.cancel()
        raise
