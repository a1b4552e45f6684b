"""Failpoints: what arms them, that each stands where it is said to, and that a daemon's life passes every one."""

import asyncio
import json
import re
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon import failpoints
from daemon.dev.mailbox import Mailbox
from daemon.failpoints import NAMES, VARIABLE, BadFailpoints, Injected, arm, failpoint
from tests.conftest import connected
from tests.torture.customer import Customer
from tests.torture.plan import Kind, Plan, ground
from tests.whole.daemons import Daemon, environment, until
from tests.whole.player import rfc3339

ROOT = Path(__file__).parents[2]
EVERYWHERE = {VARIABLE: ",".join(f"{name}=sleep(0)@1" for name in NAMES)}


@pytest.fixture(autouse=True)
def _disarmed() -> None:
    arm({})


def test_unarmed_nothing_happens() -> None:
    for name in NAMES:
        failpoint(name)
    assert not failpoints._armed


def test_one_that_is_armed_springs_at_its_pass_alone() -> None:
    arm({VARIABLE: "relay.acked=error@2, mailer.replied=sleep(0.05)"})
    failpoint("relay.acked")
    with pytest.raises(Injected, match=r"relay\.acked"):
        failpoint("relay.acked")
    failpoint("relay.acked")
    failpoint("relay.read")
    began = time.monotonic()
    failpoint("mailer.replied")
    assert time.monotonic() - began >= 0.05


def test_chance_is_what_was_asked_for() -> None:
    arm({VARIABLE: "feed.followed=error:0.25"})
    sprung = 0
    for _ in range(2000):
        try:
            failpoint("feed.followed")
        except Injected:
            sprung += 1
    assert 400 < sprung < 600


def test_kill_is_the_end_of_the_process() -> None:
    program = "from daemon.failpoints import arm, failpoint; import os; arm(os.environ); failpoint('relay.sent')"
    ended = subprocess.run([sys.executable, "-c", program], env={VARIABLE: "relay.sent=kill"}, capture_output=True)
    assert ended.returncode == -9
    assert b"relay.sent" in ended.stdout  # said before it died


@pytest.mark.parametrize(
    ("text", "told"),
    [("relay.akced=kill", r"relay\.acked"), ("relay.acked", "relay.acked"), ("relay.acked=burn", "sleep")],
)
def test_what_cannot_be_armed_is_told(text: str, told: str) -> None:
    with pytest.raises(BadFailpoints, match=told):
        arm({VARIABLE: text})


def test_an_unknown_name_is_a_fault_of_configuration() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "daemon", "version"], env=environment() | {VARIABLE: "x=kill"}, capture_output=True
    )
    assert (ended.returncode, b"relay.acked" in ended.stderr) == (78, True)


def test_each_stands_in_the_code() -> None:
    found = set()
    for path in (ROOT / "daemon").rglob("*.py"):
        for name in re.findall(r'\bfailpoint\(f?"([^"]+)"\)', path.read_text(encoding="utf-8")):
            changes = failpoints._CHANGES if "{change.kind}" in name else ("",)
            found |= {name.replace("{change.kind}", change) for change in changes}
    assert found == NAMES


async def test_a_daemons_life_passes_every_one(
    tmp_path: Path, empty_database_url: str, kafka_bootstrap: str, smtp: Mailbox
) -> None:
    topics = {"topic": f"{tmp_path.name}.campaigns", "devices_topic": f"{tmp_path.name}.devices"}
    sections: dict[str, dict[str, Any]] = {
        "database": {"url": empty_database_url},
        "kafka": {"bootstrap_servers": kafka_bootstrap, **topics},
        "smtp": {"url": smtp.url},
        "plays": {"settle_after": 3600},
    }
    daemon = Daemon(tmp_path, sections)
    try:
        async with aiohttp.ClientSession() as session:
            daemon.start(EVERYWHERE)
            await daemon.ready(session)
            await lived(daemon, session, empty_database_url)
        assert NAMES - passed(daemon) == set()
    finally:
        await daemon.end()


async def lived(daemon: Daemon, session: aiohttp.ClientSession, url: str) -> None:
    """A campaign of each kind falls due, a tenant books, a screen reports."""
    async with connected(url) as tx, tx.transaction():
        now = await tx.fetchval("SELECT clock_timestamp()")
        plan = Plan(await ground(tx, 1, 1, 10**12, now))
        await plan.write(tx, list(Kind), now + timedelta(seconds=0.5))
    await daemon.stop()
    daemon.start(EVERYWHERE)  # newer zone rules are looked for by whole ticks, the first of them at once
    await daemon.ready(session)
    customer = Customer(session, [daemon])
    player = await customer.open()
    await customer.book(customer.api(customer.tenant["token"]))
    await until(lambda: asyncio.to_thread(lambda: "planner.notified" in passed(daemon)), 10)
    await player.poll()
    await player.fetch()
    await player.ack()
    play = {"campaign_id": next(iter(customer.bookings)), "creative_id": next(iter(customer.network.creatives))}
    played = {"play_id": "1", "started_at": rfc3339(time.time()), "duration_ms": 1000, "digest": player.body.digest}
    player.pending.append({**play, **played})
    await player.report()
    with suppress(AssertionError):  # the caller says which are missing
        await until(lambda: asyncio.to_thread(lambda: passed(daemon) == NAMES), 15)


def passed(daemon: Daemon) -> set[str]:
    lines = (json.loads(line) for line in daemon.log.read_text().splitlines() if line.endswith("}"))
    return {line["name"] for line in lines if line["event"] == "failpoint"}
