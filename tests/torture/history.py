"""Whether what is found after a storm is what must have happened, once: pure, over a plan and what was read.

Each check answers with what is wrong, in words; nothing wrong is an empty list.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import orjson

Step = tuple[str, str | None, str]  # type, from, to
MOST_TOLD = 10  # of what one check finds
ONCE = frozenset({"started", "completed", "settled", "missed", "expired"})


class Expected(NamedTuple):
    """What must have become of a campaign: its whole log, where that is known, its money and its mails.

    Messages up to `told` were sent before. `spent` None: plays may have moved any of what is held.
    """

    tenant: UUID
    log: tuple[Step, ...] | None
    told: int
    budget: int
    released: int
    mails: Counter[str] | None
    spent: int | None = 0


class State(NamedTuple):
    """A campaign's row: money in micros."""

    status: str
    sequence: int
    held: int
    spent: int
    released: int


class Logged(NamedTuple):
    """A row of the transition log."""

    campaign: UUID
    sequence: int
    occurrence: int
    step: Step


class Entry(NamedTuple):
    """A row of the ledger."""

    tenant: UUID
    campaign: UUID | None
    kind: str
    amount: int


class Wallet(NamedTuple):
    """A tenant's row."""

    funded: int
    available: int


class Record(NamedTuple):
    """A record in Kafka; those of a partition come in their order."""

    partition: int
    offset: int
    key: bytes
    value: bytes


class Owed(NamedTuple):
    """A row of the mail queue."""

    campaign: UUID
    kind: str
    sent: bool


class Letter(NamedTuple):
    """A mail as the server was given it."""

    campaign: str
    kind: str
    message_id: str


@dataclass
class History:
    """All that was read, once nothing moved any more."""

    campaigns: dict[UUID, State]
    wallets: dict[UUID, Wallet]
    log: list[Logged]  # by campaign and sequence
    ledger: list[Entry]
    waiting: int  # messages still in the outbox
    records: list[Record]
    owed: list[Owed]
    letters: list[Letter]
    funded: dict[UUID, int] = field(default_factory=dict)  # what was paid in, by who paid it
    kills: int = 0


Model = Mapping[UUID, Expected]


def violations(history: History, model: Model) -> list[str]:
    """Everything that is wrong, by check."""
    logs: dict[UUID, list[Logged]] = defaultdict(list)
    for row in history.log:
        logs[row.campaign].append(row)
    found: list[str] = []
    for name, check in (
        ("log", _logs(history, model, logs)),
        ("money", _money(history, model)),
        ("wallet", _wallets(history, model)),
        ("message", _messages(history, model, logs)),
        ("mail", _mails(history, model)),
    ):
        told = list(check)
        found += [f"{name}: {one}" for one in told[:MOST_TOLD]]
        found += [f"{name}: and {len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else []
    return found


def _logs(history: History, model: Model, logs: Mapping[UUID, Sequence[Logged]]) -> Iterator[str]:
    """One effect per transition and occurrence; sequences without a gap; each change begins where the last ended."""
    yield from (f"{one} is not in the plan" for one in history.campaigns.keys() - model.keys())
    for campaign, expected in model.items():
        state, rows = history.campaigns.get(campaign), logs.get(campaign, ())
        if state is None or not rows:
            yield f"{campaign} is gone"
            continue
        steps = tuple(row.step for row in rows)
        if expected.log is not None and steps != expected.log:
            yield f"{campaign} went {steps}, must go {expected.log}"
        if [row.sequence for row in rows] != list(range(1, len(rows) + 1)) or state.sequence != len(rows):
            yield f"{campaign} has sequences {[row.sequence for row in rows]}, its row says {state.sequence}"
        before = [None, *(step[2] for step in steps)]
        if any(step[1] != was for step, was in zip(steps, before, strict=False)) or state.status != steps[-1][2]:
            yield f"{campaign} went {steps} and is {state.status}"
        once = Counter((row.occurrence, row.step[0]) for row in rows if row.step[0] in ONCE)
        yield from (f"{campaign} was {what} {count} times" for (_, what), count in once.items() if count > 1)


def _money(history: History, model: Model) -> Iterator[str]:
    """Each campaign's row and entries are what the plan says: held once, released once, spent by plays alone."""
    entries: dict[UUID, Counter[str]] = defaultdict(Counter)
    counts: Counter[tuple[UUID, str]] = Counter()
    for entry in history.ledger:
        if entry.campaign is not None:
            entries[entry.campaign][entry.kind] += entry.amount
            counts[entry.campaign, entry.kind] += 1
    for campaign, expected in model.items():
        state = history.campaigns.get(campaign)
        if state is None:
            continue
        booked = entries[campaign]
        spent = state.spent if expected.spent is None else expected.spent
        held = expected.budget - expected.released - spent
        if (state.held, state.spent, state.released) != (held, spent, expected.released):
            yield f"{campaign} has {state}, must hold {held}, have spent {spent} and released {expected.released}"
        if (booked["hold"], booked["release"], booked["charge"]) != (expected.budget, expected.released, spent):
            yield f"{campaign} has entries {dict(booked)}, must have {expected}"
        if counts[campaign, "release"] > 1:
            yield f"{campaign} was released {counts[campaign, 'release']} times"


def _wallets(history: History, model: Model) -> Iterator[str]:
    """A wallet is what was paid in, less what is booked, and more by what went back: by row, by entries, by plan."""
    away: Counter[UUID] = Counter()
    for expected in model.values():
        away[expected.tenant] += expected.budget - expected.released
    signs = {"deposit": 1, "adjustment": 1, "hold": -1, "release": 1, "charge": 0}
    posted: Counter[UUID] = Counter()
    for entry in history.ledger:
        posted[entry.tenant] += signs[entry.kind] * entry.amount
    for tenant, funded in history.funded.items():
        wallet, planned = history.wallets[tenant], funded - away[tenant]
        if (wallet.funded, wallet.available) != (funded, planned) or posted[tenant] != planned:
            yield f"{tenant} has {wallet}, its entries {posted[tenant]}, must have {planned} of {funded}"


def _messages(history: History, model: Model, logs: Mapping[UUID, Sequence[Logged]]) -> Iterator[str]:
    """Each row of the log once by id, first in the order of its campaign; more of it are mere repeats."""
    if history.waiting:
        yield f"{history.waiting} wait in the outbox"
    first: dict[str, Record] = {}
    told: dict[UUID, list[int]] = defaultdict(list)
    for record in sorted(history.records, key=lambda one: (one.partition, one.offset)):
        event = orjson.loads(record.value)
        known = first.setdefault(event["id"], record)
        if (known.value, known.partition, known.key) != (record.value, record.partition, record.key):
            yield f"{event['id']} was told in two ways"
        if known is record:
            campaign = UUID(event["subject"])
            told[campaign].append(event["sequence"])
            yield from _told_wrong(event, record, logs.get(campaign, ()))
    for campaign, expected in model.items():
        due = list(range(expected.told + 1, len(logs.get(campaign, ())) + 1))
        if told.pop(campaign, []) != due:
            yield f"{campaign} was told otherwise than {due}"
    yield from (f"{campaign} is in no plan, and told" for campaign in told)


def _told_wrong(event: dict[str, object], record: Record, rows: Sequence[Logged]) -> Iterator[str]:
    sequence, data = event["sequence"], event["data"]
    assert isinstance(sequence, int)
    assert isinstance(data, dict)
    if not 1 <= sequence <= len(rows):
        yield f"{event['id']} has no row in the log"
        return
    kind, before, after = rows[sequence - 1].step
    said = (event["type"], data["status_from"], data["status_to"])
    if said != (f"campaign.{kind}", before, after) or record.key.decode() != event["subject"]:
        yield f"{event['id']} says {said} under {record.key!r}, the log {kind, before, after}"


def _mails(history: History, model: Model) -> Iterator[str]:
    """Every mail that the plan owes is owed once and sent; a kill repeats at most one, under the same Message-ID."""
    owed: dict[UUID, Counter[str]] = defaultdict(Counter)
    for one in history.owed:
        owed[one.campaign][one.kind] += 1
        if not one.sent:
            yield f"{one.kind} of {one.campaign} was not sent"
    names: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for letter in history.letters:
        names[letter.campaign, letter.kind][letter.message_id] += 1
    for campaign, expected in model.items():
        if expected.mails is not None and owed[campaign] != expected.mails:
            yield f"{campaign} is owed {dict(owed[campaign])}, must be {dict(expected.mails)}"
        for kind, count in owed[campaign].items():
            came = names.pop((str(campaign), kind), Counter())
            if len(came) != count:
                yield f"{kind} of {campaign} came as {dict(came)}"
    yield from (f"{what} came and is owed by nobody" for what in names)
    repeats = len(history.letters) - len({letter.message_id for letter in history.letters})
    if repeats > history.kills:
        yield f"{repeats} repeats after {history.kills} kills"
