"""What will happen, soonest first, and what happened, newest first."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from daemon.campaigns.queries import schedule
from daemon.web import cursors, replies, shown
from daemon.web.auth import ANYONE
from daemon.web.operations import PAGING, Call, Operation, Parameter, Reply
from devices.queries.deliveries import delivery_counts
from playlists.queries import Row

_DEFAULT_HOURS, _MOST_HOURS = 24, 366 * 24


async def upcoming(call: Call) -> Reply:
    """GET /v1/schedule/upcoming?hours=24."""
    until = call.now + timedelta(hours=call.number("hours", _DEFAULT_HOURS, 1, _MOST_HOURS))
    rows = await schedule.upcoming(
        call.tx,
        call.caller.tenant_id,
        until,
        call.platform.lead,
        _after(call, "upcoming", _kind),
        call.limit + 1,
    )
    counts = await delivery_counts(call.tx, list({row["campaign_id"] for row in rows[: call.limit]}), call.now)
    return Reply(
        cursors.page(
            "upcoming", rows, call.limit, _upcoming_key, lambda row: shown.upcoming(row, counts[row["campaign_id"]])
        )
    )


async def executions(call: Call) -> Reply:
    """GET /v1/schedule/executions?limit=100."""
    rows = await schedule.executions(
        call.tx, call.caller.tenant_id, _after(call, "executions", cursors.count), call.limit + 1
    )
    return Reply(cursors.page("executions", rows, call.limit, _execution_key, shown.execution))


def _after(call: Call, kind: str, part: Callable[[object], str | int]) -> schedule.After | None:
    if call.cursor is None:
        return None
    return schedule.After(*cursors.decode(kind, call.cursor, _instant, UUID, part))


def _kind(given: object) -> str:
    if given not in schedule.COMING:
        raise ValueError("no kind")
    return str(given)


def _instant(given: str) -> datetime:
    at = datetime.fromisoformat(given)
    if at.tzinfo is None:
        raise ValueError("without offset")
    return at.astimezone(UTC)


def _upcoming_key(row: Row) -> list[object]:
    return [row["due_at"], row["campaign_id"], row["kind"]]


def _execution_key(row: Row) -> list[object]:
    return [row["executed_at"], row["campaign_id"], row["sequence"]]


_HOURS = Parameter(
    "hours",
    "How far to look ahead",
    {"type": "integer", "minimum": 1, "maximum": _MOST_HOURS, "default": _DEFAULT_HOURS},
)

OPERATIONS: Final = (
    Operation(
        "GET",
        "/v1/schedule/upcoming",
        "What will happen, soonest first",
        ANYONE,
        upcoming,
        replies.Page[replies.Upcoming],
        query=(_HOURS, *PAGING),
    ),
    Operation(
        "GET",
        "/v1/schedule/executions",
        "What happened, newest first",
        ANYONE,
        executions,
        replies.Page[replies.Execution],
        query=PAGING,
    ),
)
