"""What the steps of a tick stand on: transactions, the clock, the rules that the settings give, and who is told."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from daemon.campaigns.events import Transition
from daemon.campaigns.lifecycle import Change
from daemon.campaigns.queries import claiming
from daemon.clock import Clock
from daemon.metrics import Metrics
from daemon.pace import Pace
from daemon.rush import Rush
from playlists.queries import Tx

Begin = Callable[[], AbstractAsyncContextManager[Tx]]  # a transaction, committed at the end of the block


@dataclass(frozen=True, slots=True)
class Rules:
    """What of the settings a tick goes by: rows a batch, pauses before retries, and the two leads."""

    batch: int
    retries: tuple[timedelta, ...]
    settle_after: timedelta
    lead: timedelta  # how long before its start a campaign is distributed


@dataclass(frozen=True, slots=True)
class Ground:
    """What steps stand on; `report` is told of transitions once they are committed.

    `since`: nothing that is due lies before it, but for what rests after a failure; None: look everywhere. `second`
    opens another connection to work on when there is much to do.
    """

    begin: Begin
    clock: Clock
    metrics: Metrics
    rules: Rules
    report: Callable[[Sequence[Transition]], None]
    since: datetime | None = None
    second: Callable[[], AbstractAsyncContextManager[Begin]] | None = None
    paces: dict[str, Pace] = field(default_factory=dict)  # by kind of change
    rush: Rush = field(default_factory=Rush)

    async def held(self, tx: Tx) -> bool:
        """Whether the clock is held: nothing may be done that cannot be undone and rests on the time alone (SPEC 4)."""
        return self.clock.held or await claiming.held(tx)  # ours is until it has gone back, too

    def pace(self, change: Change) -> Pace:
        """Return the pace at which a change goes here."""
        return self.paces.setdefault(change.kind, Pace(self.rules.batch))
