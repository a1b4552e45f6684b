"""Whether `verify` is content with what the daemon did, and finds each way in which it could have gone wrong."""

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta

from daemon.announce import announce
from daemon.campaigns import booking, editing, halting, ledger, lifecycle
from daemon.campaigns.draft import zulu
from daemon.campaigns.events import Transition
from daemon.campaigns.ledger import Charge, DayCharge, charge
from daemon.campaigns.money import micros
from daemon.campaigns.queries import changes, playing
from daemon.invariants import INVARIANTS, Invariant
from daemon.verify import verify, verify_live
from devices.queries.plays import purge_plays
from playlists.ids import CampaignId, TenantId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, OPERATOR, advertiser
from tests.daemon.test_tick import END, SETTLED, START, Ticking

ADD_PLAY = """
INSERT INTO plays (device_id, play_id, campaign_id, started_at, duration_ms, verdict, price_micros, charged_micros,
                   counted_on, received_at)
SELECT id, gen_random_uuid()::text, $1, $2, 10000, 'accepted', $3, $3, $4, $2 FROM devices LIMIT 1"""
SETTLE_TWICE = """
DROP INDEX transitions_once;
INSERT INTO transitions (campaign_id, sequence, tenant_id, type, from_status, to_status, due_at, executed_at, actor,
                         correlation_id)
SELECT campaign_id, sequence + 1, tenant_id, type, from_status, to_status, due_at, executed_at, actor, correlation_id
FROM transitions WHERE type = 'settled'"""

REPEATED = """
INSERT INTO outbox (shard, topic, key, sequence, type, body, created_at)
SELECT shard, topic, key, sequence, type, body, created_at FROM outbox LIMIT 1"""


async def told(tx: Tx, at: datetime, transitions: Awaitable[Sequence[Transition]]) -> None:
    await announce(tx, await transitions, at)


async def history(tx: Tx) -> CampaignId:
    """Campaigns that took every way through life, and the one of them that played, was paused and completed."""
    tenant_id = await world.tenant(tx, running_limit=20, approval_limit_micros=micros("500.00"))
    await world.device(tx)
    user, ticking = advertiser(tenant_id), Ticking(tx)
    await world.draft(tx, tenant_id)
    capped = await world.submitted(tx, tenant_id, daily_cap="10.00", end_at=zulu(END + 100 * HOUR))
    played, cancelled, missed = [await world.submitted(tx, tenant_id) for _ in range(3)]
    rejected, withdrawn = [await world.submitted(tx, tenant_id, budget="600.00") for _ in range(2)]
    await booking.reject(tx, rejected, "no", NOW, OPERATOR)
    await editing.edit(tx, rejected, {"budget": "100.00"}, NOW, user, LIMITS)
    await booking.submit(tx, rejected, NOW, user, LIMITS)
    await booking.cancel(tx, withdrawn, None, NOW, user, LIMITS)
    await booking.cancel(tx, cancelled, None, NOW, user, LIMITS)
    await tx.execute(
        "UPDATE campaigns SET start_at = $2::timestamptz, end_at = $2::timestamptz + interval '1 s' WHERE id = $1",
        missed,
        SETTLED + 25 * HOUR,
    )
    await ticking.at(START)
    await changes.lock(tx, played, None)
    await charge(tx, [Charge(played, micros("100.00"), 1)], START)
    await tx.execute(ADD_PLAY, played, START + timedelta(seconds=1), micros("100.00"), None)
    await told(tx, START, lifecycle.exhaust(tx, [played], START))
    await told(tx, START, booking.topup(tx, played, micros("50.00"), START, user))
    await told(tx, START + HOUR, halting.pause(tx, played, None, START + HOUR, user))
    await days_and_corrections(tx, tenant_id, capped)
    paused = await world.submitted(tx, tenant_id, end_at=zulu(SETTLED + 99 * HOUR))
    await told(tx, START, booking.execute(tx, paused, START, user))
    await told(tx, START, halting.pause(tx, paused, None, START, user))
    await ticking.at(END)
    await ticking.at(SETTLED)
    await ticking.at(SETTLED + 30 * HOUR)
    return played


async def days_and_corrections(tx: Tx, tenant_id: TenantId, capped: CampaignId) -> None:
    """Two days of a campaign with a cap, the first one's plays gone by retention; money corrected both ways."""
    today = START.date()
    for number, (began, charged) in enumerate(
        [(START, "4.00"), (START + 24 * HOUR, "7.00"), (START + 25 * HOUR, "3.00")]
    ):
        on = began.date()
        await changes.lock(tx, capped, None)
        amount = micros(charged)
        await charge(tx, [Charge(capped, amount, 1)], began, [DayCharge(capped, on, amount)])
        await tx.execute(ADD_PLAY, capped, began, amount, on)
        if not number:
            async with tx.transaction():
                assert await purge_plays(tx, START + timedelta(seconds=1), 10) == 1
    await playing.cap(tx, [(capped, datetime.combine(today + timedelta(days=2), time.min, UTC))], START + 25 * HOUR)
    for amount in (micros("5.00"), -micros("6.00")):
        await ledger.adjust(tx, tenant_id, amount, "invoice 2", "token:operator", START)


async def test_what_the_daemon_does_holds(connection: Tx) -> None:
    await history(connection)
    async with connection.transaction():
        report = await verify(connection)
    assert report.violations == []
    assert [each.invariant for each in report.checked] == [invariant.rule for invariant in INVARIANTS]
    assert all(each.rows for each in report.checked)


HARMS = [
    ("UPDATE tenants SET available_micros = available_micros + 1", "a wallet adds up"),
    ("UPDATE tenants SET available_micros = available_micros + 1", "a wallet is the sum"),
    ("DELETE FROM ledger WHERE kind = 'charge'", "a campaign's money is the sum"),
    ("DELETE FROM ledger WHERE kind = 'release' AND campaign_id = $1", "since its last submit"),
    ("DELETE FROM plays", "a campaign's spend and impressions"),
    ("UPDATE plays SET started_at = started_at - interval '1001 ms'", "a charged play lies"),
    ("DELETE FROM transitions WHERE campaign_id = $1 AND sequence = 4", "a log's sequence"),
    ("UPDATE transitions SET from_status = 'PAUSED' WHERE type = 'started'", "each change is one"),
    ("UPDATE campaigns SET status = 'CANCELLED', completed_at = NULL WHERE id = $1", "a campaign's status"),
    (SETTLE_TWICE, "what happens once"),
    ("UPDATE transitions SET type = 'updated' WHERE type = 'completed'", "what ran has its start"),
    ("DELETE FROM pauses", "a campaign is paused"),
    ("UPDATE tenants SET status = 'SUSPENDED'", "a campaign is held back"),
    ("UPDATE campaigns SET pause_causes = '{USER}' WHERE status = 'ACTIVE'", "a campaign is paused"),
    ("UPDATE campaigns SET status_reason = 'OPERATOR' WHERE status = 'PAUSED'", "a campaign is paused"),
    ("UPDATE ledger SET reference = 'x', amount_micros = 1 WHERE kind = 'adjustment'", "a wallet is the sum"),
    ("UPDATE ledger SET sequence = sequence + 77 WHERE kind = 'release'", "a hold or release stands"),
    ("UPDATE transitions SET moved = '{\"held_micros\": 1}' WHERE type = 'started'", "a hold or release stands"),
    ("UPDATE transitions SET moved = moved || '{\"released_micros\": 1}' WHERE type = 'settled'", "a hold or"),
    ("UPDATE purged_plays SET charged_micros = charged_micros - 1", "a campaign's spend and impressions"),
    ("UPDATE purged_plays SET impressions = impressions + 1", "a campaign's spend and impressions"),
    ("UPDATE daily_spends SET spent_micros = spent_micros - 1", "a day's spend"),
    ("UPDATE plays SET counted_on = counted_on - 1", "a day's spend"),
    ("UPDATE plays SET counted_on = NULL", "a day's spend"),
    ("UPDATE campaigns SET daily_cap_micros = daily_cap_micros - 1", "a day's spend"),
    ("UPDATE plays SET started_at = started_at - interval '2 days'", "a play counts towards"),
    ("UPDATE campaigns SET capped_until = capped_until + interval '3 days'", "what is off the screens"),
    ("UPDATE campaigns SET capped_until = end_at WHERE id = $1", "what is off the screens"),
    ("DELETE FROM outbox WHERE type = 'settled'", "what waits for Kafka"),
    ("DELETE FROM outbox WHERE type = 'completed'", "what waits for Kafka"),
    ("UPDATE outbox SET type = 'started' WHERE type = 'paused'", "what waits for Kafka"),
    ("UPDATE outbox SET key = gen_random_uuid()", "what waits for Kafka"),
    (REPEATED, "what waits for Kafka"),
]


async def test_each_harm_is_found(owner_connection: Tx) -> None:
    tx, asked = owner_connection, list[Invariant]()
    played = await history(tx)

    @asynccontextmanager
    async def begin() -> AsyncIterator[Tx]:
        async with tx.transaction():
            yield tx

    assert (await verify_live(begin, asked.append)).violations == []
    assert asked == list(INVARIANTS)
    for harm, found in HARMS:
        spoiled = tx.transaction()
        await spoiled.start()
        await tx.execute(harm.replace("$1", f"'{played}'"))
        report = await verify_live(begin, asked.append)
        assert [rule for rule in report.broken if rule.startswith(found)], harm
        await spoiled.rollback()
    missed = {rule.rule for rule in INVARIANTS if not any(rule.rule.startswith(found) for _, found in HARMS)}
    assert missed == {"what is settled holds nothing"}, "which the table itself refuses"


async def test_the_command_tells_by_its_exit_code(owner_connection: Tx, database_url: str) -> None:
    await history(owner_connection)
    environ = {"SIGNAGED_DATABASE__URL": database_url, "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "daemon", "verify", "--json"]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    assert run().returncode == 0
    await owner_connection.execute("UPDATE tenants SET funded_micros = funded_micros + 1")
    spoiled = run()
    assert spoiled.returncode == 1
    assert '"ok": false' in spoiled.stdout
