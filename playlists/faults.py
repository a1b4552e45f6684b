"""What is wrong with something given: one fault per field, all of them at once."""

from collections.abc import Iterable


class Faulty(ValueError):
    """A body that cannot be taken; `errors` holds (field, message) in the order of the body's fields (SPEC 11)."""

    def __init__(self, errors: Iterable[tuple[str, str]]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.errors))
