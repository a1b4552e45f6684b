"""Money as text: decimal strings in and out, integer micros in between (SPEC 11)."""

import re

MICROS = 1_000_000  # in one unit of the currency

_AMOUNT = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,6}))?")


def micros(text: object, *, places: int = 2, signed: bool = False) -> int:
    """The micros of a decimal string such as `100.00`, with at most `places` decimals.

    Raises ValueError in words that complete "amount: ...". A minus sign passes only when `signed`.
    """
    match = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    if match is None or len(match[3] or "") > places or (match[1] and not signed):
        raise ValueError(f"must be a decimal string with at most {places} decimals, such as 100.00")
    amount = int(match[2]) * MICROS + int((match[3] or "").ljust(6, "0"))
    return -amount if match[1] else amount


def decimal(amount: int) -> str:
    """Micros as a decimal string: two decimals at least, six where they are needed."""
    units, rest = divmod(abs(amount), MICROS)
    cents, finer = divmod(rest, 10_000)
    text = f"{units}.{cents:02}" if not finer else f"{units}.{rest:06}".rstrip("0")
    return f"-{text}" if amount < 0 else text
