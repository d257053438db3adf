"""Sightings from the operating system's own events: inotify, by way of a thread of watchdog's.

The only room that meets a foreign thread: it fills one bounded set, and wakes the event loop once until the
set is taken. What it does is in `damd.watch.inotify` and `damd.watch.arming`.

Events are hints, and watches fail. What was written into a new folder before it was watched, and whatever
went away, is marked; folders for which no watches are left are named, so that they are polled; and after
any doubt the whole watcher is given up for a new one, whose owner reconciles the root.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import anyio.lowlevel
import structlog
from anyio import to_thread

from damd.errors import WatchError, WatchLostError
from damd.watch.base import RootSettings, Sighting, require_folder
from damd.watch.canary import Canary
from damd.watch.folders import every_folder
from damd.watch.sightings import SightingSet

if TYPE_CHECKING:
    from damd.watch.arming import WatchedFolders
    from damd.watch.inotify import Inotify

_log = structlog.get_logger(__name__)

BOUND = 16_384
"""How many paths may wait; as many as the kernel's own queue usually holds."""

_STOP_S = 10.0


class NativeWatcher:
    """inotify, on Linux; implements `Watcher`.

    Args:
        root: Which folder.
        wants_folder: Whether a folder below it is watched, by its path as the root spells it; all below one that
            is not is left alone too. May block; called in the watcher's thread.
        canary: A file of damd's own, in no root, that is made and touched; None, or one that cannot be made:
            nobody notices a watch that has fallen silent.
        bound: How many paths may wait before they collapse into marks.
        canary_every_s: Seconds between two touches.
        canary_deadline_s: Seconds in which a touch must be heard; the second silence in a row is the end.
    """

    def __init__(
        self,
        root: RootSettings,
        wants_folder: Callable[[bytes], bool] = every_folder,
        canary: Path | None = None,
        *,
        bound: int = BOUND,
        canary_every_s: float = 30.0,
        canary_deadline_s: float = 30.0,
    ) -> None:
        self._settings = root
        self._wants_folder = wants_folder
        self._sightings = SightingSet(os.fsencode(root.path), bound=bound, wake=self._wake)
        self._canary_path = canary
        self._canary_every_s = canary_every_s
        self._canary_deadline_s = canary_deadline_s
        self._canary_told = False
        self._inotify: Inotify | None = None
        self._folders: WatchedFolders | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._something = anyio.Event()
        self._left = False
        # Starting and stopping; never both at once.
        self._limiter = anyio.CapacityLimiter(1)

    async def __aenter__(self) -> Self:
        # anyio's from_thread waits for the loop, and waits for ever if the loop is gone; asyncio's call does not.
        self._loop = asyncio.get_running_loop()
        try:
            try:
                inotify = await to_thread.run_sync(self._start, limiter=self._limiter)
                await self._until_armed(inotify)
            except OSError as error:
                raise WatchError(str(self._settings.path), error) from error
        except BaseException:
            await self._shut_down()
            raise
        self._canary = Canary(
            every_s=self._canary_every_s,
            deadline_s=self._canary_deadline_s,
            now=None if self._canary_path is None else anyio.current_time(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._shut_down()

    @property
    def watches(self) -> int:
        """One for each folder."""
        return 0 if self._inotify is None else self._inotify.watch_count

    @property
    def unwatched(self) -> frozenset[bytes]:
        """Folders for which no watches are left, or that may not be read; they are polled."""
        return frozenset() if self._folders is None else self._folders.unwatched.paths

    async def next_batch(self) -> list[Sighting]:
        """Wait until there is something, and take all of it; after a loss what waits is not told any more."""
        await anyio.lowlevel.checkpoint()
        while not self._left and self._inotify is not None:
            # Made anew before looking: what arrives after the look sets the new one.
            self._something = anyio.Event()
            if self._inotify.lost is not None:
                raise WatchLostError(self._inotify.lost)
            if batch := self._sightings.take():
                return batch
            with anyio.CancelScope(deadline=self._canary.due) as scope:
                await self._something.wait()
            if scope.cancelled_caught:
                await self._tend_canary(self._inotify)
        raise anyio.ClosedResourceError

    async def _until_armed(self, inotify: Inotify) -> None:
        await anyio.lowlevel.checkpoint()
        while True:
            self._something = anyio.Event()
            if inotify.failure is not None:
                raise inotify.failure
            if inotify.is_armed or inotify.lost is not None:
                return
            await self._something.wait()

    async def _tend_canary(self, inotify: Inotify) -> None:
        canary, path = self._canary, self._canary_path
        if path is None or not canary.look(anyio.current_time(), heard=inotify.is_canary_heard):
            if canary.is_lost:
                inotify.lose("the kernel's events do not arrive any more")
            return
        try:
            # The state folder's disk may hang; what is sighted must not wait for it, nor leaving.
            with anyio.fail_after(self._canary_deadline_s):
                await to_thread.run_sync(inotify.touch_canary, path, abandon_on_cancel=True)
            canary.touched(anyio.current_time())
        except OSError as error:
            canary.untouchable(anyio.current_time())
            if not self._canary_told:
                _log.debug("no canary", path=str(path), error=str(error))
            self._canary_told = True

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

    def _start(self) -> Inotify:
        root = self._settings
        require_folder(root.path)
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "inotify is Linux's own, use `backend: polling`")
        from damd.watch.arming import WatchedFolders
        from damd.watch.inotify import Inotify

        inotify = Inotify(f"inotify {root.path}", wake=self._wake)
        self._folders = WatchedFolders(
            inotify,
            os.fsencode(root.path),
            recursive=root.recursive,
            wants_folder=self._wants_folder,
            sightings=self._sightings,
        )
        inotify.listen(self._folders)
        self._inotify = inotify
        return inotify

    def _stop(self) -> None:
        inotify = self._inotify
        if inotify is not None:
            inotify.stop()
            inotify.join(_STOP_S)
            if inotify.is_alive():
                _log.warning("inotify thread hangs, it is left behind", thread=inotify.name)
