"""By whose zone rules playlists are made, while instances with other ones run beside."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from playlists.localtime import release, rules_digest, tzdata_version
from playlists.queries import Tx
from playlists.queries.rules import AWAY, by_our_rules

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_versions_have_an_order() -> None:
    ordered = ["", "2025z", "2026a", "2026f", "2026z", "2026za", "2026zb", "2026zza", "2027.1", "2027.2", "2027.10"]
    assert all(release(older) < release(newer) for older, newer in pairwise(ordered))
    assert release("2026.6") == release("2026f") == release(tzdata_version())
    assert rules_digest("Europe/Berlin") != rules_digest("Europe/London")


async def marks(tx: Tx) -> int:
    count: int = await tx.fetchval("WITH gone AS (DELETE FROM marks RETURNING kind) SELECT count(*) FROM gone")
    return count


async def test_newer_rules_make_all_anew_once_and_older_ones_stand_back_while_they_are_there(connection: Tx) -> None:
    assert await by_our_rules(connection, "2026f", NOW)
    assert await marks(connection) == 0  # nothing was made by other rules
    assert await by_our_rules(connection, "2026g", NOW)
    assert await by_our_rules(connection, "2026g", NOW + timedelta(minutes=2))
    assert await marks(connection) == 1
    assert not await by_our_rules(connection, "2026f", NOW + timedelta(minutes=4))
    assert await marks(connection) == 0
    assert await by_our_rules(connection, "2026f", NOW + timedelta(minutes=2) + AWAY)  # somebody went back to it
    assert await marks(connection) == 1
    assert await by_our_rules(connection, "2026g", NOW + timedelta(minutes=6))
    assert await marks(connection) == 1
