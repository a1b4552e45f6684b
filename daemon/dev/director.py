"""Books campaigns that start and end within minutes, through the API as an operator would, for as long as it runs."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp

WAVE_SECONDS = 75.0
_NOTES = {"pause": "the shelf is empty", "cancel": "recalled by the maker"}


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to one campaign: seconds from booking to start, its length, and what people do to it when."""

    title: str
    starts_in: int
    lasts: int
    budget: str
    target: Mapping[str, Any]
    acts: tuple[tuple[int, str], ...] = ()  # (seconds after the start, action)


STORIES = (
    Story("tills", 15, 90, "250.00", {"include_tags": ["checkout"]}),
    Story("facades", 25, 120, "100.00", {"include_tags": ["facade"]}),  # dear screens: its budget will not last
    Story("everywhere", 35, 75, "400.00", {}),
    Story("doors", 20, 100, "150.00", {"include_tags": ["entrance", "facade"]}, ((25, "pause"), (50, "resume"))),
    Story("stations", 40, 120, "300.00", {"include_tags": ["station"]}, ((30, "cancel"),)),
    Story("top up", 30, 110, "100.00", {"include_tags": ["facade"]}, ((45, "topup"),)),
)


class Refused(Exception):
    """The API would not do it; the text is its answer."""


@dataclass(frozen=True, slots=True)
class Api:
    """The platform's API with an operator's token."""

    session: aiohttp.ClientSession
    url: str
    token: str

    async def __call__(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON. Raises Refused for an answer of 400 or more, OSError when nobody answers."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid4())
        async with self.session.request(method, self.url + path, json=body, headers=headers) as reply:
            if reply.status >= 400:
                raise Refused(await reply.text())
            return await reply.json(content_type=None)

    async def every(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """All items of a list, page by page."""
        cursor = ""
        while True:
            page = await self("GET", f"{path}?limit=200{cursor}")
            for item in page["items"]:
                yield item
            if not page["next_cursor"]:
                return
            cursor = f"&cursor={page['next_cursor']}"


@asynccontextmanager
async def api(url: str, token: str) -> AsyncIterator[Api]:
    """The API of the daemon at `url`."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield Api(session, url, token)


async def direct(ask: Api, now: Callable[[], datetime], told: Callable[[str], None]) -> None:
    """Book one story after the other, each for another tenant, until cancelled; what is refused is told."""
    creatives: dict[str, list[str]] = {}
    async for creative in ask.every("/v1/creatives"):
        if creative["tenant_id"]:
            creatives.setdefault(creative["tenant_id"], []).append(creative["id"])
    tenants = [tenant async for tenant in ask.every("/v1/tenants") if tenant["id"] in creatives]
    turns = zip(itertools.cycle(STORIES), itertools.cycle(tenants), strict=True)
    async with asyncio.TaskGroup() as group:
        for number, (story, tenant) in enumerate(turns):
            group.create_task(_tell(ask, story, tenant, creatives[tenant["id"]], now(), told))
            # the first three at once, so that there is something to see
            await asyncio.sleep(1.0 if number < 3 else WAVE_SECONDS / len(STORIES))


async def _tell(
    ask: Api, story: Story, tenant: dict[str, Any], creatives: list[str], now: datetime, told: Callable[[str], None]
) -> None:
    starts = now + timedelta(seconds=story.starts_in)
    body = {
        "tenant_id": tenant["id"],
        "name": f"{tenant['name'].split()[0]} {story.title} {now:%d %b %H:%M:%S}",
        "channel": "signage",
        "start_at": starts.isoformat(),
        "end_at": (starts + timedelta(seconds=story.lasts)).isoformat(),
        "budget": story.budget,
        "creatives": creatives,
        "target": story.target,
        "priority": random.randint(1, 10),
        "allow_short_lead": True,
    }
    try:
        campaign = await ask("POST", "/v1/campaigns", body)
        await ask("POST", f"/v1/campaigns/{campaign['id']}/submit")
        since = -story.starts_in
        for at, action in story.acts:
            await asyncio.sleep(at - since)
            since = at
            await ask("POST", f"/v1/campaigns/{campaign['id']}/{action}", _words(action))
    except (Refused, aiohttp.ClientError, OSError) as error:
        told(f"{body['name']}: {error}")


def _words(action: str) -> dict[str, str]:
    if action == "topup":
        return {"amount": "50.00"}
    return {"note": _NOTES[action]} if action in _NOTES else {}
