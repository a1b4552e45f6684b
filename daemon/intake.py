"""Where plays, deliveries and the ledger meet: what devices report, judged and paid in one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.announce import announce
from daemon.campaigns import ledger, lifecycle
from daemon.campaigns.events import Transition
from daemon.campaigns.purse import Purse
from daemon.campaigns.queries import playing
from daemon.campaigns.rates import Prices, Tariff
from devices import plays
from devices.contents import Contents, Library
from devices.plays import Facts, Play, Verdict
from devices.queries.plays import Judged, answered, given, lock_reporter, record_plays
from playlists.ids import CampaignId, DeviceId, Digest
from playlists.queries import Tx


@dataclass(frozen=True, slots=True)
class Report:
    """The plays of one request, and what time the device thought it was."""

    device_time: datetime
    plays: Sequence[Play]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Every play of a report with its verdict, in its order, and the transitions that followed.

    `moved` says that something more than money did: loops should look.
    """

    results: Sequence[Judged]
    transitions: Sequence[Transition]
    moved: bool


async def accept(
    tx: Tx, device_id: DeviceId, report: Report, library: Library, prices: Prices, now: datetime
) -> Receipt:
    """Judge, count and charge the plays of one report; all of it is durable with `tx`, or none (SPEC 5, 7).

    The device's row is locked first, then the campaigns by id. A campaign that has nothing left is PAUSED; one that
    has nothing left for the day it is leaves the playlists until that day is over.
    """
    tariff = Tariff(prices, *await lock_reporter(tx, device_id))
    facts, contents, campaigns = await _facts(tx, device_id, report, library, now)
    purse = Purse(tariff, campaigns)
    seen, results = set(facts.answered), []
    for play in report.plays:
        verdict = Verdict.DUPLICATE if play.play_id in seen else plays.judge(play, facts, now)
        seen.add(play.play_id)
        judged = Judged(play, plays.corrected(play.started_at, facts.skew), verdict)
        results.append(_paid(judged, purse, contents) if verdict is Verdict.ACCEPTED else judged)
    await record_plays(tx, device_id, [r for r in results if r.verdict is not Verdict.DUPLICATE], now)
    await ledger.charge(tx, purse.charges(), now, purse.days())
    capped = purse.capped(now)
    await playing.cap(tx, capped, now)
    transitions = await lifecycle.exhaust(tx, purse.emptied(), now)
    await announce(tx, transitions, now)
    return Receipt(results, transitions, moved=bool(transitions or capped))


def _paid(judged: Judged, purse: Purse, contents: dict[Digest, Contents]) -> Judged:
    """The play with its price and what of it was charged; an impression that nothing is left for is unpaid."""
    play = judged.play
    creative_ms = contents[play.digest].durations[play.campaign_id, play.creative_id]
    price, charged, on, empty = purse.pay(play.campaign_id, creative_ms, judged.started_at)
    return Judged(play, judged.started_at, Verdict.UNPAID if empty else Verdict.ACCEPTED, price, charged, on)


async def _facts(
    tx: Tx, device_id: DeviceId, report: Report, library: Library, now: datetime
) -> tuple[Facts, dict[Digest, Contents], dict[CampaignId, playing.Playing]]:
    """All that the report's plays are judged by; the campaigns it may charge are locked from here on."""
    known = await answered(tx, device_id, [play.play_id for play in report.plays])
    there = await given(tx, device_id, list({play.digest for play in report.plays}))
    contents = await library.contents(tx, there)
    granted = {digest for digest, was_given in there.items() if was_given}
    campaigns = await playing.lock_playing(tx, _billable(report.plays, contents, granted, known), now)
    facts = Facts(
        skew=report.device_time - now,
        answered=known,
        playlists={digest: held.durations for digest, held in contents.items()},
        granted=granted,
        campaigns={campaign: found.facts for campaign, found in campaigns.items()},
    )
    return facts, contents, campaigns


def _billable(
    reported: Iterable[Play], contents: dict[Digest, Contents], granted: set[Digest], known: set[str]
) -> list[CampaignId]:
    """The campaigns that the device was given to play; no other is locked on a device's word."""
    return sorted({
        play.campaign_id
        for play in reported
        if play.digest in granted and play.play_id not in known and play.campaign_id in contents[play.digest].campaigns
    })  # fmt: skip
