"""How many campaigns run at one instant: as counting one by one says, and quickly for tenants with very many."""

import time
from datetime import timedelta
from random import Random
from typing import Any

from daemon.campaigns.submission import crowd
from tests.daemon.campaigns.world import HOUR, NOW

Rivals = list[dict[str, Any]]


def one_by_one(rivals: Rivals, start: Any, limit: int) -> list[str] | None:
    for instant in [start, *(row["start_at"] for row in rivals if row["start_at"] > start)]:
        running = [row["name"] for row in rivals if row["start_at"] <= instant < row["end_at"]]
        if len(running) >= limit:
            return running
    return None


def rivals(dice: Random, count: int, longest: int) -> Rivals:
    """Windows that end after NOW, as the database gives them."""
    made: Rivals = []
    while len(made) < count:
        start = NOW + dice.randint(-longest, longest) * HOUR
        end = start + dice.randint(1, longest) * HOUR
        if end > NOW:
            made.append({"name": str(len(made)), "start_at": start, "end_at": end})
    return sorted(made, key=lambda row: row["start_at"])


def test_the_crowd_is_that_of_counting_one_by_one() -> None:
    dice = Random(1)
    for _ in range(400):
        some = rivals(dice, dice.randint(0, 9), 6)
        for limit in range(6):
            assert crowd(some, NOW, limit) == one_by_one(some, NOW, limit)


def test_ten_thousand_at_once_are_counted_quickly() -> None:
    dice = Random(2)
    many = rivals(dice, 10_000, 2_000)
    begun = time.monotonic()
    assert crowd(many, NOW - timedelta(days=1), 10_000) is None
    assert time.monotonic() - begun < 0.5  # 0.02 s; one by one 8 s
