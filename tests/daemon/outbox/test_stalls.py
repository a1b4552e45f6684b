from daemon.outbox.bypass import Place
from daemon.outbox.stalls import Stalls

ONE, OTHER = Place("campaigns", 1), Place("campaigns", 2)


def test_a_partition_waits_longer_each_time_until_it_takes_something() -> None:
    stalls, now, pauses = Stalls(), 100.0, []
    for _ in range(7):
        stalls.put_aside(ONE, "no leader", now)
        stalls.put_aside(ONE, "the same failure, of another shard", now + 0.1)
        assert stalls.aside() == {ONE}
        began = now
        while not stalls.due(now):
            now += 0.25
        pauses.append(now - began)
        stalls.begin(now)
        assert (stalls.aside(), stalls.due(now + 60)) == (set(), False)
    assert pauses == [0.5, 1, 2, 4, 8, 15, 15]
    stalls.forgive(ONE)
    stalls.put_aside(ONE, "again", now)
    assert stalls.due(now + 0.5)


def test_a_new_link_tries_those_alone_whose_time_has_come() -> None:
    stalls = Stalls()
    stalls.put_aside(ONE, "no leader", 0.0)
    stalls.put_aside(OTHER, "no leader", 0.4)
    stalls.begin(0.6)
    assert stalls.aside() == {OTHER}
    stalls.forget()
    assert not stalls.aside()
