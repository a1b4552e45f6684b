"""Campaigns as replies show them: one, many, and the log of one."""

import re
from collections.abc import Sequence

from playlists.ids import CampaignId, TenantId
from playlists.queries import Row, Tx

_SHOWN = """
SELECT c.*, n.timezone AS tenant_timezone, n.currency,
       ARRAY(SELECT creative_id FROM campaign_creatives WHERE campaign_id = c.id ORDER BY position) AS creatives,
       t.campaign_id IS NOT NULL AS targeted,
       t.stores, t.devices, t.include_tags, t.exclude_stores, t.exclude_devices, t.exclude_tags,
       t.block_keys, t.longest_ms
FROM campaigns c JOIN tenants n ON n.id = c.tenant_id LEFT JOIN targets t ON t.campaign_id = c.id
WHERE c.deleted_at IS NULL AND ($1::uuid IS NULL OR c.tenant_id = $1)"""

CAMPAIGN = f"{_SHOWN} AND c.id = $2"


async def campaign_row(tx: Tx, campaign_id: CampaignId, tenant_id: TenantId | None = None) -> Row | None:
    """One campaign that is not deleted; with a tenant only if it is that one's.

    The columns of `campaigns`, `tenant_timezone`, `currency`, `creatives` (ids in order), `targeted` and, where it
    is true, the columns of `targets`.
    """
    return await tx.fetchrow(CAMPAIGN, tenant_id, campaign_id)


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

LIST = f"""{_SHOWN}
  AND ($2::text[] IS NULL OR c.status = ANY($2))
  AND ($3::text IS NULL OR c.channel = $3)
  AND ($4::text IS NULL OR strpos(lower(c.name), lower($4)) > 0)
  AND ($5::uuid IS NULL OR c.id > $5)
ORDER BY c.id LIMIT $6"""


async def list_campaigns(
    tx: Tx,
    tenant_id: TenantId | None,
    statuses: Sequence[str] | None,
    channel: str | None,
    search: str | None,
    after: CampaignId | None,
    limit: int,
) -> list[Row]:
    """Campaigns after id `after`, oldest first, as `campaign_row` has them; each filter that is None lets all pass.

    `search` is found in names in any case, taken literally.
    """
    if any(_UNSTORABLE.search(text) for text in (search, channel) if text):
        return []  # no row can have it, and the server refuses to be asked
    return await tx.fetch(LIST, tenant_id, statuses, channel, search, after, limit)


TRANSITIONS = "SELECT * FROM transitions WHERE campaign_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3"


async def transitions(tx: Tx, campaign_id: CampaignId, after: int, limit: int) -> list[Row]:
    """A campaign's log after sequence `after` (0: from the beginning), whole rows."""
    return await tx.fetch(TRANSITIONS, campaign_id, after, limit)
