import math

from damd.watch.canary import Canary


def a_canary() -> Canary:
    return Canary(every_s=30, deadline_s=10, now=100.0)


def test_a_canary_that_is_heard_is_touched_every_so_often() -> None:
    canary = a_canary()
    for start in (130.0, 160.0, 190.0):
        assert canary.due == start
        assert canary.look(start, heard=False)
        canary.touched(start)
        assert canary.due == start + 10
        assert not canary.look(start + 10, heard=True)
    assert not canary.is_lost


def test_a_canary_that_is_looked_at_late_is_touched_at_once() -> None:
    canary = a_canary()
    canary.touched(130.0)
    assert canary.look(5000.0, heard=True)


def test_the_first_silence_is_a_second_chance_and_the_second_is_the_end() -> None:
    canary = a_canary()
    canary.touched(130.0)
    assert canary.look(140.0, heard=False)
    assert not canary.is_lost
    canary.touched(140.0)
    assert not canary.look(150.0, heard=False)
    assert canary.is_lost


def test_a_silence_that_ended_does_not_count_any_more() -> None:
    canary = a_canary()
    for start in range(1000, 2000, 100):
        canary.touched(start)
        assert canary.look(start + 10, heard=False)
        canary.touched(start + 10)
        canary.look(start + 20, heard=True)
    assert not canary.is_lost


def test_the_silence_of_a_canary_that_cannot_be_touched_means_nothing() -> None:
    canary = a_canary()
    for start in (130.0, 160.0, 190.0):
        assert canary.due == start
        assert canary.look(start, heard=False)
        canary.untouchable(start)
    assert not canary.is_lost


def test_without_a_canary_nothing_is_ever_due() -> None:
    assert Canary(every_s=30, deadline_s=10, now=None).due == math.inf
