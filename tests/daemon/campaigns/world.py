"""A small world for tests: tenants with money, screens, creatives, and campaigns booked the way people book them."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from daemon.campaigns import booking, ledger
from daemon.campaigns.asking import Caller
from daemon.campaigns.draft import BookingLimits, zulu
from daemon.campaigns.money import micros
from playlists.ids import CampaignId, DeviceId, TenantId
from playlists.queries import Tx

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = BookingLimits(
    min_lead=timedelta(days=1),
    max_lead=timedelta(days=365),
    max_duration=timedelta(days=365),
    min_budget=micros("100.00"),
    max_budget=micros("1000000.00"),
    min_topup=micros("50.00"),
    max_creatives=10,
    max_audience=1_000_000,
    settle_after=timedelta(minutes=5),
    distribution_lead=timedelta(days=1),
)
OPERATOR = Caller("token:operator", "an-operator-asked", operator=True)


def advertiser(tenant_id: TenantId) -> Caller:
    return Caller(f"token:{tenant_id}", "an-advertiser-asked", operator=False, tenant_id=tenant_id)


async def tenant(tx: Tx, funds: str = "10000.00", **more: Any) -> TenantId:
    values = {"running_limit": 5, "approval_limit_micros": micros("10000.00"), "timezone": "Europe/Berlin"} | more
    tenant_id = TenantId(
        await tx.fetchval(
            """INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, created_at,
                                    updated_at) VALUES ('Acme', 'EUR', $1, 'ads@acme.example', $2, $3, $4, $4)
               RETURNING id""",
            values["timezone"],
            values["running_limit"],
            values["approval_limit_micros"],
            NOW,
        )
    )
    await ledger.deposit(tx, tenant_id, micros(funds), "invoice 1", NOW)
    return tenant_id


async def device(tx: Tx, timezone: str = "Europe/Berlin", opening_hours: Any = (), **more: Any) -> DeviceId:
    store_id = await tx.fetchval(
        """INSERT INTO stores (code, name, timezone, opening_hours, created_at, updated_at)
           VALUES ($1, 'A shop', $2, $3, $4, $4) RETURNING id""",
        secrets.token_hex(8),
        timezone,
        list(opening_hours),
        NOW,
    )
    return DeviceId(
        await tx.fetchval(
            """INSERT INTO devices (store_id, name, slots_per_hour, created_at, updated_at)
               VALUES ($1, 'A screen', $2, $3, $3) RETURNING id""",
            store_id,
            more.get("slots_per_hour", 12),
            NOW,
        )
    )


async def creative(tx: Tx, tenant_id: TenantId | None, **more: Any) -> UUID:
    values = {"state": "STORED", "flags": [], "duration_ms": 10_000} | more
    created: UUID = await tx.fetchval(
        """INSERT INTO creatives (tenant_id, name, sha256, size, mime, duration_ms, flags, state, created_at,
                                  updated_at)
           VALUES ($1, 'A picture', $2, 1000, 'image/png', $3, $4, $5, $6, $6) RETURNING id""",
        tenant_id,
        secrets.token_hex(32),
        values["duration_ms"],
        values["flags"],
        values["state"],
        NOW,
    )
    return created


async def body(tx: Tx, tenant_id: TenantId, **more: Any) -> dict[str, Any]:
    """The fields of a campaign that could be submitted at NOW: it starts in two days and runs for one."""
    given: dict[str, Any] = {
        "name": f"Sale {secrets.token_hex(4)}",
        "channel": "signage",
        "start_at": zulu(NOW + 48 * HOUR),
        "end_at": zulu(NOW + 72 * HOUR),
        "budget": "100.00",
        "target": {},
    } | more
    if "creatives" not in given:
        given["creatives"] = [str(await creative(tx, tenant_id))]
    return given


async def draft(tx: Tx, tenant_id: TenantId, **more: Any) -> CampaignId:
    given = await body(tx, tenant_id, **more)
    campaign_id, _ = await booking.create(tx, tenant_id, given, NOW, advertiser(tenant_id), LIMITS)
    return campaign_id


async def submitted(tx: Tx, tenant_id: TenantId, at: datetime = NOW, **more: Any) -> CampaignId:
    campaign_id = await draft(tx, tenant_id, **{"allow_short_lead": True, **more})
    await booking.submit(tx, campaign_id, at, advertiser(tenant_id), LIMITS)
    return campaign_id


BECOME = """
UPDATE campaigns
SET status = $2, held_micros = CASE WHEN $2 = 'DRAFT' THEN 0 ELSE budget_micros END, activated_at = $3::timestamptz,
    settle_at = $3, completed_at = CASE WHEN $2 = 'COMPLETED' THEN $3 END,
    pause_causes = CASE WHEN $2 = 'PAUSED' THEN ARRAY[$4] ELSE '{}' END
WHERE id = $1"""


async def become(tx: Tx, status: str, cause: str) -> CampaignId:
    """A campaign that is put into a status by hand, a PAUSED one by this cause; its log knows nothing of it."""
    tenant_id = await tenant(tx)
    await device(tx)
    campaign_id = await draft(tx, tenant_id)
    await tx.execute(BECOME, campaign_id, str(status), NOW, cause)
    return campaign_id


async def column(tx: Tx, campaign_id: CampaignId, name: str) -> Any:
    return await tx.fetchval(f"SELECT {name} FROM campaigns WHERE id = $1", campaign_id)


async def log_of(tx: Tx, campaign_id: CampaignId) -> list[tuple[str, str | None, str]]:
    rows = await tx.fetch(
        "SELECT type, from_status, to_status FROM transitions WHERE campaign_id = $1 ORDER BY sequence", campaign_id
    )
    return [(row["type"], row["from_status"], row["to_status"]) for row in rows]
