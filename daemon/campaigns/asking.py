"""Who asks for a change of a campaign, and the questions that every change begins with (SPEC 3, 11)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.campaigns.campaign import Campaign, Reason, Status, TransitionType, successor
from daemon.campaigns.errors import InvalidTransition, NotFound
from daemon.campaigns.queries import changes
from daemon.campaigns.queries.changes import Entry
from playlists.ids import CampaignId, TenantId
from playlists.queries import Row, Tx


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: named in the log, bound to a tenant or to none, with an operator's say or without."""

    actor: str  # "token:<id>"
    correlation_id: str
    operator: bool
    tenant_id: TenantId | None = None  # None: any tenant's campaigns

    @property
    def reason(self) -> Reason:
        """What the log says of whose decision it was."""
        return Reason.OPERATOR if self.operator else Reason.USER


async def locked(tx: Tx, campaign_id: CampaignId, caller: Caller) -> Row:
    """The whole row of a campaign that the caller may see, locked. Raises NotFound."""
    row = await changes.lock(tx, campaign_id, caller.tenant_id)
    if row is None:
        raise NotFound("Campaign")
    return row


def next_status(campaign: Campaign, kind: TransitionType, action: str, needs: str) -> Status:
    """The status that the action leads to; raises InvalidTransition where SPEC 3 has none."""
    status = successor(kind, campaign.status)
    if status is None:
        raise InvalidTransition(f"Campaign is {campaign.status}; {action} needs {needs}")
    return status


def require_before_end(campaign: Campaign, now: datetime) -> None:
    """Refuse what no longer makes sense once the window is over. Raises InvalidTransition."""
    if campaign.end_at is not None and campaign.end_at <= now:
        raise InvalidTransition("Campaign's end is past")


def entry(
    kind: TransitionType,
    caller: Caller,
    reason: Reason | None = None,
    note: str | None = None,
    **more: Any,
) -> Entry:
    """What the log says of something that the caller did."""
    return Entry(kind, caller.actor, caller.correlation_id, reason=reason, note=note, **more)
