"""What must hold once it is over, each told from outside: screens, histories, money, events and mails."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from daemon.dev.mailbox import Mail
from tests.whole.network import Network, micros, price
from tests.whole.player import Body, Player, instant

Json = dict[str, Any]
COUNTED = {"accepted", "unpaid"}  # the verdicts that make an impression
DAY = 86400.0


class Played(NamedTuple):
    """One play as a screen reported it, and what the daemon said to it."""

    device: str
    play: Json
    result: Json
    heard_at: float  # when the reply was there

    @property
    def verdict(self) -> str:
        return str(self.result["verdict"])


class Event(NamedTuple):
    """One Kafka record."""

    partition: int
    offset: int
    key: bytes
    value: Json


def plays_of(players: Iterable[Player]) -> dict[str, list[Played]]:
    """Every reported play, by campaign."""
    found: dict[str, list[Played]] = {}
    for player in players:
        for play_id, play in player.reported.items():
            result, heard_at = player.verdicts[play_id]
            played = Played(player.device_id, play, result, heard_at)
            found.setdefault(play["campaign_id"], []).append(played)
    return found


def check_screens(
    network: Network, players: Sequence[Player], chance: random.Random, soon: tuple[float, float]
) -> None:
    """10,000 random (device, instant) pairs, most of them `soon`: the pulled JSON against what was booked."""
    seen: Counter[str] = Counter()
    for _ in range(10_000):
        player = chance.choice(players)
        device = network.devices[player.device_id]
        t = chance.uniform(*soon) if chance.random() < 0.8 else soon[0] + chance.uniform(0, DAY)
        begin = t // player.body.slot * player.body.slot
        at_begin, shown = player.body.shows(begin), player.body.shows(t)
        expected = network.eligible(device, begin)
        assert shown.begin <= t < shown.end
        seen[at_begin.kind] += 1
        if not network.is_open(device, begin):
            assert at_begin.kind == shown.kind == "dark", (t, network.store_of(device))
        elif not expected:
            assert at_begin.kind == shown.kind == "house", (t, device, at_begin)
        else:
            assert at_begin.creative is not None, (t, device, expected, at_begin)
            assert at_begin.creative["campaign_id"] in expected
            assert shown.kind == ("ad" if t < begin + at_begin.creative["duration_ms"] / 1000 else "house")
    assert all(seen[kind] > 50 for kind in ("ad", "house", "dark")), seen


def check_sequences(network: Network, players: Sequence[Player]) -> None:
    """Shares follow priority within one slot, evenly over the hours; a campaign's creatives take turns (SPEC 6)."""
    bodies = {player.body.digest: player.body for player in players}
    checked = 0
    for body in bodies.values():
        for sequence in {tuple(sequence) for _, _, sequence in body.segments}:
            owners = [None if index is None else body.creatives[index]["campaign_id"] for index in sequence]
            eligible = {one for one in owners if one is not None}
            if eligible:
                check_shares(owners, {one: network.campaigns[one] for one in eligible}, int(3600 / body.slot))
                check_turns(body, sequence)
                checked += 1
    assert checked > 50


def check_shares(owners: Sequence[str | None], campaigns: dict[str, Json], slots_per_hour: int) -> None:
    hours = len(owners) // slots_per_hour
    assert hours in (1, 5, 7, 11, 13, 17, 19, 23)
    assert len(owners) == hours * slots_per_hour
    assert None not in owners, "an ad in every slot while there is one"
    counts = Counter(owners)
    for one, ideal in ideals(campaigns, len(owners)).items():
        assert math.floor(ideal + 1e-9) <= counts[one] <= math.ceil(ideal - 1e-9), (counts, ideal, campaigns[one])
    for hour in range(hours):
        there = Counter(owners[hour * slots_per_hour : (hour + 1) * slots_per_hour])
        for owner, count in counts.items():
            assert count // hours <= there[owner] <= math.ceil(count / hours), (hour, count, there[owner])


def ideals(campaigns: dict[str, Json], slots: int) -> dict[str, float]:
    """Shares by weight, never under one slot for each creative; what that adds the others give by weight."""
    fixed: dict[str, float] = {}
    while True:
        free = {one: campaign["priority"] for one, campaign in campaigns.items() if one not in fixed}
        left = slots - sum(fixed.values())
        shares = {one: left * weight / sum(free.values()) for one, weight in free.items()}
        low = {one: len(campaigns[one]["creatives"]) for one in free if shares[one] < len(campaigns[one]["creatives"])}
        if not low:
            return fixed | shares
        fixed |= low


def check_turns(body: Body, sequence: Sequence[int | None]) -> None:
    taken: dict[str, list[str]] = {}
    for index in sequence:
        if index is not None:
            creative = body.creatives[index]
            taken.setdefault(creative["campaign_id"], []).append(creative["id"])
    for order in taken.values():
        counts = Counter(order)
        assert max(counts.values()) - min(counts.values()) <= 1
        if len(counts) > 1:
            assert all(one != other for one, other in itertools.pairwise(order))


def check_history(campaign: Json, log: Sequence[Json], *, cancelled: bool = False) -> None:
    """Each thing that happens once happened once, in order, at its instant and never before."""
    kinds = Counter(row["type"] for row in log)
    assert [row["sequence"] for row in log] == list(range(1, len(log) + 1)), log
    once = (
        "created",
        "scheduled",
        "content.distributed",
        "started",
        "settled",
        "cancelled" if cancelled else "completed",
    )
    assert all(kinds[kind] == 1 for kind in once), (campaign["name"], kinds)
    assert kinds["cancelled"] + kinds["completed"] == 1
    assert campaign["status"] == ("CANCELLED" if cancelled else "COMPLETED")
    assert all(row["lateness_ms"] is None or row["lateness_ms"] >= 0 for row in log), "before its instant"
    started = next(row for row in log if row["type"] == "started")
    assert instant(started["due_at"]) == instant(campaign["start_at"])
    if not cancelled:
        completed = next(row for row in log if row["type"] == "completed")
        assert instant(completed["due_at"]) == instant(campaign["end_at"])
    statuses = [(row["from"], row["to"]) for row in log]
    assert all(was[1] == now[0] for was, now in itertools.pairwise(statuses)), statuses


def check_verdicts(campaign: Json, plays: Sequence[Played], *, cancelled: bool) -> None:
    """An honest screen's plays all count, unless it told too late or the campaign was cancelled under it."""
    settled = instant(campaign["settled_at"])
    fair = COUNTED | {"duplicate"} | ({"campaign_closed"} if cancelled else set())
    unfair = [one for one in plays if one.verdict not in (fair if one.heard_at < settled else fair | {"late"})]
    assert not unfair, unfair[:3]


def check_money(campaign: Json, network: Network, plays: Sequence[Played]) -> None:
    """Spent is the price of what was counted, up to the budget; the rest went back."""
    booked, budget = network.campaigns[campaign["id"]], micros(campaign["budget"])
    counted = [one for one in plays if one.verdict in COUNTED]
    unknown = [one for one in plays if one.verdict == "duplicate"]  # the first answer was lost on its way
    least, most = (sum(_price(network, booked, one) for one in some) for some in (counted, counted + unknown))
    spent = micros(campaign["spent"])
    assert min(budget, least) <= spent <= min(budget, most), (campaign, least, most)
    assert len(counted) <= campaign["impressions"] <= len(counted) + len(unknown)
    assert spent + micros(campaign["released"]) == budget
    charged = sum(micros(one.result["charged"]) for one in counted)
    assert charged == spent if not unknown else charged <= spent
    for one in counted:
        begins = instant(one.play["started_at"])
        assert booked["starts"] <= begins
        assert begins + one.play["duration_ms"] / 1000 <= booked["ends"]


def _price(network: Network, booked: Json, played: Played) -> int:
    cpm = micros(network.devices[played.device]["cpm"])
    return price(cpm, network.creatives[played.play["creative_id"]]["duration_ms"], booked["priority"])


def check_wallet(wallet: Json, campaigns: Iterable[Json], funded: str) -> None:
    """All is settled: what the campaigns did not spend is there again."""
    spent = sum(micros(one["spent"]) for one in campaigns)
    assert micros(wallet["held"]) == 0
    assert micros(wallet["funded"]) == micros(funded)
    assert micros(wallet["spent"]) == spent
    assert micros(wallet["available"]) == micros(funded) - spent


def check_events(campaign: Json, log: Sequence[Json], events: Iterable[Event]) -> None:
    """One message by distinct id for each transition, in order; repeats are repeats."""
    mine = sorted((event for event in events if event.key == campaign["id"].encode()), key=lambda e: e.offset)
    assert len({event.partition for event in mine}) == 1, "one key, one partition"
    first: dict[str, Json] = {}
    for event in mine:
        assert first.setdefault(event.value["id"], event.value) == event.value
    for row, told in zip(log, first.values(), strict=True):
        data = told["data"]
        assert told["specversion"] == "1.0"
        assert told["id"] == f"{campaign['id']}/{row['sequence']}"
        assert told["type"] == f"campaign.{row['type']}"
        assert (told["subject"], told["tenantid"]) == (campaign["id"], campaign["tenant_id"])
        assert (data["status_from"], data["status_to"]) == (row["from"], row["to"])
        assert instant(data["executed_at"]) == instant(row["executed_at"])


def mails_owed(network: Network, cancelled: set[str]) -> set[tuple[str, str]]:
    """Campaign and kind of the mails that there must be: of every start, and of every summary."""
    summaries = {(one, "completed") for one in network.campaigns if one not in cancelled}
    return summaries | {(one, "started") for one in network.campaigns}


def mails_by_kind(mails: Iterable[Mail]) -> Counter[tuple[str, str]]:
    """How often each campaign's mail of each kind came."""
    return Counter((str(m.message["X-Signaged-Campaign"]), str(m.message["X-Signaged-Kind"])) for m in mails)


def check_mails(mails: Sequence[Mail], network: Network, cancelled: set[str], *, kills: int) -> None:
    """The mails of a start and of a summary, each repeated at most as often as something was killed."""
    kinds, expected = mails_by_kind(mails), mails_owed(network, cancelled)
    assert expected <= set(kinds), expected - set(kinds)
    assert not {(one, "completed") for one in cancelled} & set(kinds)
    repeats = sum(kinds[what] - 1 for what in expected)
    assert repeats <= kills, (repeats, kills)
    by_id = {
        str(m.message["Message-ID"]): (m.message["X-Signaged-Campaign"], m.message["X-Signaged-Kind"]) for m in mails
    }
    named = Counter(by_id.values())
    assert all(named[what] == 1 for what in expected), "a repeat must have the same Message-ID"
