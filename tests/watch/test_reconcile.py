"""The order of the walk, what it leaves out, and which of its files the catalogue does not know."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, update

import damd.media  # noqa: F401 - its tables belong to the schema
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.record import Finding, NewAsset, record_asset, record_failure
from damd.catalogue.roots import Place
from damd.catalogue.schema import upgrade
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import FileProperties, Location, Table
from damd.errors import BrokenFileError, FileError, TransientFileError
from damd.fingerprint import Signature
from damd.watch import reconcile
from damd.watch.ignore import IgnoreRules
from damd.watch.reconcile import Tree, differences

NAMES = st.lists(st.sampled_from([bytes([each]) for each in b"\x01\n !-.0aA\xc3\xa9\xff"]), min_size=1, max_size=3)
TREES = st.recursive(
    st.none(), lambda below: st.dictionaries(NAMES.map(b"".join), below, max_size=4), max_leaves=25
).filter(lambda tree: tree is not None)


def tree_of(folder: Path | bytes, *patterns: str, recursive: bool = True, excluded: bytes = b"/nowhere") -> Tree:
    rules = IgnoreRules(patterns)
    return Tree(root="inbox", folder=os.fsencode(folder), recursive=recursive, rules=rules, excluded=excluded)


def names(tree: Tree, below: bytes = b"") -> list[bytes]:
    return [path for path, _ in tree.walk(below)]


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")


def _make(folder: bytes, tree: Mapping[bytes, Any], below: bytes = b"") -> Iterator[bytes]:
    for name, content in tree.items():
        if name in {b".", b".."}:
            continue
        path = below + name
        absolute = folder + b"/" + path
        if content is None:
            os.close(os.open(absolute, os.O_CREAT))
            yield path
        else:
            os.mkdir(absolute)  # noqa: PTH102 - pathlib has no paths of bytes
            yield from _make(folder, content, path + b"/")


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_the_walk_yields_every_path_in_the_order_of_all_paths_bytes(tree: dict[bytes, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = list(_make(os.fsencode(folder), tree))
        assert names(tree_of(os.fsencode(folder))) == sorted(made)


def test_a_folder_sorts_by_the_slash_behind_its_name(tmp_path: Path) -> None:
    write(tmp_path, "a/b", "a.jpg", "a!", "a0", "a-b/c", "a/b.d/e")
    assert names(tree_of(tmp_path)) == [b"a!", b"a-b/c", b"a.jpg", b"a/b", b"a/b.d/e", b"a0"]


def test_the_walk_tells_each_file_s_signature(tmp_path: Path) -> None:
    write(tmp_path, "a/b")
    assert list(tree_of(tmp_path).walk()) == [(b"a/b", Signature.of((tmp_path / "a/b").stat()))]


@pytest.fixture
def deep_folder() -> Iterator[Path]:
    """3,000 folders within one another, a file in each: far beyond the longest path and Python's stack."""
    folder = Path(tempfile.mkdtemp())
    at = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.close(os.open("f", os.O_CREAT, dir_fd=at))
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    yield folder
    subprocess.run(["rm", "-rf", "--", folder], check=True)  # shutil's own way down is recursive


def test_a_tree_may_be_as_deep_as_paths_can_be_long(deep_folder: Path) -> None:
    longest = os.pathconf("/", "PC_PATH_MAX") - 1 if hasattr(os, "pathconf") else 4095
    room = longest - len(os.fsencode(deep_folder)) - 1
    write(deep_folder, "e")
    found = names(tree_of(deep_folder))
    assert max(map(len, found)) in {room - 1, room}
    assert found == sorted(found)
    # What is too deep hides only itself.
    assert found[-2:] == [b"e", b"f"]
    assert len(found) > 1500


def test_ignored_and_excluded_folders_are_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/state/x", "a/b", "drafts/c", ".git/config", "@eaDir/d", "e/drafts/f", "g/state/h")
    opened: list[bytes] = []
    scandir = os.scandir

    def scan(path: bytes) -> Any:
        opened.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    tree = tree_of(tmp_path, "drafts/", excluded=os.fsencode(tmp_path / "a/state"))
    assert names(tree) == [b"a/b", b"g/state/h"]
    assert [os.path.relpath(path, os.fsencode(tmp_path)) for path in opened] == [b".", b"a", b"e", b"g", b"g/state"]


def test_ignored_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b.raw", "c.part")
    assert names(tree_of(tmp_path, "*.raw")) == [b"a.jpg"]


def test_a_tree_that_is_not_recursive_has_no_folders(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b/c.jpg")
    tree = tree_of(tmp_path, recursive=False)
    assert names(tree) == [b"a.jpg"]
    assert not tree.concerns(os.fsencode(tmp_path / "b/c.jpg"), is_directory=False)
    assert not tree.concerns(os.fsencode(tmp_path / "b"), is_directory=True)
    assert tree.concerns(os.fsencode(tmp_path), is_directory=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_that_cannot_be_read_hides_only_itself(tmp_path: Path) -> None:
    write(tmp_path, "a/b", "closed/c", "d/e")
    (tmp_path / "closed").chmod(0)
    try:
        assert names(tree_of(tmp_path)) == [b"a/b", b"d/e"]
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_folder_that_vanishes_under_the_walk_hides_only_itself(tmp_path: Path) -> None:
    write(tmp_path, "a", "b/c", "b/d", "e/f", "g")
    walk = tree_of(tmp_path).walk()
    assert next(walk)[0] == b"a"
    shutil.rmtree(tmp_path / "b")
    assert [path for path, _ in walk] == [b"e/f", b"g"]


def test_special_files_and_links_that_lead_nowhere_are_yielded_other_links_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "folder/a")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "round").symlink_to(".")
    with socket.socket(socket.AF_UNIX) as listener:
        at = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{at}/socket" if Path("/proc/self/fd").exists() else str(tmp_path / "socket"))
        os.close(at)
    assert names(tree_of(tmp_path)) == [b"fifo", b"folder/a", b"loop", b"socket"]


def test_a_part_of_the_tree_is_told_by_its_path_from_the_root(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c", "a/d", "e")
    assert names(tree_of(tmp_path), b"a") == [b"a/b/c", b"a/d"]
    assert names(tree_of(tmp_path), b"gone") == []


def test_the_root_of_the_file_system_can_be_a_root() -> None:
    tree = tree_of(b"/")
    assert tree.relative(b"/a/b") == b"a/b"
    assert tree.relative(b"/") == b""
    assert tree.concerns(b"/a", is_directory=False)


def test_what_lies_in_the_excluded_folder_does_not_concern_the_tree(tmp_path: Path) -> None:
    state = os.fsencode(tmp_path / "state")
    tree = tree_of(tmp_path, excluded=state)
    assert not tree.concerns(state, is_directory=True)
    assert not tree.concerns(state + b"/previews/a.webp", is_directory=False)
    assert tree.concerns(state + b".jpg", is_directory=False)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("migrated")
    engine = make_engine(CatalogueSettings(), folder)
    upgrade(engine, Table.metadata)
    engine.dispose()
    return folder


@pytest.fixture
def catalogue(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    state = tmp_path_factory.mktemp("state")
    shutil.copytree(migrated, state, dirs_exist_ok=True)
    engine = make_engine(CatalogueSettings(), state)
    yield Catalogue(engine)
    engine.dispose()


def _know(session: Session, path: bytes, signature: Signature, *, root: str = "inbox") -> None:
    properties = FileProperties(size_bytes=1, first_name="a")
    sha256 = f"{abs(hash((root, path))):064x}"
    record_asset(session, NewAsset(sha256, Finding(Place(root, path), signature, 0), properties, []), None)


async def know(
    catalogue: Catalogue, tree: Tree, *paths: bytes, root: str = "inbox", changed: Mapping[str, int] | None = None
) -> None:
    """Record these files as locations, with the signatures that they have, but for what is `changed`."""
    signatures = dict(tree.walk())

    def change(session: Session) -> None:
        for path in paths:
            _know(session, path, signatures[path]._replace(**(changed or {})), root=root)

    await catalogue.write(change)


async def sighted(catalogue: Catalogue, tree: Tree, folder: bytes | None = None) -> list[bytes]:
    pieces = [each async for each in differences(catalogue, tree, tree.folder if folder is None else folder)]
    assert all(pieces)
    return [tree.relative(path) for piece in pieces for path in piece]


@pytest.mark.anyio
async def test_what_is_known_and_unchanged_is_not_sighted(catalogue: Catalogue, tmp_path: Path) -> None:
    write(tmp_path, "known", "new", "sub/known", "sub/new")
    tree = tree_of(tmp_path)
    await know(catalogue, tree, b"known", b"sub/known")
    assert await sighted(catalogue, tree) == [b"new", b"sub/new"]


@pytest.mark.anyio
@pytest.mark.parametrize("field", Signature._fields)
async def test_any_difference_of_the_signature_is_sighted(catalogue: Catalogue, tmp_path: Path, field: str) -> None:
    write(tmp_path, "a", "b")
    tree = tree_of(tmp_path)
    await know(catalogue, tree, b"a")
    await know(catalogue, tree, b"b", changed={field: 12345})
    assert await sighted(catalogue, tree) == [b"b"]


@pytest.mark.anyio
async def test_a_path_of_another_root_is_another_file(catalogue: Catalogue, tmp_path: Path) -> None:
    write(tmp_path, "a")
    tree = tree_of(tmp_path)
    await know(catalogue, tree, b"a", root="other")
    assert await sighted(catalogue, tree) == [b"a"]


@pytest.mark.anyio
@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
async def test_pieces_find_the_same_as_one_look(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(reconcile, "_PIECE", piece)
    chance = random.Random(piece)  # noqa: S311 - no secret
    paths = [f"{chance.choice('ab-')}/{chance.choice(['', 'c/', 'c.d/'])}{number}" for number in range(60)]
    write(tmp_path, *paths)
    tree = tree_of(tmp_path)
    everything = names(tree)
    known = chance.sample(everything, 40)
    await know(catalogue, tree, *known)
    # Files that the catalogue knows and that are gone lie between the others, and change nothing.
    for path in chance.sample(known, 15):
        (tmp_path / os.fsdecode(path)).unlink()
    assert await sighted(catalogue, tree) == [path for path in everything if path not in known]


@pytest.mark.anyio
async def test_a_location_that_was_missing_is_sighted_when_it_is_back(catalogue: Catalogue, tmp_path: Path) -> None:
    write(tmp_path, "back", "there")
    tree = tree_of(tmp_path)
    await know(catalogue, tree, b"back", b"there")
    missing = update(Location).where(col(Location.path) == b"back").values(missing_since=datetime.now(UTC))
    await catalogue.write(lambda session: session.execute(missing).close())
    assert await sighted(catalogue, tree) == [b"back"]


@pytest.mark.anyio
async def test_only_a_failure_that_would_repeat_itself_is_left_alone(catalogue: Catalogue, tmp_path: Path) -> None:
    write(tmp_path, "broken", "changed", "transient")
    tree = tree_of(tmp_path)
    signatures = dict(tree.walk())

    def fail(session: Session, path: bytes, error: FileError, **changed: int) -> None:
        finding = Finding(Place("inbox", path), signatures[path]._replace(**changed), 0)
        record_failure(session, finding, error, at=datetime.now(UTC))

    await catalogue.write(lambda session: fail(session, b"broken", BrokenFileError("broken")))
    await catalogue.write(lambda session: fail(session, b"changed", BrokenFileError("broken"), size_bytes=7))
    await catalogue.write(lambda session: fail(session, b"transient", TransientFileError("later")))
    assert await sighted(catalogue, tree) == [b"changed", b"transient"]


@pytest.mark.anyio
async def test_only_the_folder_that_is_asked_for_is_compared(catalogue: Catalogue, tmp_path: Path) -> None:
    write(tmp_path, "a/b", "a/c/d", "a.jpg", "e")
    assert await sighted(catalogue, tree_of(tmp_path), os.fsencode(tmp_path / "a")) == [b"a/b", b"a/c/d"]


@pytest.mark.anyio
async def test_a_tree_whose_folder_is_gone_has_no_differences(catalogue: Catalogue, tmp_path: Path) -> None:
    assert await sighted(catalogue, tree_of(tmp_path / "gone")) == []
