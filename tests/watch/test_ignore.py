import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damd.watch.base import RootSettings
from damd.watch.ignore import BOOKKEEPING_NAMES, PARTIAL_NAMES, IgnoreRules


def ignored(patterns: list[str], path: str, *, is_directory: bool = False) -> bool:
    return IgnoreRules(patterns).ignores(os.fsencode(path), is_directory=is_directory)


@pytest.mark.parametrize(
    "path",
    [
        *("film.mkv.part", "FILM.MKV.PART", "x.crdownload", "x.tmp", "x.partial", "x.download", "letter.odt~"),
        *(".~lock.letter.odt#", "~$letter.docx", ".IMG_0001.jpg.Xa81bQ", ".plain.a1b2c3", ".syncthing.a.jpg.tmp"),
        *("~syncthing~a.jpg.tmp", ".nextcloudsync.log", ".sync_0a1b.db", ".sync_0a1b.db-wal", ".a.jpg.~4fe2"),
        *("album/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/a.jpg", ".DS_Store", "._a.jpg", ".Trash-1000/a.jpg"),
        *(".Spotlight-V100/x", ".fseventsd/0", "Thumbs.db", "thumbs.db", "Desktop.ini", "a/.git/config", ".git"),
        *(".stfolder/x", ".stversions/a.jpg", "lost+found/#12", "$RECYCLE.BIN/a.jpg", ".nfs000000000000a1b2"),
    ],
)
def test_what_tools_keep_for_themselves_is_ignored(path: str) -> None:
    assert ignored([], path)


@pytest.mark.parametrize(
    "path",
    [
        *("a.jpg", "part/a.jpg", "tmp", "tmp/a.jpg", "recycle/a.jpg", "Trash/a.jpg", "my.git/a.jpg", "download"),
        *(".hidden.jpg", ".photos.sqlite", ".config.backup", "IMG.a1b2c3", "lost+found", "@eaDir", "snapshots/a.jpg"),
        *("a.tmp.jpg", "a~b.jpg", "#1.jpg", "nfs00001.jpg", "sync.db", "é/ü.jpg"),
    ],
)
def test_what_only_looks_like_it_is_not(path: str) -> None:
    assert not ignored([], path)


def test_every_default_ignores_its_own_example() -> None:
    for name in PARTIAL_NAMES + BOOKKEEPING_NAMES:
        example = name.rstrip("/").replace("?", "0").replace("[opx]", "p").replace("*", "x")
        assert ignored([], example, is_directory=name.endswith("/")), name


def test_a_folder_that_is_ignored_takes_along_what_is_below_it() -> None:
    rules = IgnoreRules(["raw/", "!raw/keep.jpg"])
    assert rules.ignores(b"raw", is_directory=True)
    assert rules.ignores(b"2024/raw/a/b/c.jpg", is_directory=False)
    assert rules.ignores(b"raw/keep.jpg", is_directory=False)
    assert not rules.ignores(b"raw", is_directory=False)
    assert not rules.ignores(b"", is_directory=True)


def test_an_exclamation_mark_brings_back_a_default() -> None:
    assert not ignored(["!*.tmp"], "a.tmp")
    assert not ignored(["!@eaDir/"], "@eaDir/a.jpg")
    assert ignored(["!*.tmp", "b.tmp"], "b.tmp")


def test_nothing_but_photographs_can_be_asked_for() -> None:
    rules = IgnoreRules(["*", "!*/", "!*.jpg"])
    assert not rules.ignores(b"a/b/c.jpg", is_directory=False)
    assert not rules.ignores(b"a/b", is_directory=True)
    assert rules.ignores(b"a/b/c.txt", is_directory=False)
    assert rules.ignores(b"a/@eaDir/c.jpg", is_directory=False)


def test_names_that_are_no_utf8_or_hold_line_breaks_are_matched() -> None:
    rules = IgnoreRules(["*.xmp", "Bücher/"])
    assert rules.ignores(b"\xff\xfe/\xe9.xmp", is_directory=False)
    assert rules.ignores("Bücher".encode() + b"/\xe9.jpg", is_directory=False)
    assert rules.ignores(b"two\nlines/a\nb.xmp", is_directory=False)
    assert not rules.ignores(b"\xff.jpg", is_directory=False)
    assert not rules.ignores(b"a.xmp\n", is_directory=False)


@pytest.mark.parametrize("pattern", ["", "  ", "/", "!", "photos[", "[z-a]", "a\\", "[[:alpha:]]", "a\nb", "a\0b"])
def test_a_pattern_that_would_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"gitignore|line break"):
        RootSettings.model_validate({"path": "/photos", "ignore": ["*.ok", pattern]})


def test_a_pattern_that_is_a_comment_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(ValueError, match=r"write '\\#work/'"):
        RootSettings.model_validate({"path": "/photos", "ignore": ["#work/"]})
    assert ignored(["\\#work/"], "#work/a.jpg")


def test_a_folder_as_deep_as_a_path_may_be_is_judged() -> None:
    rules = IgnoreRules(["b/"])
    assert not rules.ignores(b"a/" * 2040 + b"x.jpg", is_directory=False)
    assert rules.ignores(b"a/" * 1000 + b"b/" + b"a/" * 1000 + b"x.jpg", is_directory=False)


def test_what_is_remembered_of_folders_is_bounded() -> None:
    rules = IgnoreRules()
    for number in range(20_000):
        rules.ignores(b"%d/a.jpg" % number, is_directory=False)
    assert len(rules._folders) <= 8192


_FILES = [f"{x}/{y}/{z}" for x in ("a", "b", "ab") for y in ("a", "b", "ba") for z in ("a", "b", "c")]
_FOLDERS = sorted({path.rpartition("/")[0] for path in _FILES} | {path.partition("/")[0] for path in _FILES})
_PATTERNS = st.lists(
    st.builds(
        lambda negated, anchored, segments, folder: "!" * negated + "/" * anchored + "/".join(segments) + "/" * folder,
        st.booleans(),
        st.booleans(),
        st.lists(st.sampled_from(["a", "b", "c", "ab", "*", "a*", "?", "**"]), min_size=1, max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        pytest.skip("there is no git to compare with")
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    for path in _FILES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@settings(max_examples=50, deadline=None)
@given(patterns=_PATTERNS)
def test_patterns_mean_what_they_mean_to_git(repository: Path, patterns: list[str]) -> None:
    (repository / ".gitignore").write_text("\n".join(patterns))
    answer = subprocess.run(
        ["git", "check-ignore", "--stdin"],
        cwd=repository,
        input="\n".join(_FILES + _FOLDERS),
        env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        capture_output=True,
        text=True,
        check=False,  # 1 says that nothing is ignored
    )
    assert answer.returncode in (0, 1)
    rules = IgnoreRules(patterns)
    files = {path for path in _FILES if rules.ignores(path.encode(), is_directory=False)}
    folders = {path for path in _FOLDERS if rules.ignores(path.encode(), is_directory=True)}
    assert files | folders == set(answer.stdout.splitlines())
