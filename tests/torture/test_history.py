"""The check of a history finds each thing that may be wrong with one, and nothing where only repeats are."""

from collections.abc import Callable
from itertools import count
from uuid import UUID, uuid4

import orjson
import pytest

from playlists.ids import TenantId
from tests.torture.history import Entry, History, Letter, Logged, Model, Owed, Record, State, Wallet, violations
from tests.torture.plan import Kind, Planned, expected

FUNDED = 10_000_000_000
TENANT = TenantId(uuid4())
SPENT = {Kind.SETTLING: 200_000_000}
PLANNED = {kind: Planned(uuid4(), TENANT, kind, 500_000_000, SPENT.get(kind, 0)) for kind in Kind}
MODEL: Model = {one.id: expected(one) for one in PLANNED.values()}
LIVED, SETTLED, STARTED = PLANNED[Kind.LIVING].id, PLANNED[Kind.SETTLING].id, PLANNED[Kind.STARTING].id


def record(campaign: UUID, sequence: int, offset: int) -> Record:
    kind, before, after = (MODEL[campaign].log or ())[sequence - 1]
    event = {
        "id": f"{campaign}/{sequence}",
        "subject": str(campaign),
        "sequence": sequence,
        "type": f"campaign.{kind}",
        "data": {"status_from": before, "status_to": after},
    }
    return Record(0, offset, str(campaign).encode(), orjson.dumps(event))


@pytest.fixture
def history() -> History:
    """What the plan came to, each message and mail told once."""
    offset = count()
    made = History({}, {}, [], [Entry(TENANT, None, "deposit", FUNDED)], 0, [], [], [], {TENANT: FUNDED}, kills=1)
    for campaign, one in MODEL.items():
        log = one.log or ()
        spent = one.spent or 0
        made.campaigns[campaign] = State(log[-1][2], len(log), one.budget - one.released - spent, spent, one.released)
        made.log += [Logged(campaign, sequence, 1, step) for sequence, step in enumerate(log, 1)]
        made.ledger.append(Entry(TENANT, campaign, "hold", one.budget))
        made.ledger += [Entry(TENANT, campaign, "charge", spent)] if spent else []
        made.ledger += [Entry(TENANT, campaign, "release", one.released)] if one.released else []
        made.records += [record(campaign, number, next(offset)) for number in range(one.told + 1, len(log) + 1)]
        made.owed += [Owed(campaign, kind, sent=True) for kind in one.mails or ()]
        made.letters += [Letter(str(campaign), kind, f"<{campaign}.{kind}>") for kind in one.mails or ()]
    away = sum(one.budget - one.released for one in MODEL.values())
    made.wallets[TENANT] = Wallet(FUNDED, FUNDED - away)
    return made


def test_what_happened_once_is_right_and_repeats_are_repeats(history: History) -> None:
    assert violations(history, MODEL) == []
    history.records.append(history.records[0]._replace(offset=1000))
    history.letters.append(history.letters[0])
    assert violations(history, MODEL) == []


def drop(rows: str, **wanted: object) -> Callable[[History], None]:
    def spoil(history: History) -> None:
        there = getattr(history, rows)
        there.remove(next(row for row in there if all(getattr(row, name) == value for name, value in wanted.items())))

    return spoil


def add(rows: str, row: object) -> Callable[[History], None]:
    return lambda history: getattr(history, rows).append(row)


def swap(history: History) -> None:
    mine = [one for one in history.records if one.key == str(LIVED).encode()]
    for one, other in ((mine[0], mine[1]), (mine[1], mine[0])):
        history.records[history.records.index(one)] = one._replace(offset=other.offset + 1000)


def state(campaign: UUID, **changed: object) -> Callable[[History], None]:
    def spoil(history: History) -> None:
        history.campaigns[campaign] = history.campaigns[campaign]._replace(**changed)  # type: ignore[arg-type]

    return spoil


def again(campaign: UUID, sequence: int, kind: str) -> Logged:
    return Logged(campaign, sequence, 1, (kind, "SCHEDULED", "ACTIVE"))


SPOILED: dict[str, tuple[str, Callable[[History], None]]] = {
    "started twice": ("log", add("log", again(STARTED, 5, "started"))),
    "a gap": ("log", drop("log", campaign=LIVED, sequence=2)),
    "never settled": ("log", drop("log", campaign=SETTLED, sequence=6)),
    "gone": ("log", lambda history: history.campaigns.__delitem__(STARTED)),
    "another status": ("log", state(STARTED, status="PAUSED")),
    "released twice": ("money", add("ledger", Entry(TENANT, SETTLED, "release", 500_000_000))),
    "spent more": ("money", state(SETTLED, spent=200_000_001)),
    "charged again": ("money", add("ledger", Entry(TENANT, SETTLED, "charge", 200_000_000))),
    "never posted": ("money", drop("ledger", campaign=SETTLED, kind="release")),
    "held and settled": ("money", state(SETTLED, held=1)),
    "a cent more": ("wallet", lambda history: history.wallets.update({TENANT: Wallet(FUNDED, FUNDED)})),
    "paid in twice": ("wallet", add("ledger", Entry(TENANT, None, "deposit", 1))),
    "lost": ("message", drop("records", key=str(STARTED).encode())),
    "out of order": ("message", swap),
    "of nothing": ("message", add("records", Record(0, 99, b"x", orjson.dumps(
        {"id": "x", "subject": str(uuid4()), "sequence": 1, "type": "campaign.x",
         "data": {"status_from": None, "status_to": None}})))),
    "told in two ways": ("message", add("records", record(LIVED, 3, 999)._replace(partition=1))),
    "untold": ("message", lambda history: setattr(history, "waiting", 1)),
    "a mail lost": ("mail", drop("letters", campaign=str(STARTED))),
    "a mail not sent": ("mail", lambda history: history.owed.append(history.owed.pop()._replace(sent=False))),
    "a mail never owed": ("mail", drop("owed", campaign=STARTED)),
    "another Message-ID": ("mail", add("letters", Letter(str(STARTED), "started", "<other>"))),
    "more repeats than kills": ("mail", lambda history: history.letters.extend(history.letters[:2])),
}  # fmt: skip


@pytest.mark.parametrize("fault", SPOILED)
def test_what_is_wrong_is_found(history: History, fault: str) -> None:
    check, spoil = SPOILED[fault]
    spoil(history)
    found = violations(history, MODEL)
    assert any(one.startswith(f"{check}: ") for one in found), found
