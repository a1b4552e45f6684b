"""The relay, from the outbox's rows to their deletion after the ack, against aiokafka sending the same from memory.

The yardstick is a bare `send()` of each message and one wait for all answers, to the same broker in the same run, by
turns. Messages are `campaign.started` events of 2,000 campaigns, each campaign's in their order.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import uvloop
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from config.settings import DatabaseSettings, KafkaSettings
from daemon import logs
from daemon.campaigns.events import Transition
from daemon.clock import DatabaseClock
from daemon.database import Database
from daemon.dev.embedded import embedded_kafka, embedded_postgres
from daemon.metrics import Metrics
from daemon.migrate import migrate
from daemon.outbox import queries, relay
from daemon.outbox.message import Message, transition_message
from playlists.ids import CampaignId, TenantId

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CAMPAIGNS = 2_000
GOAL = 20_000  # messages a second (SPEC 14)


def messages(count: int) -> list[Message]:
    """That many, round after round over the campaigns."""
    campaigns = [uuid4() for _ in range(CAMPAIGNS)]
    return [_started(campaigns[number % CAMPAIGNS], number // CAMPAIGNS + 1) for number in range(count)]


def _started(campaign: UUID, sequence: int) -> Message:
    change = Transition(
        CampaignId(campaign), TenantId(campaign), sequence, "started", "Spring sale in all shops", "signage",
        "SCHEDULED", "ACTIVE", None, None, [], {}, NOW, NOW, NOW, NOW, 150, "signaged", str(uuid4()),
    )  # fmt: skip
    return transition_message(change)


async def relayed(database: Database, url: str, bootstrap: str, told: list[Message]) -> float:
    """Seconds from the relay's start, its connections included, until the outbox is empty."""
    connection = await asyncpg.connect(url)
    for begin in range(0, len(told), 1000):
        await queries.append(connection, told[begin : begin + 1000], NOW)
    clock = DatabaseClock()
    await clock.refresh(connection)
    metrics = Metrics.create(CollectorRegistry())
    settings = KafkaSettings(bootstrap_servers=bootstrap, topic=f"relay-{uuid4()}", devices_topic="devices")
    began = time.perf_counter()
    running = asyncio.create_task(relay.run(database, clock, metrics, settings, asyncio.Event(), lambda: None))
    while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - began
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await connection.close()
    return seconds


async def bare(bootstrap: str, told: list[Message]) -> float:
    """Seconds to send all from memory, connection included, with the client's own defaults but for `acks`."""
    topic = f"bare-{uuid4()}"
    began = time.perf_counter()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        answers = [await producer.send(topic, message.body, str(message.key).encode()) for message in told]
        await asyncio.gather(*answers)
    return time.perf_counter() - began


async def measured(url: str, count: int, rounds: int) -> None:
    await migrate(url)
    told = messages(count)
    ours, theirs = [], []
    async with embedded_kafka() as bootstrap, Database.open(DatabaseSettings(url=url)) as database:
        for number in range(rounds + 1):
            one = await relayed(database, url, bootstrap, told)
            other = await bare(bootstrap, told)
            if number:  # the first round warms up
                ours.append(count / one)
                theirs.append(count / other)
            print(f"# {count / one:,.0f}/s relayed, {count / other:,.0f}/s bare", file=sys.stderr)
    us, them = statistics.median(ours), statistics.median(theirs)
    print(f"{count:,} messages of {len(told[0].body)} bytes, medians of {rounds} rounds, embedded servers\n")
    print("| Relay | messages/s | bare aiokafka from memory | ratio | goal |")
    print("|---|---:|---:|---:|---:|")
    print(f"| outbox to Kafka, deleted after the ack | {us:,.0f} | {them:,.0f} | {us / them:.2f} | {GOAL:,}/s |")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count, after one that does not")
    options = parser.parse_args()
    logs.configure("warning", open(os.devnull, "w"))  # noqa: SIM115, ASYNC230, PTH123 - nobody reads it
    with tempfile.TemporaryDirectory(prefix="signaged-bench-") as folder:
        async with embedded_postgres(Path(folder) / "postgres") as url:
            await measured(url, options.messages, options.rounds)


if __name__ == "__main__":
    uvloop.run(main())
