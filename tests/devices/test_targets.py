"""The rule of eligibility: its table, its body, and its three forms against each other."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.audience import ELIGIBLE, audience_sizes, screen_kinds, set_target, unknown
from devices.sieve import Sieve, indexes
from devices.targets import Reason, Seat, Target, as_json, block_keys, check, covers, eligible, reasons
from playlists.faults import Faulty
from playlists.ids import CampaignId, DeviceId, StoreId
from playlists.queries import Tx
from tests import world

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STORE, DEVICE = StoreId(uuid4()), DeviceId(uuid4())
AUDIENCE = f"""
SELECT d.id FROM targets t, devices d JOIN stores s ON s.id = d.store_id
WHERE t.campaign_id = $1 AND {ELIGIBLE} ORDER BY d.id"""
SEAT = Seat(DEVICE, STORE, frozenset({"window"}), frozenset({"mall"}), frozenset({"brand:acme"}), 12, disabled=False)


def test_every_rule_has_its_reason() -> None:
    def why(longest_ms: int = 0, **rules: Any) -> list[Reason]:
        return reasons(SEAT, Target(**{name: frozenset(rule) for name, rule in rules.items()}, longest_ms=longest_ms))

    assert why() == []
    assert why(stores={STORE}) == why(devices={DEVICE}) == why(include_tags={"mall"}) == []
    assert why(include_tags={"window", "other"}) == why(stores={uuid4()}, devices={DEVICE}) == []
    assert why(stores={uuid4()}) == why(include_tags={"other"}) == [Reason.NOT_TARGETED]
    assert why(devices={DEVICE}, exclude_tags={"mall"}) == why(exclude_stores={STORE}) == [Reason.EXCLUDED]
    assert why(exclude_devices={DEVICE}) == [Reason.EXCLUDED]
    assert why(block_keys=set(block_keys(" ACME ", None, []))) == [Reason.BLOCKED_BY_STORE]
    assert why(block_keys=set(block_keys(None, "acme", ["acme"]))) == []
    assert why(longest_ms=300_000) == []
    assert why(longest_ms=300_001) == [Reason.CREATIVE_TOO_LONG]
    off = Seat(DEVICE, STORE, SEAT.device_tags, SEAT.store_tags, frozenset(), 12, disabled=True)
    assert reasons(off, Target(stores=frozenset({StoreId(uuid4())}))) == [Reason.DISABLED, Reason.NOT_TARGETED]


def test_a_target_is_read_as_a_set_and_told_again() -> None:
    given = {"stores": [str(STORE), str(STORE)], "include_tags": None, "exclude_tags": []}
    assert check(given) == Target(stores=frozenset({STORE}))
    assert as_json(check(given)) == {"stores": [str(STORE)]}
    assert check({}).everywhere


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ([], ["target"]),
        ({"shops": []}, ["target.shops"]),
        ({"stores": "all", "devices": ["1"]}, ["target.stores", "target.devices"]),
        ({"include_tags": [1]}, ["target.include_tags"]),
        ({"exclude_tags": ["\ud800"]}, ["target.exclude_tags"]),
    ],
)
def test_a_faulty_target_names_every_field(given: object, fields: list[str]) -> None:
    with pytest.raises(Faulty) as refused:
        check(given)
    assert [field for field, _ in refused.value.errors] == fields


TAGS = st.frozensets(st.sampled_from("abc"), max_size=2)
KEYS = st.frozensets(st.sampled_from(["brand:a", "category:a", "keyword:a", "keyword:b"]), max_size=2)
SHOPS = st.lists(st.tuples(TAGS, KEYS), min_size=1, max_size=3)
SCREENS = st.lists(
    st.tuples(st.integers(0, 2), TAGS, st.sampled_from([6, 12, 360]), st.booleans()), min_size=1, max_size=6
)
SOME = st.frozensets(st.integers(0, 5), max_size=2)
RULES = st.lists(
    st.tuples(SOME, SOME, TAGS, SOME, SOME, TAGS, KEYS, st.sampled_from([0, 10_000, 10_001, 300_000, 600_001])),
    min_size=1,
    max_size=4,
)


# The database is the same for all examples, as each is rolled back.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shops=SHOPS, screens=SCREENS, rules=RULES)
async def test_the_rule_is_the_same_in_sql_in_python_and_in_bulk(
    connection: Tx, shops: list[Any], screens: list[Any], rules: list[Any]
) -> None:
    example = connection.transaction()
    await example.start()
    try:
        seats = await _seats(connection, shops, screens)
        for meant, listed, counted, sifted in await _audiences(connection, seats, rules):
            assert listed == meant
            assert counted == len(meant)
            assert sifted == meant
    finally:
        await example.rollback()


async def _seats(tx: Tx, shops: list[Any], screens: list[Any]) -> list[Seat]:
    stores = [await world.store(tx, NOW, tags=sorted(tags), blocked_keys=sorted(keys)) for tags, keys in shops]
    seats = []
    for number, tags, slots, disabled in screens:
        shop = number % len(stores)
        device_id = await world.device(
            tx, stores[shop], NOW, tags=sorted(tags), slots_per_hour=slots, disabled=disabled
        )
        seats.append(Seat(device_id, stores[shop], tags, shops[shop][0], shops[shop][1], slots, disabled))
    return seats


async def _audiences(tx: Tx, seats: list[Seat], rules: list[Any]) -> list[tuple[Any, Any, int, Any]]:
    """For each target who is meant by the rule, and what SQL lists, what it counts and what the sieve keeps."""
    owner = await world.tenant(tx, NOW)
    picture = await world.creative(tx, owner, NOW)
    targets: dict[CampaignId, Target] = {}
    for shop_in, device_in, tags_in, shop_out, device_out, tags_out, keys, longest in rules:
        target = Target(
            frozenset(seats[i % len(seats)].store_id for i in shop_in),
            frozenset(seats[i % len(seats)].device_id for i in device_in),
            tags_in,
            frozenset(seats[i % len(seats)].store_id for i in shop_out),
            frozenset(seats[i % len(seats)].device_id for i in device_out),
            tags_out,
            keys,
            longest,
        )
        targets[await world.campaign(tx, owner, NOW, creatives=[picture], target=target)] = target
    sieve = Sieve(list(targets.values()))
    sifted = [indexes(sieve.eligible(seat)) for seat in seats]
    sizes = await audience_sizes(tx, list(targets))
    audiences = []
    for index, (campaign_id, target) in enumerate(targets.items()):
        meant = sorted(seat.device_id for seat in seats if eligible(seat, target))
        listed = [row["id"] for row in await tx.fetch(AUDIENCE, campaign_id)]
        kept = sorted(seat.device_id for seat, members in zip(seats, sifted, strict=True) if index in members)
        audiences.append((meant, listed, sizes[campaign_id], kept))
    return audiences


STORES = [StoreId(UUID(int=number)) for number in range(3)]
RULE = st.builds(
    Target,
    stores=st.frozensets(st.sampled_from(STORES), max_size=2),
    include_tags=TAGS,
    exclude_stores=st.frozensets(st.sampled_from(STORES), max_size=2),
    exclude_tags=TAGS,
)
PLACE = st.builds(
    lambda store, tags: Seat(DEVICE, store, tags, frozenset(), frozenset(), 12, False), st.sampled_from(STORES), TAGS
)


@given(before=RULE, after=RULE, seat=PLACE)
def test_a_target_that_covers_another_loses_nobody(before: Target, after: Target, seat: Seat) -> None:
    assert covers(before, before)
    assert covers(Target(), before)
    if covers(after, before):
        assert eligible(seat, after) or not eligible(seat, before)


def test_a_list_after_every_device_is_less() -> None:
    some = Target(stores=frozenset(STORES[:1]))
    assert covers(Target(stores=frozenset(STORES[:2]), include_tags=frozenset("a")), some)
    assert not covers(some, Target())
    assert not covers(Target(stores=frozenset(STORES[1:])), some)
    assert not covers(Target(exclude_tags=frozenset("a")), Target())
    assert covers(some, Target(stores=frozenset(STORES[:1]), exclude_devices=frozenset({DEVICE})))


async def test_kinds_of_screens_and_unknown_ids(connection: Tx) -> None:
    owner = await world.tenant(connection, NOW)
    hours = [{"days": ["mon"], "from": "09:00", "to": "21:00"}]
    berlin = await world.store(connection, NOW, timezone="Europe/Berlin", opening_hours=hours)
    device = await world.device(connection, berlin, NOW)
    await world.device(connection, berlin, NOW)
    picture = await world.creative(connection, owner, NOW)
    campaign_id = await world.campaign(connection, owner, NOW, creatives=[picture])
    (kind,) = await screen_kinds(connection, campaign_id)
    assert (kind.timezone, kind.slots_per_hour, len(kind.opening_hours), kind.fallback) == ("Europe/Berlin", 12, 1, ())
    stranger = uuid4()
    target = Target(
        stores=frozenset({berlin, StoreId(stranger)}), exclude_devices=frozenset({device, DeviceId(stranger)})
    )
    assert await unknown(connection, target) == {"stores": [stranger], "exclude_devices": [stranger]}
    await set_target(connection, campaign_id, Target(devices=frozenset({device})))
    assert await audience_sizes(connection, [campaign_id]) == {campaign_id: 1}
