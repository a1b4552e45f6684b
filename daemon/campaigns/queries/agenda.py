"""When what is due next: asked often, so it reads a few index entries, whatever lies dead before them."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from daemon.campaigns.queries.claiming import FIRST, HELD
from daemon.campaigns.queries.due import MISSED, UNDISTRIBUTED, UNSETTLED
from playlists.queries import Tx


class Agenda(NamedTuple):
    """What comes, by step: `next` the instant at which there is something to do, past ones included.

    `since` is the oldest due instant of what can be done now, `oldest` that of all that is due and was not put into
    quarantine, whatever it waits for. `held`: the clock jumped (SPEC 4).
    """

    next: Mapping[str, datetime]
    since: Mapping[str, datetime]
    oldest: Mapping[str, datetime]
    held: bool


_STARTS = f"end_at > $1 AND NOT coalesce({MISSED}, false)"


def _entry(step: str, at: str, state: str, lead: str = "") -> str:
    due, now, bound = (f"at - {lead}", f"$1 + {lead}", f"$3 + {lead}") if lead else ("at", "$1", "$3")
    return f"""
SELECT '{step}' AS step, least(ahead, late, resting.next) AS next, least(late, resting.since) AS since,
       least(late, resting.failed) AS oldest, {HELD} AS held
FROM (SELECT
    (SELECT {due} FROM (SELECT {at} AS at FROM campaigns WHERE {state} AND {at} > {now} ORDER BY {at} LIMIT 1) a)
        AS ahead,
    (SELECT {due} FROM (
        SELECT {at} AS at FROM campaigns
        WHERE {state} AND {at} <= {now} AND {at} >= {bound} AND retry_at IS NULL
          AND id <> ALL (ARRAY(SELECT campaign_id FROM quarantine)) ORDER BY {at} LIMIT 1) l)
        AS late
    OFFSET 0 -- each is looked for once
) looked, (
    SELECT min(greatest({due}, retry_at, quarantined_until)) AS next,
           min({due}) FILTER (WHERE greatest(retry_at, quarantined_until) <= $1) AS since,
           min({due}) FILTER (WHERE quarantined_until IS NULL) AS failed
    FROM (SELECT {at} AS at, retry_at, quarantined_until FROM resting WHERE {state} AND {at} <= {now}) r
) resting"""  # noqa: S608 - constants of this module


# Few rest after a failure. What was late and is done leaves dead entries behind: $3 passes over them.
NEXT_DUE = f"""
WITH resting AS MATERIALIZED (
    SELECT c.*, q.retry_at AS quarantined_until
    FROM campaigns c LEFT JOIN quarantine q ON q.campaign_id = c.id
    WHERE c.id = ANY (ARRAY((SELECT id FROM campaigns WHERE retry_at IS NOT NULL ORDER BY retry_at LIMIT 1000)
                            UNION SELECT campaign_id FROM quarantine))
), agenda AS ({
    " UNION ALL ".join(
        (
            _entry("complete", "end_at", "status IN ('ACTIVE', 'PAUSED')"),
            _entry("start", "start_at", f"status = 'SCHEDULED' AND ({_STARTS} OR NOT {HELD})"),
            _entry("settle", "settle_at", UNSETTLED),
            _entry("distribute", "start_at", UNDISTRIBUTED, "$2::interval"),
            _entry("expire", "least(approve_by, end_at)", "status = 'PENDING_APPROVAL'"),
        )
    )
})
SELECT * FROM agenda"""  # noqa: S608 - constants of this module


async def next_due(tx: Tx, now: datetime, lead: timedelta, since: datetime | None = None) -> Agenda:
    """What is due next of `complete start settle distribute expire`.

    With `since`, what fell due before that is not looked for, unless it failed and rests.
    """
    rows = await tx.fetch(NEXT_DUE, now, lead, since or FIRST.at)
    by_step = [
        {row["step"]: row[column] for row in rows if row[column] is not None} for column in ("next", "since", "oldest")
    ]
    return Agenda(by_step[0], by_step[1], by_step[2], held=bool(rows[0]["held"]))
