"""Statements over campaigns as reported plays see them: locked, with what they are judged and paid by."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from devices.plays import OLDEST, CampaignFacts
from playlists.ids import CampaignId
from playlists.queries import Tx, mark_campaigns

LOCK_PLAYING = """
SELECT id, start_at, end_at, priority, held_micros, settled_at, status, timezone, daily_cap_micros, capped_until
FROM campaigns
WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"""
# A budget that is used up stops no play: it leaves it unpaid.
STOPS = """
SELECT campaign_id, began_at, ended_at FROM pauses
WHERE campaign_id = ANY ($1::uuid[]) AND cause <> 'BUDGET_EXHAUSTED'"""
CLOSED = """
SELECT campaign_id, min(executed_at) AS closed_at FROM transitions
WHERE campaign_id = ANY ($1::uuid[]) AND type IN ('cancelled', 'failed') GROUP BY campaign_id"""
# A statement of its own, after the lock: in the same it would see the days as they were before others let go.
SPENDS = """
SELECT campaign_id, spent_on, spent_micros FROM daily_spends
WHERE campaign_id = ANY ($1::uuid[]) AND spent_on >= $2"""


class Playing(NamedTuple):
    """A locked campaign: what its plays are judged by, and what they are paid by, in micros.

    `rest_micros` is left of its budget; `spends` is what of its cap went on those local dates that a play may still
    be reported of, empty where it has none.
    """

    facts: CampaignFacts
    priority: int
    rest_micros: int
    timezone: str
    daily_cap_micros: int | None
    capped_until: datetime | None
    spends: Mapping[date, int]


async def lock_playing(tx: Tx, ids: Sequence[CampaignId], now: datetime) -> dict[CampaignId, Playing]:
    """Lock campaigns in order of id and give what there is to know for plays that are reported now."""
    if not ids:
        return {}
    rows = await tx.fetch(LOCK_PLAYING, ids)
    pauses: dict[CampaignId, list[tuple[datetime, datetime | None]]] = defaultdict(list)
    for stop in await tx.fetch(STOPS, ids):
        pauses[stop["campaign_id"]].append((stop["began_at"], stop["ended_at"]))
    ended = [row["id"] for row in rows if row["status"] in ("CANCELLED", "FAILED")]
    closed = {row["campaign_id"]: row["closed_at"] for row in await tx.fetch(CLOSED, ended)} if ended else {}
    spends: dict[CampaignId, dict[date, int]] = defaultdict(dict)
    if capped := [row["id"] for row in rows if row["daily_cap_micros"] is not None]:
        # the earliest date, anywhere, that a play may have begun on
        for day in await tx.fetch(SPENDS, capped, (now - OLDEST).date() - timedelta(days=1)):
            spends[day["campaign_id"]][day["spent_on"]] = day["spent_micros"]
    return {
        row["id"]: Playing(
            CampaignFacts(
                row["start_at"], row["end_at"], pauses[row["id"]], closed.get(row["id"]), row["settled_at"]
            ),
            row["priority"],
            row["held_micros"],
            row["timezone"],
            row["daily_cap_micros"],
            row["capped_until"],
            spends[row["id"]],
        )
        for row in rows
    }  # fmt: skip


CAP = """
UPDATE campaigns c SET capped_until = x.until
FROM unnest($1::uuid[], $2::timestamptz[]) AS x (id, until)
WHERE c.id = x.id AND c.id = ANY ($1::uuid[])
RETURNING c.id, c.distributed_at IS NOT NULL AS shown"""


async def cap(tx: Tx, untils: Sequence[tuple[CampaignId, datetime]], now: datetime) -> None:
    """Take locked campaigns that have used up their day off the screens, each until its instant (SPEC 5).

    They stay as they are: from that instant on they are in the playlists that this makes already.
    """
    if untils:
        rows = await tx.fetch(CAP, *zip(*untils, strict=True))
        await mark_campaigns(tx, [row["id"] for row in rows if row["shown"]], now, urgent=True)
