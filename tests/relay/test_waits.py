import random
from datetime import timedelta

import pytest
from pydantic import ValidationError

from damd.relay.waits import JITTER, LONGEST_ASKED_WAIT, next_wait
from damd.subscribers.base import DEFAULT_RETRY, DurableSettings


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - jitter is no secret


def test_waits_follow_the_schedule_with_jitter_and_the_last_one_repeats() -> None:
    rng = seeded(7)
    for attempts, planned in enumerate([*DEFAULT_RETRY, DEFAULT_RETRY[-1], DEFAULT_RETRY[-1]]):
        factors = [next_wait(DEFAULT_RETRY, attempts, retry_after_s=None, rng=rng) / planned for _ in range(1000)]
        assert 1 - JITTER <= min(factors) < 1 - 0.9 * JITTER
        assert 1 + JITTER >= max(factors) > 1 + 0.9 * JITTER


def test_the_same_seed_gives_the_same_waits() -> None:
    waits = [
        [next_wait(DEFAULT_RETRY, 0, retry_after_s=None, rng=rng) for _ in range(5)]
        for rng in (seeded(1), seeded(1), seeded(2))
    ]
    assert waits[0] == waits[1] != waits[2]


@pytest.mark.parametrize("retry_after_s", [None, 0.0, -5.0, 1e300, float("inf"), float("nan")])
def test_no_wait_is_too_long_to_be_a_date(retry_after_s: float | None) -> None:
    wait = next_wait([timedelta.max], 3, retry_after_s=retry_after_s, rng=seeded(1))
    assert timedelta(days=200) < wait < timedelta(days=500)


@pytest.mark.parametrize(
    ("asked_s", "wait"), [(3600.0, timedelta(hours=1)), (1e9, LONGEST_ASKED_WAIT), (float("inf"), LONGEST_ASKED_WAIT)]
)
def test_what_a_receiver_asks_for_is_kept_up_to_a_day(asked_s: float, wait: timedelta) -> None:
    assert next_wait(DEFAULT_RETRY, 0, retry_after_s=asked_s, rng=seeded(1)) == wait


def test_who_is_down_is_not_waited_for_as_the_schedule_would() -> None:
    wait = next_wait(DEFAULT_RETRY, 6, retry_after_s=None, rng=seeded(1), at_most=timedelta(minutes=1))
    assert wait / timedelta(minutes=1) == pytest.approx(1, abs=JITTER)
    short = next_wait(DEFAULT_RETRY, 0, retry_after_s=None, rng=seeded(1), at_most=timedelta(minutes=1))
    assert short / DEFAULT_RETRY[0] == pytest.approx(1, abs=JITTER)


@pytest.mark.parametrize("retry", [[], ["0s"], ["5s", "0s"]])
def test_a_schedule_is_of_waits_and_none_of_them_is_nothing(retry: list[str]) -> None:
    with pytest.raises(ValidationError):
        DurableSettings.model_validate({"name": "gallery", "retry": retry})
