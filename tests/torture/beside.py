"""A machine that does a thing for real and to the model of SPEC 3 and 5, and then holds both against each other."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import orjson
import prometheus_client
from hypothesis.stateful import RuleBasedStateMachine, invariant

from daemon.announce import announce
from daemon.campaigns.asking import Caller
from daemon.campaigns.errors import Refused
from daemon.campaigns.events import Transition
from daemon.database import set_codecs
from daemon.ground import Ground, Rules
from daemon.metrics import Metrics
from daemon.tick import LIFE, tick
from daemon.verify import verify
from playlists.ids import CampaignId, CreativeId, DeviceId
from playlists.queries import Tx
from tests.daemon.campaigns.world import OPERATOR
from tests.doubles import FakeClock
from tests.torture.booked import Booked, Row
from tests.torture.life_model import LEAD, SETTLE_AFTER, Tenancy

MS = 10_000  # of every creative
RETRIES = tuple(timedelta(seconds=seconds) for seconds in (5, 10, 20))
EMPTY = """TRUNCATE tenants, stores, devices, creatives, playlists, campaigns, transitions, ledger, outbox, mails,
           marks, plays CASCADE"""
PLAIN = ("name", "status", "impressions", "distributed_at", "capped_until", "priority")

Deed = Callable[[Tx], Awaitable[list[Transition]]]


class Crashed(BaseException):
    """The process is gone, between two statements."""


class Dying:
    """A connection that works for so many statements and then is gone."""

    def __init__(self, tx: Tx, statements: int) -> None:
        self._tx, self._left = tx, statements

    def __getattr__(self, name: str) -> Any:
        wanted = getattr(self._tx, name)
        if name not in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
            return wanted

        async def counted(*arguments: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Crashed
            return await wanted(*arguments, **more)

        return counted


def dying(tx: Tx, statements: int) -> Tx:
    """The connection, with so many statements left."""
    return cast("Tx", Dying(tx, statements))


class Beside(RuleBasedStateMachine):
    """A tenant's life in a database of its own and in the model; `now` is what the clock shows to both."""

    database_url = ""
    steps = 0  # of all examples
    now: datetime
    model: Tenancy
    user: Caller

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.tx: Tx = self.runner.run(_connected(self.database_url))
        self.runner.run(self.tx.execute(EMPTY))
        self.metrics = Metrics.create(prometheus_client.CollectorRegistry())
        self.ids: list[CampaignId] = []

    def teardown(self) -> None:
        self.tx.terminate()
        self.runner.close()

    def attempt(self, deed: Deed, expected: Callable[[], str | None], crash: int | None) -> bool:
        """Do it, or be refused as the model is; a crash leaves nothing of it. Says whether it was done."""
        tx = self.tx if crash is None else dying(self.tx, crash)

        async def attempted() -> str | None:
            try:
                async with self.tx.transaction():
                    await announce(tx, await deed(tx), self.now)
            except Refused as refusal:
                return type(refusal).__name__
            return None

        try:
            refused = self.runner.run(attempted())
        except Crashed:
            return False
        assert refused == expected()
        return refused is None

    def act(
        self,
        number: int,
        crash: int | None,
        expected: Callable[[Tenancy, Booked, datetime], str | None],
        deed: Callable[[Tx, CampaignId], Awaitable[list[Transition]]],
    ) -> None:
        """One of the youngest campaigns is acted on."""
        alive = [n for n, one in enumerate(self.model.campaigns) if one.log[-1][0] != "deleted"][-6:]
        if alive:
            chosen = alive[number % len(alive)]
            one = self.model.campaigns[chosen]
            self.attempt(lambda tx: deed(tx, self.ids[chosen]), lambda: expected(self.model, one, self.now), crash)

    def caller(self, who: str) -> Caller:
        """The operator, or the tenant's own people."""
        return OPERATOR if who == "OPERATOR" else self.user

    @invariant()
    def both_are_equal(self) -> None:
        Beside.steps += 1
        self.runner.run(self._compare())

    async def _compare(self) -> None:
        rows = {row["id"]: row for row in await self.tx.fetch("SELECT * FROM campaigns")}
        for campaign_id, one in zip(self.ids, self.model.campaigns, strict=True):
            assert _stored(dict(rows[campaign_id])) == _expected(one)
        logged = await self.tx.fetch("SELECT * FROM transitions ORDER BY campaign_id, sequence")
        logs: dict[UUID, list[Row]] = defaultdict(list)
        for row in logged:
            logs[row["campaign_id"]].append((row["type"], row["from_status"], row["to_status"], row["reason"]))
        assert [logs[campaign_id] for campaign_id in self.ids] == [one.log for one in self.model.campaigns]
        owed = await self.tx.fetch("SELECT key, sequence FROM outbox ORDER BY id")
        assert [(row["key"], row["sequence"]) for row in sorted(owed, key=lambda row: row["key"])] == [
            (row["campaign_id"], row["sequence"]) for row in logged
        ]
        wallet = await self.tx.fetchrow("SELECT available_micros, funded_micros FROM tenants")
        assert wallet is not None
        assert tuple(wallet) == (self.model.available, self.model.funded)
        assert self.model.available + self.model.held + self.model.spent == self.model.funded
        await self._verify()

    async def _verify(self) -> None:
        async with self.tx.transaction():
            assert (await verify(self.tx)).violations == []

    async def catch_up(self, batch: int, crash: int | None) -> None:
        tx = self.tx if crash is None else dying(self.tx, crash)

        @asynccontextmanager
        async def begin() -> AsyncIterator[Tx]:
            async with self.tx.transaction():
                yield tx

        ground = Ground(
            begin, FakeClock(self.now), self.metrics, Rules(batch, RETRIES, SETTLE_AFTER, LEAD), lambda _: None
        )
        try:
            assert await tick(ground, LIFE)
        except Crashed:
            await self._verify()  # whatever was done was done whole
            await self.catch_up(batch, None)


def _stored(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in PLAIN} | {
        "window": (row["start_at"], row["end_at"]),
        "causes": sorted(row["pause_causes"]),
        "money": (row["budget_micros"], row["held_micros"], row["spent_micros"], row["released_micros"]),
        "settled": row["settled_at"] is not None,
        "sequence": row["sequence"],
    }


def _expected(one: Booked) -> dict[str, Any]:
    return {name: getattr(one, name) for name in PLAIN} | {
        "window": (one.start, one.end),
        "causes": sorted(one.causes),
        "money": (one.budget, one.held, one.spent, one.released),
        "settled": one.settled,
        "sequence": len(one.log),
    }


async def _connected(url: str) -> Tx:
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC", "jit": "off"})
    await set_codecs(connection)
    return connection


async def given_to(
    tx: Tx, device_id: DeviceId, campaign_id: CampaignId, creative_id: CreativeId, now: datetime
) -> None:
    """A playlist that has the campaign and is named like it, given to the screen."""
    entry = {"id": str(creative_id), "campaign_id": str(campaign_id), "duration_ms": MS, "sha256": "0" * 64}
    await tx.execute(
        """INSERT INTO playlists (digest, input_digest, valid_from, valid_until, body, body_br, body_gzip, created_at)
           VALUES ($1, $1, $2, $2, $3, $3, $3, $2)""",
        str(campaign_id),
        now,
        orjson.dumps({"creatives": [entry]}),
    )
    grant = "INSERT INTO grants (device_id, digest, given_at) VALUES ($1, $2, $3)"
    await tx.execute(grant, device_id, str(campaign_id), now)
