"""What a route is: one row of the table that makes the router, the role check and the OpenAPI document alike."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from aiohttp import web

from daemon.campaigns.draft import BookingLimits
from daemon.campaigns.events import Transition
from daemon.clock import Clock
from daemon.database import Database
from daemon.media import MediaFolder
from daemon.metrics import Metrics
from daemon.tenants import TenantDefaults
from daemon.web.auth import Caller, Role
from daemon.web.problems import invalid, not_found
from playlists.queries import Tx

DEFAULT_LIMIT: Final = 20
LARGEST_LIMIT: Final = 200


@dataclass(slots=True)
class Platform:
    """What the API stands on: the parts it calls and the settings it keeps to, which a reload replaces.

    `patience` is the silence after which a device is offline, `lead` how far ahead content is distributed,
    `keys_kept` how long an Idempotency-Key stands; `woken` is called after a commit that changed a campaign.
    """

    database: Database
    clock: Clock
    metrics: Metrics
    media: MediaFolder
    limits: BookingLimits
    defaults: TenantDefaults
    patience: timedelta
    lead: timedelta
    activation_life: timedelta
    rotation_overlap: timedelta
    max_media_bytes: int
    max_body_bytes: int
    version: str
    woken: Callable[[], None]
    keys_kept: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `body` is anything msgspec encodes, None for no body."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One call inside its transaction: who asks, for what, and the transitions it has led to."""

    platform: Platform
    tx: Tx
    now: datetime
    caller: Caller
    correlation_id: str
    request: web.Request
    body: dict[str, Any]
    transitions: list[Transition] = field(default_factory=list)

    def id_of(self, thing: str, name: str = "id") -> UUID:
        """The id in the path. Raises Problem not-found when it is none: nothing has such an id."""
        try:
            return UUID(self.request.match_info[name])
        except ValueError as error:
            raise not_found(thing) from error

    @property
    def limit(self) -> int:
        """How many items the caller wants, 1 to 200. Raises Problem validation."""
        return self.number("limit", DEFAULT_LIMIT, 1, LARGEST_LIMIT)

    @property
    def cursor(self) -> str | None:
        """Where the list is to go on; None at its beginning."""
        return self.request.query.get("cursor")

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number of the query. Raises Problem validation outside `least` to `most`."""
        text = self.request.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise invalid([(name, f"must be a whole number from {least} to {most}")])
        return int(text)


Answering = Callable[[Call], Awaitable[Reply]]
Streaming = Callable[[Platform, Caller, web.Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, as the document tells it."""

    name: str
    summary: str
    schema: Mapping[str, object]


LIMIT: Final = Parameter(
    "limit", "Items wanted", {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": DEFAULT_LIMIT}
)
CURSOR: Final = Parameter("cursor", "next_cursor of the part before", {"type": "string"})
PAGING: Final = (LIMIT, CURSOR)


@dataclass(frozen=True, slots=True)
class Operation:
    """A method on a path: who may, what it takes, what it gives.

    `body` and `reply` are the shapes of the document; a tuple of replies: one of them, by role. `empty` allows no
    body at all, `once` takes an Idempotency-Key, `versioned` an If-Match. `stream` answers instead of `answer`,
    outside a transaction, and reads the body itself.
    """

    method: str
    path: str
    summary: str
    roles: frozenset[Role]
    answer: Answering
    reply: Any = None
    body: type[msgspec.Struct] | None = None
    status: int = 200
    empty: bool = False
    once: bool = False
    versioned: bool = False
    query: tuple[Parameter, ...] = ()
    stream: Streaming | None = None

    @property
    def writes(self) -> bool:
        """Whether a suspended tenant's token may not do it."""
        return self.method != "GET"
