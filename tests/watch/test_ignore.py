import os
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damd.fingerprint import Signature
from damd.watch.base import RootSettings
from damd.watch.default_names import BOOKKEEPING_NAMES, PARTIAL_NAMES
from damd.watch.ignore import NOT_INCLUDED, IgnoreRules
from damd.watch.patterns import Rule


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
        *(".damdignore", "a/.damdignore", ".sync-exclude.lst", ".stfolder.removed-20240101-120000/x"),
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
    assert len(rules._scopes) <= 8192


def test_a_file_of_the_folder_goes_before_the_configuration_and_a_deeper_one_before_it(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / ".damdignore").write_text("!*.tif\n*.png\n!*.tmp\n")
    (tmp_path / "a/.damdignore").write_text("# mine\n!*.png\n/b/*.gif\n")
    rules = IgnoreRules(["*.tif", "*.xmp"], folder=os.fsencode(tmp_path))
    assert not rules.ignores(b"x.tif", is_directory=False)
    assert not rules.ignores(b"a/b/x.tmp", is_directory=False)
    assert rules.verdict(b"a/x.xmp", is_directory=False) == Rule("*.xmp", "the configuration")
    assert rules.verdict(b"x.png", is_directory=False) == Rule("*.png", f"{tmp_path}/.damdignore:2")
    assert rules.verdict(b"a/b/x.png", is_directory=False) is None
    assert rules.verdict(b"a/b/x.gif", is_directory=False) == Rule("/b/*.gif", f"{tmp_path}/a/.damdignore:3")
    assert rules.verdict(b"b/x.gif", is_directory=False) is None
    assert rules.verdict(b"a/x.part", is_directory=False) == Rule("*.part", "the defaults")


def test_a_file_in_an_ignored_folder_brings_nothing_back(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/.damdignore").write_text("!*\n!/keep.jpg\n")
    rules = IgnoreRules(["raw/"], folder=os.fsencode(tmp_path))
    assert rules.verdict(b"raw/deeper/keep.jpg", is_directory=False) == Rule("raw/", "the configuration")
    assert rules.in_folder(b"raw", None)(b"keep.jpg", False)


def test_only_what_is_included_counts_and_folders_always_do() -> None:
    rules = IgnoreRules(["*.tmp.jpg", "!x.part"], include=["*.jpg", "/scans/", "x.part", "!no.jpg"])
    for path in (b"a.jpg", b"a/b/c.jpg", b"scans/a.tiff", b"scans/b/c.txt", b"x.part", b"scans/no.jpg"):
        assert not rules.ignores(path, is_directory=False), path
    for path in (b"a.tiff", b"a/scans/b.txt", b"scans", b"no.jpg"):
        assert rules.verdict(path, is_directory=False) == NOT_INCLUDED, path
    for path in (b"a.tmp.jpg", b"scans/a.tmp", b"@eaDir/a.jpg"):
        assert rules.ignores(path, is_directory=False), path
    assert not rules.ignores(b"a/b", is_directory=True)
    assert NOT_INCLUDED.pattern == "no pattern of include matches"


def test_a_changed_file_is_read_when_a_listing_shows_it_or_it_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a/.damdignore"

    def judged(name: bytes) -> bool:
        own = Signature.of(file.lstat()) if file.exists() else None
        walked = rules.in_folder(b"a", own)(name, False)
        assert walked is rules.ignores(b"a/" + name, is_directory=False)
        assert walked is rules.ignores(b"a/b/" + name, is_directory=False)
        return walked

    rules = IgnoreRules(folder=os.fsencode(tmp_path))
    assert not judged(b"x.one")
    file.write_text("*.one\n")
    assert judged(b"x.one")
    file.write_text("*.another\n")
    assert (judged(b"x.one"), judged(b"x.another")) == (False, True)
    file.unlink()
    assert not judged(b"x.another")
    file.write_text("*.one\n")
    assert not rules.ignores(b"a/x.one", is_directory=False)
    rules.forget(b"a")
    assert rules.ignores(b"a/x.one", is_directory=False)


def test_an_older_listing_does_not_undo_what_is_known(tmp_path: Path) -> None:
    (tmp_path / ".damdignore").write_text("*.one\n")
    rules = IgnoreRules(folder=os.fsencode(tmp_path))
    assert rules.in_folder(b"", Signature.of((tmp_path / ".damdignore").lstat()))(b"x.one", False)
    assert rules.in_folder(b"", None)(b"x.one", False)
    assert rules.in_folder(b"", Signature(1, 2, 3, 4))(b"x.one", False)
    assert rules.ignores(b"b/x.one", is_directory=False)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / ".damdignore"
    file.write_text("*.one\n")
    rules = IgnoreRules(folder=os.fsencode(tmp_path))
    own = Signature.of(file.lstat())
    assert rules.in_folder(b"", own)(b"x.one", False)
    file.write_text("*.two\n")
    assert rules.in_folder(b"", own)(b"x.one", False)


def test_many_threads_may_ask_while_files_come_and_go(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(20)]
    for folder in folders:
        folder.mkdir()
    rules = IgnoreRules(["*.xmp"], folder=os.fsencode(tmp_path))

    def change(turn: int) -> None:
        for folder in folders:
            file = folder / ".damdignore"
            file.write_text(f"*.{turn}\n") if turn % 3 else file.unlink(missing_ok=True)
            rules.forget(os.fsencode(folder.name))

    def judge(folder: Path) -> Callable[[bytes, bool], bool]:
        try:
            own = Signature.of((folder / ".damdignore").lstat())
        except FileNotFoundError:
            own = None
        return rules.in_folder(os.fsencode(folder.name), own)

    def ask(_: int) -> None:
        for folder in folders:
            assert rules.ignores(os.fsencode(f"{folder.name}/b/x.xmp"), is_directory=False)
            assert not judge(folder)(b"x.jpg", False)

    with ThreadPoolExecutor(5) as threads:
        asked = threads.map(ask, range(40))
        for turn in range(1, 11):
            change(turn)
        list(asked)
    for folder in folders:  # each is walked once more, as whoever forgets has it walked
        assert judge(folder)(b"x.10", False)
        assert rules.ignores(os.fsencode(f"{folder.name}/b/x.10"), is_directory=False)
        assert not rules.ignores(os.fsencode(f"{folder.name}/b/x.8"), is_directory=False)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 30 + "b", "a" * 255),
        ("[!b]*" * 40 + "b", "a" * 255),
        ("/x/" + "*a" * 30 + "*b", "x/" + "a" * 255),
        ("**/a/" * 20 + "b", "a/" * 2000 + "c"),
        ("a/" + "**/*a*/" * 20 + "b", "aa/" * 1300 + "c"),
    ],
)
def test_no_pattern_takes_long_to_match_nothing(pattern: str, path: str) -> None:
    start = time.thread_time()
    assert not ignored([pattern], path)
    assert time.thread_time() - start < 2


_FILES = [f"{x}/{y}/{z}" for x in ("a", "b", "ab") for y in ("a", "b", "ba") for z in ("a", "b", "c")]
_FOLDERS = sorted({path.rpartition("/")[0] for path in _FILES} | {path.partition("/")[0] for path in _FILES})
_LINES = st.builds(
    lambda negated, anchored, segments, folder: "!" * negated + "/" * anchored + "/".join(segments) + "/" * folder,
    st.booleans(),
    st.booleans(),
    st.lists(
        st.sampled_from(["a", "b", "c", "ab", "*", "a*", "*b*", "?", "**", "[!a]", "[ab]?", "b[!c]a"]),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
_PATTERNS = st.lists(_LINES, min_size=1, max_size=4)
_LAYERS = st.dictionaries(st.sampled_from(["", *_FOLDERS]), _PATTERNS, max_size=3)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("git") is None:
        pytest.skip("there is no git to compare with")
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    (folder / ".git/info").mkdir(exist_ok=True)
    for path in _FILES:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def ignored_by_git(repository: Path, configured: list[str], layers: dict[str, list[str]]) -> set[str]:
    (repository / ".git/info/exclude").write_text("\n".join(configured))
    for path in ["", *_FOLDERS]:
        for name in (".gitignore", ".damdignore"):
            (repository / path / name).unlink(missing_ok=True)
            if path in layers:
                (repository / path / name).write_text("\n".join(layers[path]))
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
    return set(answer.stdout.splitlines())


def walked(rules: IgnoreRules, repository: Path, folder: str = "") -> set[str]:
    """What a walk by `IgnoreRules.in_folder` comes to: it does not look into what is ignored."""
    entries = {entry.name: entry for entry in os.scandir(repository / folder) if not entry.name.startswith(".")}
    own = repository / folder / ".damdignore"
    judge = rules.in_folder(os.fsencode(folder), Signature.of(own.lstat()) if own.exists() else None)
    found = set()
    for name, entry in entries.items():
        if not judge(os.fsencode(name), entry.is_dir()):
            path = f"{folder}/{name}" if folder else name
            found |= {path} | (walked(rules, repository, path) if entry.is_dir() else set())
    return found


@settings(max_examples=50, deadline=None)
@given(configured=st.lists(_LINES, max_size=3), layers=_LAYERS)
def test_patterns_mean_what_they_mean_to_git(
    repository: Path, configured: list[str], layers: dict[str, list[str]]
) -> None:
    theirs = ignored_by_git(repository, configured, layers)
    rules = IgnoreRules(configured, folder=os.fsencode(repository))
    files = {path for path in _FILES if rules.ignores(path.encode(), is_directory=False)}
    folders = {path for path in _FOLDERS if rules.ignores(path.encode(), is_directory=True)}
    assert files | folders == theirs
    for path in _FILES + _FOLDERS:
        assert (rules.verdict(path.encode(), is_directory=path in _FOLDERS) is not None) is (path in theirs)
    anew = IgnoreRules(configured, folder=os.fsencode(repository))
    assert walked(anew, repository) == {*_FILES, *_FOLDERS} - theirs


@settings(max_examples=40, deadline=None)
@given(include=_PATTERNS)
def test_what_git_would_ignore_is_what_is_included(repository: Path, include: list[str]) -> None:
    theirs = ignored_by_git(repository, include, {})
    rules = IgnoreRules(include=include)
    assert {path for path in _FILES if not rules.ignores(path.encode(), is_directory=False)} == theirs - {*_FOLDERS}
    assert walked(IgnoreRules(include=include), repository) == theirs | {*_FOLDERS}
