"""Statements over the screens of campaigns that hold nothing yet, or that nobody hears of, store by store."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from devices.audience import ELIGIBLE
from playlists.ids import CampaignId
from playlists.queries import Tx


class StoreShare(NamedTuple):
    """A store's screens in an audience, and how many of them are READY."""

    store_id: UUID
    code: str
    name: str
    city: str | None
    devices: int
    ready: int


@dataclass(slots=True)
class Readiness:
    """An audience's screens, how many are READY, how many stores there are, and the first stores."""

    devices: int = 0
    ready: int = 0
    stores: int = 0
    unready_stores: int = 0
    first: list[StoreShare] = field(default_factory=list)


# READY screens alone are looked at: far cheaper than the whole audience, whose size is kept beside the campaign.
SOUND = f"""
SELECT c.id FROM campaigns c JOIN targets t ON t.campaign_id = c.id
WHERE c.id = ANY ($1::uuid[]) AND c.total_recipients > 0
  AND (SELECT count(*) FROM deliveries v JOIN devices d ON d.id = v.device_id JOIN stores s ON s.id = d.store_id
       WHERE v.campaign_id = c.id AND v.status = 'READY' AND {ELIGIBLE}) * 100 >= $2::int * c.total_recipients
"""  # noqa: S608 - constants of ours
BY_STORE = f"""
WITH shares AS (
    SELECT t.campaign_id, s.id, s.code, s.name, s.city, count(*)::int AS devices,
           (count(*) FILTER (WHERE v.status = 'READY'))::int AS ready
    FROM targets t CROSS JOIN devices d JOIN stores s ON s.id = d.store_id
    LEFT JOIN deliveries v ON v.campaign_id = t.campaign_id AND v.device_id = d.id
    WHERE t.campaign_id = ANY ($1::uuid[]) AND {ELIGIBLE}
    GROUP BY t.campaign_id, s.id
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY campaign_id ORDER BY ready - devices, name, id) AS place,
           sum(devices) OVER whole AS all_devices, sum(ready) OVER whole AS all_ready,
           count(*) OVER whole AS stores, count(*) FILTER (WHERE ready < devices) OVER whole AS unready_stores
    FROM shares WINDOW whole AS (PARTITION BY campaign_id)
)
SELECT * FROM placed WHERE place <= $2 ORDER BY campaign_id, place
"""  # noqa: S608 - as above
HEARD = f"""
SELECT c.id FROM campaigns c JOIN targets t ON t.campaign_id = c.id
WHERE c.id = ANY ($1::uuid[])
  AND EXISTS (SELECT FROM presence p JOIN devices d ON d.id = p.device_id JOIN stores s ON s.id = d.store_id
              WHERE p.last_seen_at >= c.activated_at AND {ELIGIBLE})
"""  # noqa: S608 - as above


async def sound(tx: Tx, ids: Sequence[CampaignId], threshold_percent: int) -> set[CampaignId]:
    """Those of the campaigns of whose audience, as large as it is on record, `threshold_percent` are READY."""
    return {CampaignId(row["id"]) for row in await tx.fetch(SOUND, ids, threshold_percent)}


async def by_store(tx: Tx, ids: Sequence[CampaignId], listed: int) -> dict[CampaignId, Readiness]:
    """The audience of each campaign as it is now, with the `listed` stores that lack most screens."""
    found: dict[CampaignId, Readiness] = defaultdict(Readiness)
    for row in await tx.fetch(BY_STORE, ids, listed):
        campaign, *share = row[:7]
        readiness = found[CampaignId(campaign)]
        readiness.devices, readiness.ready = int(row["all_devices"]), int(row["all_ready"])
        readiness.stores, readiness.unready_stores = row["stores"], row["unready_stores"]
        readiness.first.append(StoreShare(*share))
    return {campaign: found[campaign] for campaign in ids}


async def heard(tx: Tx, ids: Sequence[CampaignId]) -> set[CampaignId]:
    """Those of the started campaigns of whose audience a screen was seen since their start."""
    return {CampaignId(row["id"]) for row in await tx.fetch(HEARD, ids)}
