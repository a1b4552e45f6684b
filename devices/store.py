"""A store: where screens hang, when it is open, what it will not show. Checked here, whoever sends it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from playlists.creatives import block_key
from playlists.daypart import Daypart, as_json
from playlists.fields import Body, dayparts, ids, number, text, texts, timezone
from playlists.ids import CreativeId, StoreId

FIELDS = (
    "code", "name", "timezone", "country", "region", "city", "latitude", "longitude", "category", "tags",
    "opening_hours", "blocked", "fallback",
)  # fmt: skip
BLOCKED = ("brands", "categories", "keywords")


@dataclass(frozen=True, slots=True)
class Blocked:
    """What a store will not show, in its own words; matching ignores case."""

    brands: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()

    def as_json(self) -> dict[str, list[str]]:
        """The object that it was given as."""
        return {name: list(getattr(self, name)) for name in BLOCKED}

    def keys(self) -> list[str]:
        """What the eligibility rule compares: `brand:acme`, `category:beer`, `keyword:sale`."""
        words = (("brand", self.brands), ("category", self.categories), ("keyword", self.keywords))
        return sorted({block_key(kind, word) for kind, named in words for word in named})


@dataclass(frozen=True, slots=True)
class StoreFields:
    """All that a network says of a store (SPEC 11); positions in degrees."""

    code: str
    name: str
    timezone: str
    country: str
    region: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    category: str | None = None
    tags: tuple[str, ...] = ()
    opening_hours: tuple[Daypart, ...] = ()
    blocked: Blocked = Blocked()
    fallback: tuple[CreativeId, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object as requests and replies carry it."""
        told: dict[str, Any] = {name: getattr(self, name) for name in FIELDS}
        told["tags"] = list(self.tags)
        told["opening_hours"] = [as_json(part) for part in self.opening_hours]
        told["blocked"] = self.blocked.as_json()
        told["fallback"] = [str(creative) for creative in self.fallback]
        return told


@dataclass(frozen=True, slots=True)
class Store:
    """A store as it is stored."""

    id: StoreId
    fields: StoreFields
    created_at: datetime
    updated_at: datetime


def check(given: object) -> StoreFields:
    """The store that an object describes. Raises Faulty with every fault; ids are not looked up."""
    body = Body(given, FIELDS)
    fields = StoreFields(
        code=body.need("code", text(1, 64), ""),
        name=body.need("name", text(1, 200), ""),
        timezone=body.need("timezone", timezone, ""),
        country=body.need("country", text(2, 64), ""),
        region=body.take("region", text(1, 100), None),
        city=body.take("city", text(1, 100), None),
        latitude=body.take("latitude", number(-90, 90), None),
        longitude=body.take("longitude", number(-180, 180), None),
        category=body.take("category", text(1, 100), None),
        tags=body.take("tags", texts(64, 100), ()),
        opening_hours=body.take("opening_hours", dayparts, ()),
        blocked=body.take("blocked", _blocked, Blocked()),
        fallback=tuple(CreativeId(creative) for creative in body.take("fallback", ids(100), ())),
    )
    body.done()
    return fields


def _blocked(given: object) -> Blocked:
    body = Body(given, BLOCKED)
    brands, categories, keywords = (body.take(name, texts(100, 1000), ()) for name in BLOCKED)
    for name, message in body.errors:
        raise ValueError(message if name == "body" else f"{name} {message}")
    return Blocked(brands, categories, keywords)
