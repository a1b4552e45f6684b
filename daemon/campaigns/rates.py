"""The rate card: what a thousand plays cost in a kind of store at an hour of its day (SPEC 5), pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from playlists.daypart import Daypart, Window, windows

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Rate:
    """A price of a thousand plays of 15 s, in micros, and where and when it counts.

    `category` is that of a store in any case of letters, None means every store; `hours` are local to the store,
    None means always.
    """

    cpm_micros: int
    category: str | None = None
    hours: Daypart | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """What plays cost where a device names no price of its own: the first rate that fits, else the default."""

    default_cpm_micros: int
    rates: tuple[Rate, ...] = ()


class Tariff:
    """The prices of one screen; what does not depend on the hour is sorted out once."""

    def __init__(self, prices: Prices, own_cpm_micros: int | None, category: str | None, timezone: str) -> None:
        """Take the device's own price, where it has one, and its store's category and zone."""
        self._timezone = timezone
        self._otherwise = prices.default_cpm_micros if own_cpm_micros is None else own_cpm_micros
        self._rates = _fitting(prices.rates, category) if own_cpm_micros is None else []

    def cpm_micros(self, began: datetime) -> int:
        """The price of a thousand plays that begin at an aware instant."""
        for rate in self._rates:
            if rate.hours is None or _within(rate.hours, self._timezone, began):
                return rate.cpm_micros
        return self._otherwise


def _fitting(rates: Sequence[Rate], category: str | None) -> list[Rate]:
    """The rates that may count in a store of this category, in their order."""
    named = None if category is None else category.casefold()
    return [rate for rate in rates if rate.category is None or rate.category.casefold() == named]


def _within(hours: Daypart, timezone: str, instant: datetime) -> bool:
    number = (instant - _EPOCH) // _HOUR
    return any(opens <= instant < closes for opens, closes in _hour(hours, timezone, number))


@lru_cache(maxsize=10_000)
def _hour(hours: Daypart, timezone: str, number: int) -> list[Window]:
    """What of one hour, counted from the epoch, lies in the part: many plays ask for few of them."""
    begin = _EPOCH + number * _HOUR
    return windows([hours], timezone, begin, begin + _HOUR)
