"""The tables of SPEC 3: what may follow what."""

import pytest

from daemon.campaigns.campaign import (
    EDITABLE,
    FIELDS,
    TERMINAL,
    TRANSITIONS,
    Status,
    TransitionType,
    legal_changes,
    successor,
)

# Every arrow of the diagram in the package's docstring, once.
ARROWS = """
DRAFT PENDING_APPROVAL, DRAFT SCHEDULED, PENDING_APPROVAL SCHEDULED, PENDING_APPROVAL REJECTED,
PENDING_APPROVAL EXPIRED, PENDING_APPROVAL CANCELLED, REJECTED DRAFT, SCHEDULED ACTIVE, SCHEDULED MISSED,
SCHEDULED CANCELLED, SCHEDULED FAILED, ACTIVE PAUSED, ACTIVE COMPLETED, ACTIVE CANCELLED, ACTIVE FAILED,
PAUSED ACTIVE, PAUSED COMPLETED, PAUSED CANCELLED, PAUSED FAILED
"""


def test_the_table_is_the_diagram() -> None:
    moves = {(before, after) for _, before, after in legal_changes() if before not in (None, after)}
    assert moves == {tuple(arrow.split()) for arrow in ARROWS.replace("\n", " ").split(",")}


def test_nothing_leaves_a_terminal_status() -> None:
    for kind in TransitionType:
        for status in TERMINAL:
            assert successor(kind, status) in (None, status)


def test_every_type_has_its_rules() -> None:
    assert set(TRANSITIONS) == set(TransitionType)
    assert successor(TransitionType.PAUSED, Status.PAUSED) is Status.PAUSED
    assert successor(TransitionType.UPDATED, Status.REJECTED) is Status.DRAFT


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_what_is_over_is_not_edited(status: Status) -> None:
    assert status not in EDITABLE
    assert EDITABLE[Status.DRAFT] == FIELDS
