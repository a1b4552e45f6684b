"""Kafka as the relay needs it: brokers, the topics, room for our largest messages, idempotent producers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from config.settings import KafkaSettings
from daemon.doctor.finding import Finding, fail, ok, warn, within
from daemon.outbox.producer import BATCH_BYTES, NO_IDEMPOTENCE, PARTITIONS

PARTING_SECONDS: Final = 1.0


async def look_at_kafka(settings: KafkaSettings) -> list[Finding]:
    """Everything about Kafka, in order; no topic is made, no message sent."""
    seconds = settings.request_timeout.total_seconds()
    found: list[Finding] = []

    async def brokers() -> Finding:
        async with _admin(settings) as admin:
            cluster = await admin.describe_cluster()
            found.extend([await _topic(admin, topic) for topic in (settings.topic, settings.devices_topic)])
        return ok("kafka", f"{len(cluster['brokers'])} brokers answer")

    reached = await within(seconds, "kafka", brokers(), "see [kafka] bootstrap_servers, and what the brokers advertise")
    if reached.level == "fail":
        return [reached]
    advice = 'set [kafka] idempotence = "off", or let the account produce idempotently'
    return [reached, *found, await within(seconds, "idempotence", _idempotence(settings), advice)]


async def _topic(admin: Any, topic: str) -> Finding:
    """Whether the topic is there, in how many partitions, and takes batches of our size."""
    name = f"topic {topic}"
    (told,) = await admin.describe_topics([topic])
    if told["error_code"]:
        return warn(name, "not there", f"the daemon makes it, with {PARTITIONS} partitions, if its account may")
    parts = len(told["partitions"])
    largest = await _largest(admin, topic)
    if largest is not None and largest < BATCH_BYTES:
        return warn(name, f"max.message.bytes = {largest}", f"set it to {BATCH_BYTES} or more: batches have that size")
    return ok(name, f"{parts} partitions" + ("" if largest is None else f", messages up to {largest} bytes"))


async def _largest(admin: Any, topic: str) -> int | None:
    """The topic's max.message.bytes; None where the broker or its access list does not tell."""
    with suppress(Exception):
        for reply in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]):
            for resource in reply.resources:
                for entry in resource[4]:
                    if entry[0] == "max.message.bytes":
                        return int(entry[1])
    return None


async def _idempotence(settings: KafkaSettings) -> Finding:
    if settings.idempotence == "off":
        return ok("idempotence", "off, as configured")
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers.split(","), client_id="signaged doctor", enable_idempotence=True
    )
    try:
        await producer.start()
    except NO_IDEMPOTENCE as error:
        if settings.idempotence == "on":
            return fail("idempotence", f"refused: {error!r}", 'set [kafka] idempotence = "auto" or "off"')
        return ok("idempotence", "the brokers know none; auto does without")
    finally:
        with suppress(Exception):
            async with asyncio.timeout(PARTING_SECONDS):
                await producer.stop()
    return ok("idempotence", f"{settings.idempotence}; the brokers know it")


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers.split(","), client_id="signaged doctor")
    try:
        await admin.start()
        yield admin
    finally:
        with suppress(Exception):
            async with asyncio.timeout(PARTING_SECONDS):
                await admin.close()
