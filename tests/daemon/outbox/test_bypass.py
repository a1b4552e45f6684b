from functools import reduce
from uuid import UUID, uuid4
from zlib import crc32

import asyncpg
import pytest

from daemon.announce import announce
from daemon.database import set_codecs
from daemon.outbox import bypass, queries
from daemon.outbox.bypass import Bypass, Floor, Place, risen
from daemon.outbox.message import SHARDS, shard
from playlists.queries import Tx
from tests.daemon.outbox.relaying import change
from tests.doubles import FakeClock

COUNTS = {"campaigns": 3, "devices": 3}
STUCK = Place("campaigns", 1)


def key(partition: int, its_shard: int = 5) -> UUID:
    while crc32(str(made := uuid4()).encode()) % 3 != partition or shard(made) != its_shard:
        pass
    return made


async def write(tx: Tx, clock: FakeClock, of: UUID, *sequences: int) -> None:
    await announce(tx, [change(of, one, clock) for one in sequences], clock.now())


async def looks(passing: Bypass, connection: Tx, count: int) -> None:
    for _ in range(count):
        await passing.look(connection, range(SHARDS), COUNTS)


async def read(passing: Bypass, connection: Tx, limit: int = 10) -> list[UUID]:
    return [row.key for row in await passing.read(connection, range(SHARDS), COUNTS, limit)]


def test_a_floor_rises_to_what_was_bare_twice_with_all_writers_of_before_gone() -> None:
    sighted = risen(Floor(), bare=100, mine=700, oldest=690)
    assert sighted == Floor(0, (100, 700))
    assert risen(sighted, bare=120, mine=720, oldest=699) == sighted, "one of them may still write below"
    assert risen(sighted, bare=120, mine=720, oldest=700) == Floor(100, (120, 720))
    assert risen(sighted, bare=60, mine=720, oldest=720) == Floor(60, (60, 720)), "one of them has"
    assert risen(Floor(80, (100, 700)), bare=60, mine=720, oldest=720).passed == 80


async def test_it_reads_what_lies_among_and_beyond_any_number_of_stuck_rows(
    connection: Tx, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bypass, "WINDOW", 50)
    passing, stuck, first, last = Bypass(), key(1), key(0), key(2)
    passing.pass_by([STUCK])
    await write(connection, clock, stuck, *range(1, 41))
    await write(connection, clock, first, 1, 2)
    await write(connection, clock, stuck, *range(41, 201))
    await write(connection, clock, last, 1)
    assert await read(passing, connection) == [first, first]
    await looks(passing, connection, 4)
    assert passing.floors[5].passed < await connection.fetchval("SELECT min(id) FROM outbox WHERE key = $1", first)
    await connection.execute("DELETE FROM outbox WHERE key = $1", first)
    await looks(passing, connection, 10)
    assert await read(passing, connection) == [last]
    await connection.execute("DELETE FROM outbox WHERE key = $1", last)
    await looks(passing, connection, 3)
    assert passing.floors[5].passed == await connection.fetchval("SELECT max(id) FROM outbox")
    passing.pass_by([])
    assert await read(passing, connection, 500) == [stuck] * 50, "what was passed is read again from its beginning"


async def test_no_floor_rises_over_what_is_written_but_not_committed(
    connection: Tx, clock: FakeClock, database_url: str
) -> None:
    passing, stuck, slow = Bypass(), key(1), key(0)
    passing.pass_by([STUCK])
    other = await asyncpg.connect(database_url)
    await set_codecs(other)
    begun = other.transaction()
    await begun.start()
    await other.execute("SELECT pg_current_xact_id()")  # as the lock of the campaign's row
    await write(other, clock, slow, 1)
    await write(connection, clock, stuck, 1, 2, 3)
    await looks(passing, connection, 5)
    await begun.commit()
    await write(connection, clock, slow, 2)
    await looks(passing, connection, 1)
    assert await read(passing, connection) == [slow, slow]
    await other.close()


async def test_what_a_person_holds_back_stays_above_the_floor(connection: Tx, clock: FakeClock) -> None:
    passing, stuck, sick = Bypass(), key(1), key(0)
    passing.pass_by([STUCK])
    await write(connection, clock, sick, 1, 2)
    await write(connection, clock, stuck, 1, 2, 3)
    first = await connection.fetchval("SELECT min(id) FROM outbox")
    await queries.park(connection, first, "too large", clock.now(), final=True)
    await looks(passing, connection, 5)
    assert await read(passing, connection) == []
    await queries.requeue(connection, [first])
    await write(connection, clock, sick, 3)
    assert await read(passing, connection) == [sick] * 3


async def test_floors_hold_for_the_partitions_that_the_look_passed_and_for_no_fewer(
    connection: Tx, clock: FakeClock
) -> None:
    passing, other = Bypass(), key(2)
    both = [STUCK, Place("campaigns", 2)]
    passing.pass_by(both)
    await write(connection, clock, key(1), 1, 2)
    await write(connection, clock, other, 1)
    await looks(passing, connection, 3)
    floor = passing.floors[5].passed
    passing.pass_by([STUCK])
    assert await read(passing, connection) == [other], "it is below the floor"
    passing.pass_by([*both, Place("devices", 0)])
    assert (await read(passing, connection), passing.floors[5].passed) == ([], floor)
    passing.pass_by([STUCK])
    await looks(passing, connection, 1)
    assert passing.floors[5].passed == 0


async def test_reading_past_goes_by_the_index(connection: Tx, owner_connection: Tx, clock: FakeClock) -> None:
    await queries.go_by_index(connection)
    await write(connection, clock, key(1), *range(1, 2001))
    await owner_connection.execute("ANALYZE outbox")
    values = ("'{5}'", "'{1000}'", "'{campaigns/1}'", "'{campaigns}'", "'{3}'", "20000", "500")
    for statement in (bypass.LOOK, bypass.READ_PAST):
        filled = reduce(lambda text, each: text.replace(f"${each[0]}", each[1]), enumerate(values, 1), statement)
        plan = "\n".join(record[0] for record in await connection.fetch("EXPLAIN " + filled))
        assert "Index Cond: ((ROW(shard, id) > ROW(wanted.shard, wanted.floor)) AND" in plan, plan
        assert "Seq Scan" not in plan, plan
