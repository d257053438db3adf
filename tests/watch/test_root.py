"""One watched root: armed before it is reconciled, marks, and the timer."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy
from sqlmodel import Session
from structlog.testing import capture_logs

import damd.media  # noqa: F401 - its tables belong to the schema
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.schema import upgrade
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Table
from damd.errors import WatchError
from damd.watch import root as root_module
from damd.watch.base import RootSettings
from damd.watch.ignore import IgnoreRules
from damd.watch.reconcile import Tree, differences
from damd.watch.root import WatchedRoot

pytestmark = pytest.mark.anyio


class Sightings:
    """A sink that takes everything, or of what is only sighted, nothing."""

    def __init__(self) -> None:
        self.offered: list[str] = []
        self.sighted: list[str] = []
        self.has_room = True
        self._changed = anyio.Event()

    def sight(self, path: bytes, *, settle_s: float, closed: bool) -> bool:
        if self.has_room:
            self.sighted.append(Path(os.fsdecode(path)).name)
            self.tell()
        return self.has_room

    async def offer(self, path: bytes, *, settle_s: float) -> None:
        self.offered.append(Path(os.fsdecode(path)).name)
        self.tell()

    async def checkpoint(self) -> None:
        await anyio.lowlevel.checkpoint()

    def tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not condition():
                await self._changed.wait()


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """An empty one: every file is a difference."""
    engine = make_engine(CatalogueSettings(), tmp_path_factory.mktemp("state"))
    upgrade(engine, Table.metadata)
    return Catalogue(engine)


@pytest.fixture
def sink() -> Sightings:
    return Sightings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path


def make_root(folder: Path, catalogue: Catalogue, *, backend: str = "native", **settings: object) -> WatchedRoot:
    """A root; that which polls hears of nothing for a minute."""
    root = RootSettings.model_validate({"path": folder, "backend": backend}).model_copy(update=settings)
    rules = IgnoreRules(["*.raw"])
    path = os.fsencode(folder)
    tree = Tree(root="inbox", folder=path, recursive=root.recursive, rules=rules, excluded=path + b"/state")
    return WatchedRoot(root, tree, catalogue)


@asynccontextmanager
async def running(root: WatchedRoot, sink: Sightings) -> AsyncIterator[None]:
    """The root at work, reconciled for the first time."""
    reconciled = anyio.Event()

    async def note() -> None:
        reconciled.set()

    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: root.run(sink, note, task_status=task_status))
        with anyio.fail_after(10):
            await reconciled.wait()
        yield
        tasks.cancel_scope.cancel()


async def test_what_was_there_before_is_found_without_any_event(
    folder: Path, catalogue: Catalogue, sink: Sightings
) -> None:
    for name in ("a/1.jpg", "2.jpg", "b/3.raw"):
        (folder / name).touch()
    async with running(make_root(folder, catalogue, backend="polling"), sink):
        assert sink.offered == ["2.jpg", "1.jpg"]
        assert sink.sighted == []


async def test_watches_are_armed_before_the_tree_is_compared(
    folder: Path, catalogue: Catalogue, sink: Sightings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def differences_and_a_late_file(
        catalogue: Catalogue, tree: Tree, below: bytes
    ) -> AsyncGenerator[list[bytes], None]:
        async for paths in differences(catalogue, tree, below):
            yield paths
        # Nothing but an event can tell of this one: the walk is over.
        (folder / "late.jpg").touch()

    (folder / "early.jpg").touch()
    monkeypatch.setattr(root_module, "differences", differences_and_a_late_file)
    async with running(make_root(folder, catalogue), sink):
        await sink.until(lambda: "late.jpg" in sink.sighted)
    assert sink.offered == ["early.jpg"]


async def test_events_sight_files_and_mark_folders(folder: Path, catalogue: Catalogue, sink: Sightings) -> None:
    (folder / "state").mkdir()
    async with running(make_root(folder, catalogue), sink):
        (folder / "state" / "ours.webp").touch()
        (folder / "ignored.raw").touch()
        (folder / "a" / "1.jpg").touch()
        await sink.until(lambda: "1.jpg" in sink.sighted)
        (folder / "new" / "folder").mkdir(parents=True)
        (folder / "new" / "folder" / "2.jpg").touch()
        await sink.until(lambda: "2.jpg" in sink.sighted + sink.offered)
    assert {"ours.webp", "ignored.raw"}.isdisjoint(sink.sighted + sink.offered)


async def test_a_sighting_that_is_turned_away_marks_its_folder(
    folder: Path, catalogue: Catalogue, sink: Sightings
) -> None:
    (folder / "b" / "0.jpg").touch()
    async with running(make_root(folder, catalogue), sink):
        sink.offered.clear()
        sink.has_room = False
        (folder / "a" / "1.jpg").touch()
        await sink.until(lambda: "1.jpg" in sink.offered)
        (folder / "2.jpg").touch()
        await sink.until(lambda: "2.jpg" in sink.offered)
    assert sink.sighted == []


async def test_a_mark_reconciles_its_folder_only(folder: Path, catalogue: Catalogue, sink: Sightings) -> None:
    root = make_root(folder, catalogue, backend="polling")
    async with running(root, sink):
        (folder / "a" / "1.jpg").touch()
        (folder / "b" / "2.jpg").touch()
        root.mark(os.fsencode(folder / "b"))
        await sink.until(lambda: bool(sink.offered))
        assert sink.offered == ["2.jpg"]


async def test_too_many_marks_become_one_on_the_root(
    folder: Path, catalogue: Catalogue, sink: Sightings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "_MOST_MARKS", 3)
    root = make_root(folder, catalogue, backend="polling")
    async with running(root, sink):
        (folder / "a" / "1.jpg").touch()
        for number in range(4):
            root.mark(os.fsencode(folder / f"elsewhere {number}"))
        await sink.until(lambda: sink.offered == ["1.jpg"])


async def test_a_mark_on_the_root_covers_all_others(
    folder: Path, catalogue: Catalogue, sink: Sightings, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[bytes] = []

    def noted(catalogue: Catalogue, tree: Tree, below: bytes) -> AsyncGenerator[list[bytes], None]:
        compared.append(below)
        sink.tell()
        return differences(catalogue, tree, below)

    monkeypatch.setattr(root_module, "differences", noted)
    root = make_root(folder, catalogue, backend="polling")
    async with running(root, sink):
        for below in ("a", "b", ""):
            root.mark(os.fsencode(folder / below))
        root.mark(os.fsencode(folder / "a"))
        await sink.until(lambda: len(compared) == 2)
        root.mark(os.fsencode(folder / "b"))
        await sink.until(lambda: len(compared) == 3)
    assert compared == [os.fsencode(folder), os.fsencode(folder), os.fsencode(folder / "b")]


async def test_the_whole_root_is_compared_again_in_time_however_many_marks_come(
    folder: Path, catalogue: Catalogue, sink: Sightings
) -> None:
    (folder / "a" / "1.jpg").touch()
    root = make_root(folder, catalogue, backend="polling", rescan=timedelta(milliseconds=100))

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


async def test_a_root_that_is_not_there_cannot_be_watched(
    tmp_path: Path, catalogue: Catalogue, sink: Sightings
) -> None:
    async with anyio.create_task_group() as tasks:
        root = make_root(tmp_path / "gone", catalogue)
        with pytest.raises(WatchError, match="No such file"):
            await tasks.start(lambda task_status: root.run(sink, sink.checkpoint, task_status=task_status))


async def test_reconciling_outlives_a_catalogue_that_cannot_be_read(
    folder: Path, catalogue: Catalogue, sink: Sightings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(session: Session, before: str, after: str) -> None:
        session.execute(sqlalchemy.text(f"ALTER TABLE {before} RENAME TO {after}"))

    (folder / "1.jpg").touch()
    monkeypatch.setattr(root_module, "_PAUSE_S", 0.001)
    await catalogue.write(lambda session: rename(session, "location", "hidden"))
    root = make_root(folder, catalogue, backend="polling")
    with capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            await tasks.start(lambda task_status: root.run(sink, sink.checkpoint, task_status=task_status))
            with anyio.fail_after(10):
                waits = "reconciling waits for the catalogue"
                while not any(line["event"] == waits for line in lines):  # noqa: ASYNC110 - a log tells nobody
                    await anyio.sleep(0.001)
            await catalogue.write(lambda session: rename(session, "hidden", "location"))
            await sink.until(lambda: sink.offered == ["1.jpg"])
            tasks.cancel_scope.cancel()
