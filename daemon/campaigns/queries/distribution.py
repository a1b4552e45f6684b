"""Statements over campaigns whose content is due on the screens."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from daemon.campaigns.queries.claiming import FIRST, RESTED, Claimed, Place, claimed
from daemon.campaigns.queries.due import UNDISTRIBUTED
from playlists.ids import CampaignId
from playlists.queries import Row, Tx

_DUE = f"{UNDISTRIBUTED} AND start_at <= $1::timestamptz + $2::interval"
# Not before somebody let it: booked, approved or resumed within the lead, or started by hand; nor while it was held.
_DUE_AT = """(
    SELECT greatest(c.start_at - $2::interval, c.submitted_at, max(t.executed_at),
                    (SELECT max(ended_at) FROM pauses p WHERE p.campaign_id = c.id))
    FROM transitions t
    WHERE t.campaign_id = c.id
      AND (t.type IN ('scheduled', 'approved', 'resumed') OR t.type = 'started' AND t.actor <> 'signaged')
) AS due_at"""
CLAIM_TO_DISTRIBUTE = f"""
WITH due AS MATERIALIZED (
    SELECT id, start_at FROM campaigns
    WHERE {_DUE} AND (start_at, id) > ($4::timestamptz + $2, $5) AND {RESTED}
    ORDER BY start_at, id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
)
SELECT array_agg(id) AS ids, max(start_at) - $2 AS at FROM due"""  # noqa: S608 - constants of this module
LOCK_TO_DISTRIBUTE = f"""
SELECT c.id, {_DUE_AT} FROM campaigns c WHERE {_DUE} AND c.id = ANY($3::uuid[])
ORDER BY c.id FOR NO KEY UPDATE"""  # noqa: S608 - constants of this module


async def claim_to_distribute(tx: Tx, now: datetime, lead: timedelta, limit: int, after: Place = FIRST) -> Claimed:
    """Lock up to `limit` campaigns that start within the lead and are on no screen yet, behind a place in their order.

    The place's instant is that at which they are due: `lead` before their start.
    """
    return claimed(await tx.fetchrow(CLAIM_TO_DISTRIBUTE, now, lead, limit, *after), after)


async def lock_to_distribute(tx: Tx, now: datetime, lead: timedelta, ids: Sequence[CampaignId]) -> list[Row]:
    """Lock those of the campaigns that are due as `claim_to_distribute` says: `id, due_at`."""
    return await tx.fetch(LOCK_TO_DISTRIBUTE, now, lead, ids)


NOTE_DISTRIBUTED = """
UPDATE campaigns c SET distributed_at = $2, total_recipients = n.recipients, attempts = 0, retry_at = NULL
FROM unnest($1::uuid[], $3::integer[]) AS n (id, recipients)
WHERE c.id = n.id AND c.id = ANY($1::uuid[])"""


async def note_distributed(tx: Tx, ids: Sequence[CampaignId], recipients: Sequence[int], now: datetime) -> None:
    """Note that locked campaigns are in the playlists from now on, and of how many devices; lists side by side."""
    await tx.execute(NOTE_DISTRIBUTED, ids, now, recipients)
