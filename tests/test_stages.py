"""How long a file's stages take, and what of it is told to whom."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.contextvars import get_contextvars

from damd.stages import BUCKETS, Durations, Journey, Stage, journey, stage, told, untold


class Clock:
    """It stands still until somebody moves it on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def durations() -> Durations:
    return Durations()


@contextmanager
def taking(clock: Clock, name: Stage, seconds: float) -> Iterator[None]:
    with stage(name):
        clock.now += seconds
        yield


def test_outside_a_journey_a_stage_is_nothing() -> None:
    with stage("hash"):
        assert told() == {}
    assert untold() == {}


def test_a_stage_that_is_gone_through_again_adds_up(clock: Clock, durations: Durations) -> None:
    with journey(durations, clock=clock) as way:
        for seconds in (0.25, 0.5):
            with taking(clock, "hash", seconds):
                pass
            clock.now += 9
        assert way.seconds == {"hash": 0.75}


def test_a_stage_within_another_takes_its_time_out_of_that_ones(clock: Clock, durations: Durations) -> None:
    with journey(durations, clock=clock) as way:
        with taking(clock, "read", 1), taking(clock, "hash", 2):
            clock.now += 4
        assert way.seconds == {"read": 1, "hash": 6}


def test_a_stage_that_fails_has_taken_its_time_as_well(clock: Clock, durations: Durations) -> None:
    way = journey(durations, clock=clock)
    with pytest.raises(ValueError, match="broken"), way, taking(clock, "read", 3):
        raise ValueError("broken")
    assert durations.numbers()["read"].total_s == 3


def test_somebody_who_looks_sees_the_present_stage_and_since_when(clock: Clock, durations: Durations) -> None:
    with journey(durations, clock=clock) as way:
        assert (way.stage, way.since) == (None, 1000)
        clock.now += 1
        with stage("hash"):
            assert (way.stage, way.since) == ("hash", 1001)
            clock.now += 1
            with stage("read"):
                assert (way.stage, way.since) == ("read", 1002)
            assert (way.stage, way.since) == ("hash", 1002)
        assert way.stage is None


def test_the_summary_is_of_the_whole_way_in_milliseconds(clock: Clock, durations: Durations) -> None:
    with journey(durations, clock=clock) as way:
        way.note("settle", 0.5)
        way.note("queue", 2)
        with taking(clock, "hash", 0.0123456):
            pass
        clock.now += 1
        assert way.summary() == {"settle_s": 0.5, "queue_s": 2, "hash_s": 0.012, "total_s": 3.512}


def test_what_an_event_has_told_of_is_told_by_nobody_else(clock: Clock, durations: Durations) -> None:
    with journey(durations, clock=clock):
        assert untold() == {"total_s": 0}
        assert told() == {"total_s": 0}
        assert untold() is None


def test_what_is_known_is_on_every_line_until_the_journeys_end(durations: Durations) -> None:
    with journey(durations, root="inbox"):
        assert get_contextvars() == {"root": "inbox"}
    assert get_contextvars() == {}


def test_a_journey_within_another_is_one_of_its_own(clock: Clock, durations: Durations) -> None:
    with journey(durations, clock=clock) as outer:
        with journey(durations, clock=clock) as inner, taking(clock, "hash", 1):
            pass
        with taking(clock, "hash", 2):
            pass
    assert (inner.seconds, outer.seconds) == ({"hash": 1}, {"hash": 2})


def test_the_buckets_are_cumulative_and_what_is_beyond_them_is_counted(durations: Durations) -> None:
    for seconds in (0.001, 0.005, 0.3, 61):
        durations.add({"hash": seconds})
    durations.add({"read": 1})

    numbers = durations.numbers()

    assert list(numbers) == ["hash", "read"]
    hashed = numbers["hash"]
    assert [bound for bound, _ in hashed.buckets] == list(BUCKETS)
    assert dict(hashed.buckets) | {0.005: 2, 0.25: 2, 0.5: 3, 60.0: 3} == dict(hashed.buckets)
    assert hashed.count == 4
    assert hashed.total_s == pytest.approx(61.306)


def test_before_any_journey_there_are_no_numbers() -> None:
    assert Durations().numbers() == {}


def test_a_journeys_clock_is_the_systems_unless_it_is_given_another() -> None:
    assert Journey().since > 0
