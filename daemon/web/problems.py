"""Problems as RFC 9457 tells them, and the one map from what the domain refuses to what HTTP answers."""

from collections.abc import Iterable, Mapping
from typing import Final

import orjson
from aiohttp import web

from daemon.campaigns import errors as refusals
from daemon.database import CommitUnknown, DatabaseUnavailable
from playlists.faults import Faulty

URN: Final = "urn:signaged:"
CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = "1"  # seconds; a lost database is back sooner than a person looks

# kind -> (status, title)
KINDS: Final[Mapping[str, tuple[int, str]]] = {
    "malformed": (400, "The request is not what it says it is"),
    "unauthorized": (401, "A valid token is needed"),
    "forbidden": (403, "This token may not do that"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "Method not allowed"),
    "invalid-transition": (409, "Not in this status"),
    "edit-not-allowed": (409, "Not to be edited in this status"),
    "insufficient-funds": (409, "Not enough money available"),
    "name-taken": (409, "The name is taken"),
    "running-limit": (409, "Too many campaigns at one time"),
    "no-eligible-devices": (409, "No device is eligible"),
    "idempotency-mismatch": (409, "The idempotency key stands for another request"),
    "version-mismatch": (412, "Somebody changed it in between"),
    "too-large": (413, "Too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "range-not-satisfiable": (416, "Range not satisfiable"),
    "validation": (422, "Some fields are not valid"),
    "rate-limited": (429, "Too many requests"),
    "internal": (500, "Something went wrong here"),
    "unavailable": (503, "Not available now"),
}


class Problem(Exception):
    """An answer that is a refusal: `kind` is a key of KINDS, `errors` pairs of (field, message)."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = KINDS[kind]
        self.detail = detail
        self.errors = [{"field": field, "message": message} for field, message in errors]
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The problem's JSON; `errors` is there only when a field is named."""
        told: dict[str, object] = {
            "type": URN + self.kind,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            told["errors"] = self.errors
        return orjson.dumps(told)

    def response(self, headers: Mapping[str, str] | None = None) -> web.Response:
        """What goes on the wire; `headers` are added to its own."""
        return web.Response(
            status=self.status,
            body=self.body(),
            content_type=CONTENT_TYPE,
            headers={**self.headers, **(headers or {})},
        )


def not_found(thing: str) -> Problem:
    """404 `Campaign not found`, for `thing` = "Campaign"."""
    return Problem("not-found", f"{thing} not found")


def invalid(errors: Iterable[tuple[str, str]]) -> Problem:
    """422 with one message per field; the detail tells them all in one line."""
    pairs = list(errors)
    return Problem("validation", "; ".join(f"{field}: {message}" for field, message in pairs), pairs)


def unavailable(detail: str = "The database does not answer; try again") -> Problem:
    """503 with Retry-After."""
    return Problem("unavailable", detail, headers={"Retry-After": RETRY_AFTER})


def internal(correlation_id: str) -> Problem:
    """500 that gives nothing away but what to look for in the log."""
    return Problem("internal", f"See the log for correlation id {correlation_id}")


REFUSALS: Final[Mapping[type[Exception], str]] = {
    refusals.NotFound: "not-found",
    refusals.InvalidTransition: "invalid-transition",
    refusals.EditNotAllowed: "edit-not-allowed",
    refusals.InsufficientFunds: "insufficient-funds",
    refusals.NameTaken: "name-taken",
    refusals.RunningLimit: "running-limit",
    refusals.TenantSuspended: "forbidden",
    refusals.NoEligibleDevices: "no-eligible-devices",
}


def problem_of(error: Exception) -> Problem | None:
    """The problem that an error of the domain or of the database is; None for what nobody foresaw."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, refusals.Invalid | Faulty):
        return invalid(error.errors)
    kind = REFUSALS.get(type(error))
    if kind is not None:
        return Problem(kind, str(error))
    if isinstance(error, CommitUnknown):
        return unavailable("Whether this was done is not known: look, or repeat it with the same Idempotency-Key")
    if isinstance(error, DatabaseUnavailable):
        return unavailable()
    return None
