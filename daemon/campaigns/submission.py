"""Whether a draft can be booked for good: all that SPEC 3 asks at a submit, and the parts a draft refers to."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heappop, heappush
from typing import Any

from daemon.campaigns.campaign import Campaign, Reason
from daemon.campaigns.draft import BookingLimits, Draft, Edge, in_words
from daemon.campaigns.errors import Invalid, NoEligibleDevices, RunningLimit
from daemon.campaigns.money import decimal
from daemon.campaigns.queries import changes
from devices import audience, targets
from playlists.daypart import parse
from playlists.ids import CampaignId, CreativeId, TenantId
from playlists.placement import Screen, has_slot
from playlists.queries import Row, Tx, creative_rows, hold_creatives


@dataclass(frozen=True, slots=True)
class Checked:
    """A draft that may be submitted: window, budget in micros, number of devices, whether a creative is flagged."""

    start_at: datetime
    end_at: datetime
    budget_micros: int
    audience: int
    flagged: bool

    def approval_reason(self, limit_micros: int) -> Reason | None:
        """Why an operator must approve it, if so; `limit_micros` is the tenant's approval limit."""
        if self.flagged:
            return Reason.CREATIVE_FLAGGED
        return Reason.OVER_APPROVAL_LIMIT if self.budget_micros > limit_micros else None


async def unknown_references(
    tx: Tx, tenant_id: TenantId, draft: Draft, known_errors: Mapping[str, str]
) -> dict[str, str]:
    """Ids in the draft that are no creative of the tenant, no store or no device, by field."""
    errors: dict[str, str] = {}
    if draft.creatives and "creatives" not in known_errors:
        rows = await creative_rows(tx, draft.creatives)
        unknown = [one for one in draft.creatives if one not in rows or rows[one]["tenant_id"] != tenant_id]
        if unknown:
            errors["creatives"] = f"unknown creative {unknown[0]}"
    if draft.target is not None and not any(field.startswith("target") for field in known_errors):
        for field, ids in (await audience.unknown(tx, draft.target)).items():
            errors[f"target.{field}"] = f"unknown {field.removeprefix('exclude_').removesuffix('s')} {ids[0]}"
    return errors


async def stored_draft(tx: Tx, row: Row) -> Draft:
    """The draft that a campaign's whole row, its creatives and its target say."""
    target = await changes.target(tx, row["id"])
    return Draft(
        timezone=row["timezone"],
        name=row["name"],
        channel=row["channel"],
        description=row["description"],
        start=Edge(row["start_at"], row["start_local"]) if row["start_at"] else None,
        end=Edge(row["end_at"], row["end_local"]) if row["end_at"] else None,
        budget_micros=row["budget_micros"],
        creatives=tuple(await changes.creatives(tx, row["id"])),
        target=None if target is None else audience.target_of(target),
        priority=row["priority"],
        dayparts=tuple(parse(part) for part in row["dayparts"]),
        daily_cap_micros=row["daily_cap_micros"],
        start_policy=row["start_policy"],
        start_deadline=row["start_deadline"],
        allow_short_lead=row["allow_short_lead"],
        brand=row["brand"],
        category=row["category"],
    )


async def save_parts(tx: Tx, campaign_id: CampaignId, draft: Draft) -> None:
    """Write a draft's creatives and its target, with what stores may block of it and its longest creative."""
    rows = await hold_creatives(tx, draft.creatives)
    await changes.set_creatives(tx, campaign_id, draft.creatives)
    if draft.target is None:
        await changes.drop_target(tx, campaign_id)
        return
    keywords = [word for row in rows.values() for word in row["keywords"]]
    target = replace(
        draft.target,
        block_keys=frozenset(targets.block_keys(draft.brand, draft.category, keywords)),
        longest_ms=max((row["duration_ms"] for row in rows.values()), default=0),
    )
    await audience.set_target(tx, campaign_id, target)


async def checked(tx: Tx, campaign: Campaign, draft: Draft, now: datetime, limits: BookingLimits) -> Checked:
    """All that a submit asks of the draft itself; raises Invalid with one error per field, NoEligibleDevices."""
    creatives = await hold_creatives(tx, draft.creatives)
    errors = _missing(draft) | _time_errors(draft, now, limits) | _value_errors(draft, limits)
    errors |= _unstored(draft, creatives)
    if errors or draft.start is None or draft.end is None or draft.budget_micros is None:
        raise Invalid(list(errors.items()))
    window = draft.start.at, draft.end.at
    devices = await audience_with_slot(tx, campaign.id, draft, window, limits)
    flagged = any(row["flags"] for row in creatives.values())
    return Checked(*window, draft.budget_micros, devices, flagged)


async def edit_errors(
    tx: Tx, old: Draft, draft: Draft, operator: bool, now: datetime, limits: BookingLimits
) -> dict[str, str]:
    """What a submit would hold against that which an edit changes of a booked campaign, by field (SPEC 3).

    The lead binds the submit alone. A flagged creative comes in by an operator, who would have to approve it.
    """
    errors = _missing(draft)
    if (draft.start, draft.end) != (old.start, old.end):
        errors |= _time_errors(replace(draft, allow_short_lead=True), now, limits)
    added = [one for one in draft.creatives if one not in old.creatives]
    if added:
        rows = await hold_creatives(tx, added)
        errors |= _unstored(replace(draft, creatives=tuple(added)), rows)
        flagged = [str(row["id"]) for row in rows.values() if row["flags"]]
        if flagged and not operator:
            errors["creatives"] = f"{', '.join(flagged)} is flagged: to add it needs an operator"
    return errors


def _unstored(draft: Draft, creatives: Mapping[CreativeId, Row]) -> dict[str, str]:
    missing = [str(one) for one in draft.creatives if one not in creatives or creatives[one]["state"] != "STORED"]
    return {"creatives": f"media of {', '.join(missing)} is MISSING"} if missing else {}


async def audience_with_slot(
    tx: Tx, campaign_id: CampaignId, draft: Draft, window: tuple[datetime, datetime], limits: BookingLimits
) -> int:
    """How many devices the campaign as it is stored is for, at least one of them with a slot in the window (SPEC 3).

    Raises NoEligibleDevices, Invalid when they are too many.
    """
    devices = await audience.audience_size(tx, campaign_id)
    if devices > limits.max_audience:
        raise Invalid([("target", f"names {devices} devices, must be at most {limits.max_audience}")])
    creatives = await hold_creatives(tx, draft.creatives)
    longest_ms = max(row["duration_ms"] for row in creatives.values())
    kinds = await audience.screen_kinds(tx, campaign_id)
    # in a thread: where there is none, a year of each kind of screen is looked through
    if not await asyncio.to_thread(_any_slot, draft, window, longest_ms, kinds):
        raise NoEligibleDevices(f"{devices} devices are eligible, 0 of them with a slot in the campaign's window")
    return devices


def _any_slot(draft: Draft, window: tuple[datetime, datetime], longest_ms: int, kinds: Sequence[Screen]) -> bool:
    return any(has_slot(*window, draft.dayparts, longest_ms, kind) for kind in kinds)


def _missing(draft: Draft) -> dict[str, str]:
    given = {
        "start_at": draft.start,
        "end_at": draft.end,
        "budget": draft.budget_micros,
        "creatives": draft.creatives or None,
        "target": draft.target,
    }
    return {field: "is required" for field, value in given.items() if value is None}


def _time_errors(draft: Draft, now: datetime, limits: BookingLimits) -> dict[str, str]:
    errors: dict[str, str] = {}
    if draft.start is not None:
        start = "start_local" if draft.start.local else "start_at"
        if draft.start.at - now < limits.min_lead and not draft.allow_short_lead:
            errors[start] = f"must be at least {in_words(limits.min_lead)} ahead"
        elif draft.start.at - now > limits.max_lead:
            errors[start] = f"must be at most {in_words(limits.max_lead)} ahead"
    if draft.end is not None:
        end = "end_local" if draft.end.local else "end_at"
        if draft.end.at <= now:
            errors[end] = "must be ahead"
        elif draft.start is not None and draft.end.at - draft.start.at > limits.max_duration:
            errors[end] = f"must be at most {in_words(limits.max_duration)} after the start"
    return errors


def _value_errors(draft: Draft, limits: BookingLimits) -> dict[str, str]:
    """Limits that may have been set closer since the values were given."""
    errors: dict[str, str] = {}
    budget = draft.budget_micros
    if budget is not None and not limits.min_budget <= budget <= limits.max_budget:
        errors["budget"] = f"must be between {decimal(limits.min_budget)} and {decimal(limits.max_budget)}"
    if len(draft.creatives) > limits.max_creatives:
        errors["creatives"] = f"must name 1 to {limits.max_creatives} creatives"
    return errors


async def within_running_limit(tx: Tx, campaign: Campaign, start_at: datetime, end_at: datetime, limit: int) -> None:
    """Refuse a window in which more of the tenant's submitted campaigns would overlap than its limit (SPEC 3).

    The tenant's row must be locked: that makes the count exact. Raises RunningLimit, naming them.
    """
    running = crowd(await changes.rivals(tx, campaign, start_at, end_at), start_at, limit)
    if running is not None:
        raise RunningLimit(limit, running)


def crowd(rivals: Sequence[Row | Mapping[str, Any]], start_at: datetime, limit: int) -> list[str] | None:
    """The names of those that run at the first instant from `start_at` on at which `limit` do; None: at none.

    `rivals` have `name start_at end_at`, by start, and end after `start_at`; windows are half-open. They may be many.
    """
    if not limit:
        return [row["name"] for row in rivals if row["start_at"] <= start_at]
    running: list[tuple[datetime, int]] = []  # a heap, by end
    for number, row in enumerate(rivals):
        begins = max(row["start_at"], start_at)
        while running and running[0][0] <= begins:
            heappop(running)
        heappush(running, (row["end_at"], number))
        if len(running) >= limit:
            among = {number for _, number in running}
            more = (at for at in range(number + 1, len(rivals)) if rivals[at]["start_at"] <= begins)
            return [rivals[at]["name"] for at in sorted(among.union(more))]
    return None
