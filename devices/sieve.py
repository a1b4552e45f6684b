"""The rule of eligibility for many devices and many campaigns at once, by what they have in common."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from devices.targets import Seat, Target

_HOUR_MS = 3_600_000


class Sieve:
    """Targets turned into bit sets, so that a device costs a few look-ups however many campaigns there are.

    Bit i stands for the i-th target. It agrees with `targets.eligible`, which says the rule (SPEC 3).
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._everywhere = 0
        self._included: defaultdict[Hashable, int] = defaultdict(int)
        self._excluded: defaultdict[Hashable, int] = defaultdict(int)
        self._blockable: defaultdict[Hashable, int] = defaultdict(int)
        self._too_long: dict[int, int] = {}  # by slots an hour, filled when asked
        self._longest = [target.longest_ms for target in targets]
        for index, target in enumerate(targets):
            bit = 1 << index
            if target.everywhere:
                self._everywhere |= bit
            _add(self._included, bit, target.stores, target.devices, target.include_tags)
            _add(self._excluded, bit, target.exclude_stores, target.exclude_devices, target.exclude_tags)
            _add(self._blockable, bit, target.block_keys)

    def eligible(self, seat: Seat) -> int:
        """The targets for which the seat is eligible, as bits."""
        if seat.disabled:
            return 0
        # Ids and tags are of different types, so one table holds both.
        marks: list[Hashable] = [seat.store_id, seat.device_id, *seat.device_tags, *seat.store_tags]
        included = self._everywhere | _union(self._included, marks)
        against = _union(self._excluded, marks) | _union(self._blockable, seat.blocked_keys)
        return included & ~(against | self._outlasting(seat.slots_per_hour))

    def _outlasting(self, slots_per_hour: int) -> int:
        if slots_per_hour not in self._too_long:
            long = (1 << i for i, ms in enumerate(self._longest) if ms * slots_per_hour > _HOUR_MS)
            self._too_long[slots_per_hour] = sum(long)
        return self._too_long[slots_per_hour]


def indexes(bits: int) -> list[int]:
    """The positions of the bits that are set, lowest first."""
    return [index for index, bit in enumerate(f"{bits:b}"[::-1]) if bit == "1"]


def _add(table: defaultdict[Hashable, int], bit: int, *lists: Iterable[Hashable]) -> None:
    for named in lists:
        for key in named:
            table[key] |= bit


def _union(table: defaultdict[Hashable, int], keys: Iterable[Hashable]) -> int:
    bits = 0
    for key in keys:
        if key in table:
            bits |= table[key]
    return bits
