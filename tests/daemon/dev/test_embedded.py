"""Embedded servers start, keep their data, end with whoever started them, and say what is wrong."""

import asyncio
import os
import shutil
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from daemon.dev import embedded
from daemon.dev.embedded import FAST_AND_LOSSY, EmbeddedError, embedded_kafka, embedded_postgres

HOLDER = """
import asyncio, sys
from pathlib import Path
from daemon.dev import embedded
from daemon.dev.embedded import embedded_kafka, embedded_postgres

async def main():
    async with embedded_postgres(Path(sys.argv[1])) as url, embedded_kafka() as address:
        print(url, address, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def hold(folder: Path) -> tuple[asyncio.subprocess.Process, str, int, int]:
    """Start both servers in a process of its own; answer it, the database URL and both ports."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url, address = (await process.stdout.readline()).decode().split()
    return process, url, int(url.rsplit(":", 1)[1].split("/")[0]), int(address.rsplit(":", 1)[1])


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def closed_within(seconds: float, *ports: int) -> bool:
    until = time.monotonic() + seconds
    while any(is_open(port) for port in ports):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.02)
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_servers_end_with_their_process_and_keep_committed_rows(tmp_path: Path, number: signal.Signals) -> None:
    process, url, *ports = await hold(tmp_path / "postgres")
    connection = await asyncpg.connect(url)
    await connection.execute("create table seen as select 7 as number")
    connection.terminate()
    process.send_signal(number)
    await process.wait()
    # at once, while the first server may still be stopping
    async with embedded_postgres(tmp_path / "postgres") as again:
        connection = await asyncpg.connect(again)
        assert await connection.fetchval("select number from seen") == 7
        await connection.close()
    assert await closed_within(5, *ports)


async def test_recovers_from_a_killed_server_whose_number_another_process_has(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    async with embedded_postgres(folder, settings=FAST_AND_LOSSY):
        pid_file = (folder / "data" / "postmaster.pid").read_text()
        postmaster = int(pid_file.split("\n", 1)[0])
        os.kill(postmaster, signal.SIGKILL)
    (folder / "data" / "postmaster.pid").write_text(pid_file.replace(str(postmaster), str(os.getpid()), 1))
    async with embedded_postgres(folder) as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("select 1") == 1
        await connection.close()


async def test_refuses_a_folder_of_another_version(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="written by PostgreSQL 17, this is 18"):
        async with embedded_postgres(tmp_path / "postgres"):
            pass


async def test_refuses_a_folder_that_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.dev.embedded.STOP_SECONDS", 0.3)
    async with embedded_postgres(tmp_path / "postgres"):
        with pytest.raises(EmbeddedError, match="is in use by process"):
            async with embedded_postgres(tmp_path / "postgres"):
                pass


@pytest.mark.parametrize("server", ["postgres", "kafka"])
async def test_a_taken_port_is_an_error_with_the_servers_own_words(tmp_path: Path, server: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        opened = embedded_kafka(port) if server == "kafka" else embedded_postgres(tmp_path / "postgres", port)
        with pytest.raises(EmbeddedError, match=r"(?s)no free port.*in use"):
            async with opened:
                pass


async def test_a_start_error_ends_with_the_log(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"(?s)did not start:.*unrecognized configuration parameter"):
        async with embedded_postgres(tmp_path / "postgres", settings={"no_such_setting": "1"}):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as another user")
async def test_runs_from_and_in_folders_that_are_private_to_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    installed = embedded._package_folder("embedded_postgres", "embedded-postgres", "")
    for folder in installed.parent.glob("embedded_postgres*"):
        shutil.copytree(folder, private / folder.name)
    monkeypatch.setattr(embedded, "_package_folder", lambda *_: private / installed.name)
    async with embedded_postgres(private / "state", settings=FAST_AND_LOSSY) as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("select pg_read_file('PG_VERSION')") == "18\n"
        await connection.close()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


async def test_kafka_keeps_the_order_of_a_key(kafka_bootstrap: str) -> None:
    topic = "embedded.order"
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, acks="all") as producer:
        for number in range(20):
            await producer.send_and_wait(topic, b"%d" % number, key=b"k")
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest")
    async with consumer:
        values = [int((await asyncio.wait_for(consumer.getone(), 10)).value or b"") for _ in range(20)]
    assert values == list(range(20))


async def test_variables_reach_the_server_and_nothing_else_of_ours_does(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path / "pg", settings=FAST_AND_LOSSY, environment={"SPARE": "a=b"}) as url:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TEMP TABLE told (line text); COPY told FROM PROGRAM 'env'")
        told = [row["line"] for row in await connection.fetch("SELECT line FROM told")]
        await connection.close()
    assert "SPARE=a=b" in told
    assert not any(line.startswith(("PYTEST_", "HOME=")) for line in told)
