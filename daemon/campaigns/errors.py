"""What can be wrong with what someone asks of a campaign; `web.problems` gives each its HTTP status."""

from collections.abc import Sequence

from daemon.campaigns.money import decimal

FieldErrors = Sequence[tuple[str, str]]  # (field, message), one per field


class Refused(Exception):
    """What was asked cannot be done; `detail` says why, in words for whoever asked."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Invalid(Refused):
    """Fields that say what cannot be, all at once: `errors` holds (field, message), one per field."""

    def __init__(self, errors: FieldErrors) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in errors))
        self.errors = list(errors)


class NotFound(Refused):
    """No such thing for whoever asked; `kind` is `Campaign`, `Store` and so on."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} not found")
        self.kind = kind


class InvalidTransition(Refused):
    """The campaign is not in a status from which this can be done."""


class EditNotAllowed(Refused):
    """The campaign is in a status in which this field stands."""


class InsufficientFunds(Refused):
    """The wallet has less than this needs; both in micros."""

    def __init__(self, available_micros: int, needed_micros: int) -> None:
        super().__init__(f"Available {decimal(available_micros)}, needed {decimal(needed_micros)}")
        self.available_micros = available_micros
        self.needed_micros = needed_micros


class NameTaken(Refused):
    """Another campaign of the tenant has the name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Another campaign is named {name!r}")
        self.name = name


class TenantSuspended(Refused):
    """The tenant was suspended a moment ago: its own tokens only read."""

    def __init__(self) -> None:
        super().__init__("The tenant is SUSPENDED: its tokens read only; needs an operator to lift it")


class RunningLimit(Refused):
    """At some instant more of the tenant's campaigns would overlap than its limit; `names` are those."""

    def __init__(self, limit: int, names: Sequence[str]) -> None:
        listed = ", ".join(names) if names else "none"
        super().__init__(f"At most {limit} campaigns may run at one time; it would overlap with: {listed}")
        self.limit = limit
        self.names = list(names)


class NoEligibleDevices(Refused):
    """No device that the campaign may play on, or too many."""
