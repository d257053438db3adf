"""A daemon that dies in the middle of whatever it is at, and a tree that never rests."""

import random

from torture.churn import Churn, keep_on
from torture.equality import assert_sound
from torture.harness import Ordeal, scaled

_ROUNDS = 200
_LONGEST_ROUND_S = 4.0
_ROUNDS_TO_EQUALITY = 40
_FILES = 400


def test_kill_9_at_random_moments_of_importing_moving_and_deleting(ordeal: Ordeal) -> None:
    rng = random.Random(7)  # noqa: S311 - no secret
    ordeal.configure(max_missing="100%")  # much is deleted, and nobody is there to accept it
    churn = Churn(ordeal.root, seed=8)
    ordeal.begin()
    for number in range(1, scaled(_ROUNDS, at_least=4) + 1):
        ordeal.start(ready=False)
        keep_on(lambda: churn.live(around=_FILES), rng.uniform(0.1, _LONGEST_ROUND_S), pause_s=0.02)
        ordeal.kill()
        for _ in range(rng.randrange(60)):
            churn.live(around=_FILES)  # unseen by anybody
        if number % 10 == 0:
            assert_sound(ordeal.state)
        if number % _ROUNDS_TO_EQUALITY == 0:
            ordeal.start()
            ordeal.await_equality()
            ordeal.kill()
    ordeal.start()
    ordeal.await_equality()
    ordeal.finish()
    ordeal.figures["contents written"] = churn.contents
