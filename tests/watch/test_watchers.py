"""What every watcher keeps to."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from structlog.testing import capture_logs
from watchdog.observers import inotify_c

from damd.errors import WatchError
from damd.watch import BACKENDS, open_watcher
from damd.watch.base import RootSettings, Watcher
from damd.watch.native import NativeWatcher
from damd.watch.polling import PollingWatcher

pytestmark = pytest.mark.anyio

MakeWatcher = Callable[[RootSettings], Watcher]


def polling(root: RootSettings) -> Watcher:
    return PollingWatcher(root)


@pytest.fixture(params=[NativeWatcher, polling], ids=["native", "polling"])
def make_watcher(request: pytest.FixtureRequest) -> MakeWatcher:
    make: MakeWatcher = request.param
    return make


async def covered(watcher: Watcher, path: Path) -> None:
    """Wait until a path is sighted, or lies below a mark; nothing is heard of what is not watched."""
    wanted = os.fsencode(path)
    if any(wanted.startswith(folder + b"/") for folder in watcher.unwatched):
        return
    with anyio.fail_after(10):
        while True:
            for sighting in await watcher.next_batch():
                below = wanted.startswith(sighting.path + b"/")
                if sighting.path == wanted or (sighting.is_mark and below):
                    return


async def test_a_file_written_after_entering_is_covered(make_watcher: MakeWatcher, tmp_path: Path) -> None:
    async with make_watcher(RootSettings(path=tmp_path)) as watcher:
        (tmp_path / "a.jpg").write_bytes(b"a")
        await covered(watcher, tmp_path / "a.jpg")
        (tmp_path / "new" / "folder").mkdir(parents=True)
        (tmp_path / "new" / "folder" / "b.jpg").write_bytes(b"b")
        await covered(watcher, tmp_path / "new" / "folder" / "b.jpg")


async def test_a_root_that_is_a_symbolic_link_is_watched_under_its_own_name(
    make_watcher: MakeWatcher, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "inbox").symlink_to("disk")
    async with make_watcher(RootSettings(path=tmp_path / "inbox")) as watcher:
        (tmp_path / "disk" / "a.jpg").write_bytes(b"a")
        await covered(watcher, tmp_path / "inbox" / "a.jpg")


async def test_a_root_that_is_not_there_is_refused(make_watcher: MakeWatcher, tmp_path: Path) -> None:
    with pytest.raises(WatchError, match="No such file") as caught:
        async with make_watcher(RootSettings(path=tmp_path / "gone")):
            pass
    assert caught.value.errno == errno.ENOENT


async def test_a_root_that_is_a_file_is_refused(make_watcher: MakeWatcher, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WatchError, match="Not a directory"):
        async with make_watcher(RootSettings(path=tmp_path / "file")):
            pass


async def test_waiting_can_be_cancelled_and_taken_up_again(make_watcher: MakeWatcher, tmp_path: Path) -> None:
    async with make_watcher(RootSettings(path=tmp_path)) as watcher:
        for _ in range(3):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await watcher.next_batch()
            assert scope.cancelled_caught
        (tmp_path / "a.jpg").write_bytes(b"a")
        await covered(watcher, tmp_path / "a.jpg")


async def test_whoever_waits_when_the_watcher_is_left_is_told(make_watcher: MakeWatcher, tmp_path: Path) -> None:
    told = anyio.Event()

    async def consume(watcher: Watcher) -> None:
        try:
            while True:
                await watcher.next_batch()
        except anyio.ClosedResourceError:
            told.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            async with make_watcher(RootSettings(path=tmp_path)) as watcher:
                tasks.start_soon(consume, watcher)
                await checkpoint()
            await told.wait()


async def test_a_local_folder_is_watched_natively_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    async with open_watcher(RootSettings(path=tmp_path)) as watcher:
        assert isinstance(watcher, NativeWatcher)
    async with open_watcher(RootSettings(path=tmp_path, backend="polling")) as watcher:
        assert isinstance(watcher, PollingWatcher)


async def test_a_network_mount_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("damd.watch.is_network_mount", lambda _: True)
    async with open_watcher(RootSettings(path=tmp_path)) as watcher:
        assert isinstance(watcher, PollingWatcher)
    async with open_watcher(RootSettings(path=tmp_path, backend="native")) as watcher:
        assert isinstance(watcher, NativeWatcher)


async def test_outside_linux_every_root_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    async with open_watcher(RootSettings(path=tmp_path)) as watcher:
        assert isinstance(watcher, PollingWatcher)
    with pytest.raises(WatchError, match="inotify is Linux's own"):
        async with open_watcher(RootSettings(path=tmp_path, backend="native")):
            pass


async def test_without_an_inotify_instance_a_root_is_polled_unless_the_settings_say_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_instance() -> int:
        ctypes.set_errno(errno.EMFILE)
        return -1

    # To use them all up would take them from whatever else the user runs.
    monkeypatch.setattr(inotify_c, "inotify_init", no_instance)
    with capture_logs() as lines:
        async with open_watcher(RootSettings(path=tmp_path)) as watcher:
            assert isinstance(watcher, PollingWatcher)
        with pytest.raises(WatchError, match="max_user_instances") as caught:
            async with open_watcher(RootSettings(path=tmp_path, backend="native")):
                pass
    assert caught.value.errno == errno.EMFILE
    [line] = [line for line in lines if line["log_level"] == "warning"]
    assert "max_user_instances" in line["event"]
    assert line["root"] == str(tmp_path)


async def test_nothing_is_unwatched_as_long_as_everything_is_heard(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        assert watcher.unwatched == frozenset()


def test_the_settings_offer_every_backend() -> None:
    for name in BACKENDS:
        assert RootSettings.model_validate({"path": "/photos", "backend": name}).backend == name


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a b", "x" * 65, "a\n"])
def test_a_name_that_would_not_do_in_a_path_or_a_metric_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        RootSettings.model_validate({"path": "/photos", "name": name})


@pytest.mark.parametrize("name", ["inbox", "Bücher", "a-b_c.d", "x" * 64, "..a"])
def test_a_name_of_letters_digits_and_dots_is_taken(name: str) -> None:
    assert RootSettings.model_validate({"path": "/photos", "name": name}).name == name


def test_a_root_is_not_scanned_more_often_than_every_second() -> None:
    with pytest.raises(ValueError, match="1s"):
        RootSettings.model_validate({"path": "/photos", "rescan": "999ms"})


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "max_user_watches"), (errno.EMFILE, "max_user_instances"), (errno.EACCES, "may read")],
)
def test_a_root_that_cannot_be_watched_says_what_to_do(number: int, advice: str) -> None:
    assert advice in str(WatchError("/photos", OSError(number, os.strerror(number))))
