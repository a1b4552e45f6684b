"""`signaged verify` over a million ledger entries and all that belongs to them, timed beside a daemon's statements."""

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime

import asyncpg
import pytest

from playlists.queries import Tx

pytestmark = pytest.mark.torture

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CAMPAIGNS, CHARGES, ENTRIES = 25_000, 38, 1_000_000
GOAL = 30.0  # seconds

# 25,000 settled campaigns of 2,000 tenants; every tenth has a cap that its one day used up, the last changes of every
# fifth still wait for Kafka.
SEED = f"""
SET session_replication_role = replica;
INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, funded_micros,
                     available_micros, created_at, updated_at)
SELECT 'Tenant ' || n, 'EUR', 'UTC', 'a@b.example', 100, 0, 1e12, 1e12, '{NOW}', '{NOW}'
FROM generate_series(1, 2000) n;
INSERT INTO stores (code, name, timezone, created_at, updated_at) VALUES ('S', 'Shop', 'UTC', '{NOW}', '{NOW}');
INSERT INTO devices (store_id, name, created_at, updated_at)
SELECT id, 'Screen', '{NOW}', '{NOW}' FROM stores, generate_series(1, 1000);
INSERT INTO campaigns (tenant_id, name, channel, status, sequence, timezone, start_at, end_at, tzdata_version,
                       budget_micros, daily_cap_micros, capped_until, spent_micros, released_micros, impressions,
                       submitted_at, distributed_at, activated_at, completed_at, settle_at, settled_at, correlation_id,
                       created_by, created_at, updated_at)
SELECT t.id, 'Campaign ' || n, 'signage', 'COMPLETED', 6, 'UTC', timestamptz '{NOW}' - interval '12 hours', '{NOW}',
       '2026a', 500000000, CASE WHEN n % 10 = 0 THEN {CHARGES} * 3333 END,
       CASE WHEN n % 10 = 0 THEN timestamptz '{NOW}' + interval '12 hours' END, {CHARGES} * 3333,
       500000000 - {CHARGES} * 3333, {CHARGES}, '{NOW}', '{NOW}', '{NOW}', '{NOW}', '{NOW}', '{NOW}', 'c', 'tests',
       '{NOW}', '{NOW}'
FROM generate_series(1, {CAMPAIGNS}) n
JOIN (SELECT id, row_number() OVER () AS number FROM tenants) t ON t.number = n % 2000 + 1;
INSERT INTO transitions (campaign_id, sequence, tenant_id, type, from_status, to_status, moved, due_at, executed_at,
                         actor, correlation_id)
SELECT c.id, s.sequence, c.tenant_id, s.type, s.before, s.after, s.moved::jsonb, '{NOW}', '{NOW}', 'signaged', 'c'
FROM campaigns c, (VALUES
    (1, 'created', NULL, 'DRAFT', '{{}}'), (2, 'scheduled', 'DRAFT', 'SCHEDULED', '{{"held_micros": 500000000}}'),
    (3, 'content.distributed', 'SCHEDULED', 'SCHEDULED', '{{}}'), (4, 'started', 'SCHEDULED', 'ACTIVE', '{{}}'),
    (5, 'completed', 'ACTIVE', 'COMPLETED', '{{}}'),
    (6, 'settled', 'COMPLETED', 'COMPLETED', format('{{"released_micros": %s}}', 500000000 - {CHARGES} * 3333)))
    s (sequence, type, before, after, moved);
INSERT INTO ledger (tenant_id, kind, debit, credit, amount_micros, at)
SELECT id, 'deposit', 'cash', 'available', 1e12, '{NOW}' FROM tenants;
INSERT INTO ledger (tenant_id, campaign_id, sequence, kind, debit, credit, amount_micros, at)
SELECT tenant_id, id, 2, 'hold', 'available', 'held', 500000000, timestamptz '{NOW}' FROM campaigns
UNION ALL
SELECT tenant_id, id, 6, 'release', 'held', 'available', released_micros, '{NOW}' FROM campaigns
UNION ALL
SELECT tenant_id, id, NULL, 'charge', 'held', 'spent', 3333, '{NOW}' FROM campaigns, generate_series(1, {CHARGES});
UPDATE tenants t SET available_micros = available_micros - s.spent
FROM (SELECT tenant_id, sum(spent_micros) AS spent FROM campaigns GROUP BY tenant_id) s WHERE s.tenant_id = t.id;
INSERT INTO plays (device_id, play_id, campaign_id, started_at, duration_ms, verdict, price_micros, charged_micros,
                   counted_on, received_at)
SELECT d.id, c.number || '-' || n, c.id, timestamptz '{NOW}' - interval '1 hour', 10000, 'accepted', 3333, 3333,
       CASE WHEN c.daily_cap_micros IS NOT NULL THEN date '{NOW:%Y-%m-%d}' END, '{NOW}'
FROM (SELECT *, row_number() OVER () AS number FROM campaigns) c
CROSS JOIN generate_series(1, {CHARGES}) n
JOIN (SELECT id, row_number() OVER () AS number FROM devices) d ON d.number = (c.number + n) % 1000 + 1;
INSERT INTO daily_spends
SELECT id, '{NOW:%Y-%m-%d}', spent_micros FROM campaigns WHERE daily_cap_micros IS NOT NULL;
INSERT INTO outbox (shard, topic, key, sequence, type, body, created_at)
SELECT 0, 'campaigns', campaign_id, sequence, type, repeat('x', 800)::bytea, '{NOW}'
FROM transitions WHERE sequence > 4 AND get_byte(uuid_send(campaign_id), 15) % 5 = 0 ORDER BY sequence;
ANALYZE"""
WRITE = "UPDATE tenants SET available_micros = available_micros WHERE id = (SELECT id FROM tenants LIMIT 1)"


async def test_a_million_entries_in_half_a_minute(owner_connection: Tx, database_url: str) -> None:
    await owner_connection.execute(SEED)
    entries = await owner_connection.fetchval("SELECT count(*) FROM ledger")
    assert entries >= ENTRIES
    environ = {"SIGNAGED_DATABASE__URL": database_url, "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    command = [sys.executable, "-m", "daemon", "verify", "--json"]
    began = time.monotonic()
    running = asyncio.create_task(
        asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, check=False)
    )
    waits = await _writing(database_url, running)
    ended, seconds = await running, time.monotonic() - began
    told = json.loads(ended.stdout)
    assert (ended.returncode, told["violations"]) == (0, []), ended.stderr
    slow = sorted(told["checked"], key=lambda each: -each["seconds"])[:4]
    figures = [
        f"{entries} ledger entries, {CAMPAIGNS * CHARGES} plays, {6 * CAMPAIGNS} log rows: {seconds:.1f} s",
        f"writes meanwhile: {len(waits)}, the slowest {max(waits) * 1000:.0f} ms",
        *(f"{each['seconds']:6.1f} s  {each['invariant']}" for each in slow),
    ]
    sys.stdout.write("\n".join(["", *figures, ""]))
    assert seconds < GOAL
    assert max(waits) < 2, "it holds no lock that a write waits for"


async def _writing(url: str, running: asyncio.Task[subprocess.CompletedProcess[str]]) -> list[float]:
    """How long each small write takes while it runs."""
    connection, waits = await asyncpg.connect(url), list[float]()
    try:
        while not running.done():
            began = time.monotonic()
            await connection.execute(WRITE)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
    return waits
