"""Money as text, and the price of a play, against the rule of SPEC 5 in exact fractions."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.campaigns.ledger import price_micros
from daemon.campaigns.money import MICROS, decimal, micros

LARGEST = 10**12 * MICROS  # what twelve digits can say


@given(st.integers(-LARGEST + 1, LARGEST - 1))
def test_what_is_told_is_read_back(amount: int) -> None:
    text = decimal(amount)
    assert micros(text, places=6, signed=True) == amount
    assert 2 <= len(text.partition(".")[2]) <= 6
    assert len(text.partition(".")[2]) == 2 or text[-1] != "0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,00",
        "1.001",
        "-1.00",
        "+1.00",
        "1e3",
        ".5",
        "1.",
        " 1.00",
        "1.00\n",
        "١.00",
        "NaN",
        "1" * 13,
        1,
        1.0,
        None,
    ],
)
def test_what_is_no_amount_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="decimal string"):
        micros(text)


@given(st.integers(0, 10**12), st.integers(1, 3_600_000), st.integers(1, 10))
def test_a_play_costs_what_the_rule_says(cpm: int, creative_ms: int, priority: int) -> None:
    factor = {1: 90, 2: 90, 3: 90, 9: 110, 10: 110}.get(priority, 100)
    exact = Fraction(cpm, 1000) * Fraction(min(creative_ms, 15_000), 15_000) * Fraction(factor, 100)
    assert price_micros(cpm, creative_ms, priority) == floor(exact)


def test_a_play_of_fifteen_seconds_costs_a_thousandth_of_the_cpm() -> None:
    assert decimal(price_micros(micros("5.00"), 15_000, 5)) == "0.005"
    assert price_micros(micros("5.00"), 60_000, 5) == price_micros(micros("5.00"), 15_000, 5)
