"""An intake over real files, whose commands only note what is asked of them."""

import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from damd.ingest.ingest_file import IngestFileCommand
from damd.intake import Intake, waiting
from damd.intake.look import Look, look_at
from damd.results import IngestResult, IngestStatus
from damd.world import World

Ingest = Callable[[bytes], Awaitable[IngestResult]]

SUCCESS = IngestResult(status=IngestStatus.SUCCESS)


class Ingester:
    """A system that notes what is asked of it, and how much at a time."""

    def __init__(self, ingest: Ingest | None = None) -> None:
        self.started: list[bytes] = []
        self.moved_from: list[Path | None] = []
        self.ended: list[bytes] = []
        self.running: Counter[bytes] = Counter()
        self.most_of_one = self.most_of_all = 0
        self.changed = anyio.Event()
        self._ingest = ingest

    async def handle(self, cmd: IngestFileCommand) -> IngestResult:
        path = os.fsencode(cmd.file_path)
        self.started.append(path)
        self.moved_from.append(cmd.moved_from)
        self.running[path] += 1
        self.most_of_one = max(self.most_of_one, self.running[path])
        self.most_of_all = max(self.most_of_all, self.running.total())
        self._tell()
        try:
            return await self._ingest(path) if self._ingest else SUCCESS
        finally:
            self.running[path] -= 1
            self.ended.append(path)
            self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not condition():
                await self.changed.wait()


@asynccontextmanager
async def running(ingester: Ingester, *, concurrency: int = 4, capacity: int = 1000) -> AsyncIterator[Intake]:
    """An intake at work; left, it has stopped."""
    async with World() as world:
        world.register_system(ingester.handle, command_type=IngestFileCommand)
        intake = Intake(world, concurrency=concurrency, capacity=capacity)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(intake.run)
            yield intake
            intake.stop()


def inode(path: bytes) -> int:
    return os.stat(path).st_ino  # noqa: PTH116 - pathlib has no paths of bytes


async def idle(intake: Intake) -> None:
    with anyio.fail_after(10):
        while intake.lanes.waiting or intake.lanes.in_work:  # noqa: ASYNC110 - which it tells nobody
            await anyio.sleep(0.001)


def files(folder: Path, count: int) -> list[bytes]:
    folder.mkdir(exist_ok=True)
    paths = [folder / str(number) for number in range(count)]
    for path in paths:
        path.touch()
    return [os.fsencode(path) for path in paths]


class Gate:
    """Holds every ingest until it is opened."""

    def __init__(self) -> None:
        self.opened = anyio.Event()

    async def pass_through(self, path: bytes) -> IngestResult:
        await self.opened.wait()
        return SUCCESS


def hanging_looks(hanging: Callable[[bytes], bool], monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Looks at such paths hang, as on a mount that is dead, until the event is set."""
    revived = threading.Event()

    def look_or_hang(paths: Sequence[bytes]) -> list[Look]:
        if any(map(hanging, paths)):
            revived.wait(30)
        return look_at(paths)

    monkeypatch.setattr(waiting, "look_at", look_or_hang)
    return revived
