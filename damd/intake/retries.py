"""Files that failed for a passing reason, and when each is tried again. Pure: time is an argument."""

from __future__ import annotations

import heapq
from typing import NamedTuple


class Retry(NamedTuple):
    """One file's; times are monotonic seconds.

    Attributes:
        due: When it is tried again.
        settle_s: Its root's ``settle``.
        moved_from: What its command was told.
        since: When it failed.
    """

    due: float
    path: bytes
    root: str
    settle_s: float
    moved_from: bytes | None
    since: float


class Retries:
    """At most `capacity` of them, one for each path; the rest is left to reconciling, which knows them too."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._heap: list[Retry] = []
        self._by_path: dict[bytes, Retry] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, retry: Retry) -> None:
        """Keep it, unless its path is kept already, or there is no room."""
        if retry.path not in self._by_path and len(self._heap) < self._capacity:
            self._by_path[retry.path] = retry
            heapq.heappush(self._heap, retry)

    def of(self, path: bytes) -> Retry | None:
        """The one of a path."""
        return self._by_path.get(path)

    def next_due(self) -> float | None:
        """When the first is due; None while there is none."""
        return self._heap[0].due if self._heap else None

    def take_due(self, now: float) -> list[Retry]:
        """Those whose time has come, and is over herewith."""
        due: list[Retry] = []
        while self._heap and self._heap[0].due <= now:
            due.append(heapq.heappop(self._heap))
            del self._by_path[due[-1].path]
        return due

    def forget(self, root: str) -> None:
        """Keep none of this root's."""
        self._heap = [retry for retry in self._heap if retry.root != root]
        heapq.heapify(self._heap)
        self._by_path = {retry.path: retry for retry in self._heap}
