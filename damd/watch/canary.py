"""A file of damd's own whose changes must come back: how a dead or stuck watch is told from a quiet root.

Only the deciding is here, on the caller's clock; touching and hearing is `damd.watch.native`'s.
"""

from __future__ import annotations

import math


class Canary:
    """When to touch the file next, and whether its silence means that nothing is heard any more.

    One touch without an answer proves nothing: the process may have been stopped, and the clock went on.

    Args:
        every_s: Seconds between two touches.
        deadline_s: Seconds in which a touch must be heard.
        now: The caller's clock; None: there is no canary, and nothing is ever due.
    """

    def __init__(self, *, every_s: float, deadline_s: float, now: float | None) -> None:
        self.due = math.inf if now is None else now + every_s
        self.is_lost = False
        self._every_s = every_s
        self._deadline_s = deadline_s
        self._touched_at: float | None = None
        self._misses = 0

    def look(self, now: float, *, heard: bool) -> bool:
        """Whether to touch the file now; asked when it is due.

        Args:
            now: The caller's clock.
            heard: Whether something was heard since the last touch.
        """
        if self._touched_at is None:
            return now >= self.due
        if not heard:
            self._misses += 1
            self.is_lost = self._misses > 1
            return not self.is_lost
        self._misses = 0
        self.due = self._touched_at + self._every_s
        self._touched_at = None
        return now >= self.due

    def touched(self, now: float) -> None:
        """The file was touched just before `now`."""
        self._touched_at = now
        self.due = now + self._deadline_s

    def untouchable(self, now: float) -> None:
        """The file cannot be made, touched or watched: its silence means nothing."""
        self._touched_at = None
        self._misses = 0
        self.due = now + self._every_s
