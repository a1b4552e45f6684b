"""The daemon as a process: what it needs may be absent, come and go; it ends in order and with the right code."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from daemon.app import INTERNAL, Life, _live
from daemon.migrate import migrate
from playlists.queries import Tx
from tests.conftest import on_server
from tests.daemon.process import NOWHERE, daemon, signaged
from tests.gate import Gate, gate_to

QUICK = {"SIGNAGED_DATABASE__STATEMENT_TIMEOUT": "2", "SIGNAGED_DATABASE__CONNECT_TIMEOUT": "1"}


@pytest.fixture
async def gate(postgres: str) -> AsyncIterator[Gate]:
    parts = urlsplit(postgres)
    async with gate_to(parts.hostname or "", parts.port or 5432) as opened:
        yield opened


async def test_database_that_comes_goes_and_comes_back_needs_no_restart(empty_database_url: str, gate: Gate) -> None:
    gate.shut()
    async with daemon(QUICK | {"SIGNAGED_DATABASE__URL": gate.url(empty_database_url)}) as running:
        assert await running.get("/livez") == (200, {"status": "ok", "stale": []})
        status, told = await running.get("/readyz")
        assert (status, told["checks"]["database"]) == (503, False)
        status, problem = await running.get("/v1/campaigns", "http", "any")
        assert (status, problem["type"]) == (503, "urn:signaged:unavailable")
        gate.open()
        await running.ready()
        for lose, seconds in ((gate.shut, 3.0), (gate.freeze, 6.0)):
            lose()
            await running.ready(503, seconds)
            assert (await running.get("/livez"))[0] == 200
            gate.open()
            await running.ready(200, 6.0)
        assert await running.end() == 0
    assert "schema migrated" in running.events()
    assert not {"loop died", "loop ended"} & set(running.events())


@pytest.mark.parametrize("link", ["open", "frozen"])
async def test_sigterm_drains_in_time_with_everything_dead(database_url: str, gate: Gate, link: str) -> None:
    async with daemon({"SIGNAGED_DATABASE__URL": gate.url(database_url)}) as running:
        await running.ready()
        if link == "frozen":
            gate.freeze()
            await asyncio.sleep(0.5)
        began = time.monotonic()
        assert await running.end() == 0
        assert time.monotonic() - began < 15
    assert running.events()[-1] == "stopped"


async def test_second_sigterm_ends_it_at_once(database_url: str, gate: Gate) -> None:
    async with daemon({"SIGNAGED_DATABASE__URL": gate.url(database_url)}) as running:
        await running.ready()
        gate.freeze()
        await asyncio.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        began = time.monotonic()
        assert await running.end() == 75
        assert time.monotonic() - began < 1


async def test_two_on_an_empty_database_share_the_migration(empty_database_url: str) -> None:
    environ = {"SIGNAGED_DATABASE__URL": empty_database_url}
    async with daemon(environ) as one, daemon(environ) as two:
        await asyncio.gather(one.ready(), two.ready())
        assert (one.events() + two.events()).count("schema migrated") == 1
        assert await one.end(signal.SIGINT) == 0
        assert (await two.get("/readyz"))[0] == 200


async def test_login_that_may_not_migrate_waits_for_the_schema(postgres: str, empty_database_url: str) -> None:
    parts = urlsplit(empty_database_url)
    environ = {
        "SIGNAGED_DATABASE__URL": parts._replace(netloc=f"signaged_waiter:word@{parts.hostname}:{parts.port}").geturl()
    }
    await on_server(postgres, "CREATE ROLE signaged_waiter LOGIN PASSWORD 'word'")
    try:
        async with daemon(environ) as running:
            await asyncio.sleep(1)
            assert (await running.get("/readyz"))[0] == 503
            await migrate(empty_database_url, environ["SIGNAGED_DATABASE__URL"])
            await running.ready()
            assert await running.end() == 0
    finally:
        await on_server(postgres, "DROP ROLE signaged_waiter")


async def test_foreign_schema_ends_it_with_78(database_url: str, owner_connection: Tx) -> None:
    await owner_connection.execute("INSERT INTO schema_migrations VALUES ('9999_later.sql', 'x')")
    ended = await signaged("run", environ=NOWHERE | {"SIGNAGED_DATABASE__URL": database_url})
    assert ended.code == 78
    assert "the schema is newer than this program" in ended.err


async def test_taken_port_ends_it_with_75() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = await signaged("run", environ=NOWHERE | {"SIGNAGED_HTTP__LISTEN": address})
    assert ended.code == 75
    assert f"signaged: cannot listen on {address}" in ended.err


async def test_manager_hears_of_start_life_and_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        async with daemon(environ) as running:
            await asyncio.sleep(0.5)
            assert await running.end() == 0
        messages = [heard.recv(100)]
        while messages[-1] != b"STOPPING=1":
            messages.append(heard.recv(100))
    assert messages[0] in (b"READY=1", b"WATCHDOG=1")
    assert {b"READY=1", b"WATCHDOG=1"} <= set(messages)


async def test_first_loop_to_die_ends_the_process() -> None:
    life = Life(asyncio.Event())

    async def dies() -> None:
        raise ValueError("broken")

    await _live(life, "ticker", dies)
    assert life.stop.is_set()
    assert life.code == INTERNAL
