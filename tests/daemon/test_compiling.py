"""A compiling child is as long-lived as who asks it, and no longer."""

import io

import pytest

from daemon.compiling import serve


@pytest.mark.parametrize("asked", [b"", b"\x00", b"\x00\x00\x00\x09", b"\x00\x00\x00\x09half"])
def test_a_request_that_a_kill_cut_short_is_the_end_and_no_fault(asked: bytes) -> None:
    answers = io.BytesIO()
    serve(io.BytesIO(asked), answers)
    assert answers.getvalue() == b""
