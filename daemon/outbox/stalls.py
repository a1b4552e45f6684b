"""Which partitions wait for themselves because they do not answer while others do, and for how long (SPEC 9)."""

from dataclasses import dataclass, field

import structlog

from daemon.outbox.bypass import Place

log = structlog.get_logger("daemon.outbox.stalls")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds before a partition is tried again; doubled each time


@dataclass(slots=True)
class Stall:
    """A partition that failed: when it is tried next (seconds, monotonic), the pause before, and whether it is now."""

    until: float
    pause: float
    on_trial: bool = False


@dataclass(slots=True)
class Stalls:
    """The partitions set aside, remembered from link to link: one that failed for a partition serves it no more."""

    _known: dict[Place, Stall] = field(default_factory=dict)

    def aside(self) -> set[Place]:
        """Tell which partitions get nothing on the present link."""
        return {place for place, stall in self._known.items() if not stall.on_trial}

    def due(self, now: float) -> bool:
        """Whether a partition's pause is over, so that a new link should try it."""
        return any(not stall.on_trial and stall.until <= now for stall in self._known.values())

    def begin(self, now: float) -> None:
        """Begin a new link: those whose pause is over are tried on it."""
        for stall in self._known.values():
            stall.on_trial = stall.until <= now

    def put_aside(self, place: Place, reason: str, now: float) -> None:
        """Let a partition wait, each time longer."""
        before = self._known.get(place)
        if before and not before.on_trial:
            return  # another shard's share of the same failure
        pause = min(2 * before.pause, LONGEST_PAUSE) if before else FIRST_PAUSE
        self._known[place] = Stall(now + pause, pause)
        if not before:
            log.warning("partition set aside", topic=place.topic, partition=place.partition, reason=reason)

    def forgive(self, place: Place) -> None:
        """Forget what was against a partition: it has taken messages again."""
        if self._known.pop(place, None):
            log.info("partition flows again", topic=place.topic, partition=place.partition)

    def forget(self) -> None:
        """Forget all: nothing answers, so no partition is worse than another."""
        self._known.clear()
