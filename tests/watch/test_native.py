import os
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from watchdog.events import FileCreatedEvent, FileSystemEvent

from damd.watch.base import RootSettings, Sighting, Watcher
from damd.watch.native import NativeWatcher, SightingSet, _Handler

pytestmark = pytest.mark.anyio

BURST = """
import pathlib, sys
root = pathlib.Path(sys.argv[1])
for number in range(2000):
    folder = root / f"{number % 7}" / f"{number % 50}" / f"{number // 100}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.jpg").write_bytes(b"x")
"""

POUR = """
import itertools, pathlib, sys
root = pathlib.Path(sys.argv[1])
for number in itertools.count():
    folder = root / f"{number % 300}"
    folder.mkdir(exist_ok=True)
    (folder / f"{number % 5000}.jpg").write_bytes(b"x")
"""


async def until_sighted(watcher: Watcher, path: Path) -> list[Sighting]:
    """All that is sighted until a file at the root is: what was done before it has been reported by then."""
    await anyio.Path(path).write_bytes(b"the end")
    seen: list[Sighting] = []
    with anyio.fail_after(20):
        while not any(sighting.path == os.fsencode(path) for sighting in seen):
            seen += await watcher.next_batch()
    return seen


def files_below(folder: bytes) -> set[bytes]:
    return {where + b"/" + name for where, _, names in os.walk(folder) for name in names}


async def test_a_burst_into_nested_new_folders_by_another_process_is_wholly_covered(tmp_path: Path) -> None:
    found: set[bytes] = set()
    end = os.fsencode(tmp_path / "end")
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher, anyio.create_task_group() as tasks:

        async def burst() -> None:
            await anyio.run_process([sys.executable, "-c", BURST, str(tmp_path)])
            (tmp_path / "end").touch()

        tasks.start_soon(burst)
        with anyio.fail_after(30):
            while end not in found:
                for sighting in await watcher.next_batch():
                    # A mark must not come before the watches: what is missing now must be sighted later.
                    found |= files_below(sighting.path) if sighting.is_directory_mark else {sighting.path}
    assert found == files_below(os.fsencode(tmp_path))
    assert len(found) == 2001


async def test_a_closed_file_is_told_from_a_created_one(tmp_path: Path) -> None:
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        with (tmp_path / "open.jpg").open("wb"):
            seen = {sighting.path: sighting for sighting in await until_sighted(watcher, tmp_path / "closed.jpg")}
            assert not seen[bytes(tmp_path / "open.jpg")].closed
        seen = {sighting.path: sighting for sighting in await until_sighted(watcher, tmp_path / "end")}
        assert seen[bytes(tmp_path / "open.jpg")].closed


async def test_a_file_renamed_into_place_is_sighted_under_its_new_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.part").write_bytes(b"a")
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        (tmp_path / "a.jpg.part").rename(tmp_path / "a.jpg")
        seen = await until_sighted(watcher, tmp_path / "end")
    assert Sighting(bytes(tmp_path / "a.jpg"), closed=True) in seen
    assert bytes(tmp_path / "a.jpg.part") not in {sighting.path for sighting in seen}


async def test_a_folder_moved_in_is_marked_and_watched_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "deep" / "a.jpg").write_bytes(b"a")
    root = tmp_path / "root"
    root.mkdir()
    async with NativeWatcher(RootSettings(path=root)) as watcher:
        (tmp_path / "outside").rename(root / "inside")
        seen = await until_sighted(watcher, root / "end")
        assert Sighting(bytes(root / "inside"), is_directory_mark=True) in seen
        await until_sighted(watcher, root / "inside" / "deep" / "b.jpg")
        (root / "inside").rename(root / "renamed")
        seen = await until_sighted(watcher, root / "end2")
        assert Sighting(bytes(root / "renamed"), is_directory_mark=True) in seen


async def test_what_happens_in_folders_that_do_not_belong_to_the_root_is_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    async with NativeWatcher(RootSettings(path=tmp_path, recursive=False)) as watcher:
        (tmp_path / "old" / "a.jpg").write_bytes(b"a")
        (tmp_path / "new").mkdir()
        seen = await until_sighted(watcher, tmp_path / "end")
    assert {sighting.path for sighting in seen} == {bytes(tmp_path / "end")}


async def test_deletions_are_not_sighted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "folder").mkdir()
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        (tmp_path / "a.jpg").unlink()
        (tmp_path / "folder").rmdir()
        seen = await until_sighted(watcher, tmp_path / "end")
    assert {sighting.path for sighting in seen} == {bytes(tmp_path / "end")}


async def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        folder.mkdir()
        seen = await until_sighted(watcher, tmp_path / "end")
        assert Sighting(bytes(tmp_path) + b"/\xff\xfe", is_directory_mark=True) in seen
        seen = await until_sighted(watcher, folder / os.fsdecode(b"\xe9\n.jpg"))
        assert bytes(tmp_path) + b"/\xff\xfe/\xe9\n.jpg" in {sighting.path for sighting in seen}


async def test_a_watcher_that_nobody_empties_stays_within_its_bound(tmp_path: Path) -> None:
    async with NativeWatcher(RootSettings(path=tmp_path), bound=10) as watcher:
        for number in range(200):
            (tmp_path / f"{number}.jpg").touch()
        with anyio.fail_after(10):
            while not watcher._sightings._marks:
                await anyio.lowlevel.checkpoint()
            while not (batch := await watcher.next_batch())[-1].is_directory_mark:
                pass
    assert batch == [Sighting(bytes(tmp_path), is_directory_mark=True)]


async def test_leaving_while_events_pour_in_does_not_hang(tmp_path: Path) -> None:
    async with await anyio.open_process([sys.executable, "-c", POUR, str(tmp_path)]) as writer:
        with anyio.fail_after(20):
            for _ in range(5):
                async with NativeWatcher(RootSettings(path=tmp_path), bound=100) as watcher:
                    await watcher.next_batch()
        writer.kill()


async def test_leaving_when_cancelled_stops_the_threads(tmp_path: Path) -> None:
    watcher = NativeWatcher(RootSettings(path=tmp_path))
    with anyio.CancelScope() as scope:
        async with watcher:
            observer = watcher._observer
            scope.cancel()
            await watcher.next_batch()
    assert observer is not None
    assert not observer.is_alive()
    assert not any(emitter.is_alive() for emitter in observer.emitters)


async def test_an_exception_in_the_handler_costs_a_scan_and_not_the_watcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = _Handler.accept

    def stumble(handler: _Handler, event: FileSystemEvent) -> None:
        if isinstance(event, FileCreatedEvent) and event.src_path == str(tmp_path / "stone"):
            raise RuntimeError("stumbled")
        accept(handler, event)

    monkeypatch.setattr(_Handler, "accept", stumble)
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        (tmp_path / "stone").touch()
        with anyio.fail_after(10):
            assert await watcher.next_batch() == [Sighting(bytes(tmp_path), is_directory_mark=True)]
            await until_sighted(watcher, tmp_path / "end")


def test_an_event_from_elsewhere_marks_the_root(tmp_path: Path) -> None:
    sightings = SightingSet(bytes(tmp_path), bound=10, wake=lambda: None)
    handler = _Handler(RootSettings(path=tmp_path), bytes(tmp_path), sightings)
    handler.dispatch(FileCreatedEvent(f"{tmp_path}-beside/a.jpg"))
    assert sightings.take() == [Sighting(bytes(tmp_path), is_directory_mark=True)]


def test_a_loop_that_is_gone_does_not_end_watchdogs_thread(tmp_path: Path) -> None:
    async def never_left() -> NativeWatcher:
        return await NativeWatcher(RootSettings(path=tmp_path)).__aenter__()

    watcher = anyio.run(never_left)
    observer = watcher._observer
    assert observer is not None
    try:
        # In the test's own thread, since nobody is left who could tell when watchdog's has come by.
        for number in range(3):
            watcher._sightings.add(b"%d" % number, closed=False)
        assert observer.is_alive()
    finally:
        watcher._stop()


def test_files_collapse_into_their_folders_and_folders_into_the_root() -> None:
    sightings = SightingSet(b"/r", bound=10, wake=lambda: None)
    for number in range(11):
        sightings.add(b"/r/%d/%d.jpg" % (number % 3, number), closed=True)
    assert sorted(sighting.path for sighting in sightings.take()) == [b"/r/0", b"/r/1", b"/r/2"]
    for number in range(11):
        sightings.mark(b"/r/%d" % number)
    sightings.add(b"/r/0/a.jpg", closed=True)
    assert sightings.take() == [Sighting(b"/r", is_directory_mark=True)]
    assert sightings.take() == []


def test_a_close_is_not_forgotten_by_a_later_sighting() -> None:
    sightings = SightingSet(b"/r", bound=10, wake=lambda: None)
    sightings.add(b"/r/a", closed=True)
    sightings.add(b"/r/a", closed=False)
    assert sightings.take() == [Sighting(b"/r/a", closed=True)]


def test_whoever_takes_is_woken_once_until_it_has_taken() -> None:
    woken: list[bool] = []
    wake: Callable[[], None] = lambda: woken.append(True)  # noqa: E731
    sightings = SightingSet(b"/r", bound=10, wake=wake)
    for _ in range(2):
        for number in range(100):
            sightings.add(b"/r/%d" % number, closed=False)
        assert woken.pop()
        assert not woken
        sightings.take()
