"""Statements over who was seen when, and over the times in which nobody served."""

from datetime import timedelta

from devices.presence import Watch
from playlists.queries import Tx

_UNTIL = "SELECT coalesce((SELECT last_at FROM service), now())"
# Older ones change nothing: who was silent before so many is offline by the time served since.
_OUTAGES = "SELECT began_at, ended_at FROM outages ORDER BY began_at DESC LIMIT 100"


async def watch(tx: Tx, patience: timedelta) -> Watch:
    """How devices are watched now; before anybody has ever served, up to the transaction's instant."""
    until = await tx.fetchval(_UNTIL)
    outages = [(row["began_at"], row["ended_at"]) for row in await tx.fetch(_OUTAGES)]
    return Watch(until, outages, patience)
