"""A network and campaigns written straight into the tables, each in the state that a test needs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any
from uuid import UUID

from devices.audience import set_target
from devices.targets import Target
from playlists.ids import CampaignId, CreativeId, DeviceId, StoreId, TenantId
from playlists.queries import Tx

_number = count(1)

HOUR = timedelta(hours=1)


async def tenant(tx: Tx, now: datetime) -> TenantId:
    return TenantId(
        await tx.fetchval(
            """INSERT INTO tenants (name, currency, timezone, email, running_limit, approval_limit_micros, created_at,
                                    updated_at) VALUES ($1, 'USD', 'UTC', 'a@b.example', 50, 0, $2, $2) RETURNING id""",
            f"Tenant {next(_number)}",
            now,
        )
    )


async def creative(
    tx: Tx, owner: TenantId | None, now: datetime, *, seconds: float = 10, stored: bool = True
) -> CreativeId:
    return CreativeId(
        await tx.fetchval(
            """INSERT INTO creatives (tenant_id, name, sha256, size, mime, duration_ms, state, created_at, updated_at)
               VALUES ($1, 'A creative', $2, 1000, 'image/png', $3, $4, $5, $5) RETURNING id""",
            owner,
            sha256(b"%d" % next(_number)).hexdigest(),
            round(seconds * 1000),
            "STORED" if stored else "MISSING",
            now,
        )
    )


async def store(
    tx: Tx,
    now: datetime,
    *,
    timezone: str = "UTC",
    tags: Sequence[str] = (),
    blocked_keys: Sequence[str] = (),
    opening_hours: Sequence[dict[str, Any]] = (),
    fallback: Sequence[CreativeId] = (),
) -> StoreId:
    return StoreId(
        await tx.fetchval(
            """INSERT INTO stores (code, name, timezone, tags, blocked_keys, opening_hours, fallback, created_at,
                                   updated_at)
               VALUES ($1, $1, $2, $3, $4, $5, $6, $7, $7) RETURNING id""",
            f"S{next(_number)}",
            timezone,
            tags,
            blocked_keys,
            opening_hours,
            fallback,
            now,
        )
    )


async def device(
    tx: Tx,
    store_id: StoreId,
    now: datetime,
    *,
    tags: Sequence[str] = (),
    slots_per_hour: int = 12,
    disabled: bool = False,
) -> DeviceId:
    return DeviceId(
        await tx.fetchval(
            """INSERT INTO devices (store_id, name, tags, slots_per_hour, disabled, created_at, updated_at)
               VALUES ($1, 'A screen', $2, $3, $4, $5, $5) RETURNING id""",
            store_id,
            tags,
            slots_per_hour,
            disabled,
            now,
        )
    )


async def campaign(
    tx: Tx,
    owner: TenantId,
    now: datetime,
    *,
    creatives: Sequence[CreativeId],
    target: Target | None = None,
    begins: timedelta = -HOUR,
    ends: timedelta = 10 * HOUR,
    status: str = "ACTIVE",
    distributed: bool = True,
    priority: int = 5,
) -> CampaignId:
    """One that begins and ends at these distances from `now`, with a budget of 100.00 held."""
    campaign_id = CampaignId(
        await tx.fetchval(
            """INSERT INTO campaigns (tenant_id, name, channel, status, timezone, start_at, end_at, tzdata_version,
                                      budget_micros, held_micros, priority, distributed_at, activated_at, submitted_at,
                                      correlation_id, created_by, created_at, updated_at)
               VALUES ($1, $2, 'signage', $3, 'UTC', $4, $5, '2026a', 100000000, 100000000, $6, $7, $8, $9,
                       'c', 'tests', $9, $9) RETURNING id""",
            owner,
            f"Campaign {next(_number)}",
            status,
            now + begins,
            now + ends,
            priority,
            now if distributed else None,
            now if status == "ACTIVE" else None,
            now - HOUR,
        )
    )
    await tx.executemany(
        "INSERT INTO campaign_creatives (campaign_id, position, creative_id) VALUES ($1, $2, $3)",
        [(campaign_id, position, one) for position, one in enumerate(creatives)],
    )
    await set_target(tx, campaign_id, target or Target())
    return campaign_id


async def end_campaign(tx: Tx, campaign_id: UUID, status: str = "CANCELLED") -> None:
    """Take a campaign out of the playlists without a mark."""
    await tx.execute("UPDATE campaigns SET status = $2, settle_at = end_at WHERE id = $1", campaign_id, status)
