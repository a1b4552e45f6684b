"""Newer zone rules: what was given as wall time and has not happened is resolved anew (SPEC 2)."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from daemon.campaigns import lifecycle
from daemon.campaigns.campaign import Reason, TransitionType, leaves_playlists
from daemon.campaigns.draft import zulu
from daemon.campaigns.events import Transition
from daemon.campaigns.lifecycle import Change
from daemon.campaigns.queries import zones
from daemon.campaigns.queries.claiming import Claimed, Place
from daemon.campaigns.queries.zones import Move
from devices.plays import AHEAD
from playlists.ids import CampaignId
from playlists.localtime import Resolved, release
from playlists.queries import Row, Tx, mark_campaigns

Resolver = Callable[[datetime, str], Resolved]
_UNSTARTED = frozenset({"DRAFT", "PENDING_APPROVAL", "SCHEDULED"})


def resolution(version: str, resolve: Resolver, lead: timedelta) -> Change:
    """Resolve anew whatever older tzdata versions than `version` resolved; `lead` is that of the distribution.

    An instance whose version is older than a campaign's leaves the campaign alone, so that none resolves back.
    """

    async def claim(tx: Tx, now: datetime, limit: int, after: Place) -> Claimed:
        older = [one for one in await zones.versions(tx) if release(one) < release(version)]
        return Claimed(await zones.claim_to_resolve(tx, now, limit, older) if older else [], after)

    async def over(tx: Tx, ids: Sequence[CampaignId], now: datetime, _: timedelta) -> list[Transition]:
        found = [(row["id"], moved(row, version, resolve, now, lead)) for row in await zones.wall_times(tx, ids)]
        await zones.keep(tx, [campaign_id for campaign_id, move in found if move is None], version)
        rows = await zones.move(tx, [move for _, move in found if move is not None], version, now)
        await mark_campaigns(tx, [row["id"] for row in rows if row["withdrawn"]], now, urgent=True)
        await mark_campaigns(tx, [row["id"] for row in rows if row["distributed_at"] is not None], now)
        return [_fact(row, now) for row in rows]

    return Change(TransitionType.UPDATED, claim, over, held=claim)


def moved(row: Row | Mapping[str, Any], version: str, resolve: Resolver, now: datetime, lead: timedelta) -> Move | None:
    """Where a campaign's edges lie by new rules, or why they stay; None when the rules leave them where they are.

    Edges that are past stay, and a start that was played, by a clock ahead of ours. So do both, with a note, if one
    would be past or the window be empty by the new rules. A start beyond the distribution's lead takes the campaign out
    of the playlists again (SPEC 3).
    """
    start, end, placed_at = row["start_at"], row["end_at"], row["distributed_at"]
    rules = {"field": "tzdata_version", "old": row["tzdata_version"], "new": version}
    try:
        unstarted = row["status"] in _UNSTARTED and not row["impressions"]
        new_start = _anew(start, row["start_local"], row["timezone"], resolve, now, unstarted)
        new_end = _anew(end, row["end_local"], row["timezone"], resolve, now, True)
    except ValueError as error:
        return Move(row["id"], start, end, False, f"the old times are kept: {error}", [rules])
    if (new_start, new_end) == (start, end):
        return None
    edges = (("start_at", start, new_start), ("end_at", end, new_end))
    if fault := _fault(edges, row["start_deadline"], now, now + AHEAD if row["impressions"] else now):
        return Move(row["id"], start, end, False, f"the old times are kept: {fault}", [rules])
    changes: list[dict[str, Any]] = [
        {"field": name, "old": zulu(old), "new": zulu(new)} for name, old, new in edges if old and new and old != new
    ]
    withdrawn = leaves_playlists(placed_at, start, new_start, now, lead)
    if withdrawn:
        changes.append({"field": "distributed_at", "old": zulu(placed_at), "new": None})
    return Move(row["id"], new_start, new_end, withdrawn, None, [*changes, rules])


def _anew(
    at: datetime | None, local: datetime | None, zone: str, resolve: Resolver, now: datetime, open_: bool
) -> datetime | None:
    if at is None or local is None or at <= now or not open_:
        return at
    return resolve(local, zone).utc


def _fault(
    edges: Sequence[tuple[str, datetime | None, datetime | None]],
    deadline: datetime | None,
    now: datetime,
    played: datetime,
) -> str | None:
    """What is wrong with new edges, in words; None: nothing. Until `played` something may have been played."""
    for name, old, new in edges:
        if new is not None and new != old and new <= now:
            return f"by the new rules {name} would be {zulu(new)}, which is past"
        if new is not None and old is not None and new < old and new <= played:
            return f"by the new rules {name} would be {zulu(new)}, and screens may have played beyond that"
    (_, _, start), (_, _, end) = edges
    if start is not None and end is not None and end <= start:
        return f"by the new rules it would end at {zulu(end)}, not after its start at {zulu(start)}"
    if start is not None and deadline is not None and start > deadline:
        return f"by the new rules it would start at {zulu(start)}, after its deadline"
    return None


def _fact(row: Row, now: datetime) -> Transition:
    fact = lifecycle.fact(row, TransitionType.UPDATED, row["status"], now, now, Reason.TZDATA)
    return fact._replace(note=row["note"], changes=row["changes"])
