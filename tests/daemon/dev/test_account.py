"""The account that `signaged dev` gives ends with its reader."""

import os

import pytest

from daemon.dev.account import Console, ReaderGone


def test_a_reader_that_is_gone_is_noticed() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    out = os.fdopen(writing, "w")
    with pytest.raises(ReaderGone):
        Console(out).line("anybody there?")
    with pytest.raises(BrokenPipeError):
        out.close()
