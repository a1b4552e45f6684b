"""What became of a transaction whose COMMIT had no answer: read from the server, never guessed (SPEC 13)."""

from dataclasses import dataclass
from enum import Enum

from playlists.queries import Tx

# A transaction's number stands for it in one history only. A server that was promoted without the transaction, or lost
# what it had not flushed in a crash, gives the number to another: the timeline shows the one, the time at which
# crash recovery began its statistics anew the other.
_HISTORY = """
concat_ws(' ', substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
          extract(epoch FROM pg_stat_get_checkpointer_stat_reset_time()))"""
_MARK = f"SELECT pg_current_xact_id_if_assigned() AS xid, {_HISTORY} AS history"
_FATE = f"""
SELECT CASE WHEN pg_is_in_recovery() THEN 'in progress'
            WHEN {_HISTORY} = $2 THEN coalesce(pg_xact_status($1), 'unknown')
            ELSE 'unknown' END"""
# A COMMIT that never arrived leaves its session waiting for it, with all its locks, until the link is found dead.
_END_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_xid = $1::xid AND state = 'idle in transaction'"""


class Fate(Enum):
    """What became of a transaction."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    OPEN = "in progress"
    UNKNOWN = "unknown"  # and for ever: so old, or of another history


@dataclass(slots=True)
class Commit:
    """How far a transaction came: its number once it has one and was asked for, and whether COMMIT was sent."""

    xid: int | None = None
    history: str = ""
    sent: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether something was to be written and nobody has said that it was."""
        return self.sent and self.xid is not None

    async def note(self, tx: Tx) -> None:
        """Ask the transaction for its number, one round trip; one that has written nothing has none."""
        row = await tx.fetchrow(_MARK)
        if row is not None:
            self.xid, self.history = row["xid"], row["history"]


async def fate_of(connection: Tx, commit: Commit) -> Fate:
    """Read what became of a transaction, on another connection; one that still waits for its COMMIT is ended first.

    The connection must have the rights of the login whose transaction it was.
    """
    fate = Fate(await connection.fetchval(_FATE, commit.xid, commit.history))
    if fate is Fate.OPEN:
        await connection.execute(_END_WAITING, (commit.xid or 0) % 2**32)
    return fate
