"""A root whose file system does not answer: it costs the others nothing, and nobody waits for it at the end."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from bench import Bench

from damd.fingerprint import calculate_hash, look_in
from damd.ingest.ingest_file import IngestFileCommand

pytestmark = pytest.mark.anyio

MORE_THAN_THERE_ARE_THREADS = 50


class DeadMount:
    """A folder on a server that has gone: none of the given system calls returns for it and what is below.

    Attributes:
        hanging: So many threads wait for it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._changing = threading.Lock()
        self._answers = threading.Event()
        self.hanging = 0

    def die(self, folder: Path, *calls: str) -> None:
        self._answers.clear()
        for name in calls:
            self._monkeypatch.setattr(os, name, self._hanging(getattr(os, name), folder))

    def revive(self) -> None:
        self._answers.set()

    def _hanging(self, call: Callable[..., Any], folder: Path) -> Callable[..., Any]:
        def hang(path: Any, *arguments: Any, **named: Any) -> Any:
            if not self._answers.is_set() and _is_within(path, folder):
                self._count(1)
                self._answers.wait(30)
                self._count(-1)
            return call(path, *arguments, **named)

        return hang

    def _count(self, difference: int) -> None:
        with self._changing:
            self.hanging += difference

    async def wait_for(self, hanging: int) -> None:
        with anyio.fail_after(10):
            while self.hanging != hanging:
                await anyio.lowlevel.checkpoint()


def _is_within(path: Any, folder: Path) -> bool:
    return not isinstance(path, int) and os.fsencode(path).startswith(os.fsencode(folder))


def command(path: Path) -> IngestFileCommand:
    return IngestFileCommand(file_path=path)


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadMount]:
    mount = DeadMount(monkeypatch)
    yield mount
    mount.revive()


@pytest.mark.parametrize("call", ["open", "lstat", "stat"])
async def test_one_root_that_does_not_answer_leaves_the_others_their_threads(
    bench: Bench, mount: DeadMount, call: str
) -> None:
    for number in range(MORE_THAN_THERE_ARE_THREADS):
        (bench.folder / str(number)).write_text(str(number))
    (bench.shelf / "a.txt").write_text(f"words of {call}")
    (bench.outside / "a.txt").write_text("other words")
    mount.die(bench.folder, call)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(MORE_THAN_THERE_ARE_THREADS):
                tasks.start_soon(bench.world.dispatch_command, command(bench.folder / str(number)))
            await mount.wait_for(4)
            shelved = (await bench.world.dispatch_command(command(bench.shelf / "a.txt"))).one()
            assert shelved.status == "SUCCESS"
            outside = (await bench.world.dispatch_command(command(bench.outside / "a.txt"))).one()
            assert outside.reason.startswith("Unsupported file type")
            assert mount.hanging == 4
            assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            tasks.cancel_scope.cancel()
    assert mount.hanging == 4  # nobody has waited for them
    mount.revive()
    await mount.wait_for(0)
    assert (await bench.known(bench.folder / "0")) == (None, None)


async def test_an_ingest_that_is_given_up_does_not_wait_for_the_last_look_either(
    bench: Bench, mount: DeadMount
) -> None:
    path = bench.picture("a.jpg")
    bench.before_reading = lambda _: mount.die(bench.folder, "stat")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.world.dispatch_command, command(path))
            await mount.wait_for(1)
            tasks.cancel_scope.cancel()
    assert mount.hanging == 1
    mount.revive()
    await mount.wait_for(0)
    assert await bench.known(path) == (None, None)
    bench.reset()
    assert (await bench.ingest(path)).status == "SUCCESS"


async def test_what_may_have_come_from_a_root_that_does_not_answer_is_not_waited_for(
    bench: Bench, mount: DeadMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [bench.picture(f"{number}.jpg") for number in range(6)]
    assets = [(await bench.ingest(path)).asset_id for path in pictures]
    moved = [path.rename(bench.shelf / path.name) for path in pictures]
    mount.die(bench.folder, "lstat")
    monkeypatch.setattr("damd.ingest.moves._PATIENCE_S", 0.05)
    for path, asset_id in zip(moved[:2], assets, strict=False):
        result = await bench.ingest(path)
        assert (result.reason, result.asset_id) == ("Duplicate hash", asset_id)
    monkeypatch.setattr("damd.ingest.moves._PATIENCE_S", 30.0)
    await mount.wait_for(4)
    with anyio.fail_after(10):
        assert (await bench.ingest(moved[2])).reason == "Duplicate hash"
    assert mount.hanging == 4
    assert bench.moved == []
    mount.revive()
    await mount.wait_for(0)
    assert (await bench.ingest(moved[3])).reason == "Moved"
    assert [event.asset_id for event in bench.moved] == [assets[3]]


async def test_the_threads_of_one_root_are_few_and_nobody_else_s(tmp_path: Path, mount: DeadMount) -> None:
    dead, alive = tmp_path / "dead", tmp_path / "alive"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "file").write_text("content")
    mount.die(dead, "open")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(MORE_THAN_THERE_ARE_THREADS):
                tasks.start_soon(lambda: calculate_hash(dead / "file", root="dead"))
            await mount.wait_for(4)
            assert await calculate_hash(alive / "file") == await calculate_hash(alive / "file", root="alive")
            assert await look_in("alive", os.path.lexists, alive / "file")
            with anyio.move_on_after(0.05) as scope:
                await look_in("dead", os.path.lexists, alive / "file")
            assert scope.cancelled_caught
            tasks.cancel_scope.cancel()
    mount.revive()
    await mount.wait_for(0)
