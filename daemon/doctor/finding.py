"""What a look at one part found, and how a look is kept from lasting."""

import asyncio
from collections.abc import Awaitable
from enum import StrEnum
from typing import NamedTuple

from daemon.database import described


class Level(StrEnum):
    """How bad it is: `warn` serves, but not as well or not for ever."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One line: the part, how it is, what was seen, and what to do where something is to be done."""

    check: str
    level: Level
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, found)


def warn(check: str, found: str, advice: str) -> Finding:
    """It serves, and could be better."""
    return Finding(check, Level.WARN, found, advice)


def fail(check: str, found: str, advice: str) -> Finding:
    """It does not serve."""
    return Finding(check, Level.FAIL, found, advice)


async def within(seconds: float, check: str, look: Awaitable[Finding], advice: str) -> Finding:
    """What a look finds; a failure to look, or one that lasts longer, with this advice."""
    try:
        async with asyncio.timeout(seconds):
            return await look
    except TimeoutError:
        return fail(check, f"no answer within {seconds:g} s", advice)
    except Exception as error:  # noqa: BLE001 - a patient may be ill in ways that no doctor foresaw
        return fail(check, described(error), advice)
