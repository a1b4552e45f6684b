"""Digests: what goes alone and what does not, told once whoever dies, and a mail that programs show whole."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import UUID

from daemon.database import Database
from daemon.dev.mailbox import Mailbox
from daemon.notices import facts, queries, sorting
from daemon.notices.digest import LISTED, ORDER, Digest, message
from daemon.notices.kinds import Kind
from daemon.notices.queries import Claim
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.notices.page import Page
from tests.daemon.notices.test_mail import NOW, SENDER, notice, parsed
from tests.daemon.notices.test_mailer import log, mailing, until
from tests.doubles import FakeClock

HOUR = timedelta(hours=1)
TENANT = TenantId(UUID("019aab00-0000-7000-8000-00000000000a"))


def digest(count: int, **more: Any) -> Digest:
    notices = [
        notice(
            campaign_name=f"Sale <{number}>",
            executed_at=NOW + timedelta(minutes=number % 60),
            **{"of": Kind.MISSED, "reason": "NEVER_DISTRIBUTED", "timezone": "Asia/Kolkata"} | more,
        )
        for number in range(min(count, LISTED))
    ]
    counts = {Kind.MISSED: count}
    return Digest(TENANT, "ads@acme.example", "Acme", "Asia/Kolkata", NOW, counts, notices)


def test_it_lists_names_and_times_in_the_advertisers_zone() -> None:
    mail = parsed(message(digest(3), SENDER, NOW + HOUR))
    assert mail["Subject"] == "3 news of your campaigns, 2026-11-22 17:30 to 18:30"
    assert mail["Message-ID"] == f"<{TENANT.hex}.20261122T12@ads.example>"
    assert (mail["X-Signaged-Kind"], mail["X-Signaged-Campaign"]) == ("digest", None)
    text, page = (part.get_content() for part in mail.iter_parts())
    assert "2026-11-22 17:32:00  Sale <2>  missed  it was never distributed to screens" in text
    rows = [[cell.strip() for cell in row] for row in Page(page).rows]
    assert ["2026-11-22 17:31:00", "Sale <1>", "missed", "it was never distributed to screens"] in rows
    assert ["Missed", "3"] in rows


def test_a_long_one_counts_what_it_does_not_list_and_is_not_cut_off() -> None:
    mail = parsed(message(digest(LISTED + 7, of=Kind.COMPLETED, reason=None), SENDER, NOW))
    text, page = (part.get_content() for part in mail.iter_parts())
    assert "7 more" in text
    assert f"Sale <{LISTED - 1}>" in text
    assert len(page.encode()) < 102_000, "Gmail shows no more of a mail"
    assert not Page(page).foreign


def test_every_kind_of_mail_has_its_place_in_a_digest() -> None:
    assert set(ORDER) == set(Kind) - {Kind.DIGEST}


async def owe(tx: Tx, at: datetime, count: int, kind: str = "started") -> tuple[TenantId, list[CampaignId]]:
    """One tenant's mails, and the campaigns they are about."""
    tenant = await world.tenant(tx, running_limit=1000)
    creative = [str(await world.creative(tx, tenant))]
    campaigns = [await world.draft(tx, tenant, creatives=creative) for _ in range(count)]
    changes = [await log(tx, campaign, tenant, 10, kind, at) for campaign in campaigns]
    if changes:
        await queries.append(tx, [queries.owed(kind, change) for change in changes], at)
    return tenant, campaigns


async def further(tx: Tx, at: datetime, tenant: TenantId, campaign: CampaignId, sequence: int) -> None:
    change = await log(tx, campaign, tenant, sequence, "resumed", at)
    await queries.append(tx, [queries.owed("started", change)], at)


def kinds(box: Mailbox) -> Counter[str]:
    return Counter(mail.message["X-Signaged-Kind"] for mail in box.messages)


async def test_above_the_number_an_hours_mails_become_one_digest(
    database: Database,
    connection: Tx,
    clock: FakeClock,
    smtp: Mailbox,
) -> None:
    many, campaigns = await owe(connection, clock.now(), 8)
    await owe(connection, clock.now(), 2)
    async with mailing(database, clock, smtp.url, above=3) as metrics:
        await smtp.until(5)
        clock.advance(minutes=59, seconds=59)
        await further(connection, clock.now(), many, campaigns[0], 11)
        await until(lambda: connection.fetchval("SELECT bool_and(hour IS NOT NULL) FROM mails"))
        assert kinds(smtp) == {"started": 5}, "the digest waits for the hour to be over"
        counts = {row["status"]: row["number"] for row in await connection.fetch(queries.COUNT)}
        assert counts == {"queued": 0, "gathered": 6, "parked": 0}
        clock.advance(seconds=1)
        await smtp.until(6)
        await further(connection, clock.now(), many, campaigns[1], 11)  # another hour: alone again
        await smtp.until(7)
        await until(lambda: connection.fetchval("SELECT bool_and(sent_at IS NOT NULL) FROM mails"))
        assert metrics.mails_total.labels("started", "digested")._value.get() == 6
        assert metrics.mails_total.labels("digest", "sent")._value.get() == 1
    [told] = [mail.message for mail in smtp.messages if mail.message["X-Signaged-Kind"] == "digest"]
    assert told["Subject"].startswith("6 news of your campaigns, 2026-11-22 13:00 to 14:00")
    body = told.get_body(("plain",))
    assert body is not None
    assert body.get_content().count("  Sale  ") == 6
    assert kinds(smtp) == {"started": 6, "digest": 1}


async def test_a_digest_that_was_tried_is_closed_and_repeats_itself(
    database: Database,
    connection: Tx,
    clock: FakeClock,
) -> None:
    tenant, campaigns = await owe(connection, clock.now(), 3)

    async def sort() -> Counter[tuple[str, bool]]:
        async with database.transaction() as tx:
            return await sorting.sort(tx, clock.now(), 0)

    async def claimed() -> tuple[Claim, Digest]:
        async with database.transaction() as tx:
            claim = await queries.claim(tx, clock.now(), timedelta(seconds=15))
            assert claim is not None
            told = await facts.told(tx, claim)
            assert isinstance(told, Digest)
            return claim, told

    assert await sort() == {("started", True): 3}
    clock.advance(hours=1)
    claim, first = await claimed()
    # a sorter whose clock is behind finds the hour told already
    behind = FakeClock(clock.now() - timedelta(milliseconds=1))
    await further(connection, behind.now(), tenant, campaigns[0], 11)
    async with database.transaction() as tx:
        assert await sorting.sort(tx, behind.now(), 0) == {("started", False): 1}
    clock.advance(seconds=16)  # its mailer has died
    async with database.transaction() as tx:
        alone = await queries.claim(tx, clock.now(), timedelta(hours=9))
    assert alone is not None
    assert alone.kind is Kind.STARTED
    again, second = await claimed()
    assert (again.id, second) == (claim.id, first)
    async with database.transaction() as tx:
        await queries.park(tx, again, clock.now(), "550 no")
    states = "SELECT kind, parked_at IS NOT NULL AS parked, count(*) FROM mails GROUP BY 1, 2"
    assert {tuple(row) for row in await connection.fetch(states)} == {
        ("digest", True, 1), ("started", True, 3), ("started", False, 1),
    }  # fmt: skip
    counts = {row["status"]: row["number"] for row in await connection.fetch(queries.COUNT)}
    assert counts == {"queued": 1, "gathered": 0, "parked": 4}


BURST = """
WITH owners AS (
    INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, created_at, updated_at)
    SELECT 'Acme ' || n, 'EUR', 'UTC', 'ads@acme.example', 5, 0, $1, $1 FROM generate_series(1, $2) AS n
    RETURNING id
), booked AS (
    INSERT INTO campaigns (tenant_id, name, channel, timezone, tzdata_version, correlation_id, created_by, created_at,
                           updated_at)
    SELECT owners.id, 'Sale ' || n, 'signage', 'UTC', '2026.2', 'c', 'tests', $1, $1
    FROM owners, generate_series(1, $3) AS n
    RETURNING id, tenant_id, name
), logged AS (
    INSERT INTO transitions (campaign_id, sequence, tenant_id, type, to_status, due_at, executed_at, actor,
                             correlation_id)
    SELECT id, 1, tenant_id, 'started', 'ACTIVE', $1, $1, 'signaged', 'c' FROM booked
)
INSERT INTO mails (kind, tenant_id, campaign_id, sequence, facts, created_at, next_attempt_at)
SELECT 'started', tenant_id, id, 1, jsonb_build_object('campaign_name', name), $1, $1 FROM booked"""


async def burst(tx: Tx, at: datetime, tenants: int, each: int) -> None:
    await tx.execute(BURST, at, tenants, each)
    await tx.execute("RESET ROLE; ANALYZE mails")


async def test_many_sorters_at_once_tell_each_mail_once(
    database: Database,
    connection: Tx,
    clock: FakeClock,
) -> None:
    await burst(connection, clock.now(), 40, 300)

    async def sorter() -> int:
        done = 0
        while await connection_free():
            async with database.transaction() as tx:
                done += (await sorting.sort(tx, clock.now(), 7)).total()
        return done

    async def connection_free() -> bool:
        async with database.transaction() as tx:
            return bool(await tx.fetchval("SELECT EXISTS (SELECT FROM mails WHERE hour IS NULL)"))

    began = perf_counter()
    assert sum(await asyncio.gather(*(sorter() for _ in range(3)))) == 12_000
    assert perf_counter() - began < 10
    counts = """SELECT count(*) FILTER (WHERE kind = 'digest') AS digests,
                       count(*) FILTER (WHERE kind <> 'digest' AND digest_id IS NULL) AS alone,
                       count(*) FILTER (WHERE digest_id IS NOT NULL) AS digested FROM mails"""
    assert dict((await connection.fetch(counts))[0]) == {"digests": 40, "alone": 280, "digested": 11_720}
    unlike = """SELECT count(*) FROM mails m JOIN mails d ON d.id = m.digest_id
                WHERE d.kind <> 'digest' OR d.tenant_id <> m.tenant_id OR d.hour <> m.hour"""
    assert await connection.fetchval(unlike) == 0


async def test_claims_and_sorting_look_at_what_is_due_alone(connection: Tx, clock: FakeClock) -> None:
    await burst(connection, clock.now(), 20, 1000)
    now = clock.now()
    while await sorting.sort(connection, now, 1000):
        pass
    await connection.execute("UPDATE mails SET sent_at = $1 WHERE id % 50 <> 0", now)
    tenant = await connection.fetchval("SELECT tenant_id FROM mails LIMIT 1")
    await connection.execute("VACUUM ANALYZE mails")
    for statement, arguments in (
        (queries.CLAIM, (now, timedelta(seconds=15), queries.KINDS)),
        (sorting.FRESH, (5000, queries.KINDS)),
        (sorting.ALONE, (now, [tenant])),
        (sorting.SORTED, (now, [1, 2], [3, None])),
        (queries.SENT_WITH_IT, (1, now)),
        (facts.COUNTS, (1,)),
        (facts.TOLD_IN, (1, list(ORDER), 300)),
    ):
        async with connection.transaction():
            [[plan]] = await connection.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
        scans = list(nodes(plan[0]["Plan"]))
        assert not [scan for scan in scans if scan == ("Seq Scan", "mails")], statement


def nodes(plan: dict[str, Any]) -> Any:
    yield plan["Node Type"], plan.get("Relation Name")
    for below in plan.get("Plans", []):
        yield from nodes(below)
