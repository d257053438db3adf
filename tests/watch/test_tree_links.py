"""Which links a walk follows, how often, and what it leaves out behind them."""

import os
import socket
from pathlib import Path

import pytest
from watch.trees import names, tree_of, write

from damd.fingerprint import Signature


@pytest.mark.parametrize("follow_symlinks", [False, True])
def test_a_link_to_an_ignored_folder_is_no_file(tmp_path: Path, *, follow_symlinks: bool) -> None:
    write(tmp_path, "real/a")
    (tmp_path / "drafts").symlink_to("real")
    tree = tree_of(tmp_path, "drafts/", follow_symlinks=follow_symlinks)
    assert names(tree, b"drafts") == []
    assert names(tree) == [b"real/a"]


def test_special_files_and_links_that_lead_nowhere_are_yielded_other_links_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "folder/a")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").symlink_to("folder/a")
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "round").symlink_to(".")
    with socket.socket(socket.AF_UNIX) as listener:
        at = os.open(tmp_path, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{at}/socket")
        os.close(at)
    tree = tree_of(tmp_path)
    everything = [b"fifo", b"folder/a", b"loop", b"nowhere", b"socket"]
    assert names(tree) == everything
    for path in (b"fifo", b"file", b"link", b"loop", b"nowhere", b"round", b"socket"):
        assert names(tree, path) == [each for each in everything if each == path]


def test_links_are_followed_where_that_is_asked_for(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    write(outside, "a/b", "c")
    write(root, "d", "e/f")
    (root / "folder").symlink_to(outside / "a")
    (root / "file").symlink_to(outside / "c")
    (root / "nowhere").symlink_to("gone")
    (root / "state").symlink_to(outside)
    tree = tree_of(root, follow_symlinks=True, excluded=os.fsencode(root / "state"))
    walk = tree.walk()
    found = {path: numbers for files in walk for path, numbers in files}
    assert list(found) == [b"d", b"e/f", b"file", b"folder/b", b"nowhere"]
    assert found[b"file"] == Signature.of((outside / "c").stat())
    assert found[b"folder/b"] == Signature.of((outside / "a/b").stat())
    assert found[b"nowhere"] == Signature.of((root / "nowhere").lstat())
    assert os.fsencode(root / "folder") in walk.linked
    for path, numbers in found.items():
        assert list(tree.walk(path)) == [[(path, numbers)]]
    assert names(tree, b"folder") == [b"folder/b"]


def test_a_file_behind_a_link_looks_as_another_one_as_soon_as_the_link_leads_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, ".hidden/a", ".hidden/b")
    (tmp_path / "link").symlink_to(".hidden/a")
    tree = tree_of(tmp_path, ".hidden/", follow_symlinks=True)
    before = list(tree.walk())
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(".hidden/b")
    assert list(tree.walk()) != before


def test_links_to_folders_of_the_root_s_own_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root, "a/b", "c/d")
    links = {"a/round": "..", "a/self": ".", "a/to-c": "../c", "c/to-a": "../a", "onto": os.fspath(root)}
    for link, target in links.items():
        (root / link).symlink_to(target)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "back").symlink_to(root / "a")
    (root / "out").symlink_to(tmp_path / "outside")
    tree = tree_of(root, follow_symlinks=True)
    walk = tree.walk()
    assert [path for files in walk for path, _ in files] == [b"a/b", b"c/d"]
    assert walk.linked == [os.fsencode(root / "out")]
    for link in (*links, "out", "out/back"):
        assert names(tree, os.fsencode(link)) == []


def test_a_link_to_a_folder_around_the_root_leads_to_all_but_the_root(tmp_path: Path) -> None:
    root = tmp_path / "between" / "root"
    write(tmp_path, "above", "between/beside", "between/root/a")
    (root / "up").symlink_to("../..")
    tree = tree_of(root, follow_symlinks=True)
    assert names(tree) == [b"a", b"up/above", b"up/between/beside"]
    assert names(tree, b"up") == [b"up/above", b"up/between/beside"]


def test_damd_s_own_state_is_left_out_behind_links_too(tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "var" / "state"
    write(state, "catalogue", "previews/a.webp")
    write(tmp_path, "var/b", "var/state.jpg", "root/c")
    links = {"into": state / "previews", "onto": state, "parent": tmp_path / "var"}
    for link, target in links.items():
        (root / link).symlink_to(target)
    tree = tree_of(root, follow_symlinks=True, excluded=os.fsencode(state))
    walk = tree.walk()
    assert [path for files in walk for path, _ in files] == [b"c", b"parent/b", b"parent/state.jpg"]
    assert walk.linked == [os.fsencode(root / "parent")]
    assert names(tree, b"parent") == [b"parent/b", b"parent/state.jpg"]
    assert names(tree, b"into") == names(tree, b"onto") == []


def test_what_several_links_lead_to_is_walked_below_the_first_of_them(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(outside, "a", "b/c")
    root.mkdir()
    links = [f"{name}-link" for name in "qwertyuiopasdfghjklzxcvbnm"]
    for link in links:
        (root / link).symlink_to(outside)
    (root / "chain").symlink_to("q-link")
    tree = tree_of(root, follow_symlinks=True)
    walk = tree.walk()
    first = min(links).encode()
    assert [path for files in walk for path, _ in files] == [first + b"/a", first + b"/b/c"]
    assert walk.linked == [os.fsencode(root / min(links))]
    assert names(tree) == [first + b"/a", first + b"/b/c"], "each walk is one for itself"


@pytest.mark.parametrize("count", [1, 2, 12])
def test_outside_folders_that_link_to_one_another_are_walked_once_each(tmp_path: Path, count: int) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    for number in range(count):
        write(outside, f"{number}/file {number}")
        for other in range(count):
            (outside / f"{number}" / f"to {other}").symlink_to(outside / f"{other}")
    (root / "link").symlink_to(outside / "0")
    tree = tree_of(root, follow_symlinks=True)
    for below in (b"", b"link"):
        found = [path.rpartition(b"/")[2] for path in names(tree, below)]
        assert sorted(found) == sorted(b"file %d" % number for number in range(count))


def test_a_tree_that_is_not_recursive_follows_links_to_files_only(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    write(outside, "a/b")
    write(root, "c")
    (root / "folder").symlink_to(outside / "a")
    (root / "file").symlink_to(outside / "a" / "b")
    walk = tree_of(root, follow_symlinks=True, recursive=False).walk()
    assert [path for files in walk for path, _ in files] == [b"c", b"file"]
    assert walk.linked == []
