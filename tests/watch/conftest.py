"""What the tests of scans and of watched roots may ask for."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio.lowlevel
import pytest
from watch.rooted import MakeRoot, Sink, Watches
from watch.scanning import Bench

from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.roots import Place, Roots, claim
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Root
from damd.events import Event, RootHeldEvent
from damd.mounts import Mounts
from damd.watch import root as root_module
from damd.watch import scan as scan_module
from damd.watch.base import RootSettings
from damd.watch.ignore import IgnoreRules
from damd.watch.root import WatchedRoot
from damd.watch.scan import Surroundings
from damd.watch.tree import Tree


@pytest.fixture
def catalogue(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """One that knows of no file: every file is a difference."""
    state = tmp_path_factory.mktemp("state")
    shutil.copytree(migrated, state, dirs_exist_ok=True)
    engine = make_engine(CatalogueSettings(), state)
    yield Catalogue(engine)
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with two folders."""
    for name in ("a", "b"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
async def bench(tmp_path: Path, catalogue: Catalogue) -> Bench:
    folder = tmp_path / "root"
    folder.mkdir()
    roots = await catalogue.write(lambda session: claim(session, [Place("inbox", os.fsencode(folder))]))
    return Bench(folder, catalogue, Roots(roots))


@pytest.fixture
def few_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of up to some twenty files two may go missing at once."""
    monkeypatch.setattr(scan_module, "LEAST_ALLOWED", 2)


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> Watches:
    watches = Watches()
    monkeypatch.setattr(root_module, "open_watcher", watches.open)
    return watches


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that neither pauses nor gathers."""
    for name in ("_ABSENT_S", "_PAUSE_S", "_GATHER_S"):
        monkeypatch.setattr(root_module, name, 0.01)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with closing(Mounts()) as mounts:
        yield mounts


@pytest.fixture
async def make_root(folder: Path, catalogue: Catalogue, mounts: Mounts) -> MakeRoot:
    """Make the root; unless the test has `watches` of its own, it is polled, and hears of nothing for a minute."""

    await catalogue.write(lambda session: claim(session, [Place("inbox", os.fsencode(folder))]))

    async def announce(event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        assert isinstance(event, RootHeldEvent), event

    def make(*, backend: str = "polling", canary: Path | None = None, **settings: object) -> WatchedRoot:
        root = RootSettings.model_validate({"path": folder, "backend": backend}).model_copy(update=settings)
        path = os.fsencode(folder)
        tree = Tree(
            root="inbox",
            folder=path,
            recursive=root.recursive,
            rules=IgnoreRules(["*.raw"], folder=path),
            excluded=path + b"/state",
        )
        roots = Roots([Root(name="inbox", path=path)])
        around = Surroundings(catalogue=catalogue, roots=roots, mounts=mounts, announce=announce, canary=canary)
        return WatchedRoot(root, tree, around)

    return make
