"""What is queued, by root: the intake's memory, and what there is to say of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from damd.intake.lane import Lane
from damd.intake.queued import Queued


class Lanes:
    """Every root's lane, made when it is first asked for.

    Args:
        wake: Called when there may be something to do that was not there before.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._lanes: dict[str, Lane] = {}
        self._wake = wake

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def __len__(self) -> int:
        """How many paths are queued."""
        return sum(map(len, self))

    @property
    def waiting(self) -> int:
        """Paths that have not settled, or have, and wait for a free command."""
        return sum(len(lane) - lane.in_work for lane in self)

    @property
    def in_work(self) -> int:
        """Paths whose command runs."""
        return sum(lane.in_work for lane in self)

    @property
    def oldest_s(self) -> float:
        """Since when, in seconds, the path has been waiting that has waited longest; 0.0 while none waits."""
        return max(map(self.oldest_in, self._lanes), default=0.0)

    def oldest_in(self, root: str) -> float:
        """The same, of the paths of one root."""
        lane = self._lanes.get(root)
        sighted_at = lane.oldest_sighted_at() if lane is not None else None
        return time.monotonic() - sighted_at if sighted_at is not None else 0.0

    def waiting_in(self, root: str) -> int:
        """Those paths of one root that are `waiting`."""
        lane = self._lanes.get(root)
        return len(lane) - lane.in_work if lane is not None else 0

    def in_work_in(self, root: str) -> int:
        """Those paths of one root whose command runs."""
        lane = self._lanes.get(root)
        return lane.in_work if lane is not None else 0

    def files_in_work(self) -> Iterator[tuple[bytes, str, Queued]]:
        """Each path whose command runs, with its root."""
        for lane in self:
            for path in lane.paths_in_work:
                if (queued := lane.of(path)) is not None:
                    yield path, lane.root, queued

    def of(self, root: str) -> Lane:
        """One root's."""
        lane = self._lanes.get(root)
        if lane is None:
            lane = self._lanes[root] = Lane(root, self._wake)
        return lane

    def find(self, path: bytes) -> tuple[Lane, Queued] | tuple[None, None]:
        """In whichever root it was sighted first: a path is queued once, whatever links lead to it."""
        for lane in self:
            if (queued := lane.of(path)) is not None:
                return lane, queued
        return None, None
