"""What the tests of a watched root work with: where its sightings go, and a watcher that says what it is told."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import anyio
import anyio.lowlevel

from damd.errors import WatchError, WatchLostError
from damd.watch.base import RootSettings, Sighting
from damd.watch.root import WatchedRoot

MakeRoot = Callable[..., WatchedRoot]


class Sink:
    """Takes everything, or of what is only sighted, nothing."""

    def __init__(self) -> None:
        self.offered: list[str] = []
        self.sighted: list[str] = []
        self.moves: list[tuple[str, str]] = []
        self.reconciled = 0
        self.has_room = True
        self._changed = anyio.Event()

    def sight(
        self, path: bytes, *, root: str, settle_s: float, closed: bool = False, moved_from: bytes | None = None
    ) -> bool:
        assert (root, settle_s) == ("inbox", 0.5)
        if self.has_room:
            self.sighted.append(Path(os.fsdecode(path)).name)
            self._note_move(moved_from, path)
            self.tell()
        return self.has_room

    async def offer(self, path: bytes, *, root: str, settle_s: float, moved_from: bytes | None = None) -> None:
        assert (root, settle_s) == ("inbox", 0.5)
        await anyio.lowlevel.checkpoint()
        self.offered.append(Path(os.fsdecode(path)).name)
        self._note_move(moved_from, path)
        self.tell()

    def _note_move(self, before: bytes | None, after: bytes) -> None:
        if before is not None:
            one, other = ("/".join(Path(os.fsdecode(path)).parts[-2:]) for path in (before, after))
            self.moves.append((one, other))

    async def caught_up(self, root: str) -> frozenset[int]:
        await anyio.lowlevel.checkpoint()
        return frozenset()

    async def note_reconciled(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.reconciled += 1
        self.tell()

    def tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not condition():
                await self._changed.wait()


class Watches:
    """A watcher that tells what the test tells it; entered as often as it is asked for."""

    def __init__(self) -> None:
        self.entered = 0
        self.unwatched: frozenset[bytes] = frozenset()
        self.watches = 0
        self.canary: Path | None = None
        self._told: list[Sighting] = []
        self._lost: str | None = None
        self._something = anyio.Event()

    @asynccontextmanager
    async def open(
        self, root: RootSettings, wants: Callable[[bytes], bool], canary: Path | None
    ) -> AsyncIterator[Self]:
        if not root.path.is_dir():
            raise WatchError(str(root.path), FileNotFoundError(2, "No such file or directory"))
        self.entered += 1
        self.canary = canary
        yield self

    async def next_batch(self) -> list[Sighting]:
        await self._something.wait()
        self._something = anyio.Event()
        if self._lost is not None:
            lost, self._lost = self._lost, None
            raise WatchLostError(lost)
        told, self._told = self._told, []
        return told

    def tell(self, *sightings: Sighting) -> None:
        self._told += sightings
        self._something.set()

    def lose(self, reason: str) -> None:
        self._lost = reason
        self._something.set()


@asynccontextmanager
async def running(root: WatchedRoot, sink: Sink) -> AsyncIterator[None]:
    """The root at work, reconciled for the first time or found not to be there."""
    before = sink.reconciled
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(10):
            await tasks.start(lambda task_status: root.run(sink, sink.note_reconciled, task_status=task_status))
        await sink.until(lambda: sink.reconciled > before)
        yield
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """What tells nobody when it changes."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - it tells nobody
            await anyio.sleep(0.001)


def mark(path: Path, *, moved_from: Path | None = None) -> Sighting:
    return Sighting(os.fsencode(path), is_mark=True, moved_from=None if moved_from is None else os.fsencode(moved_from))


def sight(path: Path, *, moved_from: Path | None = None) -> Sighting:
    return Sighting(os.fsencode(path), moved_from=None if moved_from is None else os.fsencode(moved_from))


def move(one: Path, elsewhere: Path) -> None:
    one.rename(elsewhere)
