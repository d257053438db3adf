"""Sources of sightings: one module each, registered here."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog
from anyio import to_thread

from damd.errors import WatchError
from damd.mounts import is_network_mount
from damd.watch.base import RootSettings, Watcher
from damd.watch.folders import every_folder
from damd.watch.native import NativeWatcher
from damd.watch.polling import PollingWatcher

_log = structlog.get_logger(__name__)

BACKENDS: Mapping[str, Callable[[RootSettings, Callable[[bytes], bool], Path | None], Watcher]] = {
    "native": NativeWatcher,
    "polling": PollingWatcher,
}


@asynccontextmanager
async def open_watcher(
    root: RootSettings, wants_folder: Callable[[bytes], bool] = every_folder, canary: Path | None = None
) -> AsyncIterator[Watcher]:
    """The watcher that a root's settings ask for, with its watches armed.

    Args:
        root: Which folder, and with which backend; ``auto`` is polling on a network mount, outside Linux, and
            where no inotify instance is left, else native.
        wants_folder: Whether a folder below it is watched, by its path as the root spells it; may block, and is
            called in another thread.
        canary: A file of damd's own, in no root and no other watcher's, that may be made and touched.

    Raises:
        WatchError: The root is not there, may not be read, or the system's limits are reached.
    """
    name: str = root.backend
    if name == "auto":
        remote = await to_thread.run_sync(is_network_mount, root.path, abandon_on_cancel=True)
        name = "polling" if remote or sys.platform != "linux" else "native"
    async with AsyncExitStack() as stack:
        try:
            watcher = await stack.enter_async_context(BACKENDS[name](root, wants_folder, canary))
        except WatchError as error:
            if error.errno != errno.EMFILE or root.backend != "auto":
                raise
            _log.warning(
                "no inotify instance is left, the root is polled: raise the sysctl fs.inotify.max_user_instances",
                root=os.fspath(root.path),
            )
            watcher = await stack.enter_async_context(BACKENDS["polling"](root, wants_folder, canary))
        yield watcher
