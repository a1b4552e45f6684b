"""Messages and mails give way while very many campaigns are changed, and never for long (SPEC 4)."""

import asyncio

import pytest

from daemon import rush
from daemon.rush import Rush


async def done_in(rushing: Rush, seconds: float) -> bool:
    """Whether what gives way comes through in time."""
    try:
        await asyncio.wait_for(rushing.give_way(), seconds)
    except TimeoutError:
        return False
    return True


async def test_others_wait_for_the_end_of_a_rush_and_not_without_one() -> None:
    rushing = Rush()
    assert await done_in(rushing, 1)
    with rushing.under_way():
        waiting = asyncio.create_task(rushing.give_way())
        assert not await done_in(rushing, 0.05)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 1)
    assert await done_in(rushing, 1)


async def test_a_rush_without_end_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rush, "LONGEST", 0.2)
    rushing = Rush()
    with rushing.under_way():
        assert not await done_in(rushing, 0.05)
        assert await done_in(rushing, 1)
        assert await done_in(rushing, 0.1), "once it has lasted so long, nobody waits for it again"


async def test_a_rush_that_fails_is_over() -> None:
    rushing = Rush()
    with pytest.raises(LookupError), rushing.under_way():
        raise LookupError
    assert await done_in(rushing, 0.1)
