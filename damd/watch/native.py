"""Sightings from the operating system's own events, by way of watchdog's threads.

The only room that meets a foreign thread. watchdog calls `_Handler.dispatch` in its dispatcher thread, which
fills one bounded set, wakes the event loop once until the set is taken, and does nothing else.

Events are hints. What was written into a new folder before its watch was armed, what the kernel's queue
could not hold, and what lies in folders beyond the limit of watches is found by reconciling: of each new
folder, because it is marked here, and of everything, because every root is scanned again now and then.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel
import structlog
from anyio import to_thread
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from damd.errors import WatchError
from damd.watch.base import RootSettings, Sighting, require_folder

_log = structlog.get_logger(__name__)

BOUND = 16_384
"""How many paths may wait; as many as the kernel's own queue usually holds."""

# Without a filter watchdog also hears every opened folder, its own walks among them: above some 5,000
# folders one walk overflows the queue, which starts the next walk, and no event arrives any more.
_EVENTS: list[type[FileSystemEvent]] = [
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
    *(FileCreatedEvent, FileMovedEvent, FileDeletedEvent, FileClosedEvent),
]


class SightingSet:
    """The bounded set between watchdog's thread, which adds, and the event loop, which takes.

    Args:
        root: The folder that is marked when too many others would be.
        bound: How many paths may wait.
        wake: Called in the adding thread when something waits again; not under the lock.
    """

    def __init__(self, root: bytes, *, bound: int, wake: Callable[[], None]) -> None:
        self._root = root
        self._bound = bound
        self._wake = wake
        self._lock = threading.Lock()
        self._files: dict[bytes, bool] = {}
        self._marks: set[bytes] = set()
        self._woken = False

    def add(self, path: bytes, *, closed: bool) -> None:
        """A file may have changed."""
        with self._lock:
            # The mark on the root covers everything.
            if self._root not in self._marks:
                self._files[path] = closed or self._files.get(path, False)
                self._collapse()
        self._wake_once()

    def mark(self, folder: bytes) -> None:
        """Everything below a folder may have changed."""
        with self._lock:
            if self._root not in self._marks:
                self._marks.add(folder)
                self._collapse()
        self._wake_once()

    def take(self) -> list[Sighting]:
        """All that waits, marks last; empty if nothing does."""
        with self._lock:
            files, self._files = self._files, {}
            marks, self._marks = self._marks, set()
            self._woken = False
        batch = [Sighting(path, closed=closed) for path, closed in files.items()]
        return batch + [Sighting(folder, is_directory_mark=True) for folder in marks]

    def _collapse(self) -> None:
        if self._root in self._marks:
            self._files, self._marks = {}, {self._root}
        elif len(self._files) + len(self._marks) > self._bound:
            self._marks.update(path.rpartition(b"/")[0] or b"/" for path in self._files)
            self._files = {}
            # Half the room is kept free, lest the next few paths collapse it all again.
            if len(self._marks) > self._bound // 2:
                self._marks = {self._root}

    def _wake_once(self) -> None:
        with self._lock:
            if self._woken:
                return
            self._woken = True
        self._wake()


class _Handler(FileSystemEventHandler):
    """watchdog's events to sightings; an exception here would end watchdog's thread, so none leaves it."""

    def __init__(self, root: RootSettings, real_path: bytes, sightings: SightingSet) -> None:
        self._root = os.fsencode(root.path)
        self._recursive = root.recursive
        self._real = real_path
        self._sightings = sightings

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            self.accept(event)
        except Exception:  # noqa: BLE001 - whatever it was, the thread lives on and nothing is missed
            self._sightings.mark(self._root)
            # Standard error may be closed by now.
            with suppress(Exception):
                _log.warning("watch event lost, its root is scanned", root=os.fsdecode(self._root), exc_info=True)

    def accept(self, event: FileSystemEvent) -> None:
        """Sight what the event speaks of; of deletions, nothing.

        Synthetic events list what came along with a folder: the folder's mark stands for them.
        """
        if event.is_synthetic or isinstance(event, (DirDeletedEvent, FileDeletedEvent)):
            return
        moved = isinstance(event, (DirMovedEvent, FileMovedEvent))
        path = self._spelt(event.dest_path if moved else event.src_path)
        if not event.is_directory:
            self._sightings.add(path, closed=not isinstance(event, FileCreatedEvent))
        elif self._recursive:
            # What was in it before its watch was armed has no events.
            self._sightings.mark(path)

    def _spelt(self, reported: bytes | str) -> bytes:
        """The reported path, below the root as its settings spell it."""
        path = os.fsencode(reported)
        prefix = self._real.rstrip(b"/")
        below = path.removeprefix(prefix)
        if not path.startswith(prefix) or not below.startswith(b"/"):
            raise ValueError(f"{path!r} does not lie below {self._real!r}")
        return self._root.rstrip(b"/") + below


class NativeWatcher:
    """inotify, FSEvents or kqueue, whichever the system has; implements `Watcher`.

    Args:
        root: Which folder.
        bound: How many paths may wait before they collapse into marks.
    """

    def __init__(self, root: RootSettings, *, bound: int = BOUND) -> None:
        self._settings = root
        self._sightings = SightingSet(os.fsencode(root.path), bound=bound, wake=self._wake)
        self._observer: BaseObserver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._something = anyio.Event()
        self._left = False
        # Starting and stopping walk the tree and join threads; never both at once.
        self._limiter = anyio.CapacityLimiter(1)

    async def __aenter__(self) -> Self:
        # anyio's from_thread waits for the loop, and waits for ever if the loop is gone; asyncio's call does not.
        self._loop = asyncio.get_running_loop()
        try:
            await to_thread.run_sync(self._start, limiter=self._limiter)
        except BaseException:
            await self._shut_down()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._shut_down()

    async def next_batch(self) -> list[Sighting]:
        """Wait until there is something, and take all of it."""
        await anyio.lowlevel.checkpoint()
        while not self._left:
            # Made anew before looking: what arrives after the look sets the new one.
            self._something = anyio.Event()
            if batch := self._sightings.take():
                return batch
            await self._something.wait()
        raise anyio.ClosedResourceError

    async def _shut_down(self) -> None:
        self._left = True
        self._something.set()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._stop, limiter=self._limiter)

    def _wake(self) -> None:
        if self._loop is not None and not self._left:
            try:
                self._loop.call_soon_threadsafe(self._wake_in_loop)
            except RuntimeError:
                # The loop was closed without leaving the watcher: nobody is there to be woken.
                self._left = True

    def _wake_in_loop(self) -> None:
        self._something.set()

    def _start(self) -> None:
        root = self._settings
        require_folder(root.path)
        _quieten_watchdog()
        # watchdog would watch a symbolic link itself, not the folder behind it.
        real_path = os.path.realpath(root.path)
        handler = _Handler(root, os.fsencode(real_path), self._sightings)
        try:
            self._observer = Observer()
            self._observer.schedule(handler, real_path, recursive=root.recursive, event_filter=_EVENTS)
            self._observer.start()
        except OSError as error:
            raise WatchError(str(root.path), error) from error

    def _stop(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            if observer.is_alive():
                observer.join()


def _quieten_watchdog() -> None:
    """Let races between nested folders pass without a dump of every watch.

    Each is a RuntimeWarning whose text holds all watches, megabytes of it where there are many. They are
    harmless: the watch that was there is replaced by its like.
    """
    warnings.filterwarnings("ignore", message=r"Callback with id '\d+' ", category=RuntimeWarning)
    if sys.platform == "linux":
        from watchdog.observers.inotify import InotifyWatchGroup

        # The text is made even where the warning is ignored.
        InotifyWatchGroup.__repr__ = object.__repr__  # type: ignore[method-assign]  # there is no other way in
