import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from aiosmtpd.smtp import SMTP
from prometheus_client import CollectorRegistry

from config.settings import SmtpSettings
from daemon.campaigns.events import Transition
from daemon.database import Database
from daemon.dev.mailbox import Mailbox, mailbox
from daemon.metrics import Metrics
from daemon.notices import facts, mailer, queries, sorting
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.doubles import FakeClock

LOG = """
INSERT INTO transitions (campaign_id, sequence, tenant_id, type, from_status, to_status, due_at, executed_at,
                         total_recipients, actor, correlation_id)
VALUES ($1, $2, $3, $4, 'SCHEDULED', $5, $6::timestamptz, $6::timestamptz + interval '1500 ms', 3, 'signaged', 'c')"""


@asynccontextmanager
async def mailing(
    database: Database, clock: FakeClock, url: str, seconds: float = 2, above: int = 1000
) -> AsyncIterator[Metrics]:
    metrics = Metrics.create(CollectorRegistry())
    settings = SmtpSettings(url=url, sender="signaged@ads.example", timeout=timedelta(seconds=seconds))
    running = asyncio.create_task(mailer.run(database, clock, metrics, settings, above, asyncio.Event(), lambda: None))
    try:
        yield metrics
        assert not running.done(), "a mailer lives through everything"
    finally:
        while not running.done():
            running.cancel()
            # asyncio.wait_for of 3.11 may swallow it inside aiosmtplib; the daemon's own scope asks again, too
            await asyncio.wait([running], timeout=3)
        with suppress(asyncio.CancelledError):
            await running


async def log(tx: Tx, campaign: CampaignId, tenant: TenantId, sequence: int, kind: str, at: datetime) -> Transition:
    status = {"started": "ACTIVE"}.get(kind, "COMPLETED")
    await tx.execute(LOG, campaign, sequence, tenant, kind, status, at)
    return Transition(
        campaign, tenant, sequence, kind, "Sale", "signage", "SCHEDULED", status, None, None, [], {}, at, at, None,
        None, 3, "signaged", "c",
    )  # fmt: skip


async def owe(tx: Tx, clock: FakeClock, count: int = 1) -> list[CampaignId]:
    """That many campaigns whose start mail is owed."""
    tenant = await world.tenant(tx, running_limit=1000)
    campaigns = [await world.draft(tx, tenant) for _ in range(count)]
    changes = [await log(tx, campaign, tenant, 10, "started", clock.now()) for campaign in campaigns]
    await queries.append(tx, [queries.owed("started", change) for change in changes], clock.now())
    return campaigns


async def until(holds: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


def told(box: Mailbox) -> list[str]:
    return [mail.message["X-Signaged-Campaign"] for mail in box.messages]


async def test_side_by_side_each_mail_goes_once(
    database: Database, connection: Tx, clock: FakeClock, smtp: Mailbox
) -> None:
    campaigns = await owe(connection, clock, 60)
    async with mailing(database, clock, smtp.url) as one, mailing(database, clock, smtp.url) as other:
        await until(lambda: connection.fetchval("SELECT bool_and(sent_at IS NOT NULL) FROM mails"))
    # both have ended by now: a mail is counted after it was noted
    sent = [metrics.mails_total.labels("started", "sent")._value.get() for metrics in (one, other)]
    assert sorted(told(smtp)) == sorted(map(str, campaigns))
    assert sum(sent) == 60
    assert smtp.messages[0].recipients == ("ads@acme.example",)
    assert smtp.messages[0].sender == "signaged@ads.example"


async def test_the_summary_is_of_what_was_played(
    database: Database, connection: Tx, clock: FakeClock, smtp: Mailbox
) -> None:
    tenant = await world.tenant(connection)
    campaign = await world.draft(connection, tenant)
    creative = await world.creative(connection, tenant)
    await log(connection, campaign, tenant, 10, "started", clock.now())
    await log(connection, campaign, tenant, 11, "completed", clock.now())
    done = await log(connection, campaign, tenant, 12, "settled", clock.now())
    for number, plays in enumerate([3, 2, 1]):
        device = await world.device(connection)
        for play in range(plays):
            await connection.execute(
                """INSERT INTO plays (device_id, play_id, campaign_id, creative_id, started_at, duration_ms, verdict,
                                      charged_micros, received_at)
                   VALUES ($1, $2, $3, $4, $5, 10000, $6, 5000, $5)""",
                device, str(play), campaign, creative, clock.now(), "too_late" if number == 2 else "accepted",
            )  # fmt: skip
    async with database.transaction() as tx:
        summary = await facts.summary(tx, campaign, listed=1)
    assert (summary.start_late_ms, summary.end_late_ms) == (1500, 1500)
    assert [line[2:] for line in summary.stores] == [(3, 15_000)]
    assert summary.further_stores == 1
    assert summary.further is not None
    assert summary.further[2:] == (2, 10_000)
    await queries.append(connection, [queries.owed("completed", done)], clock.now())
    async with mailing(database, clock, smtp.url):
        [mail] = await smtp.until(1)
    assert mail.message["X-Signaged-Kind"] == "completed"
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert "0.015 EUR" in body.get_content()


async def test_a_server_that_is_down_counts_against_no_mail(
    database: Database, connection: Tx, clock: FakeClock
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    campaigns = await owe(connection, clock, 3)
    async with mailing(database, clock, f"smtp://127.0.0.1:{port}") as metrics:
        await asyncio.sleep(0.5)
        assert metrics.component_up.labels("smtp")._value.get() == 0
        async with mailbox(port) as box:
            await box.until(3)
            assert sorted(told(box)) == sorted(map(str, campaigns))
            assert metrics.component_up.labels("smtp")._value.get() == 1
    assert await connection.fetchval("SELECT sum(attempts) FROM mails") == 0


class Moody:
    """Says to each recipient what its local part asks for, the first time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.taken: list[str] = []

    async def handle_RCPT(self, _s: Any, _e: Any, envelope: Any, address: str, _o: Any) -> str:  # noqa: N802
        self.asked.append(address)
        if address.startswith("never"):
            return "550 no such user"
        if address.startswith("later") and self.asked.count(address) == 1:
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if envelope.rcpt_tos[0].startswith("torn") and self.asked.count(envelope.rcpt_tos[0]) == 1:
            server.transport.abort()
        self.taken.append(envelope.rcpt_tos[0])
        return "250 OK"


async def test_later_is_tried_again_and_never_is_parked(database: Database, connection: Tx, clock: FakeClock) -> None:
    moody = Moody()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(moody, hostname="moody", loop=loop), "127.0.0.1", 0)
    for name in ("never", "later", "torn", "fine"):
        await owe(connection, clock)
        await connection.execute(
            "UPDATE tenants SET email = $1 WHERE email = 'ads@acme.example'", f"{name}@acme.example"
        )
    await owe(connection, clock)
    await connection.execute("UPDATE tenants SET email = 'nonsense' WHERE email = 'ads@acme.example'")
    url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    state = """SELECT count(*) FILTER (WHERE sent_at IS NOT NULL) AS sent,
                      count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked, sum(attempts) AS attempts FROM mails"""
    async with mailing(database, clock, url) as metrics:

        async def has(**expected: int) -> None:
            async def holds() -> bool:
                return dict((await connection.fetch(state))[0]) == expected

            await until(holds)

        await has(sent=1, parked=2, attempts=4)
        clock.advance(seconds=16)
        await has(sent=3, parked=2, attempts=4)
        assert metrics.mails_total.labels("started", "parked")._value.get() == 2
        assert metrics.mails_total.labels("started", "deferred")._value.get() == 2
    assert moody.taken.count("fine@acme.example") == 1
    errors = await connection.fetch("SELECT error FROM mails WHERE parked_at IS NOT NULL ORDER BY id")
    assert [record["error"] for record in errors] == ["550 no such user", "not an address: 'nonsense'"]
    server.close()
    await server.wait_closed()


async def test_what_a_killed_mailer_had_claimed_is_sent_after_its_lease(
    database: Database, connection: Tx, clock: FakeClock, smtp: Mailbox
) -> None:
    [campaign] = await owe(connection, clock)
    async with database.transaction() as tx:
        await sorting.sort(tx, clock.now(), 1)
        assert await queries.claim(tx, clock.now(), timedelta(seconds=25))
    async with mailing(database, clock, smtp.url):
        await asyncio.sleep(0.3)
        assert not smtp.messages
        clock.advance(seconds=26)
        await smtp.until(1)
    assert told(smtp) == [str(campaign)]


async def test_a_server_that_never_answers_does_not_delay_the_end(
    database: Database, connection: Tx, clock: FakeClock
) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    await owe(connection, clock)
    url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with mailing(database, clock, url, seconds=30):
        await asyncio.sleep(0.3)
        ending = monotonic()
    assert monotonic() - ending < 5
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.05)
