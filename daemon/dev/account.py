"""The live account of `signaged dev`: what a person reads while campaigns come and go."""

import asyncio
import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TextIO

import aiohttp
import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from daemon.dev.director import Api, Refused

SUMMARY_SECONDS = 15.0
_MOVED = ("held", "amount", "spent", "released", "impressions")
_COLOURS = {"started": 32, "completed": 36, "paused": 33, "cancelled": 31, "failed": 31, "missed": 31, "settled": 35}


class ReaderGone(Exception):
    """Nobody reads the account any more (`signaged dev | head`), so there is nothing left to run for."""


class Console:
    """Lines with a time and a topic, in colour where a terminal reads them."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._colour = out.isatty()

    def say(self, at: datetime, topic: str, text: str) -> None:
        """Write one line at once."""
        code = _COLOURS.get(topic)
        shown = f"\x1b[{code}m{topic:<11}\x1b[0m" if self._colour and code else f"{topic:<11}"
        self.line(f"{at:%H:%M:%S}  {shown} {text}")

    def line(self, text: str = "") -> None:
        """Write a line as it is, at once. Raises ReaderGone."""
        try:
            print(text, file=self._out, flush=True)
        except BrokenPipeError:
            raise ReaderGone from None


def told(event: dict[str, Any]) -> tuple[str, str]:
    """The topic and the words of a campaign's event (SPEC 9)."""
    data = event["data"]
    kind = event["type"].removeprefix("campaign.")
    words = [data["campaign_name"]]
    if kind in ("started", "completed"):
        words.append(f"{data['lateness_ms']} ms after its time")
    if kind in ("started", "content.distributed", "content.ready"):
        words.append(f"{data['total_recipients']} screens")
    if data.get("reason"):
        words.append(data["reason"] + (f" ({data['note']})" if data.get("note") else ""))
    words += [f"{name} {data[name]}" for name in _MOVED if data.get(name)]
    return kind.replace("content.", ""), ", ".join(words)


async def follow(bootstrap: str, topic: str, hear: Callable[[dict[str, Any]], None]) -> None:
    """Give every campaign event of the topic, first to last and on, to `hear`, until cancelled."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of a topic just made it complains, and mends it itself
    while True:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", metadata_max_age_ms=2000
        )
        try:
            await consumer.start()
            async for record in consumer:
                hear(orjson.loads(record.value))
        except KafkaError:
            await asyncio.sleep(1)
        finally:
            with contextlib.suppress(KafkaError):
                await consumer.stop()


async def summarise(
    ask: Api,
    sent: Mapping[str, int],
    fleet: Callable[[], dict[str, int]],
    now: Callable[[], datetime],
    console: Console,
) -> None:
    """Sum up screens, plays, money and what was `sent`, by kind, from time to time, until cancelled."""
    while True:
        await asyncio.sleep(SUMMARY_SECONDS)
        screens = Counter(fleet())
        console.say(now(), "screens", f"{screens['ready']} of {screens['screens']} ready, {screens['polls']} polls")
        console.say(now(), "plays", ", ".join(f"{screens[name]} {name}" for name in ("plays", "accepted", "unpaid")))
        with contextlib.suppress(Refused, aiohttp.ClientError, OSError):
            console.say(now(), "money", await _money(ask))
        console.say(now(), "sent", ", ".join(f"{number} {kind}" for kind, number in sent.items()))


async def _money(ask: Api) -> str:
    totals: Counter[str] = Counter()
    async for tenant in ask.every("/v1/tenants"):
        for name in ("funded", "available", "held", "spent"):
            totals[name] += round(float(tenant["wallet"][name]) * 100)
    return ", ".join(f"{name} {totals[name] / 100:,.2f}" for name in ("funded", "available", "held", "spent"))
