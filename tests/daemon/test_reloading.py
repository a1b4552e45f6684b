"""SIGHUP: what can change at once does, what cannot is told, and a bad file changes nothing."""

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from config.settings import Settings
from config.sources import ConfigError, Fault
from daemon.dev.mailbox import mailbox
from daemon.reloading import RESTART, Live
from tests.daemon.process import NOWHERE, Running, daemon, signaged
from tests.gate import gate_to
from tests.whole.daemons import toml

BASE: dict[str, Any] = {
    "database": {"url": "postgresql://a@127.0.0.1/b"},
    "kafka": {"bootstrap_servers": "127.0.0.1:1"},
}


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {name: BASE.get(name, {}) | sections.get(name, {}) for name in BASE.keys() | sections.keys()}
    )


def test_only_what_can_change_does() -> None:
    live = Live(
        settings(),
        lambda: settings(booking={"min_lead": 60}, money={"currency": "USD"}, http={"body_timeout": 1}),
    )
    assert live.reload()
    assert live.settings == settings(booking={"min_lead": 60})
    assert not live.reload(), "what waits for a restart is no change"


def test_fault_changes_nothing() -> None:
    def read() -> Settings:
        raise ConfigError([Fault("booking.min_lead", "unknown key", 3)])

    live = Live(settings(), read)
    assert not live.reload()
    assert live.settings == settings()


def test_keys_that_need_a_restart_are_there() -> None:
    for key in RESTART:
        section, _, name = key.partition(".")
        fields = type(getattr(settings(), section)).model_fields
        assert not name or name in fields, key


async def said(running: Running, event: str, after: int) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            if found := [line for line in running.lines[after:] if line["event"] == event]:
                return found[0]
            await asyncio.sleep(0.02)


async def test_daemon_goes_by_a_changed_file(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "signaged.toml"
    parts = urlsplit(database_url)
    made = await signaged(
        *("token", "create", "--role", "platform_admin"), environ=NOWHERE | {"SIGNAGED_DATABASE__URL": database_url}
    )
    token = made.out.strip()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        async with gate_to(parts.hostname or "", parts.port or 5432) as gate, mailbox() as box:
            sections: dict[str, dict[str, Any]] = {
                "database": {"url": database_url, "connect_timeout": 1},
                "kafka": {"bootstrap_servers": "127.0.0.1:1"},
                "http": {"listen": "127.0.0.1:0"},
                "ops": {"listen": "127.0.0.1:0"},
                "smtp": {"url": "smtp://127.0.0.1:1"},
                "booking": {"running_limit": 3},
            }

            async def reload(running: Running, text: str, event: str) -> dict[str, Any]:
                file.write_text(text)
                seen = len(running.lines)
                running.process.send_signal(signal.SIGHUP)
                return await said(running, event, seen)

            file.write_text(toml(sections))
            async with daemon({"NOTIFY_SOCKET": str(tmp_path / "notify")}, config=file) as running:
                await running.ready()
                assert await limit_of_a_new_tenant(running, token, "a") == 3
                refused = await reload(
                    running, toml(sections | {"booking": {"runing_limit": 4}}), "configuration refused"
                )
                assert (refused["key"], refused["reason"]) == ("booking.runing_limit", "unknown key")
                assert await limit_of_a_new_tenant(running, token, "b") == 3
                sections |= {
                    "database": {"url": gate.url(database_url), "connect_timeout": 1},
                    "smtp": {"url": box.url},
                    "booking": {"running_limit": 4},
                    "http": {"listen": "127.0.0.1:1"},
                }
                told = await reload(running, toml(sections), "configuration reloaded")
                assert told["changed"] == ["booking.running_limit", "database.url", "smtp.url"]
                assert [line["keys"] for line in running.lines if "restart" in line["event"]] == [["http.listen"]]
                assert await limit_of_a_new_tenant(running, token, "c") == 4
                await said(running, "smtp available", 0)
                gate.shut()  # by which it goes to the database now
                await running.ready(503)
                gate.open()
                await running.ready()
                assert (await running.get("/livez"))[0] == 200
                assert await running.end() == 0
        heard = [manager.recv(100) for _ in range(5)]
    assert any(message.startswith(b"RELOADING=1\nMONOTONIC_USEC=") for message in heard)


async def limit_of_a_new_tenant(running: Running, token: str, name: str) -> Any:
    body = {"name": name, "currency": "EUR", "timezone": "UTC", "email": "a@example.com"}
    headers = {"Authorization": f"Bearer {token}"}
    url = f"http://{running.addresses['http']}/v1/tenants"
    async with running.session.post(url, json=body, headers=headers) as response:
        assert response.status == 201, await response.text()
        return (await response.json())["running_limit"]
