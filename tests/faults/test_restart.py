"""From kill -9 to serving on a network as large as the sample's, measured from exec to a screen's right answer."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.dev import sample
from daemon.dev.advertisers import ADVERTISERS, HOUSE
from tests.whole.daemons import Api, Daemon, created_token, running, signaged, until
from tests.whole.network import picture
from tests.whole.player import Player

pytestmark = pytest.mark.torture

ROUNDS = 5
GOAL = 2.0  # seconds, of the quickest round: others use this machine too
NEVER = 6.0


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as opened:
        yield opened


async def test_serves_again_two_seconds_after_a_kill(
    tmp_path: Path, database_url: str, session: aiohttp.ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = {"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "smtp": {"url": "smtp://127.0.0.1:1"}}
    async with running(tmp_path, {"database": {"url": database_url}, **nobody}) as daemon:
        network = await asyncio.to_thread(network_file, tmp_path)
        imported = await asyncio.to_thread(signaged, daemon.config, "import", str(network))
        assert imported.returncode == 0, imported.stderr
        await daemon.ready(session)
        player = await activated(session, daemon)
        await until(lambda: holds_a_playlist(player), 60)
        taken = []
        for _ in range(ROUNDS):
            await asyncio.sleep(0.5)
            await daemon.kill()
            began = time.monotonic()
            daemon.start()
            await answered(session, daemon, player, began)
            taken.append(time.monotonic() - began)
            await daemon.ready(session)
    with capsys.disabled():
        print(f"\nkill -9 to a right poll answer: {', '.join(f'{one:.2f}' for one in taken)} s")  # noqa: T201 - the figure is the result
    assert min(taken) < GOAL


def network_file(folder: Path) -> Path:
    """The sample's network, with pictures of one colour for its media: drawing those takes longer than all else."""
    creatives: dict[str, dict[str, Any]] = {}
    spots = [(spot, None) for spot in HOUSE] + [(spot, one) for one in ADVERTISERS for spot in one.spots]
    for number, (spot, advertiser) in enumerate(spots):
        raw = picture(number)
        (folder / spot.file).write_bytes(raw)
        creatives[spot.file] = {
            "tenant": advertiser.name if advertiser else None,
            "name": Path(spot.file).stem,
            "sha256": hashlib.sha256(raw).hexdigest(),
            "size": len(raw),
            "mime": "image/png",
            "duration_ms": spot.seconds * 1000,
            "file": spot.file,
        }
    file = folder / "network.json"
    file.write_text(json.dumps(sample.network(creatives, datetime.now(UTC))), encoding="utf-8")
    return file


async def activated(session: aiohttp.ClientSession, daemon: Daemon) -> Player:
    operator = Api(session, [daemon.url], await asyncio.to_thread(created_token, daemon.config, "operator"))
    device = (await operator("GET", "/v1/devices?limit=1"))["items"][0]
    player = Player(session, [daemon.url], device["id"])
    await player.activate((await operator("POST", f"/v1/devices/{device['id']}/activation"))["code"])
    return player


async def holds_a_playlist(player: Player) -> bool:
    try:
        return (await player.poll()).status in (200, 304)
    except AssertionError:  # 404: its first one is not compiled yet
        return False


async def answered(session: aiohttp.ClientSession, daemon: Daemon, player: Player, began: float) -> None:
    url = f"{daemon.url}/v1/devices/{player.device_id}/playlist"
    headers = {"Authorization": f"Bearer {player.token}", "If-None-Match": f'"{player.body.digest}"'}
    while True:
        assert time.monotonic() - began < NEVER
        with suppress(aiohttp.ClientError, OSError):
            async with session.get(url, headers=headers) as reply:
                if reply.status == 304:
                    return
        await asyncio.sleep(0.01)
