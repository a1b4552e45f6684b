"""Reads a history: all of it from the database, from a topic's beginning to its end, and out of a mailbox."""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from daemon.dev.mailbox import Mail
from playlists.queries import Tx
from tests import events
from tests.torture.history import Entry, History, Letter, Logged, Owed, Record, State, Wallet


async def read(tx: Tx, bootstrap: str, topic: str, mails: Iterable[Mail]) -> History:
    """Everything; nobody writes any more."""
    campaigns = await tx.fetch("SELECT id, status, sequence, held_micros, spent_micros, released_micros FROM campaigns")
    wallets = await tx.fetch("SELECT id, funded_micros, available_micros FROM tenants")
    log = await tx.fetch(
        """SELECT campaign_id, sequence, occurrence, type, from_status, to_status FROM transitions
           ORDER BY campaign_id, sequence"""
    )
    ledger = await tx.fetch("SELECT tenant_id, campaign_id, kind, amount_micros FROM ledger")
    owed = await tx.fetch("SELECT campaign_id, kind, sent_at IS NOT NULL FROM mails WHERE kind <> 'digest'")
    return History(
        campaigns={row[0]: State(*row[1:]) for row in campaigns},
        wallets={row[0]: Wallet(*row[1:]) for row in wallets},
        log=[Logged(row[0], row[1], row[2], (row[3], row[4], row[5])) for row in log],
        ledger=[Entry(*row) for row in ledger],
        waiting=await tx.fetchval("SELECT count(*) FROM outbox"),
        records=await records(bootstrap, topic),
        owed=[Owed(*row) for row in owed],
        letters=[letter(mail) for mail in mails],
    )


async def records(bootstrap: str, topic: str) -> list[Record]:
    """All records of a topic, by partition in their order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, one) for one in await _partitions(consumer, topic)]
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        found: list[Record] = []
        while [one for one in partitions if await consumer.position(one) < ends[one]]:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                found += [Record(one.partition, one.offset, one.key, one.value) for one in batch]
                for one in batch:
                    events.valid(one.value)
    finally:
        await consumer.stop()
    return found


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    await consumer.topics()  # asks the broker, where partitions_for_topic() only remembers
    return sorted(consumer.partitions_for_topic(topic) or ())


def letter(mail: Mail) -> Letter:
    said = mail.message
    return Letter(str(said["X-Signaged-Campaign"]), str(said["X-Signaged-Kind"]), str(said["Message-ID"]))
