"""Statements over deliveries; lists and counts cover the whole audience, with a row or without (SPEC 7)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from devices.audience import ELIGIBLE
from devices.delivery import PATIENCE, Delivery, Reason, Status
from playlists.ids import CampaignId, DeviceId, Digest
from playlists.queries import Tx

# Offered when the campaign was distributed, or when the device joined or was given a new player.
_OFFERED_AT = """greatest(c.distributed_at, d.created_at,
    CASE WHEN v.status = 'OFFERED' AND v.digest IS NULL THEN v.updated_at END)"""
# No ack in time ends an offer; who is seen after that is offered it again by being seen. $2 is now, $3 the patience.
_TIMED_OUT = f"""(v.digest IS NULL AND CASE
    WHEN p.last_seen_at > {_OFFERED_AT} + $3::interval THEN $2::timestamptz - p.last_seen_at >= $3
    ELSE $2 - {_OFFERED_AT} >= $3 END)"""
STATUS = f"""CASE
    WHEN c.distributed_at IS NULL THEN 'PENDING'
    WHEN v.status IN ('READY', 'FAILED') THEN v.status
    WHEN {_TIMED_OUT} THEN 'TIMED_OUT'
    ELSE 'OFFERED' END"""
REASON = f"""CASE
    WHEN c.distributed_at IS NULL THEN 'NOT_DISTRIBUTED'
    WHEN {_TIMED_OUT} THEN 'NO_ACK'
    ELSE coalesce(v.reason, 'AWAITING_ACK') END"""
_SEATS = """campaigns c JOIN targets t ON t.campaign_id = c.id
    CROSS JOIN devices d JOIN stores s ON s.id = d.store_id
    LEFT JOIN deliveries v ON v.campaign_id = c.id AND v.device_id = d.id
    LEFT JOIN presence p ON p.device_id = d.id"""

_PAGE = f"""
SELECT d.id, d.store_id, CASE WHEN {ELIGIBLE} THEN {STATUS} ELSE 'REMOVED' END,
       CASE WHEN {ELIGIBLE} THEN {REASON} ELSE 'NOT_TARGETED' END,
       CASE WHEN c.distributed_at IS NOT NULL THEN coalesce(v.offered_at, {_OFFERED_AT}) END, v.ready_at, v.digest
FROM {_SEATS}
WHERE c.id = $1 AND ({ELIGIBLE} OR v.device_id IS NOT NULL) AND ($4::uuid IS NULL OR d.id > $4)
ORDER BY d.id LIMIT $5
"""  # noqa: S608 - constants of ours
_COUNTS = f"""
SELECT c.id, {STATUS} AS status, count(*) FROM {_SEATS}
WHERE c.id = ANY ($1::uuid[]) AND {ELIGIBLE} GROUP BY 1, 2
"""  # noqa: S608 - as above
_OPEN = f"""
SELECT c.id, {ELIGIBLE} AS eligible
FROM campaigns c JOIN targets t ON t.campaign_id = c.id, devices d JOIN stores s ON s.id = d.store_id
WHERE c.id = ANY ($1::uuid[]) AND d.id = $2 AND c.distributed_at IS NOT NULL
  AND c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
ORDER BY c.id
"""  # noqa: S608 - as above
_RECORD = """
INSERT INTO deliveries (campaign_id, device_id, status, reason, offered_at, ready_at, digest, updated_at)
SELECT c.id, d.id, r.status, r.reason, greatest(c.distributed_at, d.created_at),
       CASE WHEN r.status = 'READY' THEN $5::timestamptz END, $6, $5
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS r (campaign_id, status, reason)
JOIN campaigns c ON c.id = r.campaign_id JOIN devices d ON d.id = $1
ORDER BY c.id
ON CONFLICT (campaign_id, device_id) DO UPDATE SET
    status = excluded.status, reason = excluded.reason, digest = excluded.digest, updated_at = excluded.updated_at,
    ready_at = CASE WHEN excluded.status = 'READY' THEN coalesce(deliveries.ready_at, excluded.ready_at) END
"""
# Those whose rows say READY often enough for what their audience was; the exact share is counted of these alone.
_NEARLY_READY = """
SELECT c.id FROM campaigns c
WHERE c.distributed_at IS NOT NULL AND c.ready_at IS NULL AND c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
  AND ($2::uuid[] IS NULL OR c.id = ANY ($2))
  AND (SELECT count(*) FROM deliveries v WHERE v.campaign_id = c.id AND v.status = 'READY') * 100
      >= $1::int * greatest(c.total_recipients, 1)
ORDER BY c.id
"""
# No device of theirs has been heard of but with a failure, half an hour after the offer.
_NEARLY_FAILED = """
SELECT c.id FROM campaigns c
WHERE c.distributed_at <= $1 AND c.status IN ('SCHEDULED', 'ACTIVE', 'PAUSED')
  AND EXISTS (SELECT FROM deliveries v WHERE v.campaign_id = c.id AND v.status = 'FAILED')
  AND NOT EXISTS (SELECT FROM deliveries v WHERE v.campaign_id = c.id AND v.status = 'READY')
ORDER BY c.id
"""


async def deliveries(
    tx: Tx, campaign_id: CampaignId, now: datetime, after: DeviceId | None, limit: int
) -> list[Delivery]:
    """At most `limit` devices of a campaign's audience, and those no longer in it, in order of id from `after` on."""
    rows = await tx.fetch(_PAGE, campaign_id, now, PATIENCE, after, limit)
    return [Delivery(*row) for row in rows]


async def delivery_counts(
    tx: Tx, campaign_ids: Sequence[CampaignId], now: datetime
) -> dict[CampaignId, dict[Status, int]]:
    """How many devices of each campaign's audience are in each state, zeros included."""
    counts = {campaign: dict.fromkeys(Status, 0) for campaign in campaign_ids}
    for campaign, status, count in await tx.fetch(_COUNTS, campaign_ids, now, PATIENCE):
        counts[campaign][Status(status)] = count
    return counts


async def open_campaigns(tx: Tx, device_id: DeviceId, campaigns: Sequence[CampaignId]) -> dict[CampaignId, bool]:
    """Those of the campaigns that a delivery can still change, and whether the device is in their audience."""
    return {CampaignId(row["id"]): row["eligible"] for row in await tx.fetch(_OPEN, campaigns, device_id)}


async def record_deliveries(
    tx: Tx, device_id: DeviceId, digest: Digest, found: Mapping[CampaignId, tuple[Status, Reason]], now: datetime
) -> None:
    """Keep what a report on a playlist came to for each campaign in it."""
    if found:
        statuses, reasons = zip(*found.values(), strict=True)
        await tx.execute(_RECORD, device_id, list(found), statuses, reasons, now, digest)


async def nearly_ready(tx: Tx, threshold_percent: int, among: Sequence[CampaignId] | None = None) -> list[CampaignId]:
    """Distributed campaigns that may have reached the threshold for the first time, in order of id."""
    return [CampaignId(row["id"]) for row in await tx.fetch(_NEARLY_READY, threshold_percent, among)]


async def nearly_failed(tx: Tx, offered_before: datetime) -> list[CampaignId]:
    """Campaigns distributed by then whose whole audience may have failed, in order of id."""
    return [CampaignId(row["id"]) for row in await tx.fetch(_NEARLY_FAILED, offered_before)]
