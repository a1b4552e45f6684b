"""Statements by which instances with different tzdata agree on whose zone rules playlists are made by."""

from datetime import datetime, timedelta

from playlists.localtime import release
from playlists.queries.marks import mark_network
from playlists.queries.transaction import Tx

AWAY = timedelta(minutes=3)  # unseen for so long, a newer version is gone: somebody went back to an older one
SEEN_EVERY = timedelta(seconds=5)

RULES = "SELECT version, seen_at FROM zone_rules"
FOLLOW = "UPDATE zone_rules SET version = $1, seen_at = $2"


async def by_our_rules(tx: Tx, version: str, now: datetime) -> bool:
    """Whether playlists are made by this tzdata version; a newer one than the last has all of them made anew.

    An older one leaves them alone while instances with a newer one are at work. Only the holder of the planner's
    lock may ask, at least every AWAY for others to know that it is there.
    """
    row = await tx.fetchrow(RULES)
    assert row is not None  # noqa: S101 - the migration wrote it
    last, seen_at = row["version"], row["seen_at"]
    if release(last) > release(version) and seen_at is not None and abs(now - seen_at) < AWAY:
        return False
    if last != version:
        if last:
            await mark_network(tx, now)
        await tx.execute(FOLLOW, version, now)
    elif seen_at is None or abs(now - seen_at) >= SEEN_EVERY:
        await tx.execute(FOLLOW, version, now)
    return True
