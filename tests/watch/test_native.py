"""The native watcher's threads, limits and doubts; what its events mean is in test_arming.py."""

import ctypes
import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from structlog.testing import capture_logs
from watchdog.observers import inotify_c
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent
from watched import files_below, until_marked, until_sighted

from damd.errors import WatchError, WatchLostError
from damd.watch.arming import WatchedFolders
from damd.watch.base import RootSettings, Sighting
from damd.watch.inotify import Inotify
from damd.watch.native import NativeWatcher

pytestmark = pytest.mark.anyio

BURST = """
import pathlib, sys
root = pathlib.Path(sys.argv[1])
for number in range(1000):
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

# Two files in turn, since the kernel tells the same thing only once.
OVERFLOW = """
import os, sys
files = [os.open(f"{sys.argv[1]}/{name}", os.O_CREAT | os.O_WRONLY) for name in "ab"]
for number in range(int(open("/proc/sys/fs/inotify/max_queued_events").read()) + 100):
    os.utime(files[number % 2])
"""


class Gate:
    """A `wants_folder` that holds the watcher's thread up, from the first folder on until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _: bytes) -> bool:
        self.reached.set()
        assert self.opened.wait(20)
        return True


@contextmanager
def held_up(gate: Gate) -> Iterator[None]:
    try:
        assert gate.reached.wait(10)
        yield
    finally:
        gate.opened.set()


class Resources:
    """The threads and descriptors of a moment; those of earlier tests may still be closed later."""

    def __init__(self) -> None:
        self.threads = {thread for thread in threading.enumerate() if "AnyIO" not in thread.name}
        self.descriptors = {
            (link.name, link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()
        }

    def are_all(self) -> bool:
        """Whether there is nothing now that was not there then."""
        now = Resources()
        return now.threads <= self.threads and now.descriptors <= self.descriptors


async def loss_of(watcher: NativeWatcher) -> str:
    """Why the watcher is lost: it is told again whenever it is asked."""
    with anyio.fail_after(20):
        while True:
            try:
                await watcher.next_batch()
            except WatchLostError as error:
                with pytest.raises(WatchLostError):
                    await watcher.next_batch()
                return error.reason


async def test_a_burst_into_nested_new_folders_by_another_process_is_wholly_covered(tmp_path: Path) -> None:
    found: set[bytes] = set()
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher, anyio.create_task_group() as tasks:

        async def burst() -> None:
            await anyio.run_process([sys.executable, "-c", BURST, str(tmp_path)])

        tasks.start_soon(burst)
        with anyio.fail_after(30):
            # Folders are armed, and marked, after files that came later have been sighted.
            while len(found) < 1000:
                for sighting in await watcher.next_batch():
                    # A mark must not come before the watches: what is missing now must be sighted later.
                    found |= files_below(sighting.path) if sighting.is_mark else {sighting.path}
    assert found == files_below(os.fsencode(tmp_path))


async def test_a_watcher_that_nobody_empties_stays_within_its_bound(tmp_path: Path) -> None:
    async with NativeWatcher(RootSettings(path=tmp_path), bound=10) as watcher:
        for number in range(200):
            (tmp_path / f"{number}.jpg").touch()
        with anyio.fail_after(10):
            while not watcher._sightings._marks:
                await anyio.lowlevel.checkpoint()
            while not (batch := await watcher.next_batch())[-1].is_mark:
                pass
    assert batch == [Sighting(bytes(tmp_path), is_mark=True)]


async def test_leaving_while_events_pour_in_does_not_hang(tmp_path: Path) -> None:
    async with await anyio.open_process([sys.executable, "-c", POUR, str(tmp_path)]) as writer:
        with anyio.fail_after(20):
            for _ in range(5):
                async with NativeWatcher(RootSettings(path=tmp_path), bound=100) as watcher:
                    await watcher.next_batch()
        writer.kill()


async def test_neither_threads_nor_descriptors_are_left_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    await to_thread.run_sync(lambda: None)
    async with NativeWatcher(RootSettings(path=tmp_path)):
        pass
    before = Resources()
    for _ in range(3):
        with anyio.CancelScope() as scope:
            async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
                assert not before.are_all()
                scope.cancel()
                await watcher.next_batch()
    assert before.are_all()


async def test_nothing_is_left_behind_by_a_root_that_cannot_be_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Resources()
    monkeypatch.setattr(inotify_c, "inotify_add_watch", refusing(errno.EACCES))
    with pytest.raises(WatchError, match="may read"):
        async with NativeWatcher(RootSettings(path=tmp_path)):
            pass
    assert before.are_all()


async def test_entering_can_be_cancelled_while_the_tree_is_walked(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    gate = Gate()
    before = Resources()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:

            async def enter() -> None:
                async with NativeWatcher(RootSettings(path=tmp_path), gate):
                    raise AssertionError("armed before its folders were")

            tasks.start_soon(enter)
            with anyio.fail_after(5):
                while not gate.reached.is_set():
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
            gate.opened.set()
    assert before.are_all()


def refusing(number: int, *, after: int = 0) -> object:
    """inotify_add_watch(2) as it is once `after` watches were added."""
    add = inotify_c.inotify_add_watch
    added: set[int] = set()

    def add_some(fd: int, path: bytes, mask: int) -> int:
        wd = add(fd, path, mask)
        if wd in added or len(added) < after:
            added.add(wd)
            return wd
        inotify_c.inotify_rm_watch(fd, wd)
        ctypes.set_errno(number)
        return -1

    return add_some


async def test_folders_beyond_the_limit_of_watches_are_unwatched_and_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        (tmp_path / f"{number}" / "below").mkdir(parents=True)
    monkeypatch.setattr(inotify_c, "inotify_add_watch", refusing(errno.ENOSPC, after=7))
    with capture_logs() as lines:
        async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
            assert len(watcher.unwatched) == 7
            assert {path.rpartition(b"/")[0] for path in watcher.unwatched} == {bytes(tmp_path)}
            (tmp_path / "new").mkdir()
            await until_marked(watcher, tmp_path / "new")
            assert bytes(tmp_path / "new") in watcher.unwatched
    [line] = [line for line in lines if line["log_level"] == "warning"]
    assert (line["root"], line["folders"]) == (str(tmp_path), 7)
    assert "fs.inotify.max_user_watches" in line["event"]


async def test_a_root_for_which_no_watch_is_left_is_wholly_unwatched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify_c, "inotify_add_watch", refusing(errno.ENOSPC))
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        assert watcher.unwatched == {bytes(tmp_path)}
        with anyio.move_on_after(0.01) as scope:
            await watcher.next_batch()
    assert scope.cancelled_caught


async def test_an_overflow_is_told_once_and_a_new_watcher_works(tmp_path: Path) -> None:
    gate = Gate()
    with capture_logs() as lines:
        async with NativeWatcher(RootSettings(path=tmp_path), gate) as watcher:
            (tmp_path / "folder").mkdir()
            with held_up(gate):
                await anyio.run_process([sys.executable, "-c", OVERFLOW, str(tmp_path)])
            assert await loss_of(watcher) == "the kernel's queue overflowed"
    assert lines == []
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        await until_sighted(watcher, tmp_path / "folder" / "a.jpg")


@pytest.mark.parametrize("how", ["delete", "rename"])
async def test_a_root_that_goes_away_is_told(tmp_path: Path, how: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    async with NativeWatcher(RootSettings(path=root)) as watcher:
        if how == "delete":
            root.rmdir()
        else:
            root.rename(tmp_path / "elsewhere")
        assert await loss_of(watcher) == "the root was deleted or renamed"


async def test_an_unmount_is_told(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        assert watcher._inotify is not None
        [disk] = watcher._folders._folders.root.below.values()  # type: ignore[union-attr]  # it has been entered
        # To mount takes privileges; this is what the kernel says, in the test's thread.
        watcher._inotify.handle_event(InotifyEvent(disk.wd, InotifyConstants.IN_UNMOUNT, 0, b""))  # type: ignore[arg-type]
        assert await loss_of(watcher) == f"{tmp_path / 'disk'} was unmounted"


async def test_an_exception_about_an_event_is_logged_once_and_told_and_the_thread_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_: WatchedFolders, event: InotifyEvent) -> None:
        raise RuntimeError(f"stumbled over {event.name!r}")

    monkeypatch.setattr(WatchedFolders, "on_event", stumble)
    with capture_logs() as lines:
        async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
            for number in range(3):
                (tmp_path / f"{number}").touch()
            assert await loss_of(watcher) == "an event was not understood"
            assert watcher._inotify is not None
            assert watcher._inotify.is_alive()
    assert [line["event"] for line in lines] == ["watch event not understood"]


async def test_a_thread_that_died_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: Inotify) -> list[InotifyEvent]:
        raise OSError(errno.EIO, "died")

    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        monkeypatch.setattr(Inotify, "read_events", die)
        with capture_logs() as lines:
            (tmp_path / "a.jpg").touch()
            assert await loss_of(watcher) == "the thread that reads the kernel's events died"
    assert [line["event"] for line in lines] == ["inotify thread died"]


async def test_a_canary_is_made_and_touched_again(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    path = tmp_path / "state" / "canaries" / "root"
    touched: set[int] = set()
    with anyio.fail_after(10):
        async with (
            NativeWatcher(RootSettings(path=tmp_path / "root"), canary=path, canary_every_s=0.01) as watcher,
            anyio.create_task_group() as tasks,
        ):
            watcher._canary_deadline_s = watcher._canary._deadline_s = 0.5
            tasks.start_soon(watcher.next_batch)
            while len(touched) < 2:
                await anyio.sleep(0.01)  # a file tells nobody
                if path.exists():
                    touched.add(path.stat().st_mtime_ns)
            tasks.cancel_scope.cancel()
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_canary_that_does_not_come_back_is_told(tmp_path: Path) -> None:
    gate = Gate()
    root = tmp_path / "root"
    root.mkdir()
    async with NativeWatcher(
        RootSettings(path=root), gate, tmp_path / "canary", canary_every_s=0.01, canary_deadline_s=0.02
    ) as watcher:
        (root / "folder").mkdir()
        with held_up(gate):
            assert await loss_of(watcher) == "the kernel's events do not arrive any more"


async def test_a_canary_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "file").touch()
    with capture_logs() as lines:
        async with NativeWatcher(
            RootSettings(path=tmp_path / "root"), canary=tmp_path / "file" / "canary", canary_every_s=0.001
        ) as watcher:
            with anyio.move_on_after(0.05) as scope:
                await watcher.next_batch()
            assert scope.cancelled_caught
            await until_sighted(watcher, tmp_path / "root" / "a.jpg")
    assert [line["event"] for line in lines] == ["no canary"]


def test_a_loop_that_is_gone_does_not_end_the_thread(tmp_path: Path) -> None:
    async def never_left() -> NativeWatcher:
        return await NativeWatcher(RootSettings(path=tmp_path)).__aenter__()

    watcher = anyio.run(never_left)
    assert watcher._inotify is not None
    try:
        # In the test's own thread, since nobody is left who could tell when watchdog's has come by.
        for number in range(3):
            watcher._sightings.add(b"%d" % number, closed=False)
        assert watcher._inotify.is_alive()
    finally:
        watcher._stop()
