"""Reading past partitions that do not answer, so that all other keys of a shard flow on (SPEC 9).

Rows of such partitions stay where they are, in their order. As they grow to millions no read may walk over all of
them: each shard has a floor, below which nothing lies, nor can come to lie, but rows of these very partitions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from daemon.outbox.queries import Row
from playlists.queries import Tx

WINDOW = 10_000  # rows of a shard, from its floor on, that one look goes over


class Place(NamedTuple):
    """Where a key's messages lie: a topic by our name for it, and one of its partitions."""

    topic: str
    partition: int


class Floor(NamedTuple):
    """Below `passed` lies nothing that can be sent; `sighted` is how far that may be true soon: id, transaction."""

    passed: int = 0
    sighted: tuple[int, int] | None = None


def risen(floor: Floor, bare: int, mine: int, oldest: int) -> Floor:
    """A shard's floor after a look: up to the id `bare` it saw nothing but rows of the partitions to pass.

    A row with a lower id may still be uncommitted. Who writes one has a transaction id by then (it has locked what the
    message tells of), so a lower one than the look's own, `mine`. Hence what was bare then and is bare now stays so
    once `oldest`, the oldest transaction running, is no older than the former look.
    """
    if floor.sighted is None:
        return Floor(floor.passed, (bare, mine))
    seen, look = floor.sighted
    if oldest < look:
        return floor
    return Floor(max(floor.passed, min(seen, bare)), (bare, mine))


# the rows from a shard's floor on, in their order
_WINDOW = """(
    SELECT * FROM outbox
    WHERE (outbox.shard, outbox.id) > (wanted.shard, wanted.floor) AND outbox.shard <= wanted.shard
    ORDER BY outbox.shard, outbox.id
    LIMIT $6) AS near"""

# of these, what is not in a partition to pass; what has no topic is in none
_OTHERS = f"""near.* FROM {_WINDOW}
WHERE (near.topic || '/' || crc32(near.key::text::bytea) % ($5::integer[])[array_position($4::text[], near.topic)]
       = ANY ($3::text[])) IS NOT TRUE"""

LOOK = f"""
SELECT wanted.shard, coalesce(first.id - 1, last.id, wanted.floor), pg_current_xact_id()::text::bigint,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint
FROM unnest($1::smallint[], $2::bigint[]) AS wanted (shard, floor)
LEFT JOIN LATERAL (SELECT {_OTHERS} ORDER BY near.shard, near.id LIMIT 1) AS first ON true
LEFT JOIN LATERAL (SELECT max(near.id) AS id FROM {_WINDOW}) AS last ON true"""  # noqa: S608 - of constants

READ_PAST = f"""
SELECT message.id, message.shard, message.topic, message.key, message.body
FROM unnest($1::smallint[], $2::bigint[]) AS wanted (shard, floor)
CROSS JOIN LATERAL (SELECT {_OTHERS}
    AND near.parked_at IS NULL
    AND NOT EXISTS (SELECT FROM outbox AS before WHERE before.key = near.key AND before.parked_at IS NOT NULL)
    ORDER BY near.shard, near.id
    LIMIT $7) AS message"""  # noqa: S608 - as above


@dataclass(slots=True)
class Bypass:
    """The partitions that are read past, and how far each shard is known to hold nothing else.

    The floors stay true for `basis`, the partitions that the last look passed: ids only rise. So one that is tried in
    vain costs no second walk over all its rows.
    """

    places: frozenset[Place] = frozenset()
    basis: frozenset[Place] = frozenset()
    floors: dict[int, Floor] = field(default_factory=dict)

    def pass_by(self, places: Iterable[Place]) -> None:
        """Read past these from now on, and past no others."""
        self.places = frozenset(places)

    async def look(self, tx: Tx, shards: Iterable[int], partitions: Mapping[str, int]) -> None:
        """Let the floors rise; `partitions` says how many each topic has. Once in a while, outside a transaction."""
        if not self.basis <= self.places:
            self.floors.clear()
        self.basis = self.places
        for shard, bare, mine, oldest in await tx.fetch(LOOK, *self._arguments(shards, partitions)):
            self.floors[shard] = risen(self.floors.get(shard, Floor()), bare, mine, oldest)

    async def read(self, tx: Tx, shards: Iterable[int], partitions: Mapping[str, int], limit: int) -> list[Row]:
        """Read the first `limit` messages of each shard as `queries.read` does, but none of the partitions passed."""
        records = await tx.fetch(READ_PAST, *self._arguments(shards, partitions), limit)
        return [Row(*record) for record in records]

    def _arguments(
        self, shards: Iterable[int], partitions: Mapping[str, int]
    ) -> tuple[Sequence[int], Sequence[int], Sequence[str], Sequence[str], Sequence[int], int]:
        wanted = list(shards)
        known = self.floors if self.basis <= self.places else {}
        floors = [known.get(shard, Floor()).passed for shard in wanted]
        passed = [f"{place.topic}/{place.partition}" for place in self.places]
        return wanted, floors, passed, list(partitions), list(partitions.values()), WINDOW
