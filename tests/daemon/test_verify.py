"""Whether `verify` is content with what the daemon did, and finds each way in which it could have gone wrong."""

import subprocess
import sys

import pytest

from daemon.campaigns import booking, editing, halting, lifecycle
from daemon.campaigns.draft import zulu
from daemon.campaigns.ledger import Charge, charge
from daemon.campaigns.money import micros
from daemon.campaigns.queries import changes
from daemon.verify import CHECKS, verify
from playlists.ids import CampaignId
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import HOUR, LIMITS, NOW, OPERATOR, advertiser
from tests.daemon.test_tick import END, SETTLED, START, Ticking

ADD_PLAY = """
INSERT INTO plays (device_id, play_id, campaign_id, started_at, duration_ms, verdict, price_micros, charged_micros,
                   received_at)
SELECT id, 'one', $1, $2, 10000, 'accepted', $3, $3, $2 FROM devices LIMIT 1"""
SETTLE_TWICE = """
DROP INDEX transitions_once;
INSERT INTO transitions (campaign_id, sequence, tenant_id, type, from_status, to_status, due_at, executed_at, actor,
                         correlation_id)
SELECT campaign_id, sequence + 1, tenant_id, type, from_status, to_status, due_at, executed_at, actor, correlation_id
FROM transitions WHERE type = 'settled'"""


async def history(tx: Tx) -> CampaignId:
    """Campaigns that took every way through life, and the one of them that played, was paused and completed."""
    tenant_id = await world.tenant(tx, running_limit=20, approval_limit_micros=micros("500.00"))
    await world.device(tx)
    user, ticking = advertiser(tenant_id), Ticking(tx)
    await world.draft(tx, tenant_id)
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
    await tx.execute(ADD_PLAY, played, START, micros("100.00"))
    await lifecycle.exhaust(tx, [played], START)
    await booking.topup(tx, played, micros("50.00"), START, user)
    await halting.pause(tx, played, None, START + HOUR, user)
    paused = await world.submitted(tx, tenant_id, end_at=zulu(SETTLED + 99 * HOUR))
    await booking.execute(tx, paused, START, user)
    await halting.pause(tx, paused, None, START, user)
    await ticking.at(END)
    await ticking.at(SETTLED)
    await ticking.at(SETTLED + 30 * HOUR)
    return played


async def broken(tx: Tx) -> set[str]:
    async with tx.transaction():
        return {violation.invariant for violation in (await verify(tx)).violations}


async def test_what_the_daemon_does_holds(connection: Tx) -> None:
    await history(connection)
    async with connection.transaction():
        report = await verify(connection)
    assert report.violations == []
    assert [each.invariant for each in report.checked] == list(CHECKS)
    assert all(each.rows for each in report.checked)


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("UPDATE tenants SET available_micros = available_micros + 1", "a wallet adds up"),
        ("UPDATE tenants SET available_micros = available_micros + 1", "a wallet is the sum"),
        ("DELETE FROM ledger WHERE kind = 'charge'", "a campaign's money is the sum"),
        ("DELETE FROM ledger WHERE kind = 'release' AND campaign_id = $1", "since its last submit"),
        ("DELETE FROM plays", "a campaign's spend and impressions"),
        ("UPDATE plays SET started_at = started_at - interval '1 ms'", "a charged play lies"),
        ("DELETE FROM transitions WHERE campaign_id = $1 AND sequence = 4", "a log's sequence"),
        ("UPDATE transitions SET from_status = 'PAUSED' WHERE type = 'started'", "each change is one"),
        ("UPDATE campaigns SET status = 'CANCELLED', completed_at = NULL WHERE id = $1", "a campaign's status"),
        (SETTLE_TWICE, "what happens once"),
        ("UPDATE transitions SET type = 'updated' WHERE type = 'completed'", "what ran has its start"),
        ("DELETE FROM pauses", "a campaign is paused"),
    ],
)
async def test_each_harm_is_found(owner_connection: Tx, harm: str, found: str) -> None:
    played = await history(owner_connection)
    await owner_connection.execute(harm.replace("$1", f"'{played}'"))
    assert [name for name in await broken(owner_connection) if name.startswith(found)]


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
