"""One campaign as it should be, by the model."""

from dataclasses import dataclass, field
from datetime import date, datetime

Row = tuple[str, str | None, str, str | None]  # type, from, to, reason


@dataclass
class Booked:
    """One campaign as it should be."""

    name: str
    start: datetime
    end: datetime
    zone: str
    budget: int
    cap: int | None = None
    deadline: datetime | None = None
    flagged: bool = False
    priority: int = 5
    status: str = "DRAFT"
    causes: list[str] = field(default_factory=list)
    held: int = 0
    spent: int = 0
    released: int = 0
    impressions: int = 0
    submitted_at: datetime | None = None
    distributed_at: datetime | None = None
    settle_at: datetime | None = None
    settled: bool = False
    closed_at: datetime | None = None  # cancelled or failed
    capped_until: datetime | None = None
    pauses: list[tuple[str, datetime, datetime | None]] = field(default_factory=list)
    of_day: dict[date, int] = field(default_factory=dict)
    log: list[Row] = field(default_factory=list)

    def moved(self, kind: str, to: str | None = None, reason: str | None = None) -> None:
        """Log a change, which `to` makes one of status."""
        before, self.status = self.status, to or self.status
        self.log.append((kind, before, self.status, reason))

    def begin(self, cause: str, now: datetime) -> None:
        """Let a cause of a pause stand from now on."""
        self.causes.append(cause)
        self.pauses.append((cause, now, None))

    def finish(self, causes: list[str], now: datetime) -> None:
        """Let causes of a pause stand no longer."""
        self.causes = [cause for cause in self.causes if cause not in causes]
        self.pauses = [
            (cause, began, now if ended is None and cause in causes else ended) for cause, began, ended in self.pauses
        ]
