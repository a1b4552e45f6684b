"""Logs: one JSON object a line, constant lower-case messages, facts as fields."""

import logging
import sys
from dataclasses import dataclass
from typing import IO, Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

QUIET = ("aiokafka", "asyncio", "aiohttp", "aiosmtplib")  # their news of an outage are ours already
FIRST = ("timestamp", "level", "logger", "event")


@dataclass(frozen=True, slots=True)
class Lines:
    """Where our own events end; not the standard library's logging, which costs ten times as much a line."""

    name: str
    stream: IO[str]

    def write(self, line: str) -> None:
        """Write one finished line."""
        self.stream.write(line + "\n")
        self.stream.flush()

    debug = info = warning = error = critical = exception = write


def configure(level: str = "info", stream: IO[str] | None = None) -> None:
    """Send our events and those of the standard library to the stream (default stderr) from `level` up."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    finish: list[Processor] = [
        structlog.processors.format_exc_info,
        _ordered,
        structlog.processors.JSONRenderer(serializer=_json),
    ]
    structlog.configure(
        processors=[*shared, *finish],
        logger_factory=lambda name="signaged", *_: Lines(name, out),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=False,  # loggers are made at import, before this runs
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    logging.captureWarnings(capture=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.ERROR))


def _ordered(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {**{key: event.pop(key) for key in FIRST if key in event}, **event}


def _json(event: Any, **_: object) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
