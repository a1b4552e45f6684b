import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import errors

from daemon.outbox.producer import Link, Outcome
from daemon.outbox.queries import Row


@dataclass
class Batch:
    values: list[bytes] = field(default_factory=list)
    timestamp: int | None = 0

    def append(self, *, timestamp: int | None, value: bytes, **_: Any) -> object:
        if len(self.values) == 64:
            return None
        self.timestamp = timestamp
        self.values.append(value)
        return object()


@dataclass
class Broker:
    """In place of aiokafka's producer: keeps what it takes, and fails as told. No broker refuses on demand."""

    refuses: dict[bytes, Exception] = field(default_factory=dict)
    written: dict[int, list[bytes]] = field(default_factory=dict)
    silent_after: int = 10**6
    minds_the_time: bool = False
    client: Any = field(default_factory=lambda: SimpleNamespace(_conns={}))

    async def partitions_for(self, _: str) -> set[int]:
        return {0, 1, 2}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, _: str, *, partition: int) -> "asyncio.Future[None]":
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if error := next((self.refuses[value] for value in batch.values if value in self.refuses), None):
            answer.set_exception(error)
        elif self.minds_the_time and batch.timestamp != -1:
            answer.set_exception(errors.InvalidTimestampError())
        elif sum(map(len, self.written.values())) >= self.silent_after:
            return answer
        else:
            self.written.setdefault(partition, []).extend(batch.values)
            answer.set_result(None)
        return answer

    def of(self, key: UUID) -> list[int]:
        said = [value.decode().split("/") for values in self.written.values() for value in values]
        return [int(sequence) for name, sequence in said if name == str(key)]


def rows(keys: list[UUID], sequences: range) -> list[Row]:
    places = [(key, sequence) for sequence in sequences for key in keys]
    return [
        Row(number, 0, "campaigns", key, f"{key}/{sequence}".encode())
        for number, (key, sequence) in enumerate(places, 1)
    ]


def link(broker: Broker, *, idempotent: bool = False) -> Link:
    return Link(broker, idempotent, detour=False, topics={"campaigns": "t"}, deadline=0.2)


async def send(over: Link, portion: list[Row]) -> Outcome:
    """All places side by side, as the relay does it, and what became of all."""
    places, refused = await over.places(portion)
    told = await asyncio.gather(*(over.send(place, share) for place, share in places.items()))
    return Outcome(
        [id_ for one in told for id_ in one.acked],
        [*refused, *(refusal for one in told for refusal in one.refused)],
        next((one.trouble for one in told if one.trouble), None),
        any(one.spoiled for one in told),
    )


async def test_a_refused_message_is_found_and_the_rest_is_written_in_order() -> None:
    keys = [uuid4() for _ in range(10)]
    sick, doubted = keys[3], keys[7]
    broker = Broker(
        {
            f"{sick}/5".encode(): errors.MessageSizeTooLargeError(),
            f"{doubted}/9".encode(): errors.UnknownError(),
        }
    )
    portion = rows(keys, range(1, 31))
    outcome = await send(link(broker), portion)
    assert {key: broker.of(key) for key in keys} == {
        **{key: list(range(1, 31)) for key in keys},
        sick: [1, 2, 3, 4],
        doubted: list(range(1, 9)),
    }
    by_id = {row.id: row.body.decode() for row in portion}
    assert sorted((by_id[refusal.id], refusal.final) for refusal in outcome.refused) == sorted(
        [(f"{sick}/5", True), (f"{doubted}/9", False)]
    )
    assert outcome.trouble is None
    assert sorted(by_id[id_] for id_ in outcome.acked) == sorted(
        value.decode() for values in broker.written.values() for value in values
    )


async def test_without_an_answer_nothing_later_is_sent_and_all_of_it_is_unknown() -> None:
    keys = [uuid4() for _ in range(10)]
    broker = Broker(silent_after=150)
    outcome = await send(link(broker), rows(keys, range(1, 31)))
    assert "TimeoutError" in str(outcome.trouble)
    assert not outcome.refused
    assert len(outcome.acked) == sum(map(len, broker.written.values())) < 300
    for key in keys:
        assert broker.of(key) == list(range(1, len(broker.of(key)) + 1))


@pytest.mark.parametrize("error", [errors.MessageSizeTooLargeError(), errors.UnknownError()], ids=repr)
async def test_an_idempotent_producer_is_given_up_at_the_first_refusal(error: Exception) -> None:
    key = uuid4()
    broker = Broker({f"{key}/2".encode(): error})
    outcome = await send(link(broker, idempotent=True), rows([key], range(1, 4)))
    assert outcome.spoiled
    assert not outcome.refused
    assert not broker.written


async def test_a_replaced_connection_makes_an_ack_worth_nothing() -> None:
    key = uuid4()
    broker = Broker()
    broker.client._conns["1", 0] = SimpleNamespace(connected=lambda: True)
    over = link(broker)
    assert (await send(over, rows([key], range(1, 3)))).trouble is None
    broker.client._conns["1", 0] = SimpleNamespace(connected=lambda: True)
    assert "lost" in str((await send(over, rows([key], range(1, 3)))).trouble)


async def test_a_broker_of_another_time_gets_messages_without_timestamps() -> None:
    keys = [uuid4() for _ in range(10)]
    broker = Broker(minds_the_time=True)
    outcome = await send(link(broker), rows(keys, range(1, 31)))
    assert (outcome.refused, outcome.trouble) == ([], None)
    assert {key: broker.of(key) for key in keys} == {key: list(range(1, 31)) for key in keys}
