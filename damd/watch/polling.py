"""No sightings at all: for network mounts, whose changes the kernel does not report, and wherever inotify is not.

Comparing a root with the catalogue finds every difference by itself, so all that is left to say here is that
nothing of it is watched. Whoever reconciles it polls what is not watched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio import to_thread

from damd.watch.base import RootSettings, Sighting, require_folder
from damd.watch.folders import every_folder

LONGEST_INTERVAL_S = 60.0
"""A root's ``rescan`` backs up events that may be lost; where there are no events, a file waits this long at most."""


class PollingWatcher:
    """A root of which nothing is heard; implements `Watcher`.

    Args:
        root: Which folder.
        wants_folder: Nobody asks: no folder is watched.
        canary: Nobody asks: nothing can fall silent.
    """

    def __init__(
        self,
        root: RootSettings,
        wants_folder: Callable[[bytes], bool] = every_folder,  # noqa: ARG002 - what every watcher is made of
        canary: Path | None = None,  # noqa: ARG002 - what every watcher is made of
    ) -> None:
        self._root = root.path
        self._left = anyio.Event()

    async def __aenter__(self) -> Self:
        # A network mount may hang; it must not take the loop, nor a cancellation, with it.
        await to_thread.run_sync(require_folder, self._root, abandon_on_cancel=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()

    @property
    def watches(self) -> int:
        """None."""
        return 0

    @property
    def unwatched(self) -> frozenset[bytes]:
        """All of it."""
        return frozenset({os.fsencode(self._root)})

    async def next_batch(self) -> list[Sighting]:
        """There is never anything: it only ends."""
        await self._left.wait()
        raise anyio.ClosedResourceError
