from datetime import UTC, datetime, timedelta

import pytest

from damd.relay.throttle import FAILURES_IN_A_ROW, FIRST_REST, LONGEST_ASKED_REST, LONGEST_REST, Throttle

AT = datetime(2024, 2, 29, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def fail(throttle: Throttle, times: int = 1, *, at: datetime = AT, retry_after_s: float | None = None) -> None:
    for _ in range(times):
        throttle.failed(at=at, rests=throttle.rests, retry_after_s=retry_after_s)


def next_rest(throttle: Throttle, at: datetime) -> timedelta:
    fail(throttle, at=at)
    end = at
    while throttle.is_resting(end):
        end += SECOND
    return end - at


def test_as_many_as_are_allowed_may_be_under_way() -> None:
    throttle = Throttle(8)
    assert [throttle.room(at=AT, under_way=count) for count in (0, 5, 8, 9)] == [8, 3, 0, 0]


def test_one_failure_among_answers_halves_what_is_under_way_and_no_more() -> None:
    throttle = Throttle(8)
    fail(throttle)
    assert throttle.room(at=AT, under_way=0) == 4
    for room in (5, 6, 7, 8, 8):
        assert throttle.answered(rests=throttle.rests) == (room == 5), "of the first one, what failed hears"
        assert throttle.room(at=AT, under_way=0) == room


def test_an_endpoint_that_fails_again_and_again_rests() -> None:
    throttle = Throttle(8)
    fail(throttle, FAILURES_IN_A_ROW - 1)
    assert throttle.room(at=AT, under_way=0) > 0
    fail(throttle)
    assert throttle.room(at=AT, under_way=0) == 0
    assert throttle.room(at=AT + FIRST_REST, under_way=0) == 1
    assert throttle.room(at=AT + FIRST_REST, under_way=1) == 0


def test_each_rest_is_twice_as_long_as_the_one_before_to_a_minute() -> None:
    throttle = Throttle(8)
    fail(throttle, FAILURES_IN_A_ROW - 1)
    at, rests = AT, []
    for _ in range(9):
        rests.append(next_rest(throttle, at).total_seconds())
        at += LONGEST_REST
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_after_an_answer_more_may_be_under_way_with_each() -> None:
    throttle = Throttle(4)
    fail(throttle, FAILURES_IN_A_ROW)
    at = AT + FIRST_REST
    assert throttle.answered(rests=throttle.rests)
    assert throttle.room(at=at, under_way=0) == 2
    assert not throttle.answered(rests=throttle.rests)
    assert not throttle.answered(rests=throttle.rests)
    assert throttle.room(at=at, under_way=0) == 4
    fail(throttle, FAILURES_IN_A_ROW - 1, at=at)
    assert next_rest(throttle, at) == FIRST_REST


def test_attempts_that_began_before_a_rest_do_not_lengthen_it() -> None:
    throttle, rests = Throttle(8), 0
    for _ in range(8):
        throttle.failed(at=AT, rests=rests)
    assert not throttle.is_resting(AT + FIRST_REST)
    throttle.failed(at=AT + FIRST_REST, rests=rests)
    assert not throttle.is_resting(AT + FIRST_REST)
    assert next_rest(throttle, AT + FIRST_REST) == 2 * FIRST_REST


@pytest.mark.parametrize(
    ("asked_s", "rest"),
    [(30.0, timedelta(seconds=30)), (86_400.0, LONGEST_ASKED_REST), (float("inf"), LONGEST_ASKED_REST)],
)
def test_who_asks_to_be_left_alone_is_left_alone_at_once_for_an_hour_at_most(asked_s: float, rest: timedelta) -> None:
    throttle = Throttle(8)
    fail(throttle, retry_after_s=asked_s)
    assert throttle.is_resting(AT + rest - SECOND)
    assert not throttle.is_resting(AT + rest)


def test_the_longest_of_several_requests_counts_whenever_its_attempt_began() -> None:
    throttle = Throttle(8)
    for asked_s in (10, 30, 20):
        throttle.failed(at=AT, rests=0, retry_after_s=asked_s)
    assert throttle.is_resting(AT + 29 * SECOND)
    assert not throttle.is_resting(AT + 30 * SECOND)


def test_a_rest_does_not_outlive_a_clock_that_went_back() -> None:
    throttle = Throttle(8)
    fail(throttle, FAILURES_IN_A_ROW)
    assert not throttle.is_resting(AT - timedelta(days=400))
    assert not throttle.is_resting(AT + timedelta(days=400))


def test_who_was_failing_before_the_relay_began_is_asked_by_one_attempt_first() -> None:
    throttle = Throttle(8, failing_since=AT - timedelta(hours=10))
    assert throttle.room(at=AT, under_way=0) == 1
    assert throttle.longest_wait(AT) == timedelta(hours=1)
    fail(throttle)
    assert throttle.is_resting(AT)
    assert throttle.answered(rests=throttle.rests)


def test_who_is_down_is_asked_again_within_a_minute_or_a_tenth_of_the_time() -> None:
    throttle = Throttle(8)
    assert throttle.longest_wait(AT) is None
    fail(throttle)
    assert throttle.longest_wait(AT + timedelta(minutes=10)) == LONGEST_REST
    assert throttle.longest_wait(AT + timedelta(hours=5)) == timedelta(minutes=30)
    assert throttle.longest_wait(AT - timedelta(hours=5)) == LONGEST_REST
    throttle.answered(rests=throttle.rests)
    assert throttle.longest_wait(AT + timedelta(hours=5)) is None


@pytest.mark.parametrize("asked_s", [None, 3600.0])
def test_an_attempt_that_began_before_a_rest_does_not_end_it_by_succeeding(asked_s: float | None) -> None:
    throttle = Throttle(8)
    before = throttle.rests
    fail(throttle, FAILURES_IN_A_ROW, retry_after_s=asked_s)
    assert not throttle.answered(rests=before)
    assert throttle.is_resting(AT)
    assert throttle.is_away
    assert throttle.answered(rests=throttle.rests)
    assert not throttle.is_resting(AT)
