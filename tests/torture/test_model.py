"""A tenant's whole life in any order, beside a pure model of it, on PostgreSQL: after every step the two are equal.

The clock jumps over nights on which clocks change, ticks take batches of one to four, and what is being done may
crash between any two of its statements: then nothing of it may be left, and the next tick makes good.
"""

import os
import secrets
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from daemon import intake
from daemon.campaigns import booking, editing, halting, ledger, suspending
from daemon.campaigns.draft import topup, zulu
from daemon.campaigns.events import Transition
from daemon.campaigns.money import decimal, micros
from daemon.campaigns.queries.suspending import Word
from daemon.campaigns.rates import Prices
from devices.contents import Library
from devices.plays import Play
from playlists.ids import CampaignId, CreativeId, Digest
from playlists.queries import Tx
from tests.daemon.campaigns import world
from tests.daemon.campaigns.world import LIMITS, OPERATOR, advertiser
from tests.torture.beside import MS, Beside, given_to
from tests.torture.booked import Booked
from tests.torture.life_model import Tenancy, price_of, utc_of

CPM = 5_000_000
# the day before a night on which clocks change somewhere, and a day like any other
DAYS = (
    datetime(2027, 3, 13, 12, tzinfo=UTC),  # New York, spring
    datetime(2027, 10, 30, 12, tzinfo=UTC),  # Berlin, autumn
    datetime(2027, 4, 3, 4, tzinfo=UTC),  # Lord Howe, autumn: half an hour
    datetime(2027, 10, 2, 4, tzinfo=UTC),  # Lord Howe, spring
    datetime(2026, 12, 1, 12, tzinfo=UTC),
)
ZONES = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "UTC")

who_asks = st.sampled_from(["USER", "OPERATOR"])
mostly_never = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 12))  # statements before a crash
which = st.integers(0, 5)
prices = st.sampled_from([None, 4_000_000_000, 400_000_000_000])  # the last empties any budget
reports = st.lists(st.tuples(which, st.integers(-6, 260), st.integers(0, 60)), min_size=1, max_size=12)


class Life(Beside):
    """What can happen to a tenant."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[CreativeId] = []  # each campaign's creative

    @initialize(
        day=st.sampled_from(DAYS),
        limit=st.integers(1, 4),
        starts=st.lists(st.sampled_from([1, 2, 4, 20, 60]), min_size=2, max_size=4),
        zone=st.sampled_from(ZONES),
    )
    def a_tenant(self, day: datetime, limit: int, starts: list[int], zone: str) -> None:
        self.now = day
        self.model = Tenancy(0, 0, limit, micros("500.00"))
        self.runner.run(self._set_up())
        plain = {"budget": 200, "deadline": None, "flagged": False, "priority": 5, "submit": True, "crash": None}
        for start in starts:
            late, lasts = timedelta(minutes=15 * start), timedelta(hours=20)
            self.book(late, lasts, zone, True, cap=3_000_000 if start in (1, 4) else None, **plain)

    async def _set_up(self) -> None:
        limits = {"running_limit": self.model.running_limit, "approval_limit_micros": self.model.approval_limit}
        self.tenant_id = await world.tenant(self.tx, funds="1500.00", **limits)
        self.model.fund(micros("1500.00"))
        self.user = advertiser(self.tenant_id)
        self.device_id = await world.device(self.tx)
        self.creatives = {
            flagged: CreativeId(
                await world.creative(self.tx, self.tenant_id, duration_ms=MS, flags=["ALCOHOL"] if flagged else [])
            )
            for flagged in (False, True)
        }

    # What people do.

    @rule(
        start=st.sampled_from([-8, 0, 0, 1, 2, 4, 12, 26, 40, 96, 100, 130]).map(
            lambda quarters: timedelta(minutes=15 * quarters)
        ),
        lasts=st.integers(-2, 120).map(lambda quarters: timedelta(minutes=15 * quarters)),
        zone=st.sampled_from(ZONES),
        local=st.booleans(),
        budget=st.sampled_from([100, 300, 600]),
        cap=st.sampled_from([None, None, 20_000, 150_000]),
        deadline=st.sampled_from([None, None, None, 0, 30, 600]),
        flagged=st.sampled_from([False, False, False, True]),
        priority=st.integers(1, 10),
        submit=st.booleans(),
        crash=mostly_never,
    )
    def book(self, start: timedelta, lasts: timedelta, zone: str, local: bool, **more: Any) -> None:
        quarter = timedelta(minutes=15)
        wall = (self.now.astimezone(ZoneInfo(zone)) + quarter).replace(tzinfo=None, second=0, microsecond=0) + start
        begins, ends = utc_of(wall, zone), utc_of(wall + lasts, zone)
        if timedelta() < ends - begins < quarter:
            return  # whether that leaves a slot is the grid's matter
        given: dict[str, Any] = {"timezone": zone, "channel": "signage", "name": f"Sale {len(self.ids)}", "target": {}}
        given |= {"allow_short_lead": True, "priority": more["priority"], "budget": f"{more['budget']}.00"}
        given |= {"start_local": wall.isoformat(), "end_local": (wall + lasts).isoformat()} if local else {}
        given |= {} if local else {"start_at": zulu(begins), "end_at": zulu(ends)}
        deadline = None if more["deadline"] is None else begins + timedelta(minutes=more["deadline"])
        given |= {"start_deadline": zulu(deadline)} if deadline else {}
        given |= {"daily_cap": decimal(more["cap"])} if more["cap"] else {}
        new = Booked(given["name"], begins, ends, zone, micros(given["budget"]), more["cap"], deadline)
        new.flagged, new.priority = more["flagged"], more["priority"]
        given["creatives"] = [str(self.creatives[new.flagged])]
        if self._booked(given, new, more["crash"]) and more["submit"]:
            self.submit(-1, "USER", None)

    def _booked(self, given: dict[str, Any], new: Booked, crash: int | None) -> bool:
        made: list[CampaignId] = []

        async def create(tx: Tx) -> list[Transition]:
            campaign_id, transitions = await booking.create(tx, self.tenant_id, given, self.now, self.user, LIMITS)
            made.append(campaign_id)
            return transitions

        done = self.attempt(create, lambda: self.model.book(new), crash)
        if done:
            self.ids.append(made[-1])
            creative_id = self.creatives[new.flagged]
            self.runner.run(given_to(self.tx, self.device_id, made[-1], creative_id, self.now))
            self.shown.append(creative_id)
        return done

    @rule(amount=st.integers(-300, 300).filter(bool), crash=mostly_never)
    def fund(self, amount: int, crash: int | None) -> None:
        async def deposit(tx: Tx) -> list[Transition]:
            await ledger.deposit(tx, self.tenant_id, micros_signed, "invoice", self.now)
            return []

        async def correct(tx: Tx) -> list[Transition]:
            await ledger.adjust(tx, self.tenant_id, micros_signed, "a correction", OPERATOR.actor, self.now)
            return []

        micros_signed = amount * 1_000_000
        if amount > 0:
            self.attempt(deposit, lambda: self.model.fund(micros_signed), crash)
        else:
            self.attempt(correct, lambda: self.model.adjust(micros_signed), crash)

    @rule(suspended=st.booleans(), crash=mostly_never)
    def turn(self, suspended: bool, crash: int | None) -> None:
        async def turned(tx: Tx) -> list[Transition]:
            word = Word(OPERATOR.actor, OPERATOR.correlation_id)
            return await suspending.turn(tx, self.tenant_id, suspended, self.now, word)

        self.attempt(turned, lambda: (Tenancy.suspend if suspended else Tenancy.reinstate)(self.model, self.now), crash)

    @rule(number=which, who=who_asks, crash=mostly_never)
    def submit(self, number: int, who: str, crash: int | None) -> None:
        self.act(
            number,
            crash,
            lambda model, one, now: model.submit(one, now, who),
            lambda tx, one: booking.submit(tx, one, self.now, self.caller(who), LIMITS),
        )

    @rule(number=which, crash=mostly_never)
    def approve(self, number: int, crash: int | None) -> None:
        self.act(number, crash, Tenancy.approve, lambda tx, one: booking.approve(tx, one, self.now, OPERATOR))

    @rule(number=which, crash=mostly_never)
    def reject(self, number: int, crash: int | None) -> None:
        self.act(number, crash, Tenancy.reject, lambda tx, one: booking.reject(tx, one, "no", self.now, OPERATOR))

    @rule(number=which, crash=mostly_never)
    def delete(self, number: int, crash: int | None) -> None:
        self.act(number, crash, Tenancy.delete, lambda tx, one: booking.delete(tx, one, self.now, self.user))

    @rule(number=which, budget=st.sampled_from([100, 200]), crash=mostly_never)
    def redraft(self, number: int, budget: int, crash: int | None) -> None:
        patch = {"budget": f"{budget}.00", "name": f"Renamed {secrets.token_hex(4)}"}
        self.act(
            number,
            crash,
            lambda model, one, _: model.redraft(one, micros(patch["budget"]), patch["name"]),
            lambda tx, one: editing.edit(tx, one, patch, self.now, self.user, LIMITS),
        )

    @rule(number=which, who=who_asks, crash=mostly_never)
    def execute(self, number: int, who: str, crash: int | None) -> None:
        self.act(
            number,
            crash,
            lambda model, one, now: model.execute(one, now, who),
            lambda tx, one: booking.execute(tx, one, self.now, self.caller(who)),
        )

    @rule(number=which, who=who_asks, crash=mostly_never)
    def pause(self, number: int, who: str, crash: int | None) -> None:
        self.act(
            number,
            crash,
            lambda model, one, now: model.pause(one, now, who),
            lambda tx, one: halting.pause(tx, one, None, self.now, self.caller(who)),
        )

    @rule(number=which, who=who_asks, crash=mostly_never)
    def resume(self, number: int, who: str, crash: int | None) -> None:
        self.act(
            number,
            crash,
            lambda model, one, now: model.resume(one, now, who),
            lambda tx, one: halting.resume(tx, one, self.now, self.caller(who)),
        )

    @rule(number=which, crash=mostly_never)
    def stop(self, number: int, crash: int | None) -> None:
        self.act(
            number,
            crash,
            lambda model, one, now: model.pause(one, now, "EMERGENCY_STOP"),
            lambda tx, one: halting.stop(tx, one, None, self.now, OPERATOR),
        )

    @rule(
        number=which,
        field=st.sampled_from(["priority", "start", "end"]),
        quarters=st.integers(-20, 140),
        who=who_asks,
        crash=mostly_never,
    )
    def edit(self, number: int, field: str, quarters: int, who: str, crash: int | None) -> None:
        """Of a booked campaign; by so many quarters of an hour, or to such a priority."""
        booked = [n for n, one in enumerate(self.model.campaigns) if one.status not in ("DRAFT", "REJECTED")][-6:]
        if not booked:
            return
        chosen = booked[number % len(booked)]
        one = self.model.campaigns[chosen]
        value: Any = 1 + quarters % 10
        if field != "priority":
            value = getattr(one, field) + timedelta(minutes=15 * quarters)
        after = replace(one, **{field: value})
        if timedelta() < after.end - max(after.start, self.now) < timedelta(minutes=15):
            return  # whether that leaves a slot is the grid's matter
        patch = {field: value} if field == "priority" else {f"{field}_at": zulu(value)}
        self.attempt(
            lambda tx: editing.edit(tx, self.ids[chosen], patch, self.now, self.caller(who), LIMITS),
            lambda: self.model.edit(one, self.now, field, value),
            crash,
        )

    @rule(number=which, who=who_asks, crash=mostly_never)
    def cancel(self, number: int, who: str, crash: int | None) -> None:
        self.act(
            number,
            crash,
            lambda model, one, now: model.cancel(one, now, who),
            lambda tx, one: booking.cancel(tx, one, None, self.now, self.caller(who), LIMITS),
        )

    @rule(number=which, who=who_asks, amount=st.sampled_from([50, 200]), crash=mostly_never)
    def top_up(self, number: int, who: str, amount: int, crash: int | None) -> None:
        more = topup(f"{amount}.00", LIMITS)
        self.act(
            number,
            crash,
            lambda model, one, now: model.topup(one, now, more, who),
            lambda tx, one: booking.topup(tx, one, more, self.now, self.caller(who)),
        )

    # What screens do.

    @precondition(lambda self: any(one.distributed_at for one in self.model.campaigns))
    @rule(
        plays=reports,
        cpm=prices,
        crash=mostly_never,
    )
    def play(self, plays: list[tuple[int, int, int]], cpm: int | None, crash: int | None) -> None:
        """One report of a screen; with a CPM that empties budgets, and now and then a play a second time."""
        there = [number for number, one in enumerate(self.model.campaigns) if one.distributed_at]
        told = [
            (there[number % len(there)], self._began(there[number % len(there)], ago, late), f"{ago}-{late}-{number}")
            for number, ago, late in plays
        ]
        before = deepcopy(self.model)
        expected = [
            self.model.play(one := self.model.campaigns[number], name, began, self.now, MS,
                            price_of(cpm or CPM, MS, one.priority))
            for number, began, name in told
        ]  # fmt: skip

        async def report(tx: Tx) -> list[Transition]:
            await tx.execute("UPDATE devices SET cpm_micros = $2 WHERE id = $1", self.device_id, cpm)
            reported = [
                Play(name, self.ids[number], self.shown[number], None, began, MS, Digest(str(self.ids[number])))
                for number, began, name in told
            ]
            receipt = await intake.accept(
                tx, self.device_id, intake.Report(self.now, reported), Library(), Prices(CPM), self.now
            )
            assert [(str(each.verdict), each.charged_micros) for each in receipt.results] == expected
            return []  # announced by itself

        if not self.attempt(report, lambda: None, crash):
            self.model = before

    def _began(self, number: int, minutes_ago: int, seconds: int) -> datetime:
        """So long ago, and mostly not before the start."""
        began = self.now - timedelta(minutes=minutes_ago, seconds=seconds)
        return max(began, self.model.campaigns[number].start) if seconds % 8 else began

    # What time does.

    @rule(
        minutes=st.sampled_from([0, 1, 5, 14, 60, 61, 240, 24 * 60, 26 * 60, 31 * 24 * 60]),
        seconds=st.sampled_from([0, 0, 1, 59]),
        batch=st.integers(1, 4),
        crash=mostly_never,
    )
    def pass_time(self, minutes: int, seconds: int, batch: int, crash: int | None) -> None:
        self.now += timedelta(minutes=minutes, seconds=seconds)
        self.runner.run(self.catch_up(batch, crash))
        self.model.tick(self.now)

    @rule(minutes=st.sampled_from([1, 30, 100, 24 * 60]))
    def nobody_ticks(self, minutes: int) -> None:
        """The daemon is down for a while; screens go on."""
        self.now += timedelta(minutes=minutes)

    @rule(plays=reports, cpm=prices, batch=st.sampled_from([0, 0, 2, 4]), again=st.booleans())
    def go_on_air(self, plays: list[tuple[int, int, int]], cpm: int | None, batch: int, again: bool) -> None:
        """The next that is booked starts, by the tick or by its screens alone, and they play for a while."""
        starts = [one.start for one in self.model.campaigns if one.status == "SCHEDULED"]
        if starts:
            ahead = timedelta(minutes=30) + max(min(starts) - self.now, timedelta())
            if batch:
                self.pass_time(ahead // timedelta(minutes=1), 0, batch, None)
            else:
                self.now += ahead
        if any(one.distributed_at for one in self.model.campaigns):
            self.play([(number, abs(ago) % 25, late) for number, ago, late in plays], cpm, None)
            if again:
                self.play([(number, abs(ago) % 28, late + 1) for number, ago, late in plays], cpm, None)


def _live(database_url: str, examples: int, steps: int, *, by_chance: bool) -> int:
    """Live so many lives of so many steps, always the same ones or others each time; says how many steps that were."""
    life = type("Life", (Life,), {"database_url": database_url})
    Beside.steps = 0
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=not by_chance,
            # to find the shortest such life takes minutes: `make torture` has them
            phases=[Phase.generate, Phase.shrink] if by_chance else [Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    return Beside.steps


def test_a_life_is_as_the_model_says(database_url: str) -> None:
    assert _live(database_url, 12, 40, by_chance=False) >= 100


@pytest.mark.torture
def test_many_lives_are_as_the_model_says(database_url: str) -> None:
    wanted = int(os.environ.get("SIGNAGED_TEST_STEPS", "10000"))
    taken = 0
    while taken < wanted:
        taken += _live(database_url, 40, 60, by_chance=True)
