"""How hard an endpoint is pressed: pure, so that it is told the time."""

from __future__ import annotations

from datetime import datetime, timedelta

FAILURES_IN_A_ROW = 5
"""After so many it is taken for away; one that fails now and then need not be left alone."""
FIRST_REST = timedelta(seconds=1)
LONGEST_REST = timedelta(minutes=1)
"""One rest after the other is twice as long, up to this; so soon is it noticed that an endpoint is back."""
LONGEST_ASKED_REST = timedelta(hours=1)
"""For longer no receiver's `Retry-After` keeps everything from it; what it refused keeps its own wait."""
_SHARE_OF_OUTAGE = 10


class Throttle:
    """Says how many attempts an endpoint may be offered at a moment.

    One that is away rests, and is then asked by one attempt at a time; with each answer one more may be under way.
    An attempt that began before a rest tells nothing new by how it ends after that: `rests` tells which those are.

    Args:
        concurrency: The most that may be under way together.
        failing_since: Where it has done nothing but fail when this begins: since when.
    """

    def __init__(self, concurrency: int, failing_since: datetime | None = None) -> None:
        self.rests = 0
        self.is_away = failing_since is not None
        self._concurrency = concurrency
        self._failing_since = failing_since
        self._allowed = concurrency if failing_since is None else 1
        self._failures = 0  # in a row
        self._rests_in_a_row = 0
        self._rests_from: datetime | None = None
        self._rests_until: datetime | None = None

    def room(self, *, at: datetime, under_way: int) -> int:
        """How many more attempts may begin."""
        return 0 if self.is_resting(at) else max(0, self._allowed - under_way)

    def is_resting(self, at: datetime) -> bool:
        """Whether it is left alone; a moment before the rest began is of a clock that went back."""
        if self._rests_from is None or self._rests_until is None:
            return False
        return self._rests_from <= at < self._rests_until

    def longest_wait(self, at: datetime) -> timedelta | None:
        """How long an attempt that failed because the endpoint is down is put off at most; None: as planned.

        A minute, or a tenth of the time for which it has been failing. Who is back after ten minutes is noticed within
        one, also by the only event that waits, and who is away for days is not asked by the same event every minute.
        """
        if self._failing_since is None:
            return None
        return max(LONGEST_REST, (at - self._failing_since) / _SHARE_OF_OUTAGE)

    def answered(self, *, rests: int) -> bool:
        """It took an event, or refused it for that event's own sake; returns whether it had been failing until now.

        Args:
            rests: `Throttle.rests` as it was when the attempt began.
        """
        if rests != self.rests:
            return False
        was_failing, self.is_away = self._failures > 0 or self.is_away, False
        self._allowed = min(self._concurrency, self._allowed + 1)
        self._failures = self._rests_in_a_row = 0
        self._failing_since = self._rests_from = self._rests_until = None
        return was_failing

    def failed(self, *, at: datetime, rests: int, retry_after_s: float | None = None) -> None:
        """It did not answer, or said that any other event would fare alike.

        Args:
            at: Now.
            rests: `Throttle.rests` as it was when the attempt began.
            retry_after_s: What the receiver asked for.
        """
        asked = timedelta(seconds=min(LONGEST_ASKED_REST.total_seconds(), max(0.0, retry_after_s or 0.0)))
        self._failing_since = self._failing_since or at
        self._failures += 1
        self._allowed = max(1, self._allowed // 2)
        if rests == self.rests and (asked or self.is_away or self._failures >= FAILURES_IN_A_ROW):
            self._rest(at)
        if self._rests_until is not None:
            self._rests_until = max(self._rests_until, at + asked)

    def _rest(self, at: datetime) -> None:
        self.is_away = True
        self._allowed = 1
        self._rests_from = at
        self._rests_until = at + min(LONGEST_REST, FIRST_REST * 2 ** min(self._rests_in_a_row, 30))
        self._rests_in_a_row += 1
        self.rests += 1
