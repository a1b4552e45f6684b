"""The one stand-in that tests need: a clock that goes when told."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock for code that takes a `Clock`: it stands at `instant` until a test moves it."""

    def __init__(self, instant: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)) -> None:
        self.instant = instant
        self.held = False

    def now(self) -> datetime:
        return self.instant

    def advance(self, **by: float) -> datetime:
        """Move on by `timedelta(**by)` and give the new instant."""
        self.instant += timedelta(**by)
        return self.instant
