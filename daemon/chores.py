"""What a tick does last: screens that are ready or there again, devices that came or went, what is kept no longer."""

import asyncio
from datetime import datetime, timedelta

from daemon.campaigns import lifecycle
from daemon.campaigns.events import Transition
from daemon.ground import Ground
from daemon.notices import queries as notices
from daemon.outbox import queries as outbox
from daemon.outbox.message import device_message
from daemon.readiness import fail_due, ready_due
from daemon.tick import Step, once
from devices.queries.plays import purge_plays
from devices.queries.presence import announce_changes
from playlists.queries import Tx

CHANGES_AT_ONCE = 20_000  # devices that came or went; all of a large network do when a line is cut
FORGOTTEN_AT_ONCE = 10_000  # in one transaction
FORGETTING = 0.5  # seconds of a tick that plays may take: what falls due meanwhile waits as long

FORGET_KEYS = """
DELETE FROM idempotency_keys WHERE (token_id, method, path, key) IN (
    SELECT token_id, method, path, key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2
)"""


def steps(
    ready_percent: int, settle_after: timedelta, patience: timedelta, keys_kept: timedelta, mails_kept: timedelta
) -> tuple[Step, ...]:
    """The steps that follow a campaign's life in a tick.

    `ready_percent` of an audience make a campaign ready, one that its whole audience fails is settled `settle_after`
    that. `patience` is the silence after which a device is offline, `keys_kept` how long an idempotency key counts,
    `mails_kept` how long a mail is kept once it was sent or given up.
    """

    async def ready(tx: Tx, now: datetime) -> list[Transition]:
        return await ready_due(tx, now, ready_percent)

    async def failures(tx: Tx, now: datetime) -> list[Transition]:
        return await fail_due(tx, now, settle_after)

    async def audience(tx: Tx, now: datetime) -> list[Transition]:
        return [*await lifecycle.desert(tx, now), *await lifecycle.revive(tx, now)]

    async def presence(tx: Tx, now: datetime) -> list[Transition]:
        await announce_presence(tx, patience, now)
        return []

    async def keys(tx: Tx, now: datetime) -> list[Transition]:
        await tx.execute(FORGET_KEYS, now - keys_kept, FORGOTTEN_AT_ONCE)
        return []

    async def mails(tx: Tx, now: datetime) -> list[Transition]:
        await notices.purge(tx, now - mails_kept, FORGOTTEN_AT_ONCE)
        return []

    return (
        once("readiness", ready),
        once("failures", failures, final=True),
        once("audience", audience),
        once("presence", presence),
        once("idempotency", keys, final=True),
        once("mails", mails, final=True),
    )


def forgetting(plays_kept: timedelta) -> Step:
    """The step that forgets plays, in portions of a transaction each, for as long as a tick can spare (SPEC 13)."""

    async def run(ground: Ground) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + FORGETTING
        gone = FORGOTTEN_AT_ONCE
        while gone == FORGOTTEN_AT_ONCE and loop.time() < until:
            async with ground.begin() as tx:
                if await ground.held(tx):  # by a wrong clock they may look old
                    return
                gone = await purge_plays(tx, ground.clock.now() - plays_kept, FORGOTTEN_AT_ONCE)

    return Step("plays", run)


async def announce_presence(tx: Tx, patience: timedelta, now: datetime) -> int:
    """Owe the world `device.online` and `device.offline` of devices that came or went; says how many."""
    changed = await announce_changes(tx, patience, CHANGES_AT_ONCE)
    messages = [
        device_message(
            change.device_id,
            change.number,
            "device.online" if change.online else "device.offline",
            now,
            f"{change.device_id}/{change.number}",
            {"last_seen_at": change.last_seen_at},
        )
        for change in changed
    ]
    if messages:
        await outbox.append(tx, messages, now)
    return len(messages)
