"""One watched root: its watches armed first, then its tree reconciled, then both for as long as it lives.

Events only ever say where to look. What they miss is found by reconciling: at the start, on the root's timer,
in every folder that a watcher marks, and after every doubt. A doubt is whatever may have hidden a change: a
watcher that says so, a folder that is not the one that was watched, a file system that was mounted or
unmounted. Then the watches are armed anew, and the whole root is compared.

A root that is not there is waited for.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from damd.errors import CatalogueUnavailableError, DamdError, WatchError, WatchLostError
from damd.events import readable
from damd.watch import open_watcher
from damd.watch.base import OVERFLOWED, RootSettings, Sighting, Sink, Watcher
from damd.watch.folders import outermost
from damd.watch.ignore_file import NAME
from damd.watch.polling import LONGEST_INTERVAL_S
from damd.watch.presence import Presence, look_for
from damd.watch.scan import Scanner, Surroundings
from damd.watch.state import Comparisons, RootState, reasons
from damd.watch.tree import Tree

_log = structlog.get_logger(__name__)

_BREATH = 500
"""Sightings that are judged before the rest of damd has its turn."""

_MOST_MARKS = 1000
"""How many folders may wait to be reconciled before the whole root is, which is cheaper."""
_GATHER_S = 0.1
"""Marks come in swarms: a tree that is unpacked, or deleted, marks each of its folders."""
_HELD_RESCAN_S = 60.0
_PAUSE_S = 5.0
"""Between two attempts to reconcile while the catalogue cannot be read."""
_ABSENT_S = 2.0
"""Between two looks for a root that is not there, or may have been replaced."""
_ANSWER_S = 30.0
"""For one look at a root: a network mount whose server is gone does not answer."""
_CALM_S = 60.0
_LONGEST_RENEWAL_PAUSE_S = 30.0


class WatchedRoot:
    """A root of the configuration, at work.

    Args:
        settings: The root's; its path has no links in it.
        tree: Its files.
        around: What it works with.
    """

    def __init__(self, settings: RootSettings, tree: Tree, around: Surroundings) -> None:
        self.settings = settings
        self.tree = tree
        self.state = RootState()
        self._comparisons = Comparisons()
        self._around = around
        self._settle_s = settings.settle.total_seconds()
        self._marks: dict[bytes, bytes | None] = {}
        self._later: dict[bytes, float] = {}
        self._is_scanning = False
        self._is_looking = False
        self._marked = anyio.Event()
        # Its own, so that a file system that does not answer holds up nobody else's root.
        self._threads = anyio.CapacityLimiter(4)
        self._scanner = Scanner(settings, tree, around, self._threads)

    async def run(
        self, sink: Sink, on_reconciled: Callable[[], Awaitable[None]], *, task_status: TaskStatus[None]
    ) -> None:
        """Watch until cancelled; started once the watches are armed, or the root turns out not to be there.

        Args:
            sink: Takes what may have changed.
            on_reconciled: Awaited after each comparison of the whole tree, and where there is none.
            task_status: Of ``TaskGroup.start``.
        """
        start: Callable[[], None] = _once(task_status.started)
        pause_s, lost_at = 0.0, -_CALM_S
        while True:
            try:
                presence = await self._look()
                self.state.scanning = True  # all of it will be, once it is watched
                async with open_watcher(self.settings, self._wants, self._around.canary) as watcher:
                    backend = type(watcher).__name__.removesuffix("Watcher").lower()
                    if backend != self.state.backend:
                        path = readable(self.tree.folder)
                        _log.info("watching", root=self.tree.root, path=path, backend=backend)
                    self.state.backend, self.state.watches = backend, watcher.watches
                    start()
                    await self._watch(watcher, presence, sink, on_reconciled)
            except WatchLostError as error:
                self.state.renewals += 1
                self.state.overflows += error.reason == OVERFLOWED
                self.state.scanning = True
                _log.warning("watches renewed", root=self.tree.root, reason=error.reason)
                calm = anyio.current_time() - lost_at > _CALM_S
                pause_s = 0.0 if calm else min(max(1.0, 2 * pause_s), _LONGEST_RENEWAL_PAUSE_S)
                lost_at = anyio.current_time()
                await anyio.sleep(pause_s)
            except WatchError as error:
                self.state.backend, self.state.scanning, self.state.watches = None, False, 0
                await self._scanner.hold(str(error))
                self._comparisons.wake()
                start()
                await on_reconciled()
                await anyio.sleep(_ABSENT_S)

    @property
    def is_busy(self) -> bool:
        """Whether something of it is marked, or being compared."""
        return self._is_scanning or bool(self._marks)

    @property
    def held(self) -> str | None:
        """Why nothing in it is taken for deleted, or not all; None if it is not held."""
        return self._scanner.held

    def mark(self, path: bytes, *, moved_from: bytes | None = None) -> None:
        """Have this absolute path of the root, and what lies below it, reconciled soon.

        Args:
            path: The path.
            moved_from: Where the system says that it was renamed from.
        """
        if len(self._marks) >= _MOST_MARKS:
            self._marks = {self.tree.folder: None}
        self._marks[path] = moved_from or self._marks.get(path)
        self._marked.set()

    async def compared(self) -> None:
        """Have the whole of it compared, and wait for the end of that: all that is there now has been sighted.

        Raises:
            WatchError: It is not there.
        """
        since = self._comparisons.begun
        self.mark(self.tree.folder)
        while self._comparisons.done <= since:
            if self.state.backend is None and not self.state.scanning:
                raise WatchError(str(self.settings.path), OSError(errno.ENOENT, "it is not there"))
            await self._comparisons.next_change()

    async def _look(self) -> Presence:
        """The root as it is there now.

        Raises:
            WatchError: It is not, or does not answer.
        """
        try:
            with anyio.fail_after(_ANSWER_S):
                # A look that hangs is left behind; no further thread follows it before it has come back.
                while self._is_looking:  # noqa: ASYNC110 - what hangs tells nobody
                    await anyio.sleep(_ABSENT_S)
                return await anyio.to_thread.run_sync(self._look_once, limiter=self._threads, abandon_on_cancel=True)
        except TimeoutError:
            silence = OSError(errno.ETIMEDOUT, "it does not answer")
            raise WatchError(str(self.settings.path), silence) from None

    def _look_once(self) -> Presence:
        self._is_looking = True  # not before: who is cancelled on the way to the thread would leave it so
        try:
            return look_for(self.tree.folder, self._around.mounts)
        finally:
            self._is_looking = False

    def _wants(self, folder: bytes) -> bool:
        return self.tree.concerns(folder, is_directory=True)

    async def _watch(
        self, watcher: Watcher, presence: Presence, sink: Sink, on_reconciled: Callable[[], Awaitable[None]]
    ) -> None:
        """Listen, and reconcile what is marked, until there is a doubt.

        Raises:
            WatchLostError: There is one.
            WatchError: The root went away.
        """
        doubts: list[DamdError] = []

        async def until_in_doubt(work: Callable[[], Awaitable[None]]) -> None:
            try:
                await work()
            except (WatchLostError, WatchError) as doubt:
                doubts.append(doubt)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_in_doubt, functools.partial(self._listen, watcher, sink))
            tasks.start_soon(until_in_doubt, functools.partial(self._mind_presence, presence))
            tasks.start_soon(until_in_doubt, functools.partial(self._reconcile, watcher, presence, sink, on_reconciled))
        raise doubts[0]

    async def _mind_presence(self, presence: Presence) -> None:
        while True:
            await anyio.sleep(_ABSENT_S)
            await self._demand(presence)

    async def _demand(self, presence: Presence) -> None:
        now = await self._look()
        if now.identity != presence.identity:
            raise WatchLostError("another folder lies where the root was")
        if now != presence:
            raise WatchLostError("what is mounted in the root is not what it was")

    async def _listen(self, watcher: Watcher, sink: Sink) -> None:
        while True:
            batch = await watcher.next_batch()
            for start in range(0, len(batch), _BREATH):
                judge = functools.partial(self._judge, batch[start : start + _BREATH])
                for sighting in await anyio.to_thread.run_sync(judge, limiter=self._threads, abandon_on_cancel=True):
                    self.state.sightings["folder" if sighting.is_mark else "file"] += 1
                    if sighting.is_mark or not self._sight(sink, sighting):
                        self.mark(sighting.path, moved_from=sighting.moved_from)

    def _sight(self, sink: Sink, sighting: Sighting) -> bool:
        return sink.sight(
            sighting.path,
            root=self.tree.root,
            settle_s=self._settle_s,
            closed=sighting.closed,
            moved_from=sighting.moved_from,
        )

    def _judge(self, batch: list[Sighting]) -> Iterator[Sighting]:
        """Those that concern the tree; of what went away nobody knows whether it was a folder."""
        judged = []
        for sighting in batch:
            folder, _, name = sighting.path.rpartition(b"/")
            if name == NAME and self.tree.concerns(folder or b"/", is_directory=True):
                self.tree.rules.forget(self.tree.relative(folder))
                # Other folders may be wanted now, and need watches.
                raise WatchLostError(f"the rules in {readable(folder)} changed")
            if self.tree.concerns(sighting.path, is_directory=False) or (
                sighting.is_mark and self.tree.concerns(sighting.path, is_directory=True)
            ):
                judged.append(sighting)
        return iter(judged)

    async def _reconcile(
        self, watcher: Watcher, presence: Presence, sink: Sink, on_reconciled: Callable[[], Awaitable[None]]
    ) -> None:
        """Compare the whole root, then what is marked, what is polled, and again the whole whenever it is time."""
        whole: dict[bytes, bytes | None] = {self.tree.folder: None}
        marks, rescan_at, poll_at = whole, 0.0, 0.0
        while True:
            await self._scan(marks, presence, sink)
            polled = watcher.unwatched | self._scanner.polled
            if self.tree.folder in marks:
                rescan_at = anyio.current_time() + self._rescan_s
                await on_reconciled()
            # After the scan, so that one which takes longer than the interval is followed by a pause.
            if self.tree.folder in marks or polled <= marks.keys():
                poll_at = anyio.current_time() + LONGEST_INTERVAL_S
            await self._note_watches(watcher.watches, polled - {self.tree.folder})
            marks = await self._next_marks(min(rescan_at, poll_at) if polled else rescan_at)
            if anyio.current_time() >= rescan_at:
                marks = whole
            elif polled and anyio.current_time() >= poll_at:
                marks = dict.fromkeys(polled) | marks

    async def _note_watches(self, watches: int, polled: frozenset[bytes]) -> None:
        self.state.watches, self.state.unwatched = watches, len(polled)
        look = functools.partial(anyio.to_thread.run_sync, limiter=self._threads, abandon_on_cancel=True)
        self.state.unwatched_because = await look(reasons, polled) if polled else []

    @property
    def _rescan_s(self) -> float:
        """While the root is held, what it misses may come back, which nobody would want to wait for."""
        rescan_s = self.settings.rescan.total_seconds()
        return rescan_s if self.held is None else min(rescan_s, _HELD_RESCAN_S)

    async def _next_marks(self, deadline: float) -> dict[bytes, bytes | None]:
        """What is marked, once there is something; nothing when the time is over."""
        deadline = min(deadline, *self._later.values()) if self._later else deadline
        with anyio.move_on_after(max(0.0, deadline - anyio.current_time())):
            await self._marked.wait()
            await anyio.sleep(_GATHER_S)
        marks, self._marks = self._marks, {}
        self._marked = anyio.Event()
        due = [path for path, at in self._later.items() if at <= anyio.current_time()]
        for path in due:
            del self._later[path]
        return dict.fromkeys(due) | marks

    async def _scan(self, marks: Mapping[bytes, bytes | None], presence: Presence, sink: Sink) -> None:
        whole = self.tree.folder in marks
        number = self._comparisons.begin() if whole else 0
        self.state.scanning = whole
        below = {self.tree.relative(path): marks[path] for path in outermost(marks)}
        self._is_scanning = True
        try:
            again = await self._scan_until_it_can_be(below, whole=whole, presence=presence, sink=sink)
        finally:
            self._is_scanning = False
        self.state.scanning = b"" in again
        if b"" in again:
            self.mark(self.tree.folder)
            return
        self._comparisons.end(number)
        for path, wait_s in again.items():
            if len(self._later) >= _MOST_MARKS:
                path = b""  # noqa: PLW2901 - all of it is cheaper
            self._later[self.tree.absolute(path)] = anyio.current_time() + wait_s

    async def _scan_until_it_can_be(
        self, below: Mapping[bytes, bytes | None], *, whole: bool, presence: Presence, sink: Sink
    ) -> Mapping[bytes, float]:
        while True:
            try:
                return await self._scanner.scan(
                    below,
                    whole=whole,
                    presence=presence,
                    demand=functools.partial(self._demand, presence),
                    sink=sink,
                    is_disturbed=self._marked.is_set,
                )
            except CatalogueUnavailableError as error:
                _log.warning("reconciling waits for the catalogue", root=self.tree.root, error=str(error))
            await anyio.sleep(_PAUSE_S)


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """It is called the first time, and never again."""
    called = False

    def once() -> None:
        nonlocal called
        if not called:
            called = True
            call()

    return once
