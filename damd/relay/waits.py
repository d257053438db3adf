"""How long to wait after a refusal: pure, so that it is told the time and the chance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

JITTER = 0.2
"""Waits are this much longer or shorter, so that what failed together does not come back together; as Svix has it."""
LONGEST_ASKED_WAIT = timedelta(days=1)
"""For longer no receiver's `Retry-After` puts a delivery off."""
_LONGEST_WAIT = timedelta(days=365)


def next_wait(
    retry: Sequence[timedelta],
    attempts: int,
    *,
    retry_after_s: float | None,
    rng: random.Random,
    at_most: timedelta | None = None,
) -> timedelta:
    """How long to wait after a refusal.

    Args:
        retry: The subscriber's schedule; its last wait repeats.
        attempts: How many had been made before this one.
        retry_after_s: What the receiver asked for; it only ever makes the wait longer, to `LONGEST_ASKED_WAIT`.
        rng: Where the jitter comes from, `JITTER` of the wait either way.
        at_most: No more than this of the schedule's wait.
    """
    planned = min(retry[min(attempts, len(retry) - 1)], at_most or _LONGEST_WAIT, _LONGEST_WAIT)
    asked = timedelta(seconds=min(LONGEST_ASKED_WAIT.total_seconds(), max(0.0, retry_after_s or 0.0)))
    return max(planned * rng.uniform(1 - JITTER, 1 + JITTER), asked)
