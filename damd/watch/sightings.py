"""What waits between a watcher's thread, which adds, and the event loop, which takes: one bounded set."""

from __future__ import annotations

import threading
from collections.abc import Callable

from damd.watch.base import Sighting


class SightingSet:
    """Paths that may have changed, each once; safe to use from several threads.

    Where there are too many, files become marks on their folders, those marks on the folders above, and those
    a mark on the root; what collapses loses where it was renamed from.

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
        self._files: dict[bytes, tuple[bool, bytes | None]] = {}
        self._marks: dict[bytes, bytes | None] = {}
        self._woken = False

    def add(self, path: bytes, *, closed: bool, moved_from: bytes | None = None) -> None:
        """A file may have changed."""
        with self._lock:
            # The mark on the root covers everything.
            if self._root not in self._marks:
                was_closed, _ = self._files.get(path, (False, None))
                # What comes later and says nothing of a rename may speak of another file.
                self._files[path] = (closed or was_closed, None if moved_from == path else moved_from)
                self._collapse()
        self._wake_once()

    def mark(self, path: bytes, *, moved_from: bytes | None = None) -> None:
        """A path, and everything below it, may have changed."""
        with self._lock:
            if self._root not in self._marks:
                moved_from = self._marks.get(path) if moved_from is None else moved_from
                self._marks[path] = None if moved_from == path else moved_from
                self._collapse()
        self._wake_once()

    def leave(self, path: bytes) -> bytes:
        """Mark what went away, and say where it was when sightings were last taken.

        That is another path where it was renamed twice in between: whoever takes them has never heard of the
        name in the middle.
        """
        with self._lock:
            _, origin = self._files.pop(path, (False, None))
            origin = origin or self._marks.pop(path, None) or path
        self.mark(path)
        return origin

    def take(self) -> list[Sighting]:
        """All that waits, marks last; empty if nothing does."""
        with self._lock:
            files, self._files = self._files, {}
            marks, self._marks = self._marks, {}
            self._woken = False
        batch = [Sighting(path, closed=closed, moved_from=origin) for path, (closed, origin) in files.items()]
        return batch + [Sighting(path, is_mark=True, moved_from=origin) for path, origin in marks.items()]

    def _collapse(self) -> None:
        if self._root not in self._marks and len(self._files) + len(self._marks) > self._bound:
            self._marks |= dict.fromkeys(map(_folder_of, self._files))
            self._files = {}
            # Half the room is kept free, lest the next few paths collapse it all again.
            if len(self._marks) > self._bound // 2:
                self._marks = dict.fromkeys(map(_folder_of, self._marks))
            if len(self._marks) > self._bound // 2:
                self._marks = {self._root: None}
        if self._root in self._marks:
            self._files, self._marks = {}, {self._root: None}

    def _wake_once(self) -> None:
        with self._lock:
            if self._woken:
                return
            self._woken = True
        self._wake()


def _folder_of(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"/"
