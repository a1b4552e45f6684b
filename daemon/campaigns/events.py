"""The fact that every change of a campaign leaves: one row of the log, one message, perhaps a mail."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from playlists.ids import CampaignId, TenantId

SYSTEM = "signaged"  # the actor of what nobody asked for
_MILLISECOND = timedelta(milliseconds=1)


class Transition(NamedTuple):
    """One logged change of a campaign, in the past tense (SPEC 9).

    `sequence` rises by one per campaign. `changes` are `{field, old, new}` objects; `moved` is what the change
    moved: `held released spent amount` as decimal strings, `impressions` as a count.
    """

    campaign_id: CampaignId
    tenant_id: TenantId
    sequence: int
    type: str
    campaign_name: str
    channel: str
    from_status: str | None
    to_status: str
    reason: str | None
    note: str | None
    changes: list[dict[str, Any]]
    moved: dict[str, Any]
    due_at: datetime
    executed_at: datetime
    scheduled_at: datetime | None  # its start_at
    started_at: datetime | None  # its activated_at
    total_recipients: int
    actor: str
    correlation_id: str

    @property
    def lateness_ms(self) -> int:
        """Whole milliseconds between when it was due and when it was done."""
        return max(0, (self.executed_at - self.due_at) // _MILLISECOND)
