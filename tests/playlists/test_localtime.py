"""The resolver against the vectors, and against another library on random times of every zone."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest
import whenever
from hypothesis import given, settings
from hypothesis import strategies as st

from playlists.localtime import (
    Policy,
    UnknownZone,
    date_ends,
    is_zone,
    resolve,
    to_local,
    tzdata_version,
    with_offset,
    zone,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "dst.json").read_text(encoding="utf-8"))
ZONES = sorted(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def vectors(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS["vectors"] if v["kind"] == kind]


def utc(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@pytest.fixture(scope="module", autouse=True)
def whenever_reads_the_same_rules() -> Iterator[None]:
    whenever.reset_tzpath(())
    whenever.clear_tzcache()
    yield
    whenever.reset_tzpath()
    whenever.clear_tzcache()


@pytest.mark.parametrize("vector", vectors("instant"))
def test_a_wall_time_resolves_under_every_policy(vector: dict[str, Any]) -> None:
    assert {policy.value for policy in Policy} == set(vector["expect_utc"])
    for policy, expected in vector["expect_utc"].items():
        resolved = resolve(datetime.fromisoformat(vector["local"]), vector["zone"], Policy(policy))
        assert (resolved.utc, resolved.status) == (utc(expected), vector["status"]), policy
    instant = utc(vector["expect_utc"]["compatible"])
    assert instant is not None
    assert with_offset(instant, vector["zone"]).isoformat() == vector["local_after_compatible"]


@pytest.mark.parametrize("vector", vectors("window"))
def test_a_window_resolves_edge_by_edge(vector: dict[str, Any]) -> None:
    expected = vector["expect_utc"]["compatible"]
    begin, end = (resolve(datetime.fromisoformat(vector[key]), vector["zone"]) for key in ("start_local", "end_local"))
    assert (begin.utc, end.utc) == (utc(expected["start"]), utc(expected["end"]))
    assert [begin.status, end.status] == vector["status"]
    assert begin.utc is not None
    assert end.utc is not None
    assert (end.utc <= begin.utc) == expected["empty"]


def test_the_vectors_speak_of_the_tzdata_in_use() -> None:
    assert tzdata_version() >= VECTORS["generated_with"]["iana"]


def near_a_change(zone_name: str) -> st.SearchStrategy[datetime]:
    """Wall times within two days of a change of the zone's offset, or anywhere if it has none."""
    days = [datetime(1985, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(0, 20000, 3)]
    changes = [
        day
        for day in days
        if day.astimezone(zone(zone_name)).utcoffset()
        != (day + timedelta(days=3)).astimezone(zone(zone_name)).utcoffset()
    ]
    around = st.sampled_from(changes or days)
    return st.builds(
        lambda day, seconds: (day + timedelta(seconds=seconds)).replace(tzinfo=None),
        around,
        st.integers(-86400, 4 * 86400),
    )


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_another_library_agrees_in_every_zone(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(ZONES))
    local = data.draw(near_a_change(name))

    def oracle(choice: Literal["compatible", "earlier", "later"]) -> datetime:
        plain = whenever.PlainDateTime(local.replace(microsecond=0).isoformat())
        return plain.assume_tz(name, disambiguation=choice).to_instant().to_stdlib()

    assert resolve(local, name).utc == oracle("compatible")
    assert resolve(local, name, Policy.EARLIER).utc == oracle("earlier")
    assert resolve(local, name, Policy.LATER).utc == oracle("later")
    resolved = resolve(local, name)
    assert resolved.utc is not None
    assert (resolved.status == "normal") == (oracle("earlier") == oracle("later"))
    assert (resolved.status == "gap") == (to_local(resolved.utc, name) != local)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_next_valid_instant_is_where_the_gap_ends(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(ZONES))
    local = data.draw(near_a_change(name))
    resolved = resolve(local, name, Policy.NEXT_VALID)
    assert resolved.utc is not None
    if resolved.status == "gap":
        second = timedelta(seconds=1)
        assert to_local(resolved.utc - second, name) < local < to_local(resolved.utc, name) + second
        assert resolve(local, name, Policy.SKIP).utc is None
    else:
        assert resolved == resolve(local, name)


def test_a_fraction_of_a_second_stays_in_a_gap_and_out_of_it() -> None:
    half = timedelta(seconds=0.5)
    gap = datetime.fromisoformat("2026-03-08T02:00")
    assert resolve(gap - half, "America/New_York").status == "normal"
    assert resolve(gap + half, "America/New_York").utc == datetime(2026, 3, 8, 7, tzinfo=UTC) + half
    assert resolve(gap + half, "America/New_York", Policy.NEXT_VALID).utc == datetime(2026, 3, 8, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    "name", ["", "Berlin", "europe/berlin", "posixrules", "localtime", "../zones", "/etc/passwd", "right/UTC"]
)
def test_what_the_package_does_not_list_is_no_zone(name: str) -> None:
    assert not is_zone(name)
    with pytest.raises(UnknownZone):
        resolve(datetime.fromisoformat("2026-01-01"), name)


def test_every_listed_zone_loads_and_is_loaded_once() -> None:
    for name in ZONES:
        assert is_zone(name)
        assert zone(name) is zone(name)
        assert zone(name).key == name


def test_what_is_no_local_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no offset"):
        resolve(datetime(2026, 1, 1, tzinfo=UTC), "Europe/Berlin")
    with pytest.raises(ValueError, match="outside the calendar"):
        resolve(datetime.fromisoformat("9999-12-31T23:59"), "America/New_York")


@pytest.mark.parametrize(
    ("zone", "now", "ends"),
    [
        ("Europe/Berlin", "2026-11-22T12:00+00:00", "2026-11-22T23:00+00:00"),
        ("Europe/Berlin", "2026-03-28T23:00+00:00", "2026-03-29T22:00+00:00"),  # a day of 23 hours
        ("Europe/Berlin", "2026-10-24T22:00+00:00", "2026-10-25T23:00+00:00"),  # 25
        ("Australia/Lord_Howe", "2026-04-04T13:00+00:00", "2026-04-05T13:30+00:00"),  # 24.5
        ("Africa/Cairo", "2026-04-23T21:59+00:00", "2026-04-23T22:00+00:00"),  # its midnight is a gap
        ("America/Havana", "2020-11-01T03:59+00:00", "2020-11-01T04:00+00:00"),  # twice 00:00 to 01:00: the first
        ("America/Havana", "2020-11-01T05:30+00:00", "2020-11-02T05:00+00:00"),  # in the second of them
        ("America/St_Johns", "2010-11-07T02:45+00:00", "2010-11-07T03:30+00:00"),  # midnight was once, and comes again
        ("Pacific/Apia", "2011-12-30T09:59+00:00", "2011-12-30T10:00+00:00"),  # the day that followed never was
        ("UTC", "2026-11-22T00:00+00:00", "2026-11-23T00:00+00:00"),
    ],
)
def test_a_local_date_ends_at_the_next_midnight_that_is_ahead(zone: str, now: str, ends: str) -> None:
    assert date_ends(datetime.fromisoformat(now), zone) == datetime.fromisoformat(ends)
