"""Mail servers that misbehave in every way: no mail is lost, none is given up for what is not its fault."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from time import perf_counter
from typing import Any

from aiosmtpd.smtp import SMTP

from daemon.database import Database
from daemon.dev.mailbox import Mailbox
from daemon.notices import mailer
from daemon.tick import LIFE
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.notices.test_mailer import mailing, owe, until
from tests.daemon.test_tick import START, Ticking
from tests.doubles import FakeClock
from tests.gate import gate_to

STATE = """SELECT count(*) FILTER (WHERE sent_at IS NOT NULL) AS sent,
                  count(*) FILTER (WHERE parked_at IS NOT NULL) AS parked, sum(attempts)::int AS attempts FROM mails"""


async def state(tx: Tx) -> dict[str, int]:
    return dict((await tx.fetch(STATE))[0])


async def reaches(tx: Tx, **expected: int) -> None:
    async def holds() -> bool:
        return await state(tx) == expected

    await until(holds)


@asynccontextmanager
async def serving(handler: Any, **more: Any) -> AsyncIterator[str]:
    """The `host:port` of a server that does as the handler says."""
    loop = asyncio.get_running_loop()
    sessions: list[SMTP] = []

    def session() -> SMTP:
        sessions.append(SMTP(handler, hostname="odd", loop=loop, **more))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for each in sessions:
            if each.transport is not None:
                each.transport.close()
        await asyncio.sleep(0.05)  # the sessions' tasks end in this turn


class Strict:
    """Takes a sender only when told to."""

    def __init__(self) -> None:
        self.answer = "550 not one of ours"

    async def handle_MAIL(self, _s: Any, _e: Any, envelope: Any, address: str, _o: Any) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            envelope.mail_from = address
        return self.answer

    async def handle_DATA(self, *_: Any) -> str:  # noqa: N802
        return "250 OK"


async def test_a_sender_who_is_refused_gives_no_mail_up_until_days_have_passed(
    database: Database, connection: Tx, clock: FakeClock
) -> None:
    await owe(connection, clock, 2)
    strict = Strict()
    async with serving(strict) as address, mailing(database, clock, f"smtp://{address}"):
        await reaches(connection, sent=0, parked=0, attempts=2)
        strict.answer = "250 OK"
        clock.advance(seconds=15)
        await reaches(connection, sent=2, parked=0, attempts=2)
        strict.answer = "451 busy"
        await owe(connection, clock)
        await reaches(connection, sent=2, parked=0, attempts=3)
        for tries, pause in ((4, 15), (5, 30)):  # no chance in it
            next_at = await connection.fetchval("SELECT next_attempt_at FROM mails WHERE sent_at IS NULL")
            assert next_at == clock.now() + timedelta(seconds=pause)
            clock.advance(seconds=pause)
            await reaches(connection, sent=2, parked=0, attempts=tries)
        clock.advance(seconds=mailer.GIVE_UP.total_seconds())
        await reaches(connection, sent=2, parked=1, attempts=6)


async def refused(database: Database, connection: Tx, clock: FakeClock, url: str) -> dict[str, int]:
    """A session that cannot be had is the server's fault: nothing counts against the mail."""
    await owe(connection, clock)
    async with mailing(database, clock, url) as metrics:

        async def down() -> bool:
            return bool(metrics.components["smtp"] is False)

        await until(down)
    return await state(connection)


async def test_a_server_without_tls_or_with_a_strangers_certificate_gets_no_mail(
    database: Database, connection: Tx, clock: FakeClock, smtp: Mailbox
) -> None:
    for scheme in ("smtps", "smtp+starttls"):
        url = smtp.url.replace("smtp://", f"{scheme}://")
        assert await refused(database, connection, clock, url) == {"sent": 0, "parked": 0, "attempts": 0}
        await connection.execute("DELETE FROM mails")
    assert not smtp.messages


async def test_a_login_that_is_refused_counts_against_no_mail(
    database: Database, connection: Tx, clock: FakeClock
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 strict\r\n")
        while line := await reader.readline():
            known = line.upper().startswith(b"EHLO")
            writer.write(b"250-strict\r\n250 AUTH PLAIN\r\n" if known else b"535 who are you\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"smtp://me:wrong@127.0.0.1:{port}"
    assert await refused(database, connection, clock, url) == {"sent": 0, "parked": 0, "attempts": 0}
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.05)


async def test_a_line_that_breaks_or_hangs_in_mid_mail_delays_that_mail_alone(
    database: Database, connection: Tx, clock: FakeClock, smtp: Mailbox
) -> None:
    host, port = smtp.url.removeprefix("smtp://").split(":")
    async with gate_to(host, int(port)) as gate:
        await owe(connection, clock, 3)
        gate.freeze()
        async with mailing(database, clock, f"smtp://127.0.0.1:{gate.port}", seconds=0.5) as metrics:

            async def down() -> bool:
                return bool(metrics.components["smtp"] is False)

            await until(down)
            gate.shut()
            gate.open()
            await smtp.until(3)
            await reaches(connection, sent=3, parked=0, attempts=0)
    assert len(smtp.messages) == 3


async def test_a_dead_mail_server_holds_up_no_tick(database: Database, connection: Tx, clock: FakeClock) -> None:
    """The mailer waits on a black hole, mails pile up, and the starts that owe them are as quick as ever."""
    tenant = await world.tenant(connection, funds="100000.00", running_limit=400)
    await world.device(connection)
    creative = [str(await world.creative(connection, tenant))]
    for _ in range(200):
        await world.submitted(connection, tenant, creatives=creative)
    ticking = Ticking(connection)
    start = [step for step in LIFE if step.name == "start"]

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    await owe(connection, clock)
    async with mailing(database, clock, f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", seconds=30, above=10):
        await until(lambda: connection.fetchval("SELECT bool_or(next_attempt_at > $1) FROM mails", clock.now()))
        began = perf_counter()
        types = await ticking.at(START, start)
        took = perf_counter() - began
        assert types == ["started"] * 200
        assert took < 3
        waiting = "SELECT count(*) FROM mails WHERE sent_at IS NULL AND kind <> 'digest'"
        assert await connection.fetchval(waiting) == 201
        ending = perf_counter()
    assert perf_counter() - ending < 5, "nor does it hold up the end"
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0.05)
