"""Logs: one JSON object a line, whoever wrote it."""

import io
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
import structlog

from daemon import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged; afterwards logging is as pytest has it."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.configure(**before)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_event_is_one_line_with_its_facts_as_fields(stream: io.StringIO) -> None:
    logs.configure("info", stream)
    log = structlog.get_logger("daemon.test")
    log.info("campaign status changed", campaign_id=UUID(int=1), lateness_ms=3, note="two\nlines")
    log.debug("not asked for")
    (line,) = lines(stream)
    assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
    assert (line["level"], line["logger"], line["event"]) == ("info", "daemon.test", "campaign status changed")
    assert (line["campaign_id"], line["lateness_ms"], line["note"]) == (str(UUID(int=1)), 3, "two\nlines")
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
    assert line["timestamp"].endswith("Z")


def test_others_events_and_exceptions_are_lines_too(stream: io.StringIO) -> None:
    logs.configure("warning", stream)
    logging.getLogger("library").warning("so %s", "it goes", extra={"port": 1})
    logging.getLogger("library").info("not asked for")
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # elsewhere here they are errors
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("daemon.test").exception("step failed", step="start")
    foreign, warned, failed = lines(stream)
    assert (foreign["logger"], foreign["event"], foreign["port"]) == ("library", "so it goes", 1)
    assert "DeprecationWarning: old" in warned["event"]
    assert (failed["level"], failed["step"]) == ("error", "start")
    assert failed["exception"].endswith("ValueError: broken")
