"""The network file: read and checked whole, every fault with its place, before anything is written.

The objects are those of the API (SPEC 11) with names in place of ids: a store by its `code`, a device by
`{"store": code, "name": name}`, a tenant by its name, a creative by its name among those of its tenant, or of the
house.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

from daemon import tenants
from daemon.campaigns import draft
from daemon.campaigns.draft import BookingLimits
from daemon.tenants import TenantDefaults, TenantFields
from devices import device, store
from devices.device import DeviceFields
from devices.store import StoreFields
from playlists import creatives
from playlists.creatives import CreativeFields
from playlists.faults import Faulty
from playlists.fields import Body, Read, boolean, text
from playlists.ids import StoreId

SCHEMA = 1
SECTIONS = ("schema", "tenants", "creatives", "house", "stores", "devices", "campaigns")

T = TypeVar("T")
Json = dict[str, Any]


class Fault(NamedTuple):
    """What is wrong, and where: a JSON pointer into the file."""

    place: str
    message: str


class Key(NamedTuple):
    """A name among those of its owner: a creative or campaign of a tenant (None: the house), a device of a store."""

    owner: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about what may be imported; sizes in bytes."""

    tenant: TenantDefaults
    booking: BookingLimits
    media_max_bytes: int


@dataclass(frozen=True, slots=True)
class Known:
    """The names that the database has already, so that a file may refer to them."""

    tenants: Mapping[str, str] = field(default_factory=dict)  # name -> timezone
    stores: frozenset[str] = frozenset()
    devices: frozenset[Key] = frozenset()
    creatives: frozenset[Key] = frozenset()


@dataclass(frozen=True, slots=True)
class TenantEntry:
    """A tenant and what is put into its wallet, each deposit once by its reference."""

    place: str
    fields: TenantFields
    deposits: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class CreativeEntry:
    """A creative and, when the file brings it, where its medium lies."""

    place: str
    tenant: str | None
    fields: CreativeFields
    flags: tuple[str, ...]
    file: Path | None


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """A store, its house content by name."""

    place: str
    fields: StoreFields
    fallback: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device and the code of its store; `fields.store_id` means nothing yet."""

    place: str
    store: str
    fields: DeviceFields


@dataclass(frozen=True, slots=True)
class CampaignEntry:
    """A campaign as its body, with names in it, and whether to submit it."""

    place: str
    tenant: str
    name: str
    body: Json
    submit: bool


@dataclass(slots=True)
class Network:
    """A network file, checked; `house` is None when the file says nothing about it."""

    tenants: list[TenantEntry] = field(default_factory=list)
    creatives: list[CreativeEntry] = field(default_factory=list)
    house: tuple[str, ...] | None = None
    stores: list[StoreEntry] = field(default_factory=list)
    devices: list[DeviceEntry] = field(default_factory=list)
    campaigns: list[CampaignEntry] = field(default_factory=list)


def read(given: object, folder: Path, known: Known, rules: Rules) -> tuple[Network, list[Fault]]:
    """The network that a JSON value describes and all that is wrong with it; with faults it must not be used.

    Media are looked for below `folder` and read whole: their size and hash must be those told. Blocks.
    """
    reader = _Reader(folder, known, rules)
    if not isinstance(given, dict):
        return reader.network, [Fault("", "must be an object")]
    reader.faults += [Fault(f"/{_escaped(name)}", "unknown field") for name in given if name not in SECTIONS]
    if given.get("schema") != SCHEMA:
        reader.faults.append(Fault("/schema", f"must be {SCHEMA}"))
    # in the order in which they refer to each other
    for section, take in (
        ("tenants", reader.tenant), ("creatives", reader.creative), ("stores", reader.store),
        ("devices", reader.device), ("campaigns", reader.campaign),
    ):  # fmt: skip
        reader.each(section, given.get(section), take)
    if given.get("house") is not None:
        reader.house(given["house"])
    return reader.network, reader.faults


def name_id(kind: str, key: object) -> UUID:
    """The id that a name has while a body is checked; no object has it."""
    return uuid5(NAMESPACE_OID, f"{kind} {key}")


def with_ids(body: Json, tenant: str, find: Callable[[str, object], UUID]) -> Json:
    """A campaign's body with ids for names; `find(kind, key)` raises ValueError for a name that nothing has."""
    errors: list[tuple[str, str]] = []

    def found(where: str, kind: str, keys: Iterable[object]) -> list[str]:
        ids = []
        for key in keys:
            try:
                ids.append(str(find(kind, key)))
            except ValueError as error:
                errors.append((where, str(error)))
        return ids

    changed = dict(body)
    if isinstance(body.get("creatives"), list):
        changed["creatives"] = found("creatives", "creative", (Key(tenant, str(name)) for name in body["creatives"]))
    if isinstance(body.get("target"), dict):
        target = changed["target"] = dict(body["target"])
        for name in ("stores", "exclude_stores"):
            if isinstance(target.get(name), list):
                target[name] = found(f"target/{name}", "store", map(str, target[name]))
        for name in ("devices", "exclude_devices"):
            if isinstance(target.get(name), list):
                target[name] = found(f"target/{name}", "device", map(_device_key, target[name]))
    if errors:
        raise Faulty(errors)
    return changed


def _device_key(given: object) -> Key:
    if isinstance(given, dict) and given.keys() == {"store", "name"}:
        return Key(str(given["store"]), str(given["name"]))
    return Key(None, str(given))


class _Reader:
    """What was read so far: the network, its faults, and the names in use."""

    def __init__(self, folder: Path, known: Known, rules: Rules) -> None:
        self.network = Network()
        self.faults: list[Fault] = []
        self._folder, self._rules = folder, rules
        self._tenants = dict(known.tenants)
        self._names: dict[str, set[object]] = {
            "store": set(known.stores), "device": set(known.devices), "creative": set(known.creatives),
        }  # fmt: skip
        self._taken: set[tuple[str, object]] = set()

    def each(self, section: str, given: object, take: Callable[[str, Json], None]) -> None:
        """Take every object of a section; what is wrong with one is a fault at its place."""
        if given is None:
            return
        if not isinstance(given, list):
            self.faults.append(Fault(f"/{section}", "must be a list"))
            return
        for number, entry in enumerate(given):
            place = f"/{section}/{number}"
            if not isinstance(entry, dict):
                self.faults.append(Fault(place, "must be an object"))
                continue
            try:
                take(place, entry)
            except Faulty as faulty:
                self.faults += [Fault(f"{place}/{pointer(name)}", message) for name, message in faulty.errors]

    def tenant(self, place: str, given: Json) -> None:
        deposits = given.get("deposits") or []
        fields = tenants.check(_without(given, "deposits"), self._rules.tenant)
        self._once("tenant", fields.name, "name")
        for number, deposit in enumerate(deposits if isinstance(deposits, list) else [deposits]):
            self._at(f"{place}/deposits/{number}", tenants.check_deposit, deposit)
        self._tenants[fields.name] = fields.timezone
        self.network.tenants.append(TenantEntry(place, fields, tuple(deposits)))

    def creative(self, place: str, given: Json) -> None:
        known = ("name", "sha256", "size", "mime", "duration_ms", "keywords", "flags", "tenant", "file")
        body = Body(given, known)
        tenant = body.take("tenant", self._tenant, None)
        file = body.take("file", lambda path: self._folder / text(1, 1000)(path), None)
        body.done()
        flags = creatives.check_patch({"flags": given.get("flags")})["flags"]
        fields = creatives.check(_without(given, "flags", "tenant", "file"), self._rules.media_max_bytes)
        if file is not None:
            _require_medium(file, fields)
        self._once("creative", Key(tenant, fields.name), "name")
        self._names["creative"].add(Key(tenant, fields.name))
        self.network.creatives.append(CreativeEntry(place, tenant, fields, flags, file))

    def store(self, place: str, given: Json) -> None:
        fallback = self._house(given.get("fallback"))
        fields = store.check(_without(given, "fallback"))
        self._once("store", fields.code, "code")
        self._names["store"].add(fields.code)
        self.network.stores.append(StoreEntry(place, fields, fallback))

    def device(self, place: str, given: Json) -> None:
        code = str(given.get("store"))
        somewhere = {"store_id": StoreId(name_id("store", code))}
        fields = device.check({**_without(given, "store"), **somewhere})
        if code not in self._names["store"]:
            raise Faulty([("store", f"no store has the code {code}")])
        self._once("device", Key(code, fields.name), "name")
        self._names["device"].add(Key(code, fields.name))
        self.network.devices.append(DeviceEntry(place, code, fields))

    def campaign(self, place: str, given: Json) -> None:
        head = Body({name: given.get(name) for name in ("tenant", "submit")}, ("tenant", "submit"))
        tenant = head.need("tenant", self._tenant, "")
        submit = head.take("submit", boolean, False)
        head.done()
        body = _without(given, "tenant", "submit")
        _, errors = draft.new(with_ids(body, tenant, self._id_if_known), self._tenants[tenant], self._rules.booking)
        if errors:
            raise Faulty(errors.items())
        self._once("campaign", Key(tenant, body["name"]), "name")
        self.network.campaigns.append(CampaignEntry(place, tenant, body["name"], body, submit))

    def house(self, given: object) -> None:
        try:
            body = Body(given, ("fallback",))
            body.done()
            self.network.house = self._house(given["fallback"] if isinstance(given, dict) else None)
        except Faulty as faulty:
            self.faults += [Fault(f"/house/{pointer(name)}", message) for name, message in faulty.errors]

    def _house(self, given: object) -> tuple[str, ...]:
        names = given or []
        if not isinstance(names, list):
            raise Faulty([("fallback", "must be a list")])
        for number, name in enumerate(names):
            if Key(None, str(name)) not in self._names["creative"]:
                raise Faulty([(f"fallback/{number}", f"no creative of the house is named {name}")])
        return tuple(names)

    def _tenant(self, given: object) -> str:
        if str(given) not in self._tenants:
            raise ValueError(f"no tenant is named {given}")
        return str(given)

    def _id_if_known(self, kind: str, key: object) -> UUID:
        if key not in self._names[kind]:
            raise ValueError(f"no {kind} is named {'/'.join(map(str, key)) if isinstance(key, Key) else key}")
        return name_id(kind, key)

    def _once(self, kind: str, key: object, name: str) -> None:
        if (kind, key) in self._taken:
            raise Faulty([(name, "is in the file twice")])
        self._taken.add((kind, key))

    def _at(self, place: str, check: Read[object], given: object) -> None:
        try:
            check(given)
        except Faulty as faulty:
            self.faults += [Fault(f"{place}/{pointer(name)}", message) for name, message in faulty.errors]


def _require_medium(file: Path, fields: CreativeFields) -> None:
    try:
        size, digest = file.stat().st_size, sha256()
        if size != fields.size:
            raise Faulty([("size", f"{file.name} has {size} bytes")])
        with file.open("rb") as medium:
            while chunk := medium.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise Faulty([("file", f"{file}: {error.strerror}")]) from error
    if digest.hexdigest() != fields.sha256:
        raise Faulty([("sha256", f"{file.name} has {digest.hexdigest()}")])


def _without(given: Mapping[str, Any], *names: str) -> Json:
    return {name: value for name, value in given.items() if name not in names}


def pointer(name: str) -> str:
    """A field as SPEC 11 names it (`target.stores`), as a piece of a JSON pointer."""
    return "/".join(map(_escaped, name.split(".")))


def _escaped(name: object) -> str:
    return str(name).replace("~", "~0")
