"""One watched root: armed before it is reconciled, marks, what is polled, and the timer."""

import os
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs
from watch.rooted import MakeRoot, Sink, Watches, mark, move, running, sight, until

from damd.watch import root as root_module
from damd.watch.base import Sink as SinkProtocol
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
        await sink.until(lambda: sink.moves == [("a/1.jpg", "b/1.jpg")])


async def test_a_renamed_folder_that_is_marked_keeps_where_it_came_from(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    async with running(make_root(), sink):
        (folder / "a" / "1.jpg").touch()
        move(folder / "a", folder / "c")
        # Whoever marks it again does not know where it came from.
        watches.tell(mark(folder / "c", moved_from=folder / "a"), mark(folder / "c"))
        await sink.until(lambda: sink.moves == [("a/1.jpg", "c/1.jpg")])


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
        self.wanted: list[Mapping[bytes, float]] = []
        scan = Scanner.scan

        async def noted(
            scanner: Scanner,
            paths: Mapping[bytes, bytes | None],
            *,
            whole: bool,
            presence: Presence,
            demand: Callable[[], Awaitable[None]],
            sink: SinkProtocol,
            is_disturbed: Callable[[], bool],
        ) -> Mapping[bytes, float]:
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
    scans.wanted = [{b"a/x": 0.0, b"b": 0.0}, {b"": 0.0}, {}]
    async with running(root, sink):
        await sink.until(lambda: sink.reconciled == 2)
        await until(lambda: not root.state.scanning)
    assert scans.done == [[b""], [b"a/x", b"b"], [b""]]


async def test_what_a_scan_wants_scanned_again_later_waits_and_nothing_waits_for_it(
    folder: Path, make_root: MakeRoot, sink: Sink, scans: Scans
) -> None:
    root = make_root()
    scans.wanted = [{b"a": 3600.0}, {b"a": 3600.0}]
    async with running(root, sink):
        for number in (2, 3):
            root.mark(os.fsencode(folder / "b"))
            await sink.until(lambda: len(scans.done) == number)  # noqa: B023 - awaited within the loop
    assert scans.done == [[b""], [b"b"], [b"b"]]


@pytest.mark.usefixtures("watches")
async def test_a_root_that_is_held_is_scanned_more_often_until_it_is_not(
    make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    wholes: list[bool] = []

    async def scan(
        scanner: Scanner, paths: Mapping[bytes, bytes | None], *, whole: bool, **others: object
    ) -> Mapping[bytes, float]:
        await anyio.lowlevel.checkpoint()
        wholes.append(whole)
        scanner.held = "it lost too much" if len(wholes) < 4 else None
        return {}

    monkeypatch.setattr(root_module, "_HELD_RESCAN_S", 0.02)
    monkeypatch.setattr(Scanner, "scan", scan)
    root = make_root()
    async with running(root, sink):
        await sink.until(lambda: sink.reconciled == 4)
        assert root.held is None
        with anyio.move_on_after(0.1):  # nothing tells that it is at rest
            await sink.until(lambda: sink.reconciled == 5)
    assert wholes == [True] * 4


async def test_a_scan_knows_whether_more_is_marked_meanwhile(
    folder: Path, make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, bool, bool]] = []
    root = make_root()

    async def scan(
        scanner: Scanner, paths: Mapping[bytes, bytes | None], *, is_disturbed: Callable[[], bool], **others: object
    ) -> Mapping[bytes, float]:
        before = is_disturbed()
        if list(paths) == [b"a"]:
            root.mark(os.fsencode(folder / "b"))
        await anyio.lowlevel.checkpoint()
        seen.append((next(iter(paths)), before, is_disturbed()))
        sink.tell()
        return {}

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
            await anyio.sleep(0.001)

    async with running(root, sink), anyio.create_task_group() as tasks:
        tasks.start_soon(mark_without_end)
        (folder / "b" / "2.jpg").touch()
        await sink.until(lambda: sink.offered.count("2.jpg") == 2)
        assert sink.offered.count("1.jpg") > 2
        tasks.cancel_scope.cancel()


async def test_rules_that_change_have_the_watches_renewed_and_the_root_compared(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "_CALM_S", -1.0)
    rules = folder / "a" / ".damdignore"
    rules.write_text("*.jpg\n")
    for name in ("a/1.jpg", "a/2.png"):
        (folder / name).touch()
    root = make_root()
    with capture_logs() as lines:
        async with running(root, sink):
            assert sink.offered == ["2.png"]
            rules.write_text("*.png\n")
            watches.tell(sight(rules), sight(folder / "a" / "2.png"), sight(folder / "a" / "1.jpg"))
            await sink.until(lambda: sink.reconciled == 2)
            assert sink.offered == ["2.png", "1.jpg"]
            rules.unlink()
            watches.tell(mark(rules))
            await sink.until(lambda: sink.reconciled == 3)
    assert sink.offered == ["2.png", "1.jpg", "1.jpg", "2.png"]
    assert (sink.sighted, watches.entered, root.state.renewals) == ([], 3, 2)
    reasons = [line["reason"] for line in lines if line["event"] == "watches renewed"]
    assert reasons == [f"the rules in {folder / 'a'} changed"] * 2


async def test_the_rules_of_the_root_s_own_folder_count_as_those_of_any_other(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    (folder / "b" / "1.jpg").touch()
    (folder / ".damdignore").write_text("b/\n")
    async with running(make_root(), sink):
        assert sink.offered == []
        (folder / ".damdignore").unlink()
        watches.tell(sight(folder / ".damdignore"))
        await sink.until(lambda: sink.offered == ["1.jpg"])
        assert watches.entered == 2


async def test_the_rules_of_a_folder_that_is_ignored_itself_are_nobody_s_business(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    (folder / ".damdignore").write_text("b/\n")
    async with running(make_root(), sink):
        (folder / "b" / ".damdignore").touch()
        watches.tell(sight(folder / "b" / ".damdignore"), sight(folder / "a" / "1.jpg"))
        await sink.until(lambda: sink.sighted == ["1.jpg"])
        assert watches.entered == 1


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's own")
async def test_a_folder_that_is_ignored_no_more_is_heard(folder: Path, make_root: MakeRoot, sink: Sink) -> None:
    (folder / "b" / "old.jpg").touch()
    (folder / ".damdignore").write_text("b/\n")
    async with running(make_root(backend="native"), sink):
        assert sink.offered == []
        (folder / ".damdignore").unlink()
        await sink.until(lambda: sink.reconciled == 2)
        assert sink.offered == ["old.jpg"]
        (folder / "b" / "new.jpg").touch()
        await sink.until(lambda: "new.jpg" in sink.sighted)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's own")
async def test_the_files_of_a_folder_that_is_renamed_are_offered_with_where_they_were(
    folder: Path, make_root: MakeRoot, sink: Sink
) -> None:
    (folder / "a" / "1.jpg").touch()
    async with running(make_root(backend="native"), sink):
        move(folder / "a", folder / "c")
        await sink.until(lambda: ("a/1.jpg", "c/1.jpg") in sink.moves)


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
            await anyio.sleep(0.001)

    async with running(root, sink), anyio.create_task_group() as tasks:
        tasks.start_soon(mark_without_end)
        for name in ("a/1.jpg", "b/2.jpg"):
            (folder / name).touch()
        await sink.until(lambda: sink.offered.count("1.jpg") == 2)
        assert sink.offered.count("2.jpg") > 2
        tasks.cancel_scope.cancel()


async def test_a_root_that_is_polled_is_scanned_whole_and_no_folder_of_it_counts_as_unwatched(
    folder: Path, make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "LONGEST_INTERVAL_S", 0.02)
    root = make_root()
    async with running(root, sink):
        (folder / "b" / "1.jpg").touch()
        await sink.until(lambda: "1.jpg" in sink.offered)
        before = sink.reconciled
        await sink.until(lambda: sink.reconciled > before)
        assert (root.state.unwatched, root.state.renewals) == (0, 0)


async def test_a_root_that_is_polled_rests_after_each_scan_however_long_it_took(
    make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[float] = []

    async def scan(scanner: Scanner, paths: Mapping[bytes, bytes | None], **others: object) -> Mapping[bytes, float]:
        moments.append(anyio.current_time())
        await anyio.sleep(0.06)
        moments.append(anyio.current_time())
        return {}

    monkeypatch.setattr(root_module, "LONGEST_INTERVAL_S", 0.05)
    monkeypatch.setattr(Scanner, "scan", scan)
    async with running(make_root(), sink):
        await sink.until(lambda: sink.reconciled == 3)
    rests = [start - end for end, start in zip(moments[1:-1:2], moments[2::2], strict=True)]
    assert len(rests) == 2
    assert min(rests) >= 0.05


@pytest.mark.parametrize("backend", ["polling", "native"])
async def test_nothing_is_left_of_a_root_that_is_cancelled(make_root: MakeRoot, sink: Sink, backend: str) -> None:
    def ours() -> set[str]:
        # anyio keeps the threads that it lent.
        return {thread.name for thread in threading.enumerate() if "worker thread" not in thread.name}

    before = ours()
    async with running(make_root(backend=backend), sink):
        pass
    await until(lambda: ours() <= before)
