"""The mailer: brings owed mails to the mail server, one at a time, whatever is down (SPEC 10).

Owed mails are sorted first, in sets: few of a tenant go alone, many become a digest. A mail is claimed in one
transaction, sent outside of any, and marked in a second. So a kill can repeat the one mail that the server had taken
and nobody had marked; its Message-ID stays the same. Several mailers work side by side.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage

import anyio
import structlog
from aiosmtplib import SMTP

from config.settings import SmtpSettings
from daemon.clock import Clock, ClockUnset
from daemon.database import Database, DatabaseUnavailable
from daemon.failpoints import failpoint
from daemon.metrics import Metrics
from daemon.notices import digest, facts, mail, queries, sorting
from daemon.notices.digest import Digest
from daemon.notices.mail import Notice
from daemon.notices.queries import Claim
from daemon.notices.smtp import Answer, Reply, ServerUnavailable, send, session, words
from daemon.rush import Rush

log = structlog.get_logger("daemon.notices.mailer")

POLL_SECONDS = 1.0
PROBE_SECONDS = 30.0  # without mail, asks whether the server is there
LONGEST_PAUSE = 15.0  # between tries to reach the server
MARGIN = timedelta(seconds=5)  # of a lease, beyond what connecting and sending may take together
MARK_SECONDS = 30.0  # tries that long to note what the server has taken
PARTING_SECONDS = 2.0
FIRST_RETRY, LONGEST_RETRY = timedelta(seconds=15), timedelta(hours=1)
GIVE_UP = timedelta(days=3)

Letter = EmailMessage | Reply  # the mail, or why there can be none


@dataclass(slots=True)
class Mailer:
    """What every part of the mailer needs, and when it last heard of the server and sorted."""

    database: Database
    clock: Clock
    metrics: Metrics
    settings: SmtpSettings
    above: int  # mails of a tenant and hour that go alone
    beat: Callable[[], None]
    rush: Rush
    heard: float = -PROBE_SECONDS
    sorted: float = -POLL_SECONDS


async def run(
    database: Database,
    clock: Clock,
    metrics: Metrics,
    settings: SmtpSettings,
    digest_above: int,
    wake: asyncio.Event,
    beat: Callable[[], None],
    rush: Rush | None = None,
) -> None:
    """Send until cancelled. `wake` may be set after a commit to be quicker than the next poll; gives way to `rush`."""
    mailer = Mailer(database, clock, metrics, settings, digest_above, beat, rush or Rush())
    pause = POLL_SECONDS
    while True:
        beat()
        wake.clear()
        try:
            await _sort(mailer)
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


async def _sort(mailer: Mailer) -> None:
    """Sort all that is owed, batch by batch."""
    batch = sorting.BATCH
    while batch == sorting.BATCH:
        mailer.beat()
        await mailer.rush.give_way()
        async with mailer.database.transaction() as tx:
            counts = await sorting.sort(tx, mailer.clock.now(), mailer.above)
            failpoint("mailer.before_sorted")
        failpoint("mailer.sorted")
        for (kind, digested), count in counts.items():
            if digested:
                mailer.metrics.mails_total.labels(kind, "digested").inc(count)
        batch = counts.total()
    mailer.sorted = time.monotonic()


async def _drain(mailer: Mailer) -> None:
    """Send what is due, over one session, until nothing is; without mail, see now and then whether one can be had.

    Raises ServerUnavailable, DatabaseUnavailable.
    """
    async with AsyncExitStack() as closing:
        client: SMTP | None = None
        while claimed := await _claimed(mailer):
            failpoint("mailer.claimed")
            mailer.beat()
            claim, letter = claimed
            ends = time.monotonic() + mailer.settings.timeout.total_seconds()
            if isinstance(letter, EmailMessage) and (client is None or not client.is_connected):
                client = await _session_for(mailer, claim, closing)
            await _undisturbed(_deliver(mailer, client, claim, letter, ends))
            if time.monotonic() - mailer.sorted > POLL_SECONDS:
                await _sort(mailer)  # what comes in meanwhile must not wait for the last of these
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


async def _claimed(mailer: Mailer) -> tuple[Claim, Letter] | None:
    """The next mail, written; or why it cannot be."""
    lease = mailer.settings.timeout + MARGIN
    await mailer.rush.give_way()
    async with mailer.database.transaction() as tx:
        now = mailer.clock.now()
        claim = await queries.claim(tx, now, lease)
        if claim is None:
            return None
        try:
            told = await facts.told(tx, claim)
        except LookupError as error:
            return claim, Reply(Answer.REFUSED, words(error))
    try:
        return claim, _written(told, mailer.settings.sender, now)
    except ValueError as error:
        return claim, Reply(Answer.REFUSED, words(error))
    except Exception as error:  # one mail that trips over a fault of ours must not end all others
        log.exception("mail not written", mail_id=claim.id, kind=claim.kind)
        return claim, Reply(Answer.REFUSED, f"{type(error).__name__}: {error}")


def _written(told: Notice | Digest, sender: str, now: datetime) -> EmailMessage:
    if isinstance(told, Digest):
        return digest.message(told, sender, now)
    return mail.message(told, sender, now)


async def _deliver(mailer: Mailer, client: SMTP | None, claim: Claim, letter: Letter, ends: float) -> None:
    """Send one mail, which must end at a monotonic time, and note what became of it."""
    if isinstance(letter, Reply) or client is None:
        reply = letter if isinstance(letter, Reply) else Reply(Answer.DEFERRED, "no session")
    else:
        reply = await send(client, letter, mailer.settings.sender, max(1.0, ends - time.monotonic()))
    if reply.answer is Answer.SENT:
        mailer.heard = time.monotonic()
    else:
        campaign_id = None if claim.campaign_id is None else str(claim.campaign_id)
        log.warning("mail not sent", mail_id=claim.id, campaign_id=campaign_id, kind=claim.kind, reason=reply.words)
    failpoint("mailer.replied")
    answer = await _noted(mailer, claim, reply)
    failpoint("mailer.marked")
    mailer.metrics.mails_total.labels(claim.kind, answer.value).inc()


async def _noted(mailer: Mailer, claim: Claim, reply: Reply) -> Answer:
    """Write the outcome down, again and again while the database is away: forgotten, the mail would be sent twice."""
    giving_up = time.monotonic() + MARK_SECONDS
    while True:
        try:
            async with mailer.database.transaction() as tx:
                now = mailer.clock.now()
                if reply.answer is Answer.SENT:
                    await queries.mark_sent(tx, claim, now)
                    failpoint("mailer.before_commit")
                    return Answer.SENT
                if reply.answer is Answer.REFUSED or now - claim.created_at > GIVE_UP:
                    await queries.park(tx, claim, now, reply.words)
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
