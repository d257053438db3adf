"""One inotify instance and its thread: watchdog's `InotifyFD`, without its answers to what goes wrong.

On an overflow watchdog walks the tree again and tells nobody; here whoever waits is told, and makes a new
one. Its own emitters are not used at all: they swallow the watch limit, hold renames back, and cannot leave
a folder out. Imported on Linux only, since watchdog's module cannot be elsewhere.

Everything happens in the one thread, so nothing that it keeps needs a lock: long work is split into steps,
and between two of them the kernel's queue is emptied, lest arming many folders overflow it.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import structlog
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    Watch,
    WatchDescriptor,
)

from damd.watch.base import OVERFLOWED

_log = structlog.get_logger(__name__)

_STEPS = 50
"""Of long work, some 30 µs each, between two looks at the kernel's queue."""

_QUIET_MS = 50
"""How long the second half of a rename is waited for; should it come later, only work is done twice."""

_CALLBACK = CallbackId(0)
_CANARY_MASK = Mask(InotifyConstants.IN_ATTRIB | InotifyConstants.IN_DONT_FOLLOW)


class Listener(Protocol):
    """Who is told of events, in the inotify thread; watchdog's ``WatchCallback``, and more."""

    @property
    def is_pairing(self) -> bool:
        """Whether it waits for the second half of a rename."""
        ...

    def begin(self) -> Iterator[None]:
        """Arm everything, step by step; where that cannot be, `Inotify.refuse` is told."""
        ...

    def on_event(self, event: InotifyEvent) -> None:
        """Something happened."""
        ...

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """A watch has ended."""
        ...

    def on_queue_overflow(self) -> None:
        """Never called: see `Inotify.handle_event`."""
        ...

    def on_quiet(self) -> None:
        """Nothing has happened for a moment."""
        ...

    def on_idle(self) -> None:
        """All the work is done."""
        ...


class Inotify(InotifyFD):
    """An inotify instance whose thread arms, listens, and never answers doubt by itself.

    Args:
        name: Of the thread.
        wake: Called in the thread when `is_armed`, `failure` or `lost` changes.

    Attributes:
        is_armed: Whether the listener's beginning is over.
        failure: Why the listener could not begin.
        lost: Why not everything is heard any more; the first reason stays.
        is_canary_heard: Whether the canary was heard since `touch_canary`.

    Raises:
        OSError: The system gives no instance (EMFILE), or no descriptors.
    """

    def __init__(self, name: str, *, wake: Callable[[], None]) -> None:
        super().__init__()
        self.name = name
        os.set_inheritable(self._inotify_fd, False)  # noqa: FBT003 - it takes no keywords
        self.is_armed = False
        self.failure: OSError | None = None
        self.lost: str | None = None
        self.is_canary_heard = False
        self._canary_wd: int | None = None
        self._wake = wake
        self._jobs: deque[Iterator[None]] = deque()
        self._listener: Listener | None = None
        self._readable = select.poll()
        self._readable.register(self._inotify_fd, select.POLLIN)
        # The descriptors' numbers may be another file's as soon as they are closed.
        self._open = threading.Lock()

    def listen(self, listener: Listener) -> None:
        """Start the thread.

        Raises:
            RuntimeError: The system has no thread to give.
        """
        self._listener = listener
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def watch(self, path: bytes, mask: Mask) -> WatchDescriptor:
        """Watch what is at a path; an inode that is watched already keeps its number.

        Raises:
            OSError: The system does not let it be watched; ENOSPC: no watches are left.
        """
        assert self._listener is not None  # noqa: S101 - nobody watches before there is a listener
        with self._open:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return self.add_callback(path, mask, self._listener, _CALLBACK)

    @property
    def watch_count(self) -> int:
        """How many watches there are."""
        return len(self._watch_for_wd)

    def unwatch(self, wd: int) -> None:
        """End a watch, if it has not ended by itself; in the thread only."""
        watch = WatchDescriptor(wd)
        if watch in self._watch_for_wd:
            self.remove_callbacks([(watch, _CALLBACK)])

    def do(self, job: Iterator[None]) -> None:
        """Have a job done step by step, after those that wait already; in the thread only."""
        self._jobs.append(job)

    def refuse(self, error: OSError) -> None:
        """What was asked for cannot be watched at all."""
        self.failure = error
        self._wake()

    def lose(self, reason: str) -> None:
        """Not everything is heard any more: tell whoever waits, and listen no longer."""
        if self.lost is None:
            self.lost = reason
            self._wake()

    def touch_canary(self, path: Path) -> None:
        """Make the canary, if need be, and touch it; in any thread, blocks.

        Raises:
            OSError: It cannot be made, watched or touched.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        os.close(os.open(path, flags, 0o600))
        # Each time, since another file may have taken its place.
        self._canary_wd = self.watch(os.fsencode(path), _CANARY_MASK)
        self.is_canary_heard = False
        os.utime(path)

    def run(self) -> None:
        """Arm, then handle events until stopped."""
        try:
            if self._listener is not None:
                self._jobs.append(self._begin(self._listener))
                while self.should_keep_running():
                    self._run_once(self._listener)
        except Exception:  # noqa: BLE001 - a thread's end is told below, whatever it died of
            _log.exception("inotify thread died", thread=self.name)
        finally:
            self.close()
            if self.should_keep_running():
                self.lose("the thread that reads the kernel's events died")

    def on_thread_stop(self) -> None:
        """Wake the thread, which closes everything itself: it may be about to use a descriptor."""
        with self._open:
            if not self._closed:
                os.write(self._kill_w, b"!")

    def close(self) -> None:
        """Close the descriptors; called at the thread's end, or where it never began."""
        with self._open:
            # Closing the descriptor ends them all at once, and the listener need not hear of it.
            self._watch_for_wd.clear()
            # watchdog would leave it to the thread, which it believes to be about to read.
            self._is_reading = False
            super().close()

    def handle_event(self, event: InotifyEvent) -> None:
        """Tell the listener; whatever it raises, the thread lives on."""
        if self.lost is not None:
            return
        if event.is_queue_overflow:
            # watchdog's own answer would be to walk the tree, which may overflow the queue again, and so on.
            self.lose(OVERFLOWED)
        elif event.wd == self._canary_wd and not event.is_ignored:
            self.is_canary_heard = True
        else:
            with self._doubt_for_errors():
                super().handle_event(event)

    def _run_once(self, listener: Listener) -> None:
        self._work(listener)
        if self._jobs and not self._readable.poll(0):
            return
        if not self._jobs and listener.is_pairing and not self._readable.poll(_QUIET_MS):
            with self._doubt_for_errors():
                listener.on_quiet()
            return
        for event in self.read_events():
            self.handle_event(event)
            if not self.should_keep_running():
                return

    def _work(self, listener: Listener) -> None:
        if not self._jobs:
            return
        if self.lost is not None:
            self._jobs.clear()
            return
        with self._doubt_for_errors():
            for _ in range(_STEPS):
                if not self._jobs or not self.should_keep_running():
                    break
                # A step is None.
                if next(self._jobs[0], True):
                    self._jobs.popleft()
            if not self._jobs:
                listener.on_idle()

    def _begin(self, listener: Listener) -> Iterator[None]:
        yield from listener.begin()
        self.is_armed = True
        self._wake()

    @contextmanager
    def _doubt_for_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001 - whatever it was, the thread lives on and the loss is told
            # Standard error may be closed by now.
            with suppress(Exception):
                _log.exception("watch event not understood", thread=self.name)
            self.lose("an event was not understood")

    def _get_or_create_watch(self, path: bytes, mask: Mask) -> Watch:
        watch = super()._get_or_create_watch(path, mask)
        if watch.wd == -1:
            # watchdog keeps this one error to itself.
            del self._watch_for_wd[watch.wd]
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        # To watch a folder again is nothing to warn of; the text of that warning dumps every watch.
        watch.callbacks.clear()
        return watch
