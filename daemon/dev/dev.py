"""`signaged dev`: the whole job on one machine, with servers, a network, screens and bookings of its own."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import aiohttp
import anyio.abc

from config.settings import Settings
from config.sources import hidden, load
from config.writing import toml
from daemon import tenants
from daemon.clock import DatabaseClock
from daemon.database import Database
from daemon.dev import account, director, sample
from daemon.dev.account import Console, ReaderGone
from daemon.dev.embedded import child, embedded_kafka, embedded_postgres, tail
from daemon.dev.mailbox import Mailbox, mailbox
from daemon.importing.command import NotImported, import_file
from daemon.migrate import migrate

READY_SECONDS = 60.0
HINDSIGHT = timedelta(minutes=1)  # what the import and the first loops of the daemon did is told, too
TOKEN_FILE = "operator-token"  # noqa: S105 - a name
TOKEN_NAME = "signaged dev"  # noqa: S105 - its name in the list of tokens
_TOKEN_STANDS = "SELECT EXISTS (SELECT FROM api_tokens WHERE token_sha256 = $1 AND revoked_at IS NULL)"  # noqa: S105 - a statement


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What `signaged dev` is told: None for a server means one of our own; ports are taken if they are free."""

    state: Path
    database_url: str | None = None
    kafka: str | None = None
    smtp: str | None = None
    screens: int = 300
    port: int = 8080
    ops_port: int = 9464
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # settings of a file of the user's


class DevError(Exception):
    """It cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Servers:
    """What the daemon is to use, and what of it is ours: the database, the mailbox."""

    database_url: str
    kafka: str
    smtp: str
    mailbox: Mailbox | None
    own_database: bool


async def run(options: DevOptions, console: Console) -> None:
    """Start everything, tell what happens, and end everything on SIGINT or SIGTERM. Raises DevError, EmbeddedError."""
    with _ended_by_signals():
        _make_state(options.state)
        async with contextlib.AsyncExitStack() as stack:
            servers = await _servers(options, stack, console)
            config = _write_config(options, servers)
            settings = load(config, {})
            console.line("the schema and the sample network ...")
            own = settings.database
            await migrate(own.owner_url or own.url, own.url, own.role)
            async with Database.open(settings.database, "signaged dev") as database:
                clock = DatabaseClock()
                async with database.dedicated("clock") as connection:
                    await clock.refresh(connection)
                token = await _operator_token(options.state / TOKEN_FILE, database, clock.now())
                await _sample_network(options.state, settings, database, clock.now(), console)
            daemon_log = stack.enter_context((options.state / "daemon.log").open("w+b"))
            daemon = await stack.enter_async_context(_signaged(["run", "--config", str(config)], daemon_log))
            await _until_ready(settings, daemon, daemon_log)
            fleet_log = stack.enter_context((options.state / "fleet.log").open("w+b"))
            fleet = await stack.enter_async_context(_signaged(_fleet_words(options, settings), fleet_log))
            ask = await stack.enter_async_context(director.api(_url(settings), token))
            _greet(console, settings, servers.own_database, token, options.state)
            await _watch(ask, settings, servers, clock, console, ((daemon, daemon_log), (fleet, fleet_log)))


def _make_state(state: Path) -> None:
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DevError(f"{state} cannot be made: {error.strerror}; --state names another folder") from error
    if not os.access(state, os.W_OK | os.X_OK):
        raise DevError(f"{state} cannot be written to; --state names another folder")


async def _servers(options: DevOptions, stack: contextlib.AsyncExitStack, console: Console) -> Servers:
    given, sink = options.given, None
    database_url = options.database_url or given.get("database", {}).get("url")
    kafka = options.kafka or given.get("kafka", {}).get("bootstrap_servers")
    smtp = options.smtp or given.get("smtp", {}).get("url")
    own_database = database_url is None
    if database_url is None:
        console.line("PostgreSQL 18 ...")
        database_url = await stack.enter_async_context(embedded_postgres(options.state / "postgres"))
    if kafka is None:
        console.line("Kafka, in memory ...")
        kafka = await stack.enter_async_context(embedded_kafka())
    if smtp is None:
        sink = await stack.enter_async_context(mailbox(folder=options.state / "mail"))
        smtp = sink.url
    return Servers(database_url, kafka, smtp, sink, own_database)


def _write_config(options: DevOptions, servers: Servers) -> Path:
    """The daemon's configuration of this run, short in everything that a person would have to wait for."""
    ours: dict[str, dict[str, Any]] = {
        "http": {"listen": f"127.0.0.1:{_free(options.port)}"},
        "ops": {"listen": f"127.0.0.1:{_free(options.ops_port)}"},
        "media": {"folder": str(options.state.absolute() / "media")},
        "plays": {"settle_after": 20},
        "devices": {"poll_after": 6, "heartbeat": 15},
    }
    used = {
        "database": {"url": servers.database_url},
        "kafka": {"bootstrap_servers": servers.kafka},
        "smtp": {"url": servers.smtp},
    }
    sections = {}
    for name in dict.fromkeys([*used, *ours, *options.given]):
        section = {**ours.get(name, {}), **options.given.get(name, {}), **used.get(name, {})}
        if name == "database" and options.database_url:
            section.pop("owner_url", None)  # which owns the file's database and not this one
        sections[name] = section
    config = options.state / "signaged.toml"
    config.touch(mode=0o600)
    config.write_text(f"# written by `signaged dev` at every start\n{toml(sections)}\n", encoding="utf-8")
    return config


def _free(port: int) -> int:
    """The port if nobody has it, else one that is free."""
    for wanted in (port, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", wanted))
            found: int = probe.getsockname()[1]
            return found
    raise DevError("no port of 127.0.0.1 is free")


async def _operator_token(path: Path, database: Database, now: datetime) -> str:
    """An operator's token, the one of an earlier run while it stands."""
    async with database.transaction() as tx:
        if path.exists():
            token = path.read_text(encoding="ascii")
            if await tx.fetchval(_TOKEN_STANDS, sha256(token.encode()).digest()):
                return token
        _, token = await tenants.create_token(tx, "operator", None, TOKEN_NAME, now)
    path.touch(mode=0o600)
    path.write_text(token, encoding="ascii")
    return token


async def _sample_network(state: Path, settings: Settings, database: Database, now: datetime, console: Console) -> None:
    """Draw the sample's media and import it; in later runs that finds nothing to do."""
    file = state / "network.json"
    if not file.exists():
        drawn = await _drawn(state / "sample", console)
        file.write_text(json.dumps(sample.network(drawn, now), ensure_ascii=False, indent=1), encoding="utf-8")
    async with database.transaction() as tx:
        is_there = await tx.fetchval("SELECT count(*) FROM stores") >= sample.STORES
    if is_there and settings.media.folder.is_dir():
        return
    try:
        outcome = await import_file(file, settings, database, now, lambda text: console.line(f"  {text}"))
    except NotImported as refused:
        if not is_there:
            raise
        # a database with a life behind it, only its media are not here
        console.line(f"  left as it is: {refused}")
        return
    console.line(f"  {outcome.total('new')} objects imported from {file}")


async def _drawn(folder: Path, console: Console) -> dict[str, sample.Json]:
    """The sample's media; a thread cannot be cancelled, but ours looks between two whether it is still wanted."""
    wanted = True

    def told(text: str) -> None:
        if not wanted:
            raise ReaderGone
        console.line(f"  {text}")

    try:
        return await asyncio.to_thread(sample.media, folder, told)
    finally:
        wanted = False


@contextlib.asynccontextmanager
async def _signaged(words: list[str], log: IO[bytes]) -> AsyncIterator[anyio.abc.Process]:
    """Run one of our own commands as a process of its own, ended by SIGTERM."""
    arguments = ["-m", "daemon", *words]
    async with child(Path(sys.executable), arguments, log, "", signal.SIGTERM) as process:
        yield process


def _fleet_words(options: DevOptions, settings: Settings) -> list[str]:
    """The token goes by its file: everybody sees a command line."""
    state = options.state.absolute()
    return [
        "fleet", "--url", _url(settings), "--token-file", str(state / TOKEN_FILE), "--screens", str(options.screens),
        "--state", str(state / "fleet.json"), "--json",
    ]  # fmt: skip


def _url(settings: Settings) -> str:
    return f"http://{settings.http.listen}"


async def _until_ready(settings: Settings, daemon: anyio.abc.Process, log: IO[bytes]) -> None:
    async with aiohttp.ClientSession() as session:
        with anyio.move_on_after(READY_SECONDS):
            while daemon.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://{settings.ops.listen}/readyz") as reply:
                        if reply.status == 200:
                            return
                await asyncio.sleep(0.1)
    raise DevError(f"the daemon did not become ready{tail(log)}")


async def _until_kafka(settings: Settings, console: Console) -> None:
    """Wait until the daemon has Kafka and its topics there: to ask for one before would make it, in Kafka's own way."""
    told = None
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{settings.ops.listen}/readyz") as reply:
                    state = (await reply.json())["components"]["kafka"]
                if state == "up":
                    return
                if state == "down" != told:
                    console.line(f"no events yet: Kafka at {settings.kafka.bootstrap_servers} does not answer")
                    told = state
            await asyncio.sleep(0.2)


def _greet(console: Console, settings: Settings, own_database: bool, token: str, state: Path) -> None:
    url, ops = _url(settings), f"http://{settings.ops.listen}"
    console.line()
    console.line(f"API        {url}/v1/campaigns      {url}/openapi.json")
    console.line(f"operations {ops}/metrics   {ops}/readyz   {ops}/livez")
    console.line(
        f"Kafka      {settings.kafka.bootstrap_servers}, topics {settings.kafka.topic}, {settings.kafka.devices_topic}"
    )
    console.line(f"database   {settings.database.url if own_database else hidden(settings.database.url)}")
    console.line(f"state      {state.absolute()} (logs, mail, media; remove it to begin anew)")
    console.line("an operator's token, and a first call with it:")
    console.line(f"  export TOKEN={token}")
    console.line(f'  curl -H "Authorization: Bearer $TOKEN" "{url}/v1/schedule/upcoming?hours=1"')
    console.line("ctrl-C ends everything")
    console.line()


async def _watch(
    ask: director.Api,
    settings: Settings,
    servers: Servers,
    clock: DatabaseClock,
    console: Console,
    children: tuple[tuple[anyio.abc.Process, IO[bytes]], ...],
) -> None:
    sent, begun = Counter(events=0), clock.now() - HINDSIGHT

    def hear(event: dict[str, Any]) -> None:
        at = datetime.fromisoformat(event["time"])
        if at < begun:
            return  # a Kafka of the user's remembers earlier runs
        sent["events"] += 1
        if servers.mailbox:
            sent["mails"] = len(servers.mailbox.messages)
        console.say(at, *account.told(event))

    async def follow() -> None:
        await _until_kafka(settings, console)
        await account.follow(settings.kafka.bootstrap_servers, settings.kafka.topic, hear)

    async with asyncio.TaskGroup() as group:
        for process, log in children:
            group.create_task(_alarm(process, log))
        group.create_task(follow())
        fleet_log = children[1][1]
        group.create_task(account.summarise(ask, sent, lambda: _last_line(fleet_log), clock.now, console))
        group.create_task(director.direct(ask, clock.now, lambda text: console.say(clock.now(), "refused", text)))


async def _alarm(process: anyio.abc.Process, log: IO[bytes]) -> None:
    code = await process.wait()
    raise DevError(f"a process of ours ended with code {code}{tail(log)}")


def _last_line(log: IO[bytes]) -> dict[str, int]:
    """The counts that the fleet told last."""
    with contextlib.suppress(ValueError, IndexError):
        size = os.fstat(log.fileno()).st_size
        told = os.pread(log.fileno(), 4096, max(0, size - 4096)).splitlines()[-1]
        return dict(json.loads(told))
    return {}


@contextlib.contextmanager
def _ended_by_signals() -> Any:
    """Turn SIGINT and SIGTERM into a cancellation of the running task, which unwinds all that was started."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None  # noqa: S101 - we run in one
    asked = False

    def end() -> None:
        nonlocal asked
        if not asked:
            asked = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        yield
    except asyncio.CancelledError:
        if not asked:
            raise
        task.uncancel()
