"""Sightings without the kernel's help: for network mounts, and where inotify cannot be had.

Comparing a root with the catalogue finds every difference by itself, so all that is left to do here is to
ask for it often enough.
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
    """Marks the whole root every ``rescan``, and at least every minute; implements `Watcher`.

    The pause begins when the next batch is asked for: a scan that takes longer than the interval is followed
    by a pause, not by the next scan.

    Args:
        root: Which folder, and how often.
        wants_folder: Not asked: whoever reconciles the root leaves out what it does not want.
        canary: Not touched: nothing that could fall silent is listened to.
        interval_s: Seconds between two marks, instead.
    """

    def __init__(
        self,
        root: RootSettings,
        wants_folder: Callable[[bytes], bool] = every_folder,  # noqa: ARG002 - every source is made alike
        canary: Path | None = None,  # noqa: ARG002 - every source is made alike
        *,
        interval_s: float | None = None,
    ) -> None:
        self._root = root.path
        rescan_s = min(root.rescan.total_seconds(), LONGEST_INTERVAL_S)
        self.interval_s = rescan_s if interval_s is None else interval_s
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
    def unwatched(self) -> frozenset[bytes]:
        """None: the whole root is looked at each time."""
        return frozenset()

    async def next_batch(self) -> list[Sighting]:
        """Wait for one interval, and mark the root."""
        with anyio.move_on_after(self.interval_s):
            await self._left.wait()
        if self._left.is_set():
            raise anyio.ClosedResourceError
        return [Sighting(os.fsencode(self._root), is_mark=True)]
