"""Statements over reported plays and what they are judged by, apart from the campaigns' own rows."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from devices.plays import HOUSE, Play, Verdict
from playlists.ids import DeviceId, Digest
from playlists.queries import Tx

_LOCK = """
SELECT d.cpm_micros, s.category, s.timezone FROM devices d JOIN stores s ON s.id = d.store_id
WHERE d.id = $1 FOR NO KEY UPDATE OF d
"""
_ANSWERED = "SELECT play_id FROM plays WHERE device_id = $1 AND play_id = ANY ($2::text[])"
_GIVEN = """
SELECT p.digest, g.device_id IS NOT NULL AS granted
FROM playlists p LEFT JOIN grants g ON g.digest = p.digest AND g.device_id = $1
WHERE p.digest = ANY ($2::text[])
"""
_RECORD = """
INSERT INTO plays (device_id, play_id, campaign_id, creative_id, variant, digest, started_at, duration_ms, verdict,
                   price_micros, charged_micros, counted_on, received_at)
SELECT $1, p.*, $2 FROM unnest($3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::timestamptz[],
                               $9::integer[], $10::text[], $11::bigint[], $12::bigint[], $13::date[]) AS p
"""
# What went stays known by its sums, so that money can be proved against plays for ever (signaged verify).
_PURGE = """
WITH old AS MATERIALIZED (
    SELECT device_id, play_id FROM plays WHERE received_at < $1 ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM plays p USING old WHERE p.device_id = old.device_id AND p.play_id = old.play_id
    RETURNING p.campaign_id, p.counted_on, p.verdict, p.charged_micros
), summed AS (
    INSERT INTO purged_plays AS x (campaign_id, counted_on, impressions, charged_micros)
    SELECT campaign_id, counted_on, count(*), sum(charged_micros) FROM gone
    WHERE verdict IN ('accepted', 'unpaid') GROUP BY campaign_id, counted_on ORDER BY campaign_id, counted_on
    ON CONFLICT ON CONSTRAINT purged_plays_once DO UPDATE SET
        impressions = x.impressions + excluded.impressions, charged_micros = x.charged_micros + excluded.charged_micros
)
SELECT count(*) FROM gone
"""


class Judged(NamedTuple):
    """A play with its verdict: begun at `started_at` by our clock, priced and charged in micros.

    `counted_on` is the local date that it counts towards, where its campaign has a daily cap.
    """

    play: Play
    started_at: datetime
    verdict: Verdict
    price_micros: int = 0
    charged_micros: int = 0
    counted_on: date | None = None


class Reporter(NamedTuple):
    """What of a device bears on the price of its plays: its own CPM in micros, its store's category and zone."""

    cpm_micros: int | None
    category: str | None
    timezone: str


async def lock_reporter(tx: Tx, device_id: DeviceId) -> Reporter:
    """What the device's plays are priced by; its reports now come one after the other."""
    row = await tx.fetchrow(_LOCK, device_id)
    return Reporter(*row) if row else Reporter(None, None, "UTC")


async def answered(tx: Tx, device_id: DeviceId, play_ids: Sequence[str]) -> set[str]:
    """Those of the plays that had a verdict before."""
    return {row["play_id"] for row in await tx.fetch(_ANSWERED, device_id, play_ids)}


async def given(tx: Tx, device_id: DeviceId, digests: Sequence[Digest]) -> dict[Digest, bool]:
    """Those of the playlists that there are, and whether they were given to the device."""
    return {Digest(row["digest"]): row["granted"] for row in await tx.fetch(_GIVEN, device_id, digests)}


async def record_plays(tx: Tx, device_id: DeviceId, judged: Sequence[Judged], now: datetime) -> None:
    """Keep plays with their verdicts, each `play_id` once."""
    if judged:
        rows = [
            (
                *(of.play_id, None if of.campaign_id == HOUSE else of.campaign_id, of.creative_id, of.variant),
                *(of.digest, began, of.duration_ms, verdict, price, charged, on),
            )
            for of, began, verdict, price, charged, on in judged
        ]
        await tx.execute(_RECORD, device_id, now, *(list(column) for column in zip(*rows, strict=True)))


async def purge_plays(tx: Tx, before: datetime, limit: int) -> int:
    """Forget the oldest plays that were received before an instant, at most `limit`; how many went (SPEC 13)."""
    gone: int = await tx.fetchval(_PURGE, before, limit)
    return gone
