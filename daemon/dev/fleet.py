"""A fleet of simulated screens against any daemon, in one process."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from daemon.dev.screen import Gone, Screen

ACTIVATIONS_AT_ONCE = 8
DOWNLOADS_AT_ONCE = 24
REPORT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """Where the daemon is, an operator's token to enrol screens with, how many, and where their tokens are kept."""

    url: str
    token: str
    screens: int
    state: Path


class FleetError(Exception):
    """The fleet cannot run as asked; the text says why."""


async def run(options: FleetOptions, told: Callable[[dict[str, int]], None]) -> None:
    """Enrol the network's first screens that no other player has, and let them live until cancelled.

    `told` gets the counts so far every two seconds. Raises FleetError when the daemon refuses the token.
    """
    tokens = _remembered(options.state)
    timeout = aiohttp.ClientTimeout(total=30, sock_connect=5)
    counts: Counter[str] = Counter()
    screens: list[Screen] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as group:
        group.create_task(_report(screens, counts, told))
        enrolling, downloads = asyncio.Semaphore(ACTIVATIONS_AT_ONCE), asyncio.Semaphore(DOWNLOADS_AT_ONCE)

        def remember(device_id: str, token: str) -> None:
            tokens[device_id] = token
            _keep(options.state, tokens)

        for device_id in await _device_ids(session, options):
            known = tokens.get(device_id, "")
            screen = Screen(device_id, known, options.url, session, downloads, counts, remember)
            screens.append(screen)
            group.create_task(_life(screen, session, options, enrolling))


async def _life(
    screen: Screen, session: aiohttp.ClientSession, options: FleetOptions, enrolling: asyncio.Semaphore
) -> None:
    while True:
        if not screen.token:
            async with enrolling:
                await screen.activate(await _code(session, options, screen.device_id))
        await asyncio.sleep(random.random())  # so that not all ask at once
        try:
            await screen.live()
        except* Gone:
            screen.token = ""


async def _report(screens: list[Screen], counts: Counter[str], told: Callable[[dict[str, int]], None]) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        ready = sum(screen.ready for screen in screens)
        told({"screens": len(screens), "ready": ready, **counts})


async def _device_ids(session: aiohttp.ClientSession, options: FleetOptions) -> list[str]:
    """The network's first devices by id, one of each store at first, so many as there shall be screens."""
    items: list[dict[str, Any]] = []
    path = "/v1/devices?limit=200"
    while True:
        page = await _ask(session, options, "GET", path)
        items += page["items"]
        if not page["next_cursor"]:
            break
        path = f"/v1/devices?limit=200&cursor={page['next_cursor']}"
    places: Counter[str] = Counter()
    order: list[tuple[int, int, str]] = []
    for item in items:
        order.append((places[item["store_id"]], len(order), item["id"]))
        places[item["store_id"]] += 1
    return [device_id for _, _, device_id in sorted(order)[: options.screens]]


async def _code(session: aiohttp.ClientSession, options: FleetOptions, device_id: str) -> str:
    code: str = (await _ask(session, options, "POST", f"/v1/devices/{device_id}/activation"))["code"]
    return code


async def _ask(session: aiohttp.ClientSession, options: FleetOptions, method: str, path: str) -> Any:
    """Ask the operators' side of the API, again and again while nobody answers."""
    headers = {"Authorization": f"Bearer {options.token}"}
    while True:
        try:
            async with session.request(method, options.url + path, headers=headers) as reply:
                if reply.status in (401, 403):
                    raise FleetError(f"the daemon refuses the token: {await reply.text()}")
                if reply.status < 500:
                    reply.raise_for_status()
                    return await reply.json(content_type=None)
        except (aiohttp.ClientConnectionError, TimeoutError):
            pass
        await asyncio.sleep(1)


def _remembered(state: Path) -> dict[str, str]:
    try:
        return dict(json.loads(state.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _keep(state: Path, tokens: dict[str, str]) -> None:
    unfinished = state.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(tokens), encoding="utf-8")
    unfinished.replace(state)
