"""The daemon's own upkeep: the schema is there before work begins, the clock stays right, the gauges stay true."""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from config.settings import DatabaseSettings
from daemon.campaigns.campaign import Status as CampaignStatus
from daemon.clock import DatabaseClock
from daemon.database import Database, DatabaseUnavailable
from daemon.jumps import Guard, boot
from daemon.metrics import Metrics, precreate
from daemon.migrate import MayNotMigrate, migrate, owns, pending
from daemon.notices.queries import COUNT as MAILS
from daemon.notices.queries import State as MailState
from devices.delivery import Status as DeliveryStatus
from devices.presence import Status as DeviceStatus
from playlists.queries import Tx

log = structlog.get_logger("daemon.upkeep")

PAUSE = 0.5  # seconds before something that failed is tried again
REFRESH = 1.0  # seconds between two readings of the database's clock
REFRESH_DEADLINE = 2.0
COUNT_EVERY = 30.0

CAMPAIGNS = "SELECT status, count(*) AS number FROM campaigns WHERE deleted_at IS NULL GROUP BY status"
DELIVERIES = "SELECT status, count(*) AS number FROM deliveries GROUP BY status"
DEVICES = """
SELECT CASE WHEN d.disabled THEN 'DISABLED' WHEN p.device_id IS NULL THEN 'NEW'
            WHEN p.online THEN 'ONLINE' ELSE 'OFFLINE' END AS status, count(*) AS number
FROM devices d LEFT JOIN presence p ON p.device_id = d.id GROUP BY 1"""


async def prepare(database: Database, clock: DatabaseClock) -> None:
    """Return once the time is known and the schema there: migrated by us when we may, else by its owner (SPEC 12).

    Raises MigrationError when the schema can never be ours.
    """
    told = ""
    while True:
        try:
            await _migrate_if_owner(database.settings)  # they may change while we wait
            async with database.transaction() as tx:
                await clock.refresh(tx)
                missing = await pending(tx)
            if not missing:
                database.schema_ready = True
                log.info("schema ready")
                return
            reason = f"waiting for {', '.join(missing)}"
        except (DatabaseUnavailable, MayNotMigrate, asyncpg.PostgresError) as error:
            reason = str(error)
        if reason != told:
            log.warning("schema not ready", reason=reason)
            told = reason
        await asyncio.sleep(PAUSE)


async def _migrate_if_owner(settings: DatabaseSettings) -> None:
    owner_url = settings.owner_url or settings.url
    if await owns(owner_url) and (applied := await migrate(owner_url, settings.url, settings.role)):
        log.info("schema migrated", applied=applied)


async def keep_time(database: Database, clock: DatabaseClock, metrics: Metrics, beat: Callable[[], None]) -> None:
    """Keep the clock at the database's, and by it know whether the database answers; runs until cancelled.

    When the database's clock jumps, what cannot be undone is held before ours follows.
    """
    guard = Guard(clock, await asyncio.to_thread(boot))
    while True:
        beat()
        try:
            async with database.dedicated("clock") as connection:
                while True:
                    beat()
                    async with database.transaction(REFRESH_DEADLINE, on=connection) as tx:
                        look = None
                        if database.schema_ready:
                            look = await guard.look(tx)
                        else:  # nothing can be held yet, and nothing is done
                            await clock.refresh(tx)
                    if look is not None:
                        guard.follow(look)
                    metrics.note("database", up=True)
                    metrics.clock_offset_seconds.set(clock.offset_seconds())
                    metrics.clock_held.set(clock.held)
                    await asyncio.sleep(REFRESH)
        except DatabaseUnavailable as error:
            metrics.note("database", up=False)
            if error.outage:
                await database.leave()  # the others would wait longer, each for a deadline of its own
        await asyncio.sleep(PAUSE)


async def count(database: Database, metrics: Metrics) -> None:
    """Keep the gauges of campaigns, deliveries, devices and mails by status; runs until cancelled."""
    counted = (
        (metrics.campaigns, CAMPAIGNS, list(CampaignStatus)),
        (metrics.deliveries, DELIVERIES, list(DeliveryStatus)),
        (metrics.devices, DEVICES, list(DeviceStatus)),
        (metrics.mails_unsent, MAILS, list(MailState)),
    )
    for gauge, _, statuses in counted:
        precreate(gauge, statuses)

    async def once(tx: Tx) -> None:
        for gauge, statement, statuses in counted:
            found = dict.fromkeys(statuses, 0) | {row["status"]: row["number"] for row in await tx.fetch(statement)}
            for status, number in found.items():
                gauge.labels(status).set(number)

    while True:
        try:
            async with database.transaction() as tx:
                await once(tx)
        except DatabaseUnavailable:
            pass  # the seam has told it
        await asyncio.sleep(COUNT_EVERY)
