"""The network file: what is wrong is told with its place and changes nothing; what is right goes in once."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from daemon.database import Database
from daemon.importing.command import NotImported, import_file

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MEDIUM = b"\x89PNG pretended"
COUNTS = """SELECT (SELECT count(*) FROM tenants) AS tenants, (SELECT count(*) FROM stores) AS stores,
    (SELECT count(*) FROM devices) AS devices, (SELECT count(*) FROM creatives) AS creatives,
    (SELECT count(*) FROM campaigns) AS campaigns, (SELECT count(*) FROM ledger) AS ledger"""


def medium(**changes: object) -> dict[str, object]:
    told = {"name": "spot", "tenant": "Nordlicht", "sha256": sha256(MEDIUM).hexdigest(), "size": len(MEDIUM),
            "mime": "image/png", "duration_ms": 5000, "file": "spot.png"}  # fmt: skip
    return {**told, **changes}


NETWORK: dict[str, Any] = {
    "schema": 1,
    "tenants": [{
        "name": "Nordlicht", "currency": "EUR", "timezone": "Europe/Berlin", "email": "a@nordlicht.example",
        "deposits": [{"amount": "1000.00", "reference": "opening"}],
    }],
    "creatives": [medium(), medium(name="welcome", tenant=None)],
    "house": {"fallback": ["welcome"]},
    "stores": [
        {"code": "DE-1", "name": "Berlin", "timezone": "Europe/Berlin", "country": "DE", "tags": ["mall"]},
        {"code": "JP-1", "name": "Tokyo", "timezone": "Asia/Tokyo", "country": "JP", "fallback": ["welcome"]},
    ],
    "devices": [
        {"store": "DE-1", "name": "till", "slots_per_hour": 60, "cpm": "7.50"},
        {"store": "JP-1", "name": "till"},
    ],
    "campaigns": [{
        "tenant": "Nordlicht", "name": "Winter", "channel": "signage", "start_local": "2026-12-01T00:00:00",
        "end_local": "2026-12-08T00:00:00", "budget": "400.00", "creatives": ["spot"],
        "target": {"stores": ["DE-1"], "exclude_devices": [{"store": "JP-1", "name": "till"}]}, "submit": True,
    }],
}  # fmt: skip


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "database": {"url": database_url},
            "kafka": {"bootstrap_servers": "127.0.0.1:9092"},
            "media": {"folder": tmp_path / "media"},
        }
    )


async def bring(network: object, settings: Settings, folder: Path, now: datetime = NOW) -> Any:
    (folder / "spot.png").write_bytes(MEDIUM)
    file = folder / "network.json"
    file.write_text(json.dumps(network))
    async with Database.open(settings.database) as database:
        return await import_file(file, settings, database, now, lambda _: None)


async def test_importing_again_brings_back_media_that_were_lost(settings: Settings, tmp_path: Path) -> None:
    await bring(NETWORK, settings, tmp_path)
    media = settings.media.folder / sha256(MEDIUM).hexdigest()[:2] / sha256(MEDIUM).hexdigest()
    media.unlink()
    again = await bring(NETWORK, settings, tmp_path, LATER)
    assert (again.total("new"), again.total("changed")) == (0, 0)
    assert media.read_bytes() == MEDIUM


async def test_a_network_goes_in_once(settings: Settings, tmp_path: Path, connection: Any) -> None:
    first = await bring(NETWORK, settings, tmp_path)
    assert first.total("new") == 1 + 1 + 2 + 2 + 2 + 1  # tenant, deposit, creatives, stores, devices, campaign
    assert first.counts["house", "changed"] == 1
    campaign = await connection.fetchrow("SELECT status, held_micros, total_recipients, start_at FROM campaigns")
    assert tuple(campaign) == ("SCHEDULED", 400_000_000, 1, datetime(2026, 11, 30, 23, tzinfo=UTC))
    assert await connection.fetchval("SELECT state FROM creatives WHERE name = 'spot'") == "STORED"
    digest = sha256(MEDIUM).hexdigest()
    assert (tmp_path / "media" / digest[:2] / digest).read_bytes() == MEDIUM
    before = await connection.fetchrow(COUNTS)

    again = await bring(NETWORK, settings, tmp_path, LATER)
    assert (again.total("new"), again.total("changed")) == (0, 0)
    assert await connection.fetchrow(COUNTS) == before


async def test_what_changed_is_changed(settings: Settings, tmp_path: Path, connection: Any) -> None:
    await bring(NETWORK, settings, tmp_path)
    network = deepcopy(NETWORK)
    network["stores"][0]["tags"] = ["station"]
    network["devices"][0]["cpm"] = "9.00"
    network["tenants"][0]["running_limit"] = 7
    outcome = await bring(network, settings, tmp_path, LATER)
    changed = {section: count for (section, what), count in outcome.counts.items() if what == "changed"}
    assert changed == {"stores": 1, "devices": 1, "tenants": 1}
    assert await connection.fetchval("SELECT tags FROM stores WHERE code = 'DE-1'") == ["station"]
    assert await connection.fetchval("SELECT running_limit FROM tenants") == 7


FAULTS = [
    (("stores", 0, "timezone"), "Europe/Berlln", "/stores/0/timezone"),
    (("stores", 1, "code"), "DE-1", "/stores/1/code"),
    (("stores", 1, "fallback"), ["spot"], "/stores/1/fallback/0"),  # not the house's own
    (("devices", 1, "store"), "XX-9", "/devices/1/store"),
    (("devices", 0, "slots_per_hour"), 7, "/devices/0/slots_per_hour"),
    (("creatives", 0, "size"), 3, "/creatives/0/size"),
    (("creatives", 0, "file"), "none.png", "/creatives/0/file"),
    (("creatives", 0, "tenant"), ["odd"], "/creatives/0/tenant"),
    (("tenants", 0, "email"), "nobody", "/tenants/0/email"),
    (("tenants", 0, "deposits"), [{"amount": "1.001", "reference": "x"}], "/tenants/0/deposits/0/amount"),
    (("campaigns", 0, "end_local"), "2026-11-30T00:00:00", "/campaigns/0/end_local"),
    (("campaigns", 0, "creatives"), ["welcome"], "/campaigns/0/creatives"),
    (("campaigns", 0, "target"), {"stores": ["XX"]}, "/campaigns/0/target/stores"),
    (("campaigns", 0, "colour"), "red", "/campaigns/0/colour"),
    (("campaigns", 0, "budget"), "2000.00", "/campaigns/0"),  # more than the wallet has: only the database knows
    (("schema",), 2, "/schema"),
    (("extra",), 1, "/extra"),
    (("stores",), {}, "/stores"),
]


@pytest.mark.parametrize(("path", "value", "place"), FAULTS, ids=[place for *_, place in FAULTS])
async def test_a_fault_is_told_with_its_place(
    path: tuple[Any, ...], value: object, place: str, settings: Settings, tmp_path: Path, connection: Any
) -> None:
    network = deepcopy(NETWORK)
    into: Any = network
    for step in path[:-1]:
        into = into[step]
    into[path[-1]] = value
    with pytest.raises(NotImported) as refused:
        await bring(network, settings, tmp_path)
    assert place in [fault.place for fault in refused.value.faults]
    assert not any(await connection.fetchrow(COUNTS))


async def test_every_fault_is_told_at_once(settings: Settings, tmp_path: Path) -> None:
    network = deepcopy(NETWORK)
    network["stores"][0]["timezone"] = network["stores"][1]["timezone"] = "Nowhere"
    network["tenants"][0]["currency"] = "CHF"
    with pytest.raises(NotImported) as refused:
        await bring(network, settings, tmp_path)
    places = {fault.place for fault in refused.value.faults}
    assert places >= {"/stores/0/timezone", "/stores/1/timezone", "/tenants/0/currency"}
