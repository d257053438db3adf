"""One watched root: its watches armed first, then its tree reconciled, then both for as long as it lives.

Events only ever say where to look. What they miss is found by reconciling: at the start, on the root's
timer, and in every folder that a watcher marks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Protocol

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus

from damd.catalogue.store import Catalogue
from damd.errors import CatalogueUnavailableError
from damd.watch import open_watcher
from damd.watch.base import RootSettings, Watcher
from damd.watch.reconcile import Tree, differences

_log = structlog.get_logger(__name__)

_BREATH = 500
"""Sightings that are judged, some 20 µs each, before the rest of damd has its turn."""

_MOST_MARKS = 1000
"""How many folders may wait to be reconciled before the whole root is, which is cheaper."""
_PAUSE_S = 5.0
"""Between two attempts to reconcile while the catalogue cannot be read."""


class Sink(Protocol):
    """Where sightings go."""

    def sight(self, path: bytes, *, settle_s: float, closed: bool) -> bool:
        """A path may have changed; False when there is no room for it."""
        ...

    async def offer(self, path: bytes, *, settle_s: float) -> None:
        """The same, awaiting room."""
        ...


class WatchedRoot:
    """A root of the configuration, at work.

    Args:
        settings: The root's; its path has no links in it.
        tree: Its files.
        catalogue: What they are compared with.
    """

    def __init__(self, settings: RootSettings, tree: Tree, catalogue: Catalogue) -> None:
        self.settings = settings
        self.tree = tree
        self._catalogue = catalogue
        self._settle_s = settings.settle.total_seconds()
        self._marks: set[bytes] = set()
        self._marked = anyio.Event()

    async def run(
        self, sink: Sink, on_reconciled: Callable[[], Awaitable[None]], *, task_status: TaskStatus[None]
    ) -> None:
        """Watch until cancelled; started once the watches are armed.

        Args:
            sink: Takes what may have changed.
            on_reconciled: Awaited after the first comparison of the whole tree.
            task_status: Of ``TaskGroup.start``.

        Raises:
            WatchError: The root cannot be watched.
        """
        async with open_watcher(self.settings) as watcher, anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, watcher, sink)
            task_status.started()
            await self._reconcile(self.tree.folder, sink)
            await on_reconciled()
            rescan_s = self.settings.rescan.total_seconds()
            deadline = anyio.current_time() + rescan_s
            while True:
                for folder in _outermost(await self._next_folders(deadline)):
                    await self._reconcile(folder, sink)
                    if folder == self.tree.folder:
                        deadline = anyio.current_time() + rescan_s

    def mark(self, folder: bytes) -> None:
        """Have this folder reconciled soon."""
        if len(self._marks) >= _MOST_MARKS:
            self._marks = {self.tree.folder}
        self._marks.add(folder)
        self._marked.set()

    async def _listen(self, watcher: Watcher, sink: Sink) -> None:
        while True:
            for number, sighting in enumerate(await watcher.next_batch()):
                if number % _BREATH == 0:
                    await anyio.lowlevel.checkpoint()
                if not self.tree.concerns(sighting.path, is_directory=sighting.is_directory_mark):
                    continue
                if sighting.is_directory_mark:
                    self.mark(sighting.path)
                elif not sink.sight(sighting.path, settle_s=self._settle_s, closed=sighting.closed):
                    self.mark(sighting.path.rpartition(b"/")[0])

    async def _next_folders(self, deadline: float) -> set[bytes]:
        """The folders that are marked, or the whole root once its time has come."""
        with anyio.move_on_after(max(0.0, deadline - anyio.current_time())):
            await self._marked.wait()
        folders, self._marks = self._marks, set()
        self._marked = anyio.Event()
        return {self.tree.folder} if anyio.current_time() >= deadline else folders

    async def _compare(self, folder: bytes, sink: Sink) -> None:
        async with aclosing(differences(self._catalogue, self.tree, folder)) as pieces:
            async for paths in pieces:
                for path in paths:
                    await sink.offer(path, settle_s=self._settle_s)

    async def _reconcile(self, folder: bytes, sink: Sink) -> None:
        while True:
            try:
                await self._compare(folder, sink)
                break
            except CatalogueUnavailableError as error:
                _log.warning("reconciling waits for the catalogue", root=self.tree.root, error=str(error))
            await anyio.sleep(_PAUSE_S)
        _log.debug("reconciled", root=self.tree.root, whole=folder == self.tree.folder)


def _outermost(folders: set[bytes]) -> Iterator[bytes]:
    """Without those that lie below another: a tree that is unpacked marks every folder in it."""
    last: bytes | None = None
    for folder in sorted(folders, key=lambda folder: folder.rstrip(b"/") + b"/"):
        if last is None or not folder.startswith(last):
            last = folder.rstrip(b"/") + b"/"
            yield folder
