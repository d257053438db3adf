import pytest

from damd.watch.folders import MOST_UNWATCHED, Folder, Folders, Unwatched, join


@pytest.fixture
def folders() -> Folders:
    """/r with a, and b in it, watched as 1, 2 and 3."""
    folders = Folders(b"/r")
    folders.place(folders.root, 1)
    a = folders.made(folders.root, b"a")
    folders.place(a, 2)
    folders.place(folders.made(a, b"b"), 3)
    return folders


def path_at(folders: Folders, wd: int) -> bytes | None:
    folder = folders.at(wd)
    assert folder is not None
    return folders.path_of(folder)


def test_paths_are_spelt_as_the_root_is(folders: Folders) -> None:
    assert [path_at(folders, wd) for wd in (1, 2, 3)] == [b"/r", b"/r/a", b"/r/a/b"]
    everything = Folders(b"/")
    everything.place(everything.made(everything.root, b"a"), 1)
    assert path_at(everything, 1) == b"/a"


def test_a_renamed_folder_takes_all_below_it_along(folders: Folders) -> None:
    a = folders.detach(folders.root, b"a")
    assert a is not None
    assert [path_at(folders, wd) for wd in (2, 3)] == [None, None]
    folders.attach(folders.root, b"c", a)
    assert [path_at(folders, wd) for wd in (2, 3)] == [b"/r/c", b"/r/c/b"]


def test_a_watch_is_on_one_folder_and_a_folder_has_one_watch(folders: Folders) -> None:
    c = folders.made(folders.root, b"c")
    assert folders.place(c, 2) is None
    assert path_at(folders, 2) == b"/r/c"
    assert folders.root.below[b"a"].wd is None
    assert folders.place(c, 4) == 2
    assert folders.at(2) is None
    assert folders.place(c, 4) is None


def test_a_watch_that_ended_is_forgotten(folders: Folders) -> None:
    folder = folders.forget(3)
    assert isinstance(folder, Folder)
    assert folder.wd is None
    assert folders.at(3) is None
    assert folders.forget(3) is None


def test_what_lies_below_an_unwatched_folder_is_not_named() -> None:
    unwatched = Unwatched(b"/r")
    for path in (b"/r/a/b/c", b"/r/a/b", b"/r/a/b/d", b"/r/a/bc"):
        unwatched.add(path)
    assert unwatched.paths == {b"/r/a/b", b"/r/a/bc"}


@pytest.mark.parametrize("root", [b"/r", b"/"])
def test_too_many_unwatched_folders_are_named_by_the_folders_above_them_and_at_last_by_the_root(root: bytes) -> None:
    unwatched = Unwatched(root)
    for number in range(MOST_UNWATCHED + 1):
        unwatched.add(join(root, b"%d/%d" % (number % 3, number)))
    assert unwatched.paths == {join(root, b"0"), join(root, b"1"), join(root, b"2")}
    for number in range(MOST_UNWATCHED + 1):
        unwatched.add(join(root, b"x%d" % number))
        assert len(unwatched.paths) <= MOST_UNWATCHED
    assert unwatched.paths == {root}


def test_trying_again_takes_the_names_away_until_it_fails_again() -> None:
    unwatched = Unwatched(b"/r")
    unwatched.add(b"/r/a/b")
    unwatched.add(b"/r/c")
    assert not unwatched.forget(b"/r/d")
    assert unwatched.forget(b"/r/c/below")
    assert unwatched.forget(b"/r/a")
    assert unwatched.paths == {b"/r/c"}
