"""With one guard taken out of the daemons, the check of their history fails: it sees what the guards are for."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from daemon.failpoints import VARIABLE
from tests.conftest import connected
from tests.torture.history import violations
from tests.torture.storm import Size, storm

pytestmark = pytest.mark.torture

BURST = Size(rounds=0, campaigns=600, bursts=1)
CUT = """
def cut(text, part):
    assert part in text, f"{part!r} is not there any more"
    return text.replace(part, "")
"""
MAIN = """
from daemon.cli import main
main()
"""


class Unguarded(NamedTuple):
    """A change of the program before it runs, where it dies the first time, and what must be found."""

    change: str
    dies: str
    found: str
    sql: str = "SELECT"


CASES = {
    "two claim the same": Unguarded(
        """
from daemon.campaigns.queries import claiming, due
claiming.CLAIM_TO_START = cut(claiming.CLAIM_TO_START, "FOR NO KEY UPDATE SKIP LOCKED")
due.START = cut(due.START, "AND c.status = 'SCHEDULED'")
""",
        "",
        "was started 2 times",
        "DROP INDEX transitions_once",
    ),
    "a message is deleted before the ack": Unguarded(
        """
from daemon.outbox import queries
read = queries.read
async def forgotten(tx, *which):
    rows = await read(tx, *which)
    await queries.delete(tx, [row.id for row in rows])
    return rows
queries.read = forgotten
""",
        "relay.sent=kill",
        "was told otherwise than",
    ),
    "a mail is marked before it is sent": Unguarded(
        """
from daemon.notices import queries
claim = queries.claim
async def hasty(tx, now, lease):
    found = await claim(tx, now, lease)
    if found:
        await queries.mark_sent(tx, found, now)
    return found
queries.claim = hasty
""",
        "mailer.claimed=kill",
        "came as {}",
    ),
    "a mail has another Message-ID each time": Unguarded(
        """
from uuid import uuid4
from daemon.notices import mail
message = mail.message
def unstable(*notice):
    made = message(*notice)
    made.replace_header("Message-ID", f"<{uuid4()}@example.org>")
    return made
mail.message = unstable
""",
        "mailer.replied=kill",
        "came as {'<",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_a_guard_is_for_is_found_without_it(tmp_path: Path, case: str) -> None:
    change, dies, found, sql = CASES[case]
    async with storm(tmp_path, BURST, lambda _: None) as one:
        async with connected(one.servers.postgres.url) as owner:
            await owner.execute(sql)
        for daemon in one.daemons:
            daemon.program = [sys.executable, "-c", CUT + change + MAIN]
            daemon.start({VARIABLE: dies})
        for daemon in one.daemons:
            await daemon.ready(one.customer.session)
        await one.feed()
        await one.done()
        told = violations(await one.history(), one.model())
    assert any(found in violation for violation in told), told
