"""The audience of campaigns, as the database counts it."""

from collections.abc import Sequence

from devices.targets import FIELDS, Target
from playlists.daypart import parse
from playlists.ids import CampaignId, DeviceId, StoreId
from playlists.placement import Screen
from playlists.queries import Row, Tx

# Who is included, before anything is taken away; the aliases are those of ELIGIBLE.
INCLUDED = """(
    cardinality(t.stores) + cardinality(t.devices) + cardinality(t.include_tags) = 0
    OR s.id = ANY(t.stores) OR d.id = ANY(t.devices) OR d.tags && t.include_tags OR s.tags && t.include_tags
)"""
EXCLUDED = """(
    s.id = ANY(t.exclude_stores) OR d.id = ANY(t.exclude_devices)
    OR d.tags && t.exclude_tags OR s.tags && t.exclude_tags
)"""
# The rule of SPEC 3 over devices d, their stores s and targets t; `targets.eligible` is its twin.
ELIGIBLE = f"""(
    NOT d.disabled
    AND {INCLUDED}
    AND NOT {EXCLUDED}
    AND NOT s.blocked_keys && t.block_keys
    AND t.longest_ms::bigint * d.slots_per_hour <= 3600000
)"""

AUDIENCE_SIZES = f"""
SELECT t.campaign_id, n.devices
FROM targets t
CROSS JOIN LATERAL (SELECT count(*)::int AS devices FROM devices d JOIN stores s ON s.id = d.store_id
                    WHERE {ELIGIBLE}) n
WHERE t.campaign_id = ANY($1::uuid[])
"""  # noqa: S608 - constants


async def audience_sizes(tx: Tx, ids: Sequence[CampaignId]) -> dict[CampaignId, int]:
    """How many devices are eligible now for each of the campaigns; 0 for one that has no target yet."""
    found = {row["campaign_id"]: row["devices"] for row in await tx.fetch(AUDIENCE_SIZES, ids)}
    return {campaign_id: found.get(campaign_id, 0) for campaign_id in ids}


async def audience_size(tx: Tx, campaign_id: CampaignId) -> int:
    """How many devices are eligible now for the campaign."""
    return (await audience_sizes(tx, [campaign_id]))[campaign_id]


SCREEN_KINDS = f"""
SELECT DISTINCT s.timezone, s.opening_hours, d.slots_per_hour
FROM targets t, devices d JOIN stores s ON s.id = d.store_id
WHERE t.campaign_id = $1 AND {ELIGIBLE}
"""  # noqa: S608 - constants


async def screen_kinds(tx: Tx, campaign_id: CampaignId) -> list[Screen]:
    """The kinds of screens in the audience, without their house content: for `placement.has_slot` (SPEC 3)."""
    return [
        Screen(row["timezone"], row["slots_per_hour"], tuple(map(parse, row["opening_hours"])), ())
        for row in await tx.fetch(SCREEN_KINDS, campaign_id)
    ]


UNKNOWN_STORES = "SELECT id FROM unnest($1::uuid[]) AS id WHERE NOT EXISTS (SELECT FROM stores s WHERE s.id = id.id)"
UNKNOWN_DEVICES = "SELECT id FROM unnest($1::uuid[]) AS id WHERE NOT EXISTS (SELECT FROM devices d WHERE d.id = id.id)"


async def unknown(tx: Tx, target: Target) -> dict[str, list[StoreId | DeviceId]]:
    """Ids in the target that no store or device has, by the field that names them."""
    statements = {"stores": UNKNOWN_STORES, "devices": UNKNOWN_DEVICES}
    found: dict[str, list[StoreId | DeviceId]] = {}
    for name in ("stores", "devices", "exclude_stores", "exclude_devices"):
        named = getattr(target, name)
        rows = await tx.fetch(statements[name.removeprefix("exclude_")], list(named)) if named else []
        if rows:
            found[name] = sorted(row["id"] for row in rows)
    return found


SET_TARGET = """
INSERT INTO targets (campaign_id, stores, devices, include_tags, exclude_stores, exclude_devices, exclude_tags,
                     block_keys, longest_ms)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (campaign_id) DO UPDATE SET
    stores = EXCLUDED.stores, devices = EXCLUDED.devices, include_tags = EXCLUDED.include_tags,
    exclude_stores = EXCLUDED.exclude_stores, exclude_devices = EXCLUDED.exclude_devices,
    exclude_tags = EXCLUDED.exclude_tags, block_keys = EXCLUDED.block_keys, longest_ms = EXCLUDED.longest_ms
"""


async def set_target(tx: Tx, campaign_id: CampaignId, target: Target) -> None:
    """Write who a campaign is for, keys and longest creative (milliseconds) included."""
    await tx.execute(
        SET_TARGET,
        campaign_id,
        *(sorted(getattr(target, name)) for name in FIELDS),
        sorted(target.block_keys),
        target.longest_ms,
    )


def target_of(row: Row) -> Target:
    """The target in a row that has the columns of `targets`."""
    lists = {name: frozenset(row[name]) for name in (*FIELDS, "block_keys")}
    return Target(**lists, longest_ms=row["longest_ms"])
