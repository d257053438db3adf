"""When has a file stopped changing? Pure: no I/O, and time is an argument.

The rule. A file is settled when two looks, at least its quiet time apart, found the same signature, no look in
between found another, and nobody is seen to hold it open for writing. At the very first look it is quiet already
if its newest change lies at least the quiet time in the past. A newest change in the future tells that clocks
disagree or were set back: then only what was seen to be quiet counts. The quiet time is the root's ``settle``.
Once a writer has closed the file, or renamed it into place, it is a fifth of that, and at least 50 ms, until the
file changes after such a close was looked at: a writer that comes back earns no more trust. A look during which
the file was sighted again never settles it, since the look may have come first.

A newest change is not trusted before it is older than the grain in which the file system counts time, since a
second change within the grain would look like the first one; one in the future has the age for which it has been
seen. A time without a fraction of a second speaks of a coarse grain, and 2 s, FAT's, is the coarsest. What counts
is the newest of a file's times, not its mtime: tools that restore an mtime in whole seconds leave a ctime in finer
ones. Elsewhere it is 50 ms: the kernel stamps files with the time of its last tick, up to 10 ms ago, so that two
changes are told apart only if some ticks lie between.

A writer that can be seen is waited for however long it takes, with looks that are rarer and rarer, up to every 5 s
or the quiet time if that is longer; a close brings the next one forward, since it may have been the last writer's.

The fifth: whoever closes a file is nearly always done with it, and those who are not (a copy that then sets
the times, a tool that then writes tags) come back within milliseconds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

CLOSED_SHARE = 5
GRAIN_S = 0.05
COARSE_GRAIN_S = 2.0
LONGEST_WRITER_WAIT_S = 5.0

# Leftovers in the heap are swept when they outnumber the files, but not for fewer than this.
_SWEEP_ABOVE = 64


def quiet_time_s(settle_s: float, *, closed: bool) -> float:
    """For how many seconds a file must be quiet."""
    return min(settle_s, max(settle_s / CLOSED_SHARE, GRAIN_S)) if closed else settle_s


def grain_s(newest_change_ns: int) -> float:
    """In which steps, in seconds, a file system may count whose newest change of a file has this time."""
    return GRAIN_S if newest_change_ns % 10**9 else COARSE_GRAIN_S


@dataclass(slots=True)
class _File:
    settle_s: float
    closed: bool
    ticket: int = 0
    due: float = 0.0
    looking: bool = False
    sighted_again: bool = False
    signature: Hashable = None
    quiet_since: float | None = None
    grain_s: float = 0.0
    trusted_at: float = 0.0
    is_written: bool = False
    writer_wait_s: float = 0.0
    close_was_looked_at: bool = False
    writer_came_back: bool = False

    @property
    def quiet_s(self) -> float:
        """Its quiet time."""
        return quiet_time_s(self.settle_s, closed=self.closed and not self.writer_came_back)

    @property
    def quiet_at(self) -> float:
        """When it will have been quiet for long enough, unless it changes; it must have been looked at."""
        return (math.inf if self.quiet_since is None else self.quiet_since) + self.quiet_s

    def note_change(self, signature: Hashable, newest_change_ns: int, *, now: float, rested_s: float) -> None:
        """Another signature than before, or the first."""
        rests_already = self.quiet_since is None and rested_s >= self.quiet_s
        self.signature, self.quiet_since = signature, -math.inf if rests_already else now
        self.grain_s = grain_s(newest_change_ns)
        self.trusted_at = now + max(0.0, self.grain_s - max(0.0, rested_s))
        self.writer_came_back = self.writer_came_back or self.close_was_looked_at
        self.writer_wait_s = 0.0

    def wait_for_writer(self) -> float:
        """For how many seconds not to look, once more."""
        longer = min(2 * self.writer_wait_s, LONGEST_WRITER_WAIT_S)
        self.writer_wait_s = max(self.quiet_s, GRAIN_S, longer)
        return self.writer_wait_s


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
        file.settle_s = settle_s
        file.closed = file.closed or closed
        file.sighted_again = file.looking
        if closed:
            file.writer_wait_s = 0.0
        if not file.looking and file.quiet_since is not None:
            waits_for_writer = file.is_written and not closed
            due = max(now, file.quiet_at, file.trusted_at)
            if due < file.due and not waits_for_writer:
                self._schedule(key, file, due)

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

    def observe(
        self,
        key: Key,
        signature: Hashable,
        newest_change_ns: int,
        *,
        now: float,
        wall_ns: int,
        is_written: bool = False,
    ) -> bool:
        """Whether the file, looked at just now, is settled; then it is forgotten, else it becomes due again.

        A look that was not asked for, or whose file was forgotten meanwhile, settles nothing.

        Args:
            key: What names the file.
            signature: Size, mtime, ctime and inode.
            newest_change_ns: The later of mtime and ctime.
            now: Monotonic seconds, from after the look: a look may hang, and the quiet begins when it is over.
            wall_ns: The wall clock from before the look, to compare with `newest_change_ns`.
            is_written: Somebody is seen to hold it open for writing, or mapped.
        """
        file = self._files.get(key)
        if file is None or not file.looking:
            return False
        if file.quiet_since is None or signature != file.signature:
            file.note_change(signature, newest_change_ns, now=now, rested_s=(wall_ns - newest_change_ns) / 1e9)
        file.close_was_looked_at = file.closed and not file.sighted_again
        file.looking, file.is_written = False, is_written
        # Compared as it was scheduled, since a difference of floats may fall short of its own sum.
        rests_at = max(file.quiet_at, file.trusted_at)
        if now < rests_at:
            self._schedule(key, file, rests_at)
        elif is_written:
            self._schedule(key, file, now + file.wait_for_writer())
        elif file.sighted_again:
            file.quiet_since = now
            self._schedule(key, file, file.quiet_at)
        else:
            del self._files[key]
            return True
        return False

    def forget(self, key: Key) -> None:
        """The file is gone, or nobody's business any more; unknown keys are fine."""
        self._files.pop(key, None)

    def waiting_for(self, key: Key) -> str | None:
        """What a file waits for, in words that go on from "waiting for"; None for one that does not wait."""
        file = self._files.get(key)
        if file is None:
            return None
        if file.quiet_since is None:
            return "its first look"
        if file.is_written:
            return "whoever writes it to close it"
        if file.trusted_at > file.quiet_at:
            return f"its last change to be {file.grain_s:g} s old"
        return f"it to be quiet for {file.quiet_s:g} s"

    def is_written(self, key: Key) -> bool:
        """Whether the last look saw somebody hold the file open for writing."""
        file = self._files.get(key)
        return file is not None and file.is_written

    def _schedule(self, key: Key, file: _File, due: float) -> None:
        file.ticket, file.due = next(self._tickets), due
        heapq.heappush(self._heap, (due, file.ticket, key))
        if len(self._heap) > 2 * len(self._files) + _SWEEP_ABOVE:
            self._heap = [entry for entry in self._heap if self._is_current(entry)]
            heapq.heapify(self._heap)

    def _is_current(self, entry: tuple[float, int, Key]) -> bool:
        file = self._files.get(entry[2])
        return file is not None and not file.looking and file.ticket == entry[1]
