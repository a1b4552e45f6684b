"""`signaged doctor`: every part is looked at, told in its order with what to do, and no look lasts."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from daemon.dev.mailbox import Mailbox
from playlists.queries import Tx
from tests.daemon.process import NOWHERE, daemon, signaged
from tests.faults.pooler import needs_pgbouncer, pgbouncer
from tests.gate import gate_to
from tests.whole.daemons import free_port

QUICK = {
    "SIGNAGED_DATABASE__CONNECT_TIMEOUT": "1",
    "SIGNAGED_KAFKA__REQUEST_TIMEOUT": "2",
    "SIGNAGED_SMTP__TIMEOUT": "1",
}

Told = dict[str, dict[str, Any]]


async def doctor(environ: dict[str, str]) -> tuple[int, Told]:
    ended = await signaged("doctor", "--json", environ=NOWHERE | QUICK | environ)
    told = json.loads(ended.out)
    assert told["ok"] == (ended.code == 0)
    return ended.code, {one["check"]: one for one in told["checks"]}


async def test_all_is_well(database_url: str, kafka_bootstrap: str, smtp: Mailbox, tmp_path: Path) -> None:
    ops = f"127.0.0.1:{free_port()}"
    environ = {
        "SIGNAGED_DATABASE__URL": database_url,
        "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": kafka_bootstrap,
        "SIGNAGED_SMTP__URL": smtp.url,
        "SIGNAGED_MEDIA__FOLDER": str(tmp_path / "media"),
        "SIGNAGED_OPS__LISTEN": ops,
    }
    async with daemon(environ) as running:
        await running.ready()
        code, told = await doctor(environ)
        assert await running.end() == 0
    assert code == 0
    assert not smtp.messages
    assert [name for name, one in told.items() if one["level"] == "fail"] == []
    assert list(told)[:10] == [
        *(
            "settings",
            "database",
            "pooler",
            "role",
            "schema",
            "clock",
            "time zone",
            "connections",
            "durability",
            "kafka",
        )
    ]
    assert told["topic signage.campaigns"]["level"] == "ok"
    assert told["ops port"]["found"] == f"signaged answers on {ops}"
    assert told["durability"]["level"] == "warn", "the tests' server is fast and lossy"
    ended = await signaged("doctor", environ=NOWHERE | QUICK | environ)
    assert ended.out.splitlines()[1].startswith("ok    database: PostgreSQL 18")


async def test_nobody_there_is_told_in_time(database_url: str, kafka_bootstrap: str, smtp: Mailbox) -> None:
    parts, kafka, mail = urlsplit(database_url), kafka_bootstrap.rpartition(":")[2], urlsplit(smtp.url).port or 0
    async with (
        gate_to(parts.hostname or "", parts.port or 0) as one,
        gate_to("127.0.0.1", int(kafka)) as two,
        gate_to("127.0.0.1", mail) as three,
    ):
        for gate in (one, two, three):
            gate.freeze()
        black_hole = {
            "SIGNAGED_DATABASE__URL": one.url(database_url),
            "SIGNAGED_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{two.port}",
            "SIGNAGED_SMTP__URL": f"smtp://127.0.0.1:{three.port}",
        }
        for environ in ({}, black_hole):
            began = time.monotonic()
            code, told = await doctor(environ)
            assert time.monotonic() - began < 8
            assert code == 69
            for part in ("database", "kafka", "mail"):
                assert told[part]["level"] == "fail"
                assert told[part]["advice"]


async def test_database_that_is_not_ready_is_told(empty_database_url: str, database_url: str) -> None:
    _, told = await doctor({"SIGNAGED_DATABASE__URL": empty_database_url})
    assert told["schema"]["level"] == "fail"
    assert "run `signaged migrate`" in told["schema"]["advice"]
    _, told = await doctor({"SIGNAGED_DATABASE__URL": database_url, "SIGNAGED_DATABASE__ROLE": "nobody_s"})
    assert told["role"]["level"] == "fail"
    owner = urlsplit(database_url).username or ""
    _, told = await doctor({"SIGNAGED_DATABASE__URL": database_url, "SIGNAGED_DATABASE__ROLE": owner})
    assert "UPDATE on ledger" in told["role"]["found"]
    _, told = await doctor({"SIGNAGED_DATABASE__URL": database_url, "SIGNAGED_DATABASE__POOL_SIZE": "500"})
    assert told["connections"]["level"] == "fail"


@pytest.mark.torture
@needs_pgbouncer
async def test_pooler_is_told_what_it_must_be(database_url: str, owner_connection: Tx) -> None:
    async with pgbouncer(database_url, "transaction") as url:
        code, told = await doctor({"SIGNAGED_DATABASE__URL": url})
    assert code == 69
    assert told["pooler"]["level"] == "fail"
    assert "pool_mode = session" in told["pooler"]["advice"]
    async with pgbouncer(database_url, "session") as url:
        _, told = await doctor({"SIGNAGED_DATABASE__URL": url})
    assert told["pooler"]["found"] == "in between, and leaves us our sessions"
    assert told["schema"]["level"] == "ok"


async def test_wrong_settings_end_with_78() -> None:
    code, told = await doctor({"SIGNAGED_BOOKING__RUNNING_LIMIT": "many"})
    assert code == 78
    assert told["settings"]["found"].startswith("booking.running_limit: ")
