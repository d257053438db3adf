"""When has a file stopped changing? Pure: no I/O, and time is an argument.

The rule. A file is settled when two looks, at least its quiet time apart, found the same signature and no
look in between found another. At the very first look it is settled at once if its newest change lies at least
the quiet time in the past. A newest change in the future tells that clocks disagree or were set back: then
only what was seen to be quiet counts. The quiet time is the root's ``settle``. Once a writer has closed the
file, or renamed it into place, it is a fifth of that, and at least 50 ms, until the file changes after such a
close was looked at: a writer that comes back earns no more trust. A look during which the file was sighted
again never settles it, since the look may have come first.

The fifth: whoever closes a file is nearly always done with it, and those who are not (a copy that then sets
the times, a tool that then writes tags) come back within milliseconds. The 50 ms: the kernel stamps files with
the time of its last tick, up to 10 ms ago, so that two changes are told apart only if some ticks lie between.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

CLOSED_SHARE = 5
CLOSED_AT_LEAST_S = 0.05

# Leftovers in the heap are swept when they outnumber the files, but not for fewer than this.
_SWEEP_ABOVE = 64


def quiet_time_s(settle_s: float, *, closed: bool) -> float:
    """For how many seconds a file must be quiet."""
    return min(settle_s, max(settle_s / CLOSED_SHARE, CLOSED_AT_LEAST_S)) if closed else settle_s


@dataclass(slots=True)
class _File:
    settle_s: float
    closed: bool
    ticket: int = 0
    looking: bool = False
    sighted_again: bool = False
    signature: Hashable = None
    quiet_since: float | None = None
    close_was_looked_at: bool = False
    writer_came_back: bool = False

    @property
    def quiet_s(self) -> float:
        """Its quiet time."""
        return quiet_time_s(self.settle_s, closed=self.closed and not self.writer_came_back)


class Settling(Generic[Key]):
    """The files that wait to settle, by key; as many as the caller puts in.

    One cycle: `sight` it, look at what `due` names (take its signature) and tell `observe` what was seen;
    until it is settled, or `forget` is told that it is gone. Every step takes O(log n) on average.
    """

    def __init__(self) -> None:
        self._files: dict[Key, _File] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._tickets = count(1)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, key: object) -> bool:
        return key in self._files

    def sight(self, key: Key, *, settle_s: float, closed: bool, now: float) -> None:
        """A file may have changed; a new one is due at once, one that waits at its time, or sooner if closed.

        Args:
            key: Whatever names the file.
            settle_s: Its root's ``settle``, in seconds.
            closed: A writer has just closed it; an earlier close is not lost.
            now: Monotonic seconds.
        """
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = _File(settle_s, closed)
            self._schedule(key, file, now)
            return
        quiet_before_s = file.quiet_s
        file.settle_s = settle_s
        file.closed = file.closed or closed
        file.sighted_again = file.looking
        sooner = file.quiet_s < quiet_before_s
        if sooner and not file.looking and file.quiet_since is not None:
            self._schedule(key, file, max(now, file.quiet_since + file.quiet_s))

    def due(self, now: float, limit: int) -> list[Key]:
        """Up to `limit` files to look at now, longest due first.

        Each is named once, and must be answered with `observe` or `forget`.
        """
        keys: list[Key] = []
        while len(keys) < limit and (next_due := self.next_due()) is not None and next_due <= now:
            _, _, key = heapq.heappop(self._heap)
            file = self._files[key]
            file.looking, file.sighted_again = True, False
            keys.append(key)
        return keys

    def next_due(self) -> float | None:
        """When, in monotonic seconds, the next look is due; None while nothing waits."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def observe(self, key: Key, signature: Hashable, newest_change_ns: int, *, now: float, wall_ns: int) -> bool:
        """Whether the file, looked at just now, is settled; then it is forgotten, else it becomes due again.

        A look that was not asked for, or whose file was forgotten meanwhile, settles nothing.

        Args:
            key: What names the file.
            signature: Size, mtime, ctime and inode.
            newest_change_ns: The later of mtime and ctime.
            now: Monotonic seconds, from after the look: a look may hang, and the quiet begins when it is over.
            wall_ns: The wall clock from before the look, to compare with `newest_change_ns`.
        """
        file = self._files.get(key)
        if file is None or not file.looking:
            return False
        first_look = file.quiet_since is None
        if file.quiet_since is None or signature != file.signature:
            file.writer_came_back = file.writer_came_back or file.close_was_looked_at
            file.signature, file.quiet_since = signature, now
        file.close_was_looked_at = file.closed and not file.sighted_again
        rested_s = (wall_ns - newest_change_ns) / 1e9
        # Compared as it was scheduled, since a difference of floats may fall short of its own sum.
        quiet = now >= file.quiet_since + file.quiet_s or (first_look and rested_s >= file.quiet_s)
        if quiet and not file.sighted_again:
            del self._files[key]
            return True
        file.looking = False
        self._schedule(key, file, (now if quiet else file.quiet_since) + file.quiet_s)
        return False

    def forget(self, key: Key) -> None:
        """The file is gone, or nobody's business any more; unknown keys are fine."""
        self._files.pop(key, None)

    def _schedule(self, key: Key, file: _File, due: float) -> None:
        file.ticket = next(self._tickets)
        heapq.heappush(self._heap, (due, file.ticket, key))
        if len(self._heap) > 2 * len(self._files) + _SWEEP_ABOVE:
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)

    def _is_current(self, entry: tuple[float, int, Key]) -> bool:
        file = self._files.get(entry[2])
        return file is not None and not file.looking and file.ticket == entry[1]
