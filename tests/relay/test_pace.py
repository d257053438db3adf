from datetime import UTC, datetime, timedelta

import pytest

from damd.relay.pace import FAILURES_IN_A_ROW, FIRST_REST, LONGEST_REST, LONGEST_WISH, Pace

AT = datetime(2024, 2, 29, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def fail(pace: Pace, times: int = 1, *, at: datetime = AT, retry_after_s: float | None = None) -> None:
    for _ in range(times):
        pace.failed(at=at, rests=pace.rests, retry_after_s=retry_after_s)


def next_rest(pace: Pace, at: datetime) -> timedelta:
    fail(pace, at=at)
    end = at
    while pace.is_resting(end):
        end += SECOND
    return end - at


def test_as_many_as_are_allowed_may_be_under_way() -> None:
    pace = Pace(8)
    assert [pace.room(at=AT, under_way=count) for count in (0, 5, 8, 9)] == [8, 3, 0, 0]


def test_one_failure_among_answers_halves_what_is_under_way_and_no_more() -> None:
    pace = Pace(8)
    fail(pace)
    assert pace.room(at=AT, under_way=0) == 4
    for room in (5, 6, 7, 8, 8):
        assert not pace.answered()
        assert pace.room(at=AT, under_way=0) == room


def test_an_endpoint_that_fails_again_and_again_rests() -> None:
    pace = Pace(8)
    fail(pace, FAILURES_IN_A_ROW - 1)
    assert pace.room(at=AT, under_way=0) > 0
    fail(pace)
    assert pace.room(at=AT, under_way=0) == 0
    assert pace.room(at=AT + FIRST_REST, under_way=0) == 1
    assert pace.room(at=AT + FIRST_REST, under_way=1) == 0


def test_each_rest_is_twice_as_long_as_the_one_before_to_a_minute() -> None:
    pace = Pace(8)
    fail(pace, FAILURES_IN_A_ROW - 1)
    at, rests = AT, []
    for _ in range(9):
        rests.append(next_rest(pace, at).total_seconds())
        at += LONGEST_REST
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_after_an_answer_more_may_be_under_way_with_each() -> None:
    pace = Pace(4)
    fail(pace, FAILURES_IN_A_ROW)
    at = AT + FIRST_REST
    assert pace.answered()
    assert pace.room(at=at, under_way=0) == 2
    assert not pace.answered()
    assert not pace.answered()
    assert pace.room(at=at, under_way=0) == 4
    fail(pace, FAILURES_IN_A_ROW - 1, at=at)
    assert next_rest(pace, at) == FIRST_REST


def test_attempts_that_began_before_a_rest_do_not_lengthen_it() -> None:
    pace, rests = Pace(8), 0
    for _ in range(8):
        pace.failed(at=AT, rests=rests)
    assert not pace.is_resting(AT + FIRST_REST)
    pace.failed(at=AT + FIRST_REST, rests=rests)
    assert not pace.is_resting(AT + FIRST_REST)
    assert next_rest(pace, AT + FIRST_REST) == 2 * FIRST_REST


@pytest.mark.parametrize(
    ("asked_s", "rest"), [(30.0, timedelta(seconds=30)), (86_400.0, LONGEST_WISH), (float("inf"), LONGEST_WISH)]
)
def test_who_asks_to_be_left_alone_is_left_alone_at_once_for_an_hour_at_most(asked_s: float, rest: timedelta) -> None:
    pace = Pace(8)
    fail(pace, retry_after_s=asked_s)
    assert pace.is_resting(AT + rest - SECOND)
    assert not pace.is_resting(AT + rest)


def test_the_longest_of_several_wishes_counts_whenever_its_attempt_began() -> None:
    pace = Pace(8)
    for asked_s in (10, 30, 20):
        pace.failed(at=AT, rests=0, retry_after_s=asked_s)
    assert pace.is_resting(AT + 29 * SECOND)
    assert not pace.is_resting(AT + 30 * SECOND)


def test_a_rest_does_not_outlive_a_clock_that_went_back() -> None:
    pace = Pace(8)
    fail(pace, FAILURES_IN_A_ROW)
    assert not pace.is_resting(AT - timedelta(days=400))
    assert not pace.is_resting(AT + timedelta(days=400))


def test_who_was_failing_before_the_relay_began_is_asked_by_one_attempt_first() -> None:
    pace = Pace(8, failing_since=AT - timedelta(hours=10))
    assert pace.room(at=AT, under_way=0) == 1
    assert pace.longest_wait(AT) == timedelta(hours=1)
    fail(pace)
    assert pace.is_resting(AT)
    assert pace.answered()


def test_who_is_down_is_asked_again_within_a_minute_or_a_tenth_of_the_time() -> None:
    pace = Pace(8)
    assert pace.longest_wait(AT) == LONGEST_REST
    fail(pace)
    assert pace.longest_wait(AT + timedelta(minutes=10)) == LONGEST_REST
    assert pace.longest_wait(AT + timedelta(hours=5)) == timedelta(minutes=30)
    assert pace.longest_wait(AT - timedelta(hours=5)) == LONGEST_REST
    pace.answered()
    assert pace.longest_wait(AT + timedelta(hours=5)) == LONGEST_REST
