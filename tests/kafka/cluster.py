"""Real Apache Kafka on loopback: brokers that are their own controllers, from the packages that Maven fetches.

Needs Java 17 or newer and mvn. A broker takes some 400 MB; Maven keeps what it fetched (120 MB) in its own cache.
"""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

VERSION = "4.2.1"
ID = "c2lnbmFnZWQta2Fma2EtMQ"  # any 16 bytes, as Kafka writes them
JAVA = (
    *("java", "-Xms128m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>brokers</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


class ClusterError(Exception):
    """The brokers could not be started."""


def missing() -> str | None:
    """Say which program is not here that the brokers need."""
    return next((f"{program} is not installed" for program in ("java", "mvn") if not shutil.which(program)), None)


@dataclass(slots=True)
class Broker:
    """One of the brokers: where it listens, where its files are, and its process while it has one."""

    number: int
    port: int
    controller_port: int
    folder: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def properties(self) -> Path:
        return self.folder / f"broker-{self.number}.properties"

    def send(self, what: signal.Signals) -> None:
        """Send a signal; SIGSTOP freezes it, SIGCONT lets it go on."""
        assert self.process, "it does not run"
        self.process.send_signal(what)

    async def end(self, what: signal.Signals = signal.SIGKILL, seconds: float = 20) -> None:
        """End it, by force if it does not go by itself."""
        if not self.process:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(what)
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        self.process = None

    async def answering(self, seconds: float = 60) -> None:
        """Wait until it takes connections."""
        assert self.process
        async with asyncio.timeout(seconds):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                if self.process.returncode is not None:
                    raise ClusterError(f"broker {self.number} ended: see {self.folder / f'broker-{self.number}.log'}")
                await asyncio.sleep(0.2)


@dataclass(slots=True)
class Brokers:
    """The cluster; its data outlives a broker's end, not the cluster's."""

    classpath: str
    all: list[Broker] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.all)

    async def start(self, *brokers: Broker) -> None:
        """Start brokers, on the data they have, and wait until they answer."""
        for broker in brokers:
            with (broker.folder / f"broker-{broker.number}.log").open("ab") as log:
                broker.process = await asyncio.create_subprocess_exec(
                    *(*JAVA, "-cp", self.classpath, "kafka.Kafka", str(broker.properties)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        for broker in brokers:
            await broker.answering()


@asynccontextmanager
async def brokers(folder: Path, count: int = 3) -> AsyncIterator[Brokers]:
    """Yield running brokers 1 to `count` with their files in `folder`, which is there; raises ClusterError."""
    made = Brokers(await _classpath(folder))
    ports = list(_free_ports(2 * count))
    made.all = [Broker(n + 1, ports[2 * n], ports[2 * n + 1], folder) for n in range(count)]
    for broker in made.all:
        broker.properties.write_text("".join(f"{key}={value}\n" for key, value in _properties(broker, made.all)))
        storage = "kafka.tools.StorageTool", "format", "-t", ID, "-c", str(broker.properties)
        await _run(*JAVA, "-cp", made.classpath, *storage)
    try:
        await made.start(*made.all)
        yield made
    finally:
        await asyncio.gather(*(broker.end() for broker in made.all))


def _properties(broker: Broker, everybody: list[Broker]) -> Iterator[tuple[str, object]]:
    count = len(everybody)
    client, controller = f"PLAINTEXT://127.0.0.1:{broker.port}", f"CONTROLLER://127.0.0.1:{broker.controller_port}"
    yield "process.roles", "broker,controller"
    yield "node.id", broker.number
    yield "controller.quorum.voters", ",".join(f"{one.number}@127.0.0.1:{one.controller_port}" for one in everybody)
    yield "controller.listener.names", "CONTROLLER"
    yield "listeners", f"{client},{controller}"
    yield "advertised.listeners", client
    yield "listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
    yield "log.dirs", broker.folder / f"data-{broker.number}"
    yield "default.replication.factor", count
    yield "min.insync.replicas", max(1, count - 1)
    yield "offsets.topic.replication.factor", count
    yield "offsets.topic.num.partitions", 1
    yield "broker.session.timeout.ms", 6000  # until others lead what a silent one led


async def _classpath(folder: Path) -> str:
    """Ask Maven for the broker's packages; it fetches what it has not."""
    (folder / "pom.xml").write_text(POM.format(version=VERSION))
    told = folder / "classpath.txt"
    goal = f"-Dmdep.outputFile={told}", "dependency:build-classpath"
    await _run("mvn", "-q", "-B", "-f", str(folder / "pom.xml"), *goal)
    return told.read_text().strip()


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=dict(os.environ)
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise ClusterError(f"{command[0]} failed:\n{out.decode()[-2000:]}")


def _free_ports(count: int) -> Iterator[int]:
    taken = [socket.socket() for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    yield from [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
