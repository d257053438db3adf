"""Sources of sightings: one module each, registered here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from anyio import to_thread

from damd.mounts import is_network_mount
from damd.watch.base import RootSettings, Watcher
from damd.watch.native import NativeWatcher
from damd.watch.polling import PollingWatcher

BACKENDS: Mapping[str, Callable[[RootSettings], Watcher]] = {"native": NativeWatcher, "polling": PollingWatcher}


@asynccontextmanager
async def open_watcher(root: RootSettings) -> AsyncIterator[Watcher]:
    """The watcher that a root's settings ask for, with its watches armed.

    Raises:
        WatchError: The root is not there, may not be read, or the system's limits are reached.
    """
    name: str = root.backend
    if name == "auto":
        remote = await to_thread.run_sync(is_network_mount, root.path, abandon_on_cancel=True)
        name = "polling" if remote else "native"
    async with BACKENDS[name](root) as watcher:
        yield watcher
