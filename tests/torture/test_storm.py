"""Whatever dies and whenever: what must happen happened, once, and every unit of money is where it must be."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.torture.history import violations
from tests.torture.storm import POINTS, Size, Storm, storm, summary
from tests.whole.daemons import signaged

SMALL = Size(rounds=10, campaigns=2_000, bursts=2, cuts=(0.3,))
WHOLE = Size(
    rounds=int(os.environ.get("SIGNAGED_TEST_ROUNDS", "200")),
    campaigns=int(os.environ.get("SIGNAGED_TEST_CAMPAIGNS", "100000")),
    bursts=20,
    crashes=(0.3, 0.7),
    cuts=(0.15, 0.5),
    holes=(0.4, 0.85),
    seed=int(os.environ.get("SIGNAGED_TEST_SEED", "11")),
)
Tell = Callable[[str], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Progress that is seen while it is made."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)  # noqa: T201 - as above

    return say


async def weathered(storm: Storm) -> list[str]:
    """Blow, wait for calm, and hold what is left against what must be: what is wrong, in words."""
    await storm.blow()
    await storm.calm()
    history = await storm.history()
    storm.tell(summary(storm, history))
    proved = await asyncio.to_thread(signaged, storm.daemons[0].config, "verify")
    verified = [] if proved.returncode == 0 else [proved.stdout + proved.stderr]
    return violations(history, storm.model()) + verified


async def test_a_small_storm_leaves_everything_done_once(tmp_path: Path, tell: Tell) -> None:
    async with storm(tmp_path, SMALL, tell) as small:
        assert await weathered(small) == []


@pytest.mark.torture
async def test_two_hundred_kills_leave_everything_done_once(tmp_path: Path, tell: Tell) -> None:
    async with storm(tmp_path, WHOLE, tell) as whole:
        assert await weathered(whole) == []
        met = set(whole.deaths) & set(POINTS)
        assert WHOLE.rounds < 200 or len(met) > len(POINTS) / 2, f"nobody died at {sorted(set(POINTS) - met)}"
