"""How many rows a batch takes: fewer after each time-out or lost wait for a lock, more again as batches go through."""

SMALLEST = 32  # times smaller than it may be, a batch is as small as it gets
SUCCESSES = 4  # in a row, before a batch grows again


class Pace:
    """The size of the next batch of one kind, between `most` and a fraction of it."""

    def __init__(self, most: int) -> None:
        """Begin with the largest batches."""
        self.most = most
        self.size = most
        self._successes = 0

    @property
    def reduced(self) -> bool:
        """Say whether batches are smaller than they might be: the last ones were too slow or waited in vain."""
        return self.size < self.most

    def slower(self) -> None:
        """Halve the batches, down to a floor."""
        self._successes = 0
        self.size = max(1, self.most // SMALLEST, self.size // 2)

    def faster(self) -> None:
        """Note a batch that went through; after some in a row, the next ones are twice as large."""
        self._successes += 1
        if self.reduced and self._successes >= SUCCESSES:
            self._successes = 0
            self.size = min(self.most, self.size * 2)
