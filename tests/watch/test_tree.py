"""The order of a walk, what it leaves out, and what it cannot see."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from watch.trees import names, tree_of, write

from damd.fingerprint import Signature

NAMES = st.lists(st.sampled_from([bytes([each]) for each in b"\x01\n !-.0aA\xc3\xa9\xff"]), min_size=1, max_size=3)
TREES = st.recursive(
    st.none(), lambda below: st.dictionaries(NAMES.map(b"".join), below, max_size=4), max_leaves=25
).filter(lambda tree: tree is not None)


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


@settings(max_examples=50, deadline=None)
@given(TREES)
def test_the_walk_yields_every_path_in_the_order_of_all_paths_bytes(tree: dict[bytes, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = list(_make(os.fsencode(folder), tree))
        assert names(tree_of(os.fsencode(folder))) == sorted(made)


@settings(max_examples=30, deadline=None)
@given(TREES)
def test_a_walk_through_each_part_yields_what_the_whole_walk_yields_there(tree: dict[bytes, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = sorted(_make(os.fsencode(folder), tree))
        whole = tree_of(os.fsencode(folder))
        for name in tree.keys() - {b".", b".."}:
            assert names(whole, name) == [path for path in made if path == name or path.startswith(name + b"/")]


def test_a_folder_sorts_by_the_slash_behind_its_name(tmp_path: Path) -> None:
    write(tmp_path, "a/b", "a.jpg", "a!", "a0", "a-b/c", "a/b.d/e")
    assert names(tree_of(tmp_path)) == [b"a!", b"a-b/c", b"a.jpg", b"a/b", b"a/b.d/e", b"a0"]


def test_the_walk_tells_how_each_file_looks(tmp_path: Path) -> None:
    write(tmp_path, "a/b")
    (files,) = tree_of(tmp_path).walk()
    assert files == [(b"a/b", Signature.of((tmp_path / "a/b").stat()))]


@pytest.fixture
def deep_folder() -> Iterator[Path]:
    """1,500 folders within one another, a file in each: far beyond the longest path and Python's stack."""
    folder = Path(tempfile.mkdtemp())
    at = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.close(os.open("f", os.O_CREAT, dir_fd=at))
        os.mkdir("dd", dir_fd=at)
        below = os.open("dd", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    yield folder
    subprocess.run(["rm", "-rf", "--", folder], check=True)  # shutil's own way down is recursive


def test_a_tree_may_be_as_deep_as_paths_can_be_long(deep_folder: Path) -> None:
    room = os.pathconf("/", "PC_PATH_MAX") - 1 - len(os.fsencode(deep_folder)) - 1
    write(deep_folder, "e")
    found = names(tree_of(deep_folder))
    assert room - 3 < max(map(len, found)) <= room
    assert found == sorted(found)
    # What is too deep hides only itself.
    assert found[-2:] == [b"e", b"f"]
    assert len(found) > 1200


def test_a_folder_whose_path_is_too_long_is_told_and_hides_only_itself(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    name = "d" * 40
    for _ in range(200):
        os.close(os.open("f", os.O_CREAT, dir_fd=at))
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    write(tmp_path, "z")
    walk = tree_of(tmp_path).walk()
    found = [path for files in walk for path, _ in files]
    assert len(found) > 80
    assert found[-1] == b"z"
    ((hidden, why),) = walk.blind.items()
    assert len(walk.tree.absolute(hidden)) >= os.pathconf("/", "PC_PATH_MAX")
    assert why == "File name too long"


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


def test_a_folder_s_own_rules_prune_what_is_below_it_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "a/b.jpg", "a/drafts/c.jpg", "a/d/e.raw", "drafts/f.jpg", "g.raw")
    (tmp_path / "a" / ".damdignore").write_text("drafts/\n*.raw\n")
    assert names(tree_of(tmp_path)) == [b"a/b.jpg", b"drafts/f.jpg", b"g.raw"]


def test_rules_that_change_hold_from_the_next_walk_on(tmp_path: Path) -> None:
    write(tmp_path, "a/b.jpg", "a/c.raw")
    tree = tree_of(tmp_path)
    assert names(tree) == [b"a/b.jpg", b"a/c.raw"]
    (tmp_path / "a" / ".damdignore").write_text("*.raw\n")
    assert names(tree) == [b"a/b.jpg"]
    (tmp_path / "a" / ".damdignore").unlink()
    assert names(tree) == [b"a/b.jpg", b"a/c.raw"]


def test_a_tree_that_is_not_recursive_has_no_folders(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "b/c.jpg")
    tree = tree_of(tmp_path, recursive=False)
    assert names(tree) == [b"a.jpg"]
    assert names(tree, b"b") == []
    assert names(tree, b"b/c.jpg") == []
    assert names(tree, b"a.jpg") == [b"a.jpg"]
    assert not tree.concerns(os.fsencode(tmp_path / "b/c.jpg"), is_directory=False)
    assert not tree.concerns(os.fsencode(tmp_path / "b"), is_directory=True)
    assert tree.concerns(os.fsencode(tmp_path), is_directory=True)


def test_a_path_that_is_a_file_is_walked_alone(tmp_path: Path) -> None:
    write(tmp_path, "a/b", "a/b.jpg", "a/c")
    assert names(tree_of(tmp_path), b"a/b") == [b"a/b"]


def test_a_path_that_is_a_folder_is_walked_with_all_that_is_below_it(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c", "a/d", "a-b", "a.jpg", "a0", "e")
    assert names(tree_of(tmp_path), b"a") == [b"a/b/c", b"a/d"]


def test_at_a_path_that_is_gone_there_is_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a")
    for below in (b"gone", b"gone/b", b"a/b"):
        walk = tree_of(tmp_path).walk(below)
        assert (list(walk), walk.blind) == ([], {})


@pytest.mark.parametrize("below", [b"b.raw", b"drafts", b"drafts/c", b"drafts/d", b"state", b"state/e", b"@eaDir"])
def test_at_a_path_that_is_ignored_there_is_nothing(tmp_path: Path, below: bytes) -> None:
    write(tmp_path, "b.raw", "drafts/c", "drafts/d/e", "state/e", "@eaDir/f")
    tree = tree_of(tmp_path, "*.raw", "drafts/", excluded=os.fsencode(tmp_path / "state"))
    assert names(tree, below) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_that_cannot_be_read_hides_only_itself(tmp_path: Path) -> None:
    write(tmp_path, "a/b", "closed/c", "d/e")
    (tmp_path / "closed").chmod(0)
    try:
        walk = tree_of(tmp_path).walk()
        assert [path for files in walk for path, _ in files] == [b"a/b", b"d/e"]
        assert walk.blind == {b"closed": "Permission denied"}
        alone = tree_of(tmp_path).walk(b"closed/c")
        assert (list(alone), alone.blind) == ([], {b"closed/c": "Permission denied"})
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_folder_that_vanishes_under_the_walk_hides_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a", "b/c", "b/d", "e/f", "g")
    walk = tree_of(tmp_path).walk()
    lists = iter(walk)
    assert [path for path, _ in next(lists)] == [b"a"]
    shutil.rmtree(tmp_path / "b")
    assert [path for files in lists for path, _ in files] == [b"e/f", b"g"]
    assert walk.blind == {}


def test_a_root_that_is_gone_has_nothing_in_it(tmp_path: Path) -> None:
    walk = tree_of(tmp_path / "gone").walk()
    assert (list(walk), walk.blind) == ([], {})


def test_the_root_of_the_file_system_can_be_a_root() -> None:
    tree = tree_of(b"/")
    assert tree.relative(b"/a/b") == b"a/b"
    assert tree.relative(b"/") == b""
    assert tree.absolute(b"a/b") == b"/a/b"
    assert tree.absolute(b"") == b"/"
    assert tree.concerns(b"/a", is_directory=False)


def test_what_lies_in_the_excluded_folder_does_not_concern_the_tree(tmp_path: Path) -> None:
    state = os.fsencode(tmp_path / "state")
    tree = tree_of(tmp_path, excluded=state)
    assert not tree.concerns(state, is_directory=True)
    assert not tree.concerns(state + b"/previews/a.webp", is_directory=False)
    assert tree.concerns(state + b".jpg", is_directory=False)


def test_the_root_s_own_path_concerns_the_tree_as_a_folder_only(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "*")
    assert tree.concerns(os.fsencode(tmp_path), is_directory=True)
    assert not tree.concerns(os.fsencode(tmp_path), is_directory=False)
