"""Each kind of mail comes of a real change, says what it was, and is told alone or in a digest."""

from datetime import timedelta
from typing import Any

from daemon.announce import announce
from daemon.campaigns import booking, lifecycle
from daemon.campaigns.campaign import Reason
from daemon.campaigns.draft import zulu
from daemon.notices import digest, facts, mail, queries, sorting
from daemon.notices.digest import Digest
from daemon.notices.kinds import Kind
from daemon.notices.mail import Notice
from daemon.tick import LIFE, once
from daemon.warning import steps
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.test_zones import zones
from tests.daemon.campaigns.world import HOUR, NOW, OPERATOR
from tests.daemon.notices.test_mail import SENDER, parsed
from tests.daemon.test_tick import Ticking

START, END = NOW + 48 * HOUR, NOW + 72 * HOUR
ALL = (*LIFE, once("audience", lifecycle.revive), *steps(90, timedelta(minutes=8)))
# of which words of each kind's text body tell what happened
TELLING = {
    Kind.STARTED: "Your campaign has started",
    Kind.COMPLETED: "These numbers are final",
    Kind.REJECTED: "Note:                     not in December",
    Kind.FAILED: "Note:                     the disk is full",
    Kind.MISSED: "it was never distributed to screens",
    Kind.EXPIRED: "nobody decided on it in time",
    Kind.PAUSED: "no screen is eligible for it",
    Kind.RESUMED: "Your campaign goes on",
    Kind.AT_RISK: "Screens ready:            0 of 1",
    Kind.RESCHEDULED: "Was booked from:          2026-11-24 12:00:00 Europe/Berlin",
    Kind.BUDGET_USED: "Spent:                    95.00 EUR",
}


async def lives(tx: Tx) -> TenantId:
    """Campaigns through every change that advertisers are written to about."""
    tenant = await world.tenant(tx, running_limit=100)
    await world.device(tx)
    ticking = Ticking(tx)

    async def book(**more: Any) -> CampaignId:
        return await world.submitted(tx, tenant, **more)

    flagged = [str(await world.creative(tx, tenant, flags=["ALCOHOL"]))]
    async with tx.transaction():
        rejected = await book(creatives=flagged)
        await announce(tx, await booking.reject(tx, rejected, "not in December", NOW, OPERATOR), NOW)
        failed = await book()
        fault = await lifecycle.fail(tx, [failed], Reason.DEVICES_FAILED, "the disk is full", NOW, timedelta())
        await announce(tx, fault, NOW)
    await book(creatives=flagged)  # expires
    wall = {"start_local": "2026-11-24T12:00:00", "end_local": "2026-11-25T12:00:00", "timezone": "Europe/Berlin"}
    await book(start_at=None, end_at=None, **wall)
    await ticking.at(NOW, zones(1))
    missed = await book(start_at=zulu(NOW + HOUR), end_at=zulu(NOW + 2 * HOUR))
    await tx.execute(
        "UPDATE campaigns SET start_at = $2, end_at = $3 WHERE id = $1", missed, NOW - 2 * HOUR, NOW - HOUR
    )
    await ticking.at(NOW + timedelta(seconds=1), ALL)
    thrifty, lonely = await book(), await book()
    await ticking.at(START - 24 * HOUR, ALL)
    await ticking.at(START - 6 * HOUR, ALL)
    await tx.execute("UPDATE devices SET disabled = true")
    await tx.execute("UPDATE campaigns SET total_recipients = 0 WHERE id = $1", lonely)
    await ticking.at(START, ALL)
    await tx.execute("UPDATE devices SET disabled = false")
    await tx.execute("UPDATE campaigns SET total_recipients = 1 WHERE id = $1", lonely)
    spent = "UPDATE campaigns SET spent_micros = 95000000, held_micros = 5000000 WHERE id = $1"
    await tx.execute(spent, thrifty)
    await ticking.at(START + timedelta(minutes=1), ALL)
    await ticking.at(END + HOUR, ALL)
    return tenant


async def test_each_kind_of_mail_comes_of_a_real_change(connection: Tx) -> None:
    tenant = await lives(connection)
    now = END + 2 * HOUR
    async with connection.transaction():
        await sorting.sort(connection, now, 1000)
    told: dict[Kind, str] = {}
    while claim := await queries.claim(connection, now, HOUR):
        found = await facts.told(connection, claim)
        assert isinstance(found, Notice)
        body = parsed(mail.message(found, SENDER, now)).get_body(("plain",)).get_content()
        if TELLING[found.kind] in body or found.kind not in told:
            told[found.kind] = body
    assert set(told) == set(Kind) - {Kind.DIGEST}
    for kind, words in TELLING.items():
        assert words in told[kind], told[kind]
    await connection.execute("UPDATE mails SET hour = NULL")
    async with connection.transaction():
        counts = await sorting.sort(connection, now, 0)
    assert {Kind(kind) for kind, digested in counts if digested} == set(told)
    claim = await queries.claim(connection, now + HOUR, HOUR)
    assert claim is not None
    whole = await facts.told(connection, claim)
    assert isinstance(whole, Digest)
    assert (whole.tenant_id, whole.total) == (tenant, counts.total())
    text = parsed(digest.message(whole, SENDER, now)).get_body(("plain",)).get_content()
    for words in (
        "an operator of the network decided so: not in December",
        "the disk is full",
        "spent 95.00 EUR of 100.00 EUR",
        "0 impressions",
    ):
        assert words in text, text
