"""What may be said of a store and a device, and what each fault is called."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from devices import device, store
from playlists.faults import Faulty

BERLIN = {"code": "b-1", "name": "Mitte", "timezone": "Europe/Berlin", "country": "DE"}
HOURS = {"days": ["mon", "tue"], "from": "09:00", "to": "21:00"}
SCREEN = {"store_id": str(uuid4()), "name": "till 1"}


def faults(check: Callable[[object], object], given: object) -> dict[str, str]:
    with pytest.raises(Faulty) as caught:
        check(given)
    return dict(caught.value.errors)


def test_a_store_reads_back_as_it_was_given() -> None:
    given = {
        **BERLIN, "region": "BE", "city": "Berlin", "latitude": 52.5, "longitude": 13.4, "category": "grocery",
        "tags": ["city"], "opening_hours": [HOURS], "fallback": [str(uuid4())],
        "blocked": {"brands": ["Acme"], "categories": ["Beer"], "keywords": ["Sale"]},
    }  # fmt: skip
    fields = store.check(given)
    assert fields.as_json() == given
    assert fields.blocked.keys() == ["brand:acme", "category:beer", "keyword:sale"]
    assert store.check(fields.as_json()) == fields


def test_null_and_empty_lists_mean_absent() -> None:
    assert store.check({**BERLIN, "city": None, "tags": [], "blocked": None}) == store.check(BERLIN)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("code", None, "is missing"),
        ("name", "a\x00b", "control characters"),
        ("name", "half \ud800", "control characters"),
        ("name", "   ", "1 to 200"),
        ("timezone", "Mars/Base", "IANA zone"),
        ("timezone", "../etc/passwd", "IANA zone"),
        ("latitude", 90.1, "-90 to 90"),
        ("latitude", True, "number"),
        ("longitude", 10**400, "-180 to 180"),
        ("longitude", float("nan"), "number"),
        ("tags", ["a", 5], "item 2 must be text"),
        ("opening_hours", [HOURS, {**HOURS, "from": "25:00"}], "item 2: from"),
        ("blocked", {"brand": ["x"]}, "brand unknown field"),
        ("fallback", ["x"], "item 1 must be an id"),
        ("colour", "red", "unknown field"),
    ],
)
def test_each_fault_of_a_store_is_named_with_its_field(field: str, value: object, message: str) -> None:
    found = faults(store.check, {**BERLIN, field: value})
    assert list(found) == [field]
    assert message in found[field]


def test_all_faults_are_told_at_once() -> None:
    assert set(faults(store.check, {"timezone": 7, "tags": "x"})) == {"code", "name", "timezone", "country", "tags"}
    assert set(faults(store.check, [])) >= {"body"}


def test_a_device_has_twelve_slots_and_the_default_price_unless_told() -> None:
    fields = device.check(SCREEN)
    assert (fields.slots_per_hour, fields.cpm_micros, fields.disabled) == (12, None, False)
    told = {**SCREEN, "tags": ["entrance"], "slots_per_hour": 360, "cpm": "7.50", "disabled": True}
    assert device.check(told).as_json() == told
    assert device.check(told).cpm_micros == 7_500_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store_id", "nowhere"), ("slots_per_hour", 7), ("slots_per_hour", 5), ("slots_per_hour", True),
        ("slots_per_hour", "12"), ("cpm", "1.234"), ("cpm", 5), ("cpm", "-1.00"), ("cpm", "9999999.00"),
        ("disabled", "yes"), ("disabled", 1),
    ],
)  # fmt: skip
def test_each_fault_of_a_device_is_named_with_its_field(field: str, value: object) -> None:
    assert list(faults(device.check, {**SCREEN, field: value})) == [field]
