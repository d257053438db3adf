"""The roots that a daemon watches: each in a task of its own, so that they can come and go while it runs."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.intake import Intake
from damd.mounts import Mounts
from damd.watch.base import RootSettings
from damd.watch.ignore import IgnoreRules
from damd.watch.root import WatchedRoot
from damd.watch.scan import Surroundings
from damd.watch.tree import Tree
from damd.world import World

_log = structlog.get_logger(__name__)

_CANARIES = "canaries"
"""Files that are touched to see whether the kernel's events still arrive; one for each root, none in a root."""


class _AtWork:
    """A watched root, and how to end it."""

    def __init__(self, settings: RootSettings, root: WatchedRoot) -> None:
        self.settings = settings
        self.root = root
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()


class Watching:
    """The watched roots.

    Args:
        world: Whose catalogue.
        intake: Takes what is sighted.
        state: damd's own folder, which is no business of any root.
        on_compared: Awaited when all roots that there are have been compared for the first time, or are not there.
    """

    def __init__(self, world: World, intake: Intake, state: Path, on_compared: Callable[[], Awaitable[None]]) -> None:
        self._world = world
        self._intake = intake
        self._state = state
        self._on_compared = on_compared
        self._at_work: dict[str, _AtWork] = {}
        self._uncompared: set[str] = set()
        self._is_news = False
        self._tasks: TaskGroup | None = None

    @property
    def roots(self) -> list[WatchedRoot]:
        """Those that are watched now, by the order of the configuration."""
        return [each.root for each in self._at_work.values()]

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Watch until cancelled; started at once, with no root."""
        async with anyio.create_task_group() as self._tasks:
            task_status.started()
            await anyio.sleep_forever()

    def differing(self, wanted: Mapping[str, RootSettings], folders: Mapping[str, bytes]) -> set[str]:
        """The roots that are watched, and are not among these, or not as they are, or not where they are."""
        return {
            name
            for name, each in self._at_work.items()
            if wanted.get(name) != each.settings or folders.get(name) != each.root.tree.folder
        }

    async def until_left(self, root: WatchedRoot) -> None:
        """Wait until this one is watched no more, or not as it was."""
        for each in list(self._at_work.values()):
            if each.root is root:
                await each.ended.wait()

    async def leave(self, names: set[str], *, within_s: float) -> None:
        """Watch these no more; returns when what is in work of them has come to its end, or the time is over.

        What waits in them is dropped: whoever watches them next finds it again. What hangs is left behind.
        """
        leaving = {name: self._at_work.pop(name) for name in names}
        for each in leaving.values():
            each.scope.cancel()
        with anyio.move_on_after(within_s):
            for each in leaving.values():
                await each.ended.wait()
        for name in names:
            self._intake.forget(name)
            self._uncompared.discard(name)
        with anyio.move_on_after(within_s):
            for name in names:
                await self._intake.until_ended(name)

    async def enter(self, wanted: Mapping[str, RootSettings]) -> None:
        """Watch those of these that are not watched yet; returns when they are armed, or turned out not to be there."""
        assert self._tasks is not None  # noqa: S101 - it runs
        new = {name: settings for name, settings in wanted.items() if name not in self._at_work}
        for name, settings in new.items():
            self._at_work[name] = _AtWork(settings, self._make(name, settings))
        self._at_work = {name: self._at_work[name] for name in wanted}
        self._uncompared |= new.keys()
        self._is_news |= bool(new)
        # Together, since one that does not answer takes its time.
        async with anyio.create_task_group() as starting:
            for name in new:
                starting.start_soon(self._tasks.start, self._watch, self._at_work[name])
        await self._tell_if_compared()

    async def _watch(self, at_work: _AtWork, *, task_status: TaskStatus[None]) -> None:
        root = at_work.root
        try:
            with at_work.scope:
                compared = functools.partial(self._compared, root.tree.root)
                await root.run(self._intake, compared, task_status=task_status)
        finally:
            at_work.ended.set()

    async def _compared(self, name: str) -> None:
        self._uncompared.discard(name)
        await self._tell_if_compared()

    async def _tell_if_compared(self) -> None:
        if self._is_news and not self._uncompared:
            self._is_news = False
            await self._on_compared()

    def _are_others_busy(self, name: str) -> bool:
        return any(root.is_busy for root in self.roots if root.tree.root != name)

    def _make(self, name: str, settings: RootSettings) -> WatchedRoot:
        world = self._world
        # One spelling for the folder in the watcher, the tree and the catalogue.
        folder = world.get_resource(Roots).folder(name)
        tree = Tree(
            root=name,
            folder=folder,
            recursive=settings.recursive,
            rules=IgnoreRules(settings.ignore, include=settings.include, folder=folder),
            excluded=os.path.realpath(os.fsencode(self._state)),
            follow_symlinks=settings.follow_symlinks,
        )
        around = Surroundings(
            catalogue=world.get_resource(Catalogue),
            roots=world.get_resource(Roots),
            mounts=world.get_resource(Mounts),
            announce=world.dispatch_event,
            canary=self._state / _CANARIES / name,
            are_others_busy=functools.partial(self._are_others_busy, name),
        )
        return WatchedRoot(settings.model_copy(update={"path": Path(os.fsdecode(folder))}), tree, around)
