"""librdkafka's mock cluster: brokers inside this process that speak Kafka over TCP and misbehave on demand.

It checks no sequence numbers and fences nobody: what depends on these is tested on real brokers.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

PRODUCER = 0  # the kind of client that the library wants as owner of a cluster
PRODUCE = 0  # Kafka's number of that request
ALL = -1


class Answer(IntEnum):
    """What a broker may answer to a produce request; Kafka's numbers, and librdkafka's own for a cut connection."""

    CUT = -195
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER = 6
    TIMED_OUT = 7
    TOO_LARGE = 10
    NETWORK = 13
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    OUT_OF_ORDER_SEQUENCE = 45
    STORAGE = 56
    UNKNOWN_PRODUCER = 59


@cache
def library() -> Any:
    """The very librdkafka that the wheel of confluent-kafka brings, with the few functions that we call."""
    [shipped] = [file for file in files("confluent-kafka") or () if file.match("librdkafka*.so*")]
    loaded = ctypes.CDLL(str(Path(str(shipped.locate())).resolve()))
    pointer, text, number, short = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int16
    for name, result, arguments in (
        ("conf_new", pointer, ()),
        ("conf_set", ctypes.c_int, (pointer, text, text, text, ctypes.c_size_t)),
        ("new", pointer, (ctypes.c_int, pointer, text, ctypes.c_size_t)),
        ("destroy", None, (pointer,)),
        ("mock_cluster_new", pointer, (pointer, ctypes.c_int)),
        ("mock_cluster_destroy", None, (pointer,)),
        ("mock_cluster_bootstraps", text, (pointer,)),
        ("mock_topic_create", ctypes.c_int, (pointer, text, ctypes.c_int, ctypes.c_int)),
        ("mock_broker_set_down", ctypes.c_int, (pointer, number)),
        ("mock_broker_set_up", ctypes.c_int, (pointer, number)),
        ("mock_broker_set_rtt", ctypes.c_int, (pointer, number, ctypes.c_int)),
        ("mock_partition_set_leader", ctypes.c_int, (pointer, text, number, number)),
        ("mock_push_request_errors_array", None, (pointer, short, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int))),
        ("mock_clear_request_errors", None, (pointer, short)),
    ):
        function = getattr(loaded, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return loaded


@dataclass(frozen=True, slots=True)
class Cluster:
    """Brokers 1 to N, and what can be done to them."""

    handle: Any
    brokers: int
    bootstrap: str

    def create(self, topic: str, partitions: int) -> None:
        """Make a topic that lies on all brokers."""
        self._done(library().rd_kafka_mock_topic_create(self.handle, topic.encode(), partitions, self.brokers))

    def down(self, broker: int = ALL) -> None:
        """Cut a broker's connections and refuse new ones; nobody else becomes leader of what it leads."""
        self._done(library().rd_kafka_mock_broker_set_down(self.handle, broker))

    def up(self, broker: int = ALL) -> None:
        """Take connections again."""
        self._done(library().rd_kafka_mock_broker_set_up(self.handle, broker))

    def slow(self, milliseconds: int, broker: int = ALL) -> None:
        """Answer everything that much later."""
        self._done(library().rd_kafka_mock_broker_set_rtt(self.handle, broker, milliseconds))

    def lead(self, topic: str, partition: int, broker: int | None) -> None:
        """Make a broker the leader of a partition, or nobody."""
        leader = -1 if broker is None else broker
        self._done(library().rd_kafka_mock_partition_set_leader(self.handle, topic.encode(), partition, leader))

    def answer(self, *answers: Answer) -> None:
        """Answer the next produce requests so, one each, whichever broker they come to."""
        given = (ctypes.c_int * len(answers))(*answers)
        library().rd_kafka_mock_push_request_errors_array(self.handle, PRODUCE, len(answers), given)

    def relent(self) -> None:
        """Forget the answers that nobody had yet."""
        library().rd_kafka_mock_clear_request_errors(self.handle, PRODUCE)

    def _done(self, code: int) -> None:
        assert code == 0, f"the mock cluster refuses: {code}"


@contextmanager
def cluster(topics: Sequence[str], *, partitions: int, brokers: int = 3) -> Iterator[Cluster]:
    """Yield brokers of this block alone, with these topics; all is gone after it."""
    reason = ctypes.create_string_buffer(256)
    options = library().rd_kafka_conf_new()
    library().rd_kafka_conf_set(options, b"log_level", b"3", reason, len(reason))
    owner = library().rd_kafka_new(PRODUCER, options, reason, len(reason))
    assert owner, reason.value.decode()
    handle = library().rd_kafka_mock_cluster_new(owner, brokers)
    try:
        made = Cluster(handle, brokers, library().rd_kafka_mock_cluster_bootstraps(handle).decode())
        for topic in topics:
            made.create(topic, partitions)
        yield made
    finally:
        library().rd_kafka_mock_cluster_destroy(handle)
        library().rd_kafka_destroy(owner)
