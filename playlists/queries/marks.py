"""Statements that mark what playlists have yet to follow."""

from collections.abc import Sequence
from datetime import datetime

from playlists.ids import CampaignId, DeviceId, StoreId
from playlists.queries.transaction import Tx

MARK = "INSERT INTO marks (kind, ref, urgent, marked_at) SELECT $1, ref, $3, $4 FROM unnest($2::uuid[]) AS ref"
MARK_NETWORK = "INSERT INTO marks (kind, urgent, marked_at) VALUES ('network', $1, $2)"


async def mark_campaigns(tx: Tx, ids: Sequence[CampaignId], now: datetime, urgent: bool = False) -> None:
    """Have the playlists of all screens these campaigns are meant for compiled again (SPEC 6).

    Call it in the transaction of the change; `urgent` when something must leave the screens.
    """
    if ids:
        await tx.execute(MARK, "campaign", ids, urgent, now)


async def mark_store(tx: Tx, store_id: StoreId, now: datetime, urgent: bool = False) -> None:
    """Have the playlists of a store's screens compiled again; as `mark_campaigns`."""
    await mark_stores(tx, [store_id], now, urgent)


async def mark_stores(tx: Tx, ids: Sequence[StoreId], now: datetime, urgent: bool = False) -> None:
    """Have the playlists of these stores' screens compiled again; as `mark_campaigns`."""
    if ids:
        await tx.execute(MARK, "store", ids, urgent, now)


async def mark_device(tx: Tx, device_id: DeviceId, now: datetime, urgent: bool = False) -> None:
    """Have one screen's playlist compiled again, or for the first time; as `mark_campaigns`."""
    await tx.execute(MARK, "device", [device_id], urgent, now)


async def mark_network(tx: Tx, now: datetime, urgent: bool = False) -> None:
    """Have every screen's playlist compiled again; as `mark_campaigns`."""
    await tx.execute(MARK_NETWORK, urgent, now)
