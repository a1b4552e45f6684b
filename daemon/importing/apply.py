"""Writing a checked network: new objects are added, changed ones changed, equal ones left; all in one transaction."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from daemon import media, tenants
from daemon.announce import announce
from daemon.campaigns import booking
from daemon.campaigns.asking import Caller
from daemon.campaigns.errors import Invalid, Refused
from daemon.importing.document import CreativeEntry, Fault, Key, Known, Network, Rules, pointer, with_ids
from daemon.media import MediaFolder
from devices.device import check as check_device
from devices.queries import devices, stores
from devices.store import check as check_store
from playlists import queries as playlists_queries
from playlists.faults import Faulty
from playlists.ids import CreativeId, DeviceId, StoreId, TenantId
from playlists.queries import Tx

_TENANTS = "SELECT id, name, timezone FROM tenants ORDER BY id"
_STORES = "SELECT id, code FROM stores"
_DEVICES = "SELECT d.id, s.code, d.name FROM devices d JOIN stores s ON s.id = d.store_id ORDER BY d.id"
_CREATIVES = """
SELECT c.id, n.name AS tenant, c.name, c.sha256, c.state, c.flags, c.keywords FROM creatives c
LEFT JOIN tenants n ON n.id = c.tenant_id ORDER BY c.id
"""
_CAMPAIGNS = """
SELECT n.name AS tenant, c.name FROM campaigns c JOIN tenants n ON n.id = c.tenant_id WHERE c.deleted_at IS NULL
"""
_LOCK_TENANTS = "SELECT FROM tenants WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"
_PAID = "SELECT EXISTS (SELECT FROM ledger WHERE tenant_id = $1 AND kind = 'deposit' AND reference = $2)"


@dataclass(slots=True)
class Outcome:
    """How many objects of each section were `new`, `changed` or `unchanged`."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def total(self, what: str) -> int:
        """How many objects of all sections were so."""
        return sum(count for (_, one), count in self.counts.items() if one == what)


@dataclass(frozen=True, slots=True)
class Present:
    """The ids of what the database has, by name; for creatives also what may differ."""

    tenants: dict[str, TenantId]
    timezones: dict[str, str]
    stores: dict[str, StoreId]
    devices: dict[Key, DeviceId]
    creatives: dict[Key, dict[str, Any]]
    campaigns: set[Key]

    def known(self) -> Known:
        """The names alone, as the reader of a file wants them."""
        return Known(self.timezones, frozenset(self.stores), frozenset(self.devices), frozenset(self.creatives))

    def find(self, kind: str, key: object) -> UUID:
        """The id of a store, device or creative; raises ValueError when nothing has the name."""
        kinds: dict[str, dict[Any, Any]] = {"store": self.stores, "device": self.devices, "creative": self.creatives}
        if key not in kinds[kind]:
            raise ValueError(f"no {kind} is named {key}")
        found = kinds[kind][key]
        return UUID(str(found["id"] if kind == "creative" else found))


async def present(tx: Tx) -> Present:
    """What the database has. Of several of one name the oldest counts."""
    creatives = {Key(row["tenant"], row["name"]): dict(row) for row in reversed(await tx.fetch(_CREATIVES))}
    owners = list(reversed(await tx.fetch(_TENANTS)))
    return Present(
        tenants={row["name"]: row["id"] for row in owners},
        timezones={row["name"]: row["timezone"] for row in owners},
        stores={row["code"]: row["id"] for row in await tx.fetch(_STORES)},
        devices={Key(row["code"], row["name"]): row["id"] for row in reversed(await tx.fetch(_DEVICES))},
        creatives=creatives,
        campaigns={Key(row["tenant"], row["name"]) for row in await tx.fetch(_CAMPAIGNS)},
    )


@dataclass(slots=True)
class Import:
    """One import under way: everything goes through `tx`; `told` hears of each object written."""

    tx: Tx
    now: datetime
    rules: Rules
    folder: MediaFolder
    told: Callable[[str], None]
    have: Present
    outcome: Outcome = field(default_factory=Outcome)
    faults: list[Fault] = field(default_factory=list)

    async def write(self, network: Network) -> None:
        """Write it all. What only the database could refuse is in `faults` then: roll back if there are any."""
        await self._tenants(network)
        for creative in network.creatives:
            await self._at(creative.place, self._creative(creative))
        await self._house(network)
        await self._stores(network)
        await self._devices(network)
        # last, as they lock tenants and campaigns that others wait for
        await self._deposits(network)
        await self._campaigns(network)

    def _count(self, section: str, what: str) -> None:
        self.outcome.counts[section, what] += 1
        self.told(section)

    async def _at(self, place: str, work: Any) -> None:
        try:
            await work
        except (Faulty, Invalid) as faulty:
            self.faults += [Fault(f"{place}/{pointer(name)}", message) for name, message in faulty.errors]
        except Refused as refused:
            self.faults.append(Fault(place, refused.detail))

    async def _tenants(self, network: Network) -> None:
        for entry in network.tenants:
            fields, known = entry.fields, self.have.tenants.get(entry.fields.name)
            if known is None:
                made = await tenants.add_tenant(self.tx, fields, self.now)
                self.have.tenants[fields.name] = made.id
                self._count("tenants", "new")
                continue
            stored = await tenants.tenant_row(self.tx, known)
            patch = {} if stored is None else tenants.differences(stored, fields)
            if patch:
                await tenants.patch_tenant(self.tx, known, patch, self.rules.tenant, self.now)
            self._count("tenants", "changed" if patch else "unchanged")

    async def _deposits(self, network: Network) -> None:
        owners = [self.have.tenants[entry.fields.name] for entry in network.tenants]
        owners += [self.have.tenants[entry.tenant] for entry in network.campaigns]
        await self.tx.execute(_LOCK_TENANTS, owners)  # in the order in which all lock them
        for entry in network.tenants:
            tenant_id = self.have.tenants[entry.fields.name]
            for deposit in entry.deposits:
                paid = await self.tx.fetchval(_PAID, tenant_id, deposit["reference"])
                if not paid:
                    await tenants.deposit(self.tx, tenant_id, deposit, self.now)
                self._count("deposits", "unchanged" if paid else "new")

    async def _creative(self, entry: CreativeEntry) -> None:
        key = Key(entry.tenant, entry.fields.name)
        stored = self.have.creatives.get(key)
        if stored is not None and stored["sha256"] != entry.fields.sha256:
            raise Faulty(
                [("sha256", f"the creative of this name has {stored['sha256']}; give the new medium a new name")]
            )
        what = "unchanged"
        if stored is None:
            owner = self.have.tenants[entry.tenant] if entry.tenant else None
            stored = dict(await playlists_queries.create_creative(self.tx, owner, entry.fields, self.now))
            self.have.creatives[key] = stored
            what = "new"
        creative_id = CreativeId(stored["id"])
        wanted = {"flags": entry.flags, "keywords": entry.fields.keywords}
        patch = {name: value for name, value in wanted.items() if tuple(stored[name]) != value}
        if patch:
            await playlists_queries.patch_creative(self.tx, creative_id, patch, self.now)
            what = "new" if what == "new" else "changed"
        if entry.file is not None:  # also one that was stored: its folder may have been lost
            await media.store_file(self.folder, entry.fields.sha256, entry.fields.size, entry.file)
        if entry.file is not None and stored["state"] == "MISSING":
            await playlists_queries.mark_stored(self.tx, creative_id, self.now)
            what = "new" if what == "new" else "changed"
        self._count("creatives", what)

    async def _house(self, network: Network) -> None:
        if network.house is None:
            return
        wanted = self._house_ids(network.house)
        same = wanted == await playlists_queries.house_fallback(self.tx)
        if not same:
            await playlists_queries.set_house_fallback(self.tx, wanted, self.now)
        self._count("house", "unchanged" if same else "changed")

    def _house_ids(self, names: tuple[str, ...]) -> list[CreativeId]:
        return [CreativeId(self.have.creatives[Key(None, name)]["id"]) for name in names]

    async def _stores(self, network: Network) -> None:
        for entry in network.stores:
            fallback = [str(one) for one in self._house_ids(entry.fallback)]
            body = {**entry.fields.as_json(), "fallback": fallback}
            known = self.have.stores.get(entry.fields.code)
            if known is None:
                made = await stores.create_store(self.tx, check_store(body), self.now)
                self.have.stores[entry.fields.code] = made.id
                self._count("stores", "new")
                continue
            stored = await stores.patch_store(self.tx, known, body, self.now)
            self._count("stores", "changed" if stored and stored.updated_at == self.now else "unchanged")

    async def _devices(self, network: Network) -> None:
        for entry in network.devices:
            body = {**entry.fields.as_json(), "store_id": str(self.have.stores[entry.store])}
            key = Key(entry.store, entry.fields.name)
            known = self.have.devices.get(key)
            if known is None:
                made = await devices.create_device(self.tx, check_device(body), self.now)
                self.have.devices[key] = made.id
                self._count("devices", "new")
                continue
            stored = await devices.patch_device(self.tx, known, body, self.now, timedelta(0))
            self._count("devices", "changed" if stored and stored.updated_at == self.now else "unchanged")

    async def _campaigns(self, network: Network) -> None:
        caller = Caller("import", str(uuid4()), operator=True)
        for entry in network.campaigns:
            if Key(entry.tenant, entry.name) in self.have.campaigns:
                self._count("campaigns", "unchanged")
                continue
            await self._at(entry.place, self._campaign(entry.tenant, entry.body, entry.submit, caller))
            self._count("campaigns", "new")

    async def _campaign(self, tenant: str, body: dict[str, Any], submit: bool, caller: Caller) -> None:
        given = with_ids(body, tenant, self.have.find)
        owner, limits = self.have.tenants[tenant], self.rules.booking
        campaign_id, transitions = await booking.create(self.tx, owner, given, self.now, caller, limits)
        await announce(self.tx, transitions, self.now)
        if submit:
            transitions = await booking.submit(self.tx, campaign_id, self.now, caller, limits)
            await announce(self.tx, transitions, self.now)
