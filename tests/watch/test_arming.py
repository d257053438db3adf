"""What the native watcher's events mean, and which folders it watches."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from watched import until_marked, until_sighted

from damd.errors import WatchError
from damd.watch.base import RootSettings, Sighting
from damd.watch.native import NativeWatcher

pytestmark = pytest.mark.anyio


def mark(path: Path, moved_from: Path | None = None) -> Sighting:
    return Sighting(bytes(path), is_mark=True, moved_from=None if moved_from is None else bytes(moved_from))


def watched(watcher: NativeWatcher) -> dict[bytes, int]:
    """The paths of the folders that are watched, as far as the watcher knows."""
    assert watcher._folders is not None
    folders = watcher._folders._folders
    paths = {wd: folders.path_of(folder) for wd, folder in folders._by_wd.items()}
    return {path: wd for wd, path in paths.items() if path is not None}


def watches_of(descriptor: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return sum(line.startswith("inotify ") for line in lines)


async def number_of_watches(watcher: NativeWatcher, wanted: int) -> None:
    """Wait until the kernel has this many."""
    assert watcher._inotify is not None
    with anyio.fail_after(10):
        while True:
            if watches_of(watcher._inotify._inotify_fd) == wanted:
                return
            await anyio.lowlevel.checkpoint()


async def test_a_closed_file_is_told_from_a_created_one(tmp_path: Path) -> None:
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        with (tmp_path / "open.jpg").open("wb"):
            seen = {sighting.path: sighting for sighting in await until_sighted(watcher, tmp_path / "closed.jpg")}
            assert not seen[bytes(tmp_path / "open.jpg")].closed
        seen = {sighting.path: sighting for sighting in await until_sighted(watcher, tmp_path / "end")}
        assert seen[bytes(tmp_path / "open.jpg")].closed


async def test_a_renamed_file_is_sighted_with_where_it_came_from_and_its_old_path_is_marked(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"a")
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        (tmp_path / "a.jpg").rename(tmp_path / "folder" / "b.jpg")
        seen = await until_sighted(watcher, tmp_path / "end")
    assert Sighting(bytes(tmp_path / "folder" / "b.jpg"), closed=True, moved_from=bytes(tmp_path / "a.jpg")) in seen
    assert mark(tmp_path / "a.jpg") in seen
    assert len(seen) == 3


async def test_a_file_moved_in_is_sighted_and_one_moved_out_is_marked(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out.jpg").touch()
    (tmp_path / "in.jpg").touch()
    async with NativeWatcher(RootSettings(path=root)) as watcher:
        (root / "out.jpg").rename(tmp_path / "out.jpg")
        (tmp_path / "in.jpg").rename(root / "in.jpg")
        seen = await until_sighted(watcher, root / "end")
    assert Sighting(bytes(root / "in.jpg"), closed=True) in seen
    assert mark(root / "out.jpg") in seen


async def test_whatever_is_deleted_is_marked(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "folder").mkdir()
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        (tmp_path / "a.jpg").unlink()
        (tmp_path / "folder").rmdir()
        seen = await until_sighted(watcher, tmp_path / "end")
        assert {sighting for sighting in seen if sighting.is_mark} == {
            mark(tmp_path / "a.jpg"),
            mark(tmp_path / "folder"),
        }
        await number_of_watches(watcher, 1)
        assert list(watched(watcher)) == [bytes(tmp_path)]


async def test_a_folder_moved_in_is_marked_and_watched_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "deep" / "a.jpg").write_bytes(b"a")
    root = tmp_path / "root"
    root.mkdir()
    async with NativeWatcher(RootSettings(path=root)) as watcher:
        (tmp_path / "outside").rename(root / "inside")
        await until_marked(watcher, root / "inside")
        await until_sighted(watcher, root / "inside" / "deep" / "b.jpg")


async def test_a_folder_renamed_in_the_root_keeps_its_watches_under_its_new_path(tmp_path: Path) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    new = tmp_path / "elsewhere" / "new"
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        before = watched(watcher)
        (tmp_path / "old").rename(new)
        seen = await until_sighted(watcher, new / "deep" / "a.jpg")
        assert mark(new, moved_from=tmp_path / "old") in seen
        assert mark(tmp_path / "old") in seen
        after = watched(watcher)
        assert after.keys() == {bytes(path) for path in (tmp_path, tmp_path / "elsewhere", new, new / "deep")}
        assert sorted(after.values()) == sorted(before.values())
        await number_of_watches(watcher, 4)


async def test_folders_that_trade_places_are_both_heard_under_their_new_paths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / f"in {name}").mkdir(parents=True)
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        (tmp_path / "a").rename(tmp_path / "t")
        (tmp_path / "b").rename(tmp_path / "a")
        (tmp_path / "t").rename(tmp_path / "b")
        await until_sighted(watcher, tmp_path / "end")
        await until_sighted(watcher, tmp_path / "a" / "in b" / "1.jpg")
        await until_sighted(watcher, tmp_path / "b" / "in a" / "2.jpg")
        await number_of_watches(watcher, 5)


async def test_a_folder_moved_out_is_marked_and_heard_of_no_more(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder" / "deep").mkdir(parents=True)
    async with NativeWatcher(RootSettings(path=root)) as watcher:
        (root / "folder").rename(tmp_path / "outside")
        assert mark(root / "folder") in await until_sighted(watcher, root / "end")
        await number_of_watches(watcher, 1)
        (tmp_path / "outside" / "deep" / "a.jpg").touch()
        seen = {sighting.path for sighting in await until_sighted(watcher, root / "end2")}
        assert seen <= {bytes(root / "end"), bytes(root / "end2")}  # the first one's close may come late
        (tmp_path / "outside").rename(root / "back")
        await until_marked(watcher, root / "back")
        await until_sighted(watcher, root / "back" / "deep" / "b.jpg")


async def test_a_folder_deleted_and_made_again_at_once_is_heard(tmp_path: Path) -> None:
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        for _ in range(50):
            (tmp_path / "folder" / "deep").mkdir(parents=True, exist_ok=True)
            shutil.rmtree(tmp_path / "folder")
        (tmp_path / "folder" / "deep").mkdir(parents=True)
        await until_sighted(watcher, tmp_path / "end")
        await number_of_watches(watcher, 3)
        await until_sighted(watcher, tmp_path / "folder" / "deep" / "a.jpg")


async def test_after_many_renames_of_nested_folders_the_watches_are_where_the_folders_are(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number % 3}" / f"{number % 4}" / f"{number}").mkdir(parents=True)
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        for number in range(300):
            source = tmp_path / f"{number % 3}" / f"{number * 7 % 4}"
            target = tmp_path / f"{number * 5 % 3}" / f"{number * 3 % 5}"
            with suppress(OSError):
                source.rename(target / "in" if number % 2 else target)
        await until_sighted(watcher, tmp_path / "end")
        there = {where for where, _, _ in os.walk(bytes(tmp_path))}
        await number_of_watches(watcher, len(there))
        assert watched(watcher).keys() == there


async def test_a_folder_that_is_not_wanted_is_not_watched_nor_anything_below_it(tmp_path: Path) -> None:
    (tmp_path / "wanted" / "skip" / "below").mkdir(parents=True)
    (tmp_path / "skip" / "below").mkdir(parents=True)
    async with NativeWatcher(RootSettings(path=tmp_path), lambda path: not path.endswith(b"/skip")) as watcher:
        assert watched(watcher).keys() == {bytes(tmp_path), bytes(tmp_path / "wanted")}
        (tmp_path / "new" / "skip" / "below").mkdir(parents=True)
        (tmp_path / "skip" / "below" / "a.jpg").touch()
        await until_marked(watcher, tmp_path / "new")
        seen = await until_sighted(watcher, tmp_path / "new" / "a.jpg")
        assert bytes(tmp_path / "skip" / "below" / "a.jpg") not in {sighting.path for sighting in seen}
        (tmp_path / "new").rename(tmp_path / "wanted" / "skip" / "new")
        await until_sighted(watcher, tmp_path / "end")
        (tmp_path / "wanted").rename(tmp_path / "skip" / "wanted")
        await number_of_watches(watcher, 1)


async def test_a_folder_renamed_into_one_that_is_not_wanted_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "wanted" / "below").mkdir(parents=True)
    async with NativeWatcher(RootSettings(path=tmp_path), lambda path: not path.endswith(b"/skip")) as watcher:
        (tmp_path / "wanted").rename(tmp_path / "skip")
        assert mark(tmp_path / "wanted") in await until_sighted(watcher, tmp_path / "end")
        await number_of_watches(watcher, 1)
        (tmp_path / "skip").rename(tmp_path / "wanted")
        await number_of_watches(watcher, 3)
        await until_sighted(watcher, tmp_path / "wanted" / "below" / "a.jpg")


async def test_links_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    async with NativeWatcher(RootSettings(path=root)) as watcher:
        (root / "another").symlink_to(tmp_path / "outside")
        await until_sighted(watcher, root / "end")
        assert watched(watcher).keys() == {bytes(root), bytes(root / "folder")}


async def test_what_happens_in_folders_that_do_not_belong_to_the_root_is_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    async with NativeWatcher(RootSettings(path=tmp_path, recursive=False)) as watcher:
        (tmp_path / "old" / "a.jpg").write_bytes(b"a")
        (tmp_path / "new").mkdir()
        (tmp_path / "new").rename(tmp_path / "newer")
        (tmp_path / "newer").rmdir()
        seen = await until_sighted(watcher, tmp_path / "end")
    assert {sighting.path for sighting in seen} == {bytes(tmp_path / "end")}


async def test_changed_attributes_sight_a_file_and_mark_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.jpg").touch()
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        (tmp_path / "folder" / "a.jpg").chmod(0o600)
        (tmp_path / "folder").chmod(0o700)
        os.utime(tmp_path)
        seen = await until_sighted(watcher, tmp_path / "end")
    assert set(seen) >= {Sighting(bytes(tmp_path / "folder" / "a.jpg")), mark(tmp_path / "folder")}
    assert bytes(tmp_path) not in {sighting.path for sighting in seen}


async def test_a_folder_that_may_not_be_read_is_unwatched_until_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "closed" / "below").mkdir(parents=True)
    (tmp_path / "open").mkdir()
    locked = tmp_path / "closed"
    locked.chmod(0)
    if os.access(locked, os.R_OK):
        pytest.skip("whoever runs this may read anything")
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        assert watcher.unwatched == {bytes(locked)}
        await until_sighted(watcher, tmp_path / "open" / "a.jpg")
        locked.chmod(0o700)
        await until_marked(watcher, locked)
        assert watcher.unwatched == frozenset()
        await until_sighted(watcher, locked / "below" / "b.jpg")


async def test_an_unwatched_folder_that_went_away_is_not_named_any_more(tmp_path: Path) -> None:
    long = tmp_path
    while len(bytes(long)) < 3880:
        long /= "x" * 200
        long.mkdir()
    await anyio.run_process(["mkdir", "y" * 250], cwd=long)
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        # Longer than a path may be.
        assert watcher.unwatched == {bytes(long / ("y" * 250))}
        long.rename(tmp_path / "short")
        await until_sighted(watcher, tmp_path / "end")
        await number_of_watches(watcher, len(list(os.walk(tmp_path))))
        assert watcher.unwatched == frozenset()


async def test_a_root_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    if os.access(tmp_path / "closed", os.R_OK):
        pytest.skip("whoever runs this may read anything")
    with pytest.raises(WatchError, match="may read"):
        async with NativeWatcher(RootSettings(path=tmp_path / "closed")):
            pass


async def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    async with NativeWatcher(RootSettings(path=tmp_path)) as watcher:
        folder.mkdir()
        await until_marked(watcher, folder)
        seen = await until_sighted(watcher, folder / os.fsdecode(b"\xe9\n.jpg"))
        assert bytes(tmp_path) + b"/\xff\xfe/\xe9\n.jpg" in {sighting.path for sighting in seen}
