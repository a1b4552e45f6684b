"""Statements over the playlists that screens have shown to hold, or were sent since."""

from collections.abc import Collection, Mapping
from datetime import datetime

from playlists.ids import CampaignId, DeviceId, Digest
from playlists.queries import Tx

Shown = tuple[Digest, Digest]  # what a device showed to hold, and the body that it was sent, or has already

# The devices' rows are locked by their sightings, in order of id; who shows nothing new writes nothing.
RECORD_SHOWN = """
UPDATE presence p SET digest = s.held, sent_digest = s.sent
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS s (device_id, held, sent)
WHERE p.device_id = s.device_id AND p.device_id = ANY ($1::uuid[])
  AND (p.digest IS DISTINCT FROM s.held OR p.sent_digest IS DISTINCT FROM s.sent)
"""


async def record_shown(tx: Tx, devices: Mapping[DeviceId, Shown]) -> None:
    """Keep what each device showed last; its sighting must be written before, in `tx`."""
    if devices:
        held, sent = zip(*devices.values(), strict=True)
        await tx.execute(RECORD_SHOWN, list(devices), list(held), list(sent))


SHOWN = "SELECT digest, sent_digest FROM presence WHERE device_id = $1"


async def shown(tx: Tx, device_id: DeviceId) -> set[Digest]:
    """The playlists that a device may hold: what it showed last and what it was sent last."""
    row = await tx.fetchrow(SHOWN, device_id)
    return {Digest(digest) for digest in row if digest} if row else set()


# What is over plays nowhere, and what was compiled after a stop has not what was stopped (a minute is for who compiled
# meanwhile). Bodies are searched, not read: the id of a campaign stands nowhere else in them.
SCREENS_HOLDING = """
WITH stopped AS MATERIALIZED (
    SELECT campaign_id, began_at FROM pauses
    WHERE campaign_id = ANY ($1::uuid[]) AND cause = 'EMERGENCY_STOP' AND ended_at IS NULL
), held AS MATERIALIZED (
    SELECT digest FROM presence WHERE digest IS NOT NULL UNION SELECT sent_digest FROM presence
), old AS MATERIALIZED (
    SELECT s.campaign_id, p.digest FROM stopped s, playlists p
    WHERE p.digest IN (SELECT digest FROM held) AND p.valid_until > $2
      AND p.created_at <= s.began_at + interval '1 minute'
      AND position(convert_to(s.campaign_id::text, 'UTF8') IN p.body) > 0
)
SELECT campaign_id, count(DISTINCT device_id) AS screens
FROM (SELECT o.campaign_id, p.device_id FROM old o JOIN presence p ON p.digest = o.digest
      UNION ALL SELECT o.campaign_id, p.device_id FROM old o JOIN presence p ON p.sent_digest = o.digest) holding
GROUP BY campaign_id
"""


async def screens_holding(tx: Tx, stopped: Collection[CampaignId], now: datetime) -> dict[CampaignId, int]:
    """How many screens may still hold a playlist that has each of these stopped campaigns (SPEC 7).

    A silent screen is believed to hold what it showed last.
    """
    if not stopped:
        return {}
    rows = await tx.fetch(SCREENS_HOLDING, list(stopped), now)
    return dict.fromkeys(stopped, 0) | {CampaignId(row["campaign_id"]): row["screens"] for row in rows}
