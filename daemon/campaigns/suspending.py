"""A tenant is suspended, or may go on, and its campaigns with it (SPEC 3).

Whoever schedules a campaign has the tenant's row locked, and so has whoever suspends: each sees what the other did.
"""

from dataclasses import replace
from datetime import datetime

from daemon.campaigns import lifecycle
from daemon.campaigns.asking import Caller
from daemon.campaigns.campaign import Campaign, Reason, Status, TransitionType
from daemon.campaigns.errors import TenantSuspended
from daemon.campaigns.events import Transition
from daemon.campaigns.queries import changes, due
from daemon.campaigns.queries import suspending as queries
from daemon.campaigns.queries.suspending import Word
from playlists.ids import CampaignId, TenantId
from playlists.queries import Row, Tx, mark_campaigns

CAUSE = Reason.TENANT_SUSPENDED
SUSPENDED = "SUSPENDED"  # a tenant's status


class _MoreCame(Exception):
    """Campaigns were committed between the lock on those known and the lock on the tenant."""


async def turn(tx: Tx, tenant_id: TenantId, suspended: bool, now: datetime, word: Word) -> list[Transition]:
    """Suspend a tenant or let it go on, and all its campaigns in the same breath; a repetition changes nothing.

    What is ACTIVE is PAUSED, a PAUSED one gets the cause added, a SCHEDULED one keeps its status and leaves the
    playlists; the end of it is all of this backwards. The caller announces what is returned in `tx`.
    """
    while True:  # ends by the transaction's deadline at the latest
        try:
            async with tx.transaction():  # undone, it lets go of its locks: they are taken campaigns first
                ids = await queries.lock_concerned(tx, tenant_id, suspended)
                await changes.lock_tenant(tx, tenant_id)
                if await queries.left_out(tx, tenant_id, suspended, ids):
                    raise _MoreCame
                await queries.set_status(tx, tenant_id, SUSPENDED if suspended else "ACTIVE", now)
                return await (_suspend if suspended else _release)(tx, ids, now, word)
        except _MoreCame:
            continue


async def _suspend(tx: Tx, ids: list[CampaignId], now: datetime, word: Word) -> list[Transition]:
    rows = await queries.suspend(tx, ids, now, word)
    await mark_campaigns(tx, [row["id"] for row in rows if row["distributed_at"]], now, urgent=True)
    return [_told(row, TransitionType.PAUSED, now, word) for row in rows if row["from_status"] != Status.SCHEDULED]


async def _release(tx: Tx, ids: list[CampaignId], now: datetime, word: Word) -> list[Transition]:
    rows = await due.end_cause(tx, ids, CAUSE, now, *word)
    back = [row for row in rows if not row["pause_causes"]]
    await mark_campaigns(tx, [row["id"] for row in back if row["distributed_at"]], now)
    return [_told(row, TransitionType.RESUMED, now, word) for row in back if row["status"] == Status.ACTIVE]


def _told(row: Row, kind: TransitionType, now: datetime, word: Word) -> Transition:
    fact = lifecycle.fact(row, kind, row["from_status"], now, now, CAUSE)
    return fact._replace(actor=word.actor, correlation_id=word.correlation_id, note=None)


def permit(tenant: Row, caller: Caller) -> None:
    """Refuse a tenant's own word when it was suspended since the caller came in. Raises TenantSuspended."""
    if tenant["status"] == SUSPENDED and not caller.operator:
        raise TenantSuspended


def scheduled(campaign: Campaign, tenant: Row) -> Campaign:
    """A campaign that is SCHEDULED this moment, held back where its locked tenant is suspended."""
    if tenant["status"] != SUSPENDED:
        return campaign
    return replace(campaign, pause_causes=(str(CAUSE),), status_reason=CAUSE)


async def note(tx: Tx, campaign: Campaign, now: datetime) -> None:
    """Write since when the causes stand that a campaign was SCHEDULED with."""
    for cause in campaign.pause_causes:
        await changes.begin_pause(tx, campaign.id, cause, now)
