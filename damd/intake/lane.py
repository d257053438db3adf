"""The queued paths of one root, each in one of three states: waiting until it has settled, ready, or in work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import anyio

from damd.intake.catching_up import CatchUp
from damd.intake.queued import Queued, State
from damd.intake.waiting import Waiting

_GLANCE_S = 0.25
"""How often whoever catches up asks what will not come to rest."""


class Lane:
    """Whoever takes from it and gives back is the intake; it alone starts looks and commands.

    Args:
        root: The root's name.
        wake: Called when there may be something to do that was not there before.
    """

    def __init__(self, root: str, wake: Callable[[], None]) -> None:
        self.root = root
        self.waiting = Waiting()
        self._wake = wake
        self._queued: dict[bytes, Queued] = {}  # in the order of their first sighting
        self._ready: dict[bytes, None] = {}
        self._in_work: set[bytes] = set()
        self._catch_ups: list[CatchUp] = []
        self._looked = anyio.Event()

    def __len__(self) -> int:
        return len(self._queued)

    def of(self, path: bytes) -> Queued | None:
        """What is known of a path that is queued."""
        return self._queued.get(path)

    @property
    def in_work(self) -> int:
        """Paths whose command runs."""
        return len(self._in_work)

    @property
    def paths_in_work(self) -> tuple[bytes, ...]:
        """These."""
        return tuple(self._in_work)

    @property
    def has_ready(self) -> bool:
        """Whether a path waits for a command only."""
        return bool(self._ready)

    def oldest_sighted_at(self) -> float | None:
        """When the path was sighted first that has been waiting, or ready, for longest; None while none is."""
        idle = (queued.sighted_at for queued in self._queued.values() if queued.state is not State.IN_WORK)
        return next(idle, None)

    def inodes(self) -> Iterator[int]:
        """Those of all that is queued, as last seen."""
        return (queued.inode for queued in self._queued.values() if queued.inode is not None)

    def sight(self, path: bytes, *, settle_s: float, closed: bool, moved_from: bytes | None) -> None:
        """A path may have changed."""
        queued = self._queued.setdefault(path, Queued(settle_s))
        queued.settle_s = settle_s
        # Of a sighting that says nothing of a rename nobody knows whether it is still the file that was renamed.
        queued.moved_from = moved_from
        queued.note_sighting()
        if queued.state is State.IN_WORK:
            queued.sighted_again = True
            return
        if queued.state is State.READY:
            del self._ready[path]
            queued.enter(State.WAITING)
        self.waiting.sight(path, settle_s=settle_s, closed=closed)
        self._wake()

    async def look(self, due: list[bytes]) -> None:
        """Look at what is due, and move what has settled."""
        began_at, waiting = time.monotonic(), self.waiting
        looked = await waiting.look(due)
        for path, inode, has_rested in looked if waiting is self.waiting else ():
            queued = self._queued.get(path)
            if queued is None:
                continue  # its command has ended since it was asked for
            queued.note_look(inode, began_at=began_at)
            if has_rested and inode is None:
                self._end(path, queued)
            elif has_rested:
                self._make_ready(path, queued)
        self._looked.set()
        self._looked = anyio.Event()

    def take_ready(self) -> tuple[bytes, Queued]:
        """The path that has been ready for longest; it is in work until `end_work`."""
        path = next(iter(self._ready))
        del self._ready[path]
        self._in_work.add(path)
        queued = self._queued[path]
        queued.enter(State.IN_WORK)
        return path, queued

    def end_work(self, path: bytes) -> None:
        """It is done with, unless it was sighted meanwhile; then it keeps its place, whatever room there is."""
        self._in_work.discard(path)
        self._end(path, self._queued[path])

    def return_work(self, path: bytes, *, moved_from: bytes | None) -> None:
        """Its command came to nothing: it is ready, or has to settle if it was sighted meanwhile."""
        queued = self._queued[path]
        if queued.is_forgotten:
            self.end_work(path)
            return
        self._in_work.discard(path)
        queued.moved_from = queued.moved_from or moved_from
        for catch_up in self._catch_ups:
            catch_up.note_return(path)
        if queued.sighted_again:
            self._wait(path, queued)
        else:
            self._make_ready(path, queued)

    def forget(self) -> None:
        """Drop what waits or is ready; what is in work comes to its end, and to no second round."""
        for path in self._queued.keys() - self._in_work:
            del self._queued[path]
            for catch_up in self._catch_ups:
                catch_up.drop(path)
        for path in self._in_work:
            self._queued[path].sighted_again = False
            self._queued[path].is_forgotten = True
            for catch_up in self._catch_ups:
                catch_up.once(path)
        self._ready.clear()
        self.waiting = Waiting()  # a look that is under way is of no use any more

    async def until_ended(self, *, drop_restless: bool = True) -> None:
        """Wait until what is queued now has come to its end, with all that was known of it now.

        Args:
            drop_restless: Not for those that are seen to be written, or have not settled 5 s and two settle times
                after they were sighted.
        """
        sighted_again = [path for path in self._in_work if self._queued[path].sighted_again]
        catch_up = CatchUp(self._queued, twice=sighted_again)
        self._catch_ups.append(catch_up)
        try:
            while paths := catch_up.paths:
                for path in filter(self._is_restless, paths if drop_restless else ()):
                    catch_up.drop(path)
                await catch_up.wait(_GLANCE_S)
        finally:
            self._catch_ups.remove(catch_up)

    async def until_seen(self) -> None:
        """Have what is queued looked at, as far as it was not since it was sighted, and wait for that."""
        asked_at = time.monotonic()
        unseen = [path for path, queued in self._queued.items() if not queued.is_seen]
        self.waiting.ask(unseen)
        self._wake()
        while unseen:
            await self._looked.wait()
            still = ((path, self._queued.get(path)) for path in unseen)
            unseen = [path for path, queued in still if queued is not None and not queued.is_seen_since(asked_at)]

    def _is_restless(self, path: bytes) -> bool:
        queued = self._queued[path]
        waited_s = time.monotonic() - queued.since
        return self.waiting.is_restless(path, settle_s=queued.settle_s, waited_s=waited_s)

    def _make_ready(self, path: bytes, queued: Queued) -> None:
        queued.enter(State.READY)
        self._ready[path] = None

    def _end(self, path: bytes, queued: Queued) -> None:
        del self._queued[path]
        for catch_up in self._catch_ups:
            catch_up.note_end(path)
        if queued.sighted_again:
            queued.sighted_at = time.monotonic()
            self._queued[path] = queued
            self._wait(path, queued)

    def _wait(self, path: bytes, queued: Queued) -> None:
        queued.sighted_again = False
        queued.enter(State.WAITING)
        self.waiting.sight(path, settle_s=queued.settle_s, closed=False)
