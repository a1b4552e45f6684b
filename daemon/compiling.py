"""Compiling outside the event loop: children that are told inputs over a pipe and answer with stored-ready bodies.

A child reads requests from its standard input and ends with it, so that it dies with the daemon however that
dies. It knows the last plan only and touches neither network nor database.
"""

import asyncio
import gzip
import os
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

import brotli
import msgspec

from playlists.compile import compile_playlist
from playlists.ids import Digest
from playlists.placement import Placement, Screen, horizon, input_digest

T = TypeVar("T")

_LENGTH = struct.Struct("!I")
_INPUTS_A_CHILD = 16  # fewer inputs than this are not worth a further child


class Reach(msgspec.Struct, frozen=True, array_like=True):
    """How many hours a playlist covers, and how many of them are left when it is renewed.

    That is one more than the least a screen must have left (SPEC 6), so that a renewal has an hour to happen in.
    """

    hours: int = 48
    renewed_at: int = 27

    @property
    def whole(self) -> timedelta:
        """How far ahead a playlist reaches at most."""
        return timedelta(hours=self.hours)

    @property
    def renewal(self) -> timedelta:
        """How much of it is left when it is renewed."""
        return timedelta(hours=self.renewed_at)

    @classmethod
    def of(cls, horizon: timedelta, least: timedelta) -> Self:
        """From the settings: what a playlist covers and the least that must remain, both whole hours."""
        hour = timedelta(hours=1)
        return cls(horizon // hour, least // hour + 1)


class Input(msgspec.Struct, frozen=True, array_like=True):
    """What one playlist is made of, as indexes into a plan's screens and placements."""

    screen: int
    placements: list[int]


class Plan(msgspec.Struct, tag="plan", frozen=True):
    """Everything to be compiled at `now`; answered by one Planned for each input."""

    now: datetime
    placements: list[Placement]
    screens: list[Screen]
    inputs: list[Input]
    reach: Reach = Reach()


class Planned(msgspec.Struct, frozen=True):
    """By what an input is known and which hours its playlist covers now."""

    digest: Digest
    valid_from: datetime
    valid_until: datetime


class Make(msgspec.Struct, tag="make", frozen=True):
    """Compile the input of the last plan that has this index."""

    index: int


class Compiled(msgspec.Struct, frozen=True):
    """A playlist as it is stored: its body plain and compressed; `seconds` is what that took."""

    digest: Digest
    body: bytes
    br: bytes
    gzip: bytes
    seconds: float


class Failed(msgspec.Struct, frozen=True):
    """An input that cannot be compiled, and why."""

    error: str


class Answer(msgspec.Struct, frozen=True):
    """What a child says: exactly one of its fields."""

    planned: list[Planned] | None = None
    compiled: Compiled | None = None
    failed: Failed | None = None


_requests = msgspec.msgpack.Decoder(Plan | Make)
_answers = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder()


# In a child --------------------------------------------------------------------------------------------------------


def main() -> None:
    """Serve requests until standard input ends."""
    # Its end is that of its input: the daemon may still want answers while it drains.
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    # A broken pipe is as good an end: nobody is left to answer to.
    with suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # a stray print must not look like an answer
        serve(sys.stdin.buffer, answers)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each request in turn until there are no more."""
    plan, planned = Plan(datetime.min, [], [], []), list[Planned]()  # noqa: DTZ901 - stands for no plan yet
    while (prefix := requests.read(_LENGTH.size)) and len(prefix) == _LENGTH.size:
        (length,) = _LENGTH.unpack(prefix)
        encoded_request = requests.read(length)
        if len(encoded_request) < length:
            return  # whoever asked was killed over it
        request = _requests.decode(encoded_request)
        if isinstance(request, Plan):
            plan, planned = request, [_planned(request, one) for one in request.inputs]
            answer = Answer(planned=planned)
        else:
            answer = _made(plan, planned[request.index], plan.inputs[request.index])
        encoded = _encoder.encode(answer)
        answers.write(_LENGTH.pack(len(encoded)) + encoded)
        answers.flush()


def _planned(plan: Plan, one: Input) -> Planned:
    digest = input_digest((plan.placements[index] for index in one.placements), plan.screens[one.screen])
    return Planned(digest, *horizon(digest, plan.now, plan.reach.hours, plan.reach.renewed_at))


def _made(plan: Plan, planned: Planned, one: Input) -> Answer:
    began = time.perf_counter()
    try:
        placements = [plan.placements[index] for index in one.placements]
        # Those that only the time around the horizon knows have no place in it.
        within = [p for p in placements if p.start_at < planned.valid_until and p.end_at > planned.valid_from]
        playlist = compile_playlist(within, plan.screens[one.screen], planned.valid_from, planned.valid_until)
    except Exception as error:  # noqa: BLE001 - one bad input must not keep the others from being compiled
        return Answer(failed=Failed(f"{type(error).__name__}: {error}"))
    body = playlist.body
    br = brotli.compress(body, quality=5)
    zipped = gzip.compress(body, compresslevel=6, mtime=0)
    return Answer(compiled=Compiled(playlist.digest, body, br, zipped, time.perf_counter() - began))


# In the daemon -----------------------------------------------------------------------------------------------------


class ChildLost(Exception):
    """A compiling child ended; the next request starts another."""


class Child:
    """One compiling child, started when first asked."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, request: Plan | Make) -> Answer:
        """The child's answer; raises ChildLost. A cancelled call ends the child, whose answer nobody awaits."""
        if self._process is None:
            self._process = await _start()
        try:
            return await _exchange(self._process, _encoder.encode(request))
        except (OSError, asyncio.IncompleteReadError) as error:
            await self.close()
            raise ChildLost("a compiling child ended by itself") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the child, if there is one; nothing it does is worth waiting for."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


async def _start() -> asyncio.subprocess.Process:
    root = str(Path(__file__).parents[1])
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-c",
        "from daemon.compiling import main; main()",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))},
        start_new_session=True,  # ctrl-C is for the daemon
    )


async def _exchange(process: asyncio.subprocess.Process, request: bytes) -> Answer:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - started with both
    process.stdin.write(_LENGTH.pack(len(request)) + request)
    await process.stdin.drain()
    prefix = await process.stdout.readexactly(_LENGTH.size)
    return _answers.decode(await process.stdout.readexactly(_LENGTH.unpack(prefix)[0]))


class Compiler:
    """Children that share a plan's inputs among them; not to be asked twice at a time."""

    def __init__(self, children: int, reach: Reach) -> None:
        self.reach = reach
        self._children = [Child() for _ in range(children)]
        self._used = 1

    async def plan(
        self, now: datetime, placements: Sequence[Placement], screens: Sequence[Screen], inputs: Sequence[Input]
    ) -> list[Planned]:
        """What each input is known by, in their order; `make` then takes their indexes. Raises ChildLost."""
        self._used = min(len(self._children), 1 + len(inputs) // _INPUTS_A_CHILD)
        shares = [
            child.ask(Plan(now, list(placements), list(screens), list(inputs[number :: self._used]), self.reach))
            for number, child in enumerate(self._children[: self._used])
        ]
        answers = await self._all(shares)
        planned: list[Any] = [None] * len(inputs)
        for number, answer in enumerate(answers):
            planned[number :: self._used] = answer.planned or []
        return planned

    async def make(self, indexes: Iterable[int], seconds: float) -> dict[int, Compiled | Failed]:
        """Inputs of the last plan compiled in the given order, at least one, until `seconds` are over.

        Raises ChildLost.
        """
        until = asyncio.get_running_loop().time() + seconds
        shares: list[list[int]] = [[] for _ in range(self._used)]
        for index in indexes:
            shares[index % self._used].append(index)
        made: dict[int, Compiled | Failed] = {}
        await self._all([self._share(number, share, until, made) for number, share in enumerate(shares)])
        return made

    async def _all(self, asked: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        try:
            return await asyncio.gather(*asked)
        except Exception:
            await self.close()  # the others' answers would be taken for those of the next request
            raise

    async def _share(self, number: int, indexes: list[int], until: float, made: dict[int, Compiled | Failed]) -> None:
        loop = asyncio.get_running_loop()
        for turn, index in enumerate(indexes):
            if turn and loop.time() >= until:
                return
            answer = await self._children[number].ask(Make(index // self._used))
            result = answer.compiled or answer.failed
            if result is not None:
                made[index] = result

    async def close(self) -> None:
        """End the children."""
        for child in self._children:
            await child.close()


@asynccontextmanager
async def opened(children: int, reach: Reach) -> AsyncIterator[Compiler]:
    """A compiler whose children, at most this many, are started when needed and ended with the block."""
    compiler = Compiler(children, reach)
    try:
        yield compiler
    finally:
        await compiler.close()
