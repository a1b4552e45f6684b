import json
from uuid import uuid4

from daemon.outbox import queries
from daemon.outbox.message import Message
from playlists.queries import Tx
from tests.daemon.process import NOWHERE, signaged
from tests.doubles import FakeClock


async def test_refused_messages_are_listed_requeued_and_skipped(
    database_url: str, connection: Tx, clock: FakeClock
) -> None:
    key = uuid4()
    told = [Message("elsewhere", key, sequence, "paused", b"{}") for sequence in (1, 2, 3)]
    await queries.append(connection, told, clock.now())
    first, second, third = [record["id"] for record in await connection.fetch("SELECT id FROM outbox ORDER BY id")]
    await queries.park(connection, first, "too large", clock.now(), final=True)
    database = {**NOWHERE, "SIGNAGED_DATABASE__URL": database_url}

    listed = await signaged("outbox", "list", "--json", environ=database)
    assert listed.code == 0, listed.err
    said = json.loads(listed.out)
    assert (said["pending"], said["parked"]) == (2, 1)
    assert [(one["id"], one["key"], one["error"], one["held_back"]) for one in said["refused"]] == [
        (first, str(key), "too large", 2)
    ]
    for_people = await signaged("outbox", "list", environ=database)
    assert f"{first}  elsewhere {key}/1 paused, 2 bytes, 2 behind it, until you decide: too large" in for_people.out

    wrong = await signaged("outbox", "skip", str(first), str(second), environ=database)
    assert (wrong.code, wrong.out) == (64, "")
    assert str(second) in wrong.err
    assert len(await queries.list_parked(connection, 10)) == 1, "all or nothing"

    again = await signaged("outbox", "requeue", str(first), environ=database)
    assert (again.code, again.out) == (0, "requeued 1\n")
    await queries.park(connection, first, "too large", clock.now(), final=True)
    skipped = await signaged("outbox", "skip", str(first), "--json", environ=database)
    assert json.loads(skipped.out) == {"skipped": [first]}
    assert [row.id for row in await queries.read(connection, range(8), 10)] == [second, third]
