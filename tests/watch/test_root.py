"""One watched root: armed before it is reconciled, marks, what is polled, and the timer."""

import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from watch.rooted import MakeRoot, Sink, Watches, mark, running, sight, until

from damd.watch import root as root_module
from damd.watch.base import RootSettings
from damd.watch.base import Sink as SinkProtocol
from damd.watch.polling import PollingWatcher
from damd.watch.presence import Presence
from damd.watch.scan import Scanner
from damd.watch.tree import Tree

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_a_hurry")]


async def test_what_was_there_before_is_found_without_any_event(folder: Path, make_root: MakeRoot, sink: Sink) -> None:
    for name in ("a/1.jpg", "2.jpg", "b/3.raw"):
        (folder / name).touch()
    root = make_root()
    async with running(root, sink):
        assert sink.offered == ["2.jpg", "1.jpg"]
        assert sink.sighted == []
        assert root.state.backend == "polling"
        assert not root.state.scanning


async def test_watches_are_armed_before_the_tree_is_compared(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed: list[int] = []
    walk = Tree.walk

    def walk_and_note(tree: Tree, below: bytes = b"") -> object:
        armed.append(watches.entered)
        return walk(tree, below)

    monkeypatch.setattr(Tree, "walk", walk_and_note)
    async with running(make_root(canary=folder / "canary"), sink):
        assert armed == [1]
        assert watches.canary == folder / "canary"


async def test_events_sight_files_and_mark_folders(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    for name in ("state", "new/folder"):
        (folder / name).mkdir(parents=True)
    async with running(make_root(), sink):
        for name in ("state/ours.webp", "ignored.raw", "a/1.jpg", "new/folder/2.jpg", "b/0.jpg"):
            (folder / name).touch()
        sightings = [sight(folder / name) for name in ("state/ours.webp", "ignored.raw", "a/1.jpg")]
        watches.tell(*sightings, mark(folder / "state"), mark(folder / "new"))
        await sink.until(lambda: bool(sink.sighted and sink.offered))
        assert (sink.sighted, sink.offered) == (["1.jpg"], ["2.jpg"])
        watches.tell(sight(folder / "b" / "1.jpg", moved_from=folder / "a" / "1.jpg"))
        await sink.until(lambda: sink.moves == [("1.jpg", "1.jpg")])


async def test_an_ignored_folder_that_is_marked_is_neither_compared_nor_taken_for_a_file(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    for name in (".git", "@eaDir", "a/c.raw"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x.jpg").touch()
    async with running(make_root(), sink):
        (folder / "b" / "last.jpg").touch()
        watches.tell(*(mark(folder / name) for name in (".git", "@eaDir", "a/c.raw", "b")))
        await sink.until(lambda: "last.jpg" in sink.offered)
        assert (sink.offered, sink.sighted) == (["last.jpg"], [])


async def test_a_great_batch_is_judged_in_parts(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "_BREATH", 3)
    async with running(make_root(), sink):
        names = [f"{number}.jpg" for number in range(20)]
        watches.tell(*(sight(folder / name) for name in names))
        await sink.until(lambda: sink.sighted == names)


async def test_a_sighting_that_is_turned_away_is_marked(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    async with running(make_root(), sink):
        sink.has_room = False
        for name in ("a/1.jpg", "b/2.jpg", "3.jpg"):
            (folder / name).touch()
        watches.tell(sight(folder / "a/1.jpg"), sight(folder / "3.jpg"))
        await sink.until(lambda: len(sink.offered) == 2)
        assert (sink.offered, sink.sighted) == (["3.jpg", "1.jpg"], [])


async def test_a_mark_reconciles_its_folder_only(folder: Path, make_root: MakeRoot, sink: Sink) -> None:
    root = make_root()
    async with running(root, sink):
        for name in ("a/1.jpg", "b/2.jpg", "b-c.jpg"):
            (folder / name).touch()
        root.mark(os.fsencode(folder / "b"))
        await sink.until(lambda: bool(sink.offered))
        assert sink.offered == ["2.jpg"]
        root.mark(os.fsencode(folder / "b-c.jpg"))
        await sink.until(lambda: len(sink.offered) == 2)
        assert sink.offered == ["2.jpg", "b-c.jpg"]


async def test_too_many_marks_become_one_on_the_root(
    folder: Path, make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "_MOST_MARKS", 3)
    root = make_root()
    async with running(root, sink):
        (folder / "a" / "1.jpg").touch()
        for number in range(4):
            root.mark(os.fsencode(folder / f"elsewhere {number}"))
        await sink.until(lambda: sink.offered == ["1.jpg"])
        await sink.until(lambda: sink.reconciled == 2)


class Scans:
    """What is scanned, by the root's own scanner."""

    def __init__(self, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[list[bytes]] = []
        self.wanted: list[Sequence[bytes]] = []
        scan = Scanner.scan

        async def noted(
            scanner: Scanner,
            paths: Sequence[bytes],
            *,
            whole: bool,
            presence: Presence,
            demand: Callable[[], Awaitable[None]],
            sink: SinkProtocol,
            is_disturbed: Callable[[], bool],
        ) -> Sequence[bytes]:
            again = await scan(
                scanner, paths, whole=whole, presence=presence, demand=demand, sink=sink, is_disturbed=is_disturbed
            )
            assert whole == (list(paths) == [b""])
            self.done.append(list(paths))
            assert isinstance(sink, Sink)
            sink.tell()
            return self.wanted.pop(0) if self.wanted else again

        monkeypatch.setattr(Scanner, "scan", noted)


@pytest.fixture
def scans(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> Scans:
    return Scans(sink, monkeypatch)


async def test_a_mark_covers_all_that_is_below_it(folder: Path, make_root: MakeRoot, sink: Sink, scans: Scans) -> None:
    root = make_root()
    async with running(root, sink):
        for below in ("a/x", "a-b", "a", "a.d/y", "a/x/z"):
            root.mark(os.fsencode(folder / below))
        await sink.until(lambda: len(scans.done) == 2)
        for below in ("a", "b", ""):
            root.mark(os.fsencode(folder / below))
        await sink.until(lambda: len(scans.done) == 3)
    assert scans.done == [[b""], [b"a-b", b"a.d/y", b"a"], [b""]]


async def test_what_a_scan_wants_scanned_again_is_marked(make_root: MakeRoot, sink: Sink, scans: Scans) -> None:
    root = make_root()
    scans.wanted = [(b"a/x", b"b"), (b"",), ()]
    async with running(root, sink):
        await sink.until(lambda: sink.reconciled == 2)
        await until(lambda: not root.state.scanning)
    assert scans.done == [[b""], [b"a/x", b"b"], [b""]]


async def test_a_scan_knows_whether_more_is_marked_meanwhile(
    folder: Path, make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, bool, bool]] = []
    root = make_root()

    async def scan(
        scanner: Scanner, paths: Sequence[bytes], *, is_disturbed: Callable[[], bool], **others: object
    ) -> Sequence[bytes]:
        before = is_disturbed()
        if paths == [b"a"]:
            root.mark(os.fsencode(folder / "b"))
        await anyio.lowlevel.checkpoint()
        seen.append((paths[0], before, is_disturbed()))
        sink.tell()
        return ()

    monkeypatch.setattr(Scanner, "scan", scan)
    async with running(root, sink):
        root.mark(os.fsencode(folder / "a"))
        await sink.until(lambda: len(seen) == 3)
    assert seen == [(b"", False, False), (b"a", False, True), (b"b", False, False)]


async def test_the_whole_root_is_compared_again_in_time_however_many_marks_come(
    folder: Path, make_root: MakeRoot, sink: Sink
) -> None:
    (folder / "a" / "1.jpg").touch()
    root = make_root(rescan=timedelta(milliseconds=100))

    async def mark_without_end() -> None:
        while True:
            root.mark(os.fsencode(folder / "a"))
            await anyio.lowlevel.checkpoint()

    async with running(root, sink), anyio.create_task_group() as tasks:
        tasks.start_soon(mark_without_end)
        (folder / "b" / "2.jpg").touch()
        await sink.until(lambda: sink.offered.count("2.jpg") == 2)
        assert sink.offered.count("1.jpg") > 2
        tasks.cancel_scope.cancel()


async def test_rules_that_change_have_their_folder_compared_anew(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches, scans: Scans
) -> None:
    rules = folder / "a" / ".damdignore"
    rules.write_text("*.jpg\n")
    for name in ("a/1.jpg", "a/2.png"):
        (folder / name).touch()
    async with running(make_root(), sink):
        assert sink.offered == ["2.png"]
        rules.write_text("*.png\n")
        watches.tell(sight(rules), sight(folder / "a" / "2.png"), sight(folder / "a" / "1.jpg"))
        await sink.until(lambda: "1.jpg" in sink.offered)
        assert sink.sighted == ["1.jpg"]
        rules.unlink()
        watches.tell(mark(rules))
        await sink.until(lambda: len(scans.done) == 3)
    assert sink.offered == ["2.png", "1.jpg", "1.jpg", "2.png"]
    assert scans.done[1:] == [[b"a"], [b"a"]]


async def test_the_rules_of_the_root_s_own_folder_have_all_of_it_compared_anew(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches, scans: Scans
) -> None:
    (folder / "b" / "1.jpg").touch()
    (folder / ".damdignore").write_text("b/\n")
    async with running(make_root(), sink):
        assert sink.offered == []
        (folder / ".damdignore").unlink()
        watches.tell(sight(folder / ".damdignore"))
        await sink.until(lambda: sink.offered == ["1.jpg"])
        await sink.until(lambda: scans.done == [[b""], [b""]])


async def test_folders_that_are_not_watched_are_polled(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "LONGEST_INTERVAL_S", 0.05)
    watches.unwatched = frozenset({os.fsencode(folder / "a")})
    root = make_root()
    async with running(root, sink):
        await until(lambda: root.state.unwatched == 1)
        for name in ("a/1.jpg", "b/2.jpg"):
            (folder / name).touch()
        await sink.until(lambda: sink.offered.count("1.jpg") == 3)
        assert "2.jpg" not in sink.offered
        assert sink.reconciled == 1


async def test_folders_that_are_not_watched_are_polled_however_many_marks_come(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "LONGEST_INTERVAL_S", 0.2)
    watches.unwatched = frozenset({os.fsencode(folder / "a")})
    root = make_root()

    async def mark_without_end() -> None:
        while True:
            root.mark(os.fsencode(folder / "b"))
            await anyio.lowlevel.checkpoint()

    async with running(root, sink), anyio.create_task_group() as tasks:
        tasks.start_soon(mark_without_end)
        for name in ("a/1.jpg", "b/2.jpg"):
            (folder / name).touch()
        await sink.until(lambda: sink.offered.count("1.jpg") == 2)
        assert sink.offered.count("2.jpg") > 2
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("backend", ["polling", "native"])
async def test_nothing_is_left_of_a_root_that_is_cancelled(make_root: MakeRoot, sink: Sink, backend: str) -> None:
    def ours() -> set[str]:
        # anyio keeps the threads that it lent.
        return {thread.name for thread in threading.enumerate() if "worker thread" not in thread.name}

    before = ours()
    async with running(make_root(backend=backend), sink):
        pass
    await until(lambda: ours() <= before)


async def test_a_root_that_is_polled_marks_itself(
    folder: Path, make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def often(
        root: RootSettings, wants: Callable[[bytes], bool], canary: Path | None
    ) -> AsyncIterator[PollingWatcher]:
        async with PollingWatcher(root, wants, canary, interval_s=0.02) as watcher:
            yield watcher

    monkeypatch.setattr(root_module, "open_watcher", often)
    async with running(make_root(), sink):
        (folder / "b" / "1.jpg").touch()
        await sink.until(lambda: sink.offered == ["1.jpg"])
