"""Roots: one path has one key, and keeps its asset when folders are renamed, nested or claimed anew."""

import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update
from sqlmodel import Session, col, select

from damd.catalogue.failing import record_failure
from damd.catalogue.queries import find_path
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset
from damd.catalogue.roots import Place, Roots, claim, known_roots
from damd.catalogue.tables import Failure, Location, Root, Volume
from damd.catalogue.volumes import VolumeKey
from damd.errors import FileChangedError
from damd.mounts import Mounts, filesystem_id

MakeFinding = Callable[..., Finding]

NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & set(b"/\0") and name not in {b".", b".."})
RELATIVE = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
ABSOLUTE = RELATIVE.map(lambda path: b"/" + path)


def roots_of(**folders: bytes) -> Roots:
    return Roots([Root(name=name, path=path) for name, path in folders.items()])


@given(folders=st.lists(ABSOLUTE | st.just(b"/"), unique=True, max_size=4), path=ABSOLUTE)
def test_a_paths_key_leads_back_to_the_path(folders: list[bytes], path: bytes) -> None:
    roots = Roots([Root(name=f"root{number}", path=folder) for number, folder in enumerate(folders)])
    place = roots.place_of(path)
    assert roots.path_of(place) == path
    assert (place.root == "") == place.path.startswith(b"/")


@given(folder=ABSOLUTE | st.just(b"/"), below=RELATIVE, other=ABSOLUTE)
def test_a_key_leads_to_a_path_of_that_key(folder: bytes, below: bytes, other: bytes) -> None:
    place = Place("inbox", below)
    assert roots_of(inbox=folder).place_of(roots_of(inbox=folder).path_of(place)) == place
    moved = roots_of(inbox=other)
    assert moved.place_of(moved.path_of(place)) == place


def test_a_path_belongs_to_the_innermost_of_the_roots_around_it() -> None:
    roots = roots_of(all=b"/", photos=b"/photos", inbox=b"/photos/inbox")
    assert roots.place_of(b"/photos/inbox/a") == Place("inbox", b"a")
    assert roots.place_of(b"/photos/inbox") == Place("photos", b"inbox")
    assert roots.place_of(b"/photos/inbox2/a") == Place("photos", b"inbox2/a")
    assert roots.place_of(b"/photos") == Place("all", b"photos")


def test_a_path_outside_every_root_is_its_own_key() -> None:
    roots = roots_of(photos=b"/photos")
    assert roots.place_of(b"/photos2/a") == Place("", b"/photos2/a")
    assert roots.path_of(Place("", b"/photos2/a")) == b"/photos2/a"


def test_links_among_the_folders_are_resolved_but_the_last_part_is_not(tmp_path: Path) -> None:
    tmp_path = tmp_path.resolve()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "real" / "link").symlink_to("file")
    (tmp_path / "way").symlink_to("real")
    roots = roots_of(inbox=os.fsencode(tmp_path / "real"))
    for spelt in ("way/file", "real/../way/./file", "way//file"):
        assert roots.place(f"{tmp_path}/{spelt}") == Place("inbox", b"file")
    assert roots.place(tmp_path / "way" / "link") == Place("inbox", b"link")
    assert roots.place(f"/{tmp_path}/way/file") == Place("inbox", b"file")
    assert roots.place(f"{tmp_path}/way/../real/file") == Place("inbox", b"file")


def test_a_relative_path_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    roots = roots_of(inbox=os.fsencode(tmp_path.resolve()))
    assert roots.place("a") == roots.place("./a") == roots.place("sub/../a") == Place("inbox", b"a")
    assert roots.place(b"\xff/b") == Place("inbox", b"\xff/b")
    assert roots.place("sub/") == roots.place("sub/.") == Place("inbox", b"sub")
    monkeypatch.chdir(tmp_path / "sub")
    assert roots.place("../a") == Place("inbox", b"a")
    assert roots.place("..") == Place("", os.fsencode(tmp_path.resolve()))


class Keeper:
    """A catalogue, told of roots and of files by their absolute paths."""

    def __init__(self, engine: Engine, finding: MakeFinding) -> None:
        self._engine = engine
        self._finding = finding

    def claim(self, **wanted: bytes) -> Roots:
        with Session(self._engine) as session:
            known = claim(session, [Place(name, path) for name, path in wanted.items()])
            session.commit()
            assert {root.name: root.path for root in known} == {root.name: root.path for root in known_roots(session)}
            return Roots(known)

    def roots(self) -> Roots:
        with Session(self._engine) as session:
            return Roots(known_roots(session))

    def names(self) -> set[str]:
        with Session(self._engine) as session:
            return {root.name for root in known_roots(session)}

    def record(self, *paths: bytes) -> None:
        roots = self.roots()
        with Session(self._engine) as session:
            for path in paths:
                root, below = roots.place_of(path)
                asset = NewAsset(
                    path.hex()[:64], self._finding(below, root=root), Properties(size_bytes=1, first_name="a"), ()
                )
                record_asset(session, asset, None)
                at = datetime.now(UTC)
                record_failure(session, self._finding(below + b".failed", root=root), FileChangedError(), at=at)
            session.commit()

    def keys(self) -> set[Place]:
        with Session(self._engine) as session:
            places = {Place(row.root, row.path) for row in session.exec(select(Location))}
            failed = {Place(row.root, row.path) for row in session.exec(select(Failure))}
            assert failed == {Place(root, path + b".failed") for root, path in places}
            return places

    def finds(self, *paths: bytes) -> bool:
        """Whether each of the absolute paths has its asset, by the roots that are known."""
        roots = self.roots()
        with Session(self._engine) as session:
            found = [find_path(session, roots.place_of(path)).location for path in paths]
            return all(one and one.sha256 == path.hex()[:64] for one, path in zip(found, paths, strict=True))


@pytest.fixture
def keeper(engine: Engine, finding: MakeFinding) -> Keeper:
    return Keeper(engine, finding)


def test_a_claimed_root_is_remembered(keeper: Keeper) -> None:
    keeper.claim(inbox=b"/in\xffbox")
    assert keeper.names() == {"inbox"}
    assert keeper.claim().folder("inbox") == b"/in\xffbox"


def test_a_claim_that_changes_nothing_keeps_when_the_root_was_first_claimed(keeper: Keeper, engine: Engine) -> None:
    def claimed_at() -> datetime:
        with Session(engine) as session:
            return session.exec(select(Root.claimed_at)).one()

    keeper.claim(inbox=b"/inbox")
    first = claimed_at()
    keeper.claim(inbox=b"/inbox")
    assert claimed_at() == first
    keeper.claim(inbox=b"/elsewhere")
    assert claimed_at() == first


def test_a_new_root_adopts_what_lies_below_it(keeper: Keeper) -> None:
    keeper.record(b"/photos/a", b"/photos/b/c\xff", b"/photos2/d", b"/e")
    keeper.claim(photos=b"/photos")
    assert keeper.keys() == {
        Place("photos", b"a"),
        Place("photos", b"b/c\xff"),
        Place("", b"/photos2/d"),
        Place("", b"/e"),
    }
    assert keeper.finds(b"/photos/a", b"/photos/b/c\xff", b"/photos2/d", b"/e")


def test_the_root_of_everything_adopts_everything(keeper: Keeper) -> None:
    keeper.record(b"/photos/a", b"/e")
    keeper.claim(all=b"/")
    assert keeper.keys() == {Place("all", b"photos/a"), Place("all", b"e")}
    assert keeper.finds(b"/photos/a", b"/e")


def test_a_root_that_is_mounted_elsewhere_keeps_its_keys(keeper: Keeper) -> None:
    keeper.claim(photos=b"/mnt/a")
    keeper.record(b"/mnt/a/x")
    roots = keeper.claim(photos=b"/mnt/b")
    assert keeper.keys() == {Place("photos", b"x")}
    assert roots.place_of(b"/mnt/b/x") == Place("photos", b"x")


def test_another_name_for_the_same_folder_takes_its_keys(keeper: Keeper) -> None:
    keeper.claim(photos=b"/photos")
    keeper.record(b"/photos/a")
    keeper.claim(pictures=b"/photos")
    assert keeper.names() == {"pictures"}
    assert keeper.keys() == {Place("pictures", b"a")}


def test_a_root_around_former_ones_swallows_them(keeper: Keeper) -> None:
    keeper.claim(one=b"/photos/1", two=b"/photos/2", music=b"/music")
    keeper.record(b"/photos/1/a", b"/photos/2/a", b"/photos/b", b"/music/c")
    keeper.claim(photos=b"/photos", music=b"/music")
    assert keeper.names() == {"photos", "music"}
    assert keeper.keys() == {
        Place("photos", b"1/a"),
        Place("photos", b"2/a"),
        Place("photos", b"b"),
        Place("music", b"c"),
    }


def test_a_root_within_a_former_one_takes_its_part(keeper: Keeper) -> None:
    keeper.claim(photos=b"/photos")
    keeper.record(b"/photos/inbox/a", b"/photos/b", b"/photos/inbox2/c")
    keeper.claim(inbox=b"/photos/inbox")
    assert keeper.names() == {"photos", "inbox"}
    assert keeper.keys() == {Place("inbox", b"a"), Place("photos", b"b"), Place("photos", b"inbox2/c")}
    assert keeper.finds(b"/photos/inbox/a", b"/photos/b", b"/photos/inbox2/c")


def test_a_root_that_grows_to_swallow_what_was_within_it_finds_everything(keeper: Keeper) -> None:
    keeper.claim(photos=b"/photos")
    keeper.record(b"/photos/inbox/a", b"/photos/b")
    keeper.claim(inbox=b"/photos/inbox")
    keeper.record(b"/photos/inbox/c")
    keeper.claim(photos=b"/photos")
    assert keeper.finds(b"/photos/inbox/a", b"/photos/b", b"/photos/inbox/c")
    keeper.claim(pictures=b"/photos")
    assert keeper.names() == {"pictures"}
    assert keeper.finds(b"/photos/inbox/a", b"/photos/b", b"/photos/inbox/c")


def test_a_key_that_is_already_taken_is_not_taken_twice(keeper: Keeper, engine: Engine) -> None:
    keeper.claim(one=b"/one", two=b"/two")
    keeper.record(b"/one/a", b"/two/a", b"/two/b")
    keeper.claim(one=b"/two")
    assert keeper.keys() == {Place("one", b"a"), Place("one", b"b")}
    assert keeper.names() == {"one"}


def test_claimed_rows_keep_everything_but_their_key(keeper: Keeper, engine: Engine) -> None:
    keeper.record(b"/photos/a")
    with Session(engine) as session:
        session.execute(update(Location).values(missing_since=datetime(2024, 1, 1, tzinfo=UTC)))
        session.commit()
        before = session.exec(select(Location)).one().model_dump()
    keeper.claim(photos=b"/photos")
    with Session(engine) as session:
        after = session.exec(select(Location).where(col(Location.root) == "photos")).one().model_dump()
    assert after == before | {"root": "photos", "path": b"a"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two folders: ``real``, with a file and a linked folder in it, and ``other``; and links to each from outside."""
    tmp_path = tmp_path.resolve()
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "back").symlink_to("../real")
    (tmp_path / "real" / "album").symlink_to("../other")
    (tmp_path / "way").symlink_to("real")
    return tmp_path


def test_below_a_root_that_follows_links_a_path_keeps_its_spelling(tree: Path) -> None:
    folder = os.fsencode(tree / "real")
    following = Roots([Root(name="inbox", path=folder)], following=["inbox", "never claimed"])
    assert following.follows("inbox")
    assert not following.follows("other")
    for spelt in ("real/album/a", "real//./album/a", "way/album/a", "other/back/album/a", "real/sub/../album/a"):
        assert following.place(f"{tree}/{spelt}") == Place("inbox", b"album/a")
    assert following.place(tree / "real" / "album" / "back" / "sub" / "a") == Place("inbox", b"album/back/sub/a")
    assert following.place(tree / "real" / "album" / ".." / "a") == Place("", os.fsencode(tree / "a"))
    assert following.place(tree / "real" / "sub" / ".") == Place("inbox", b"sub")
    assert following.place(tree / "other" / "a") == Place("", os.fsencode(tree / "other" / "a"))
    assert following.place(tree / "real") == Place("", folder)
    assert roots_of(inbox=folder).place(tree / "real" / "album" / "a").root == ""


def test_a_relative_path_into_a_root_that_follows_links_keeps_its_spelling(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = Roots([Root(name="inbox", path=os.fsencode(tree / "real"))], following=["inbox"])
    monkeypatch.chdir(tree / "real")
    assert following.place("album/a") == Place("inbox", b"album/a")
    monkeypatch.chdir(tree)
    assert following.place("way/album/a") == Place("inbox", b"album/a")


def test_a_volume_is_named_by_where_it_is_mounted_below_its_root(tmp_path: Path) -> None:
    here = os.fsencode(tmp_path.resolve())
    disk = tmp_path / "inbox" / "disk"
    disk.mkdir(parents=True)
    mountinfo = tmp_path / "mountinfo"
    lines = [b"/", here, here + b"/inbox/disk", here + b"/inbox2", b"/proc"]
    mountinfo.write_bytes(b"".join(b"1 1 0:1 / %b rw - ext4 source rw\n" % line for line in lines))
    claimed = [Root(name="inbox", path=here + b"/inbox"), Root(name="all", path=b"/")]
    with closing(Mounts(mountinfo)) as mounts:
        roots = Roots(claimed, mounts)
        number = filesystem_id(here)
        assert roots.volume_of(Place("inbox", b"a")) == VolumeKey(b"", number)
        assert roots.volume_of(Place("inbox", b"gone/a")) == VolumeKey(b"", number)
        assert roots.volume_of(Place("inbox", b"disk/a")) == VolumeKey(b"disk", number)
        assert roots.volume_of(Place("inbox", b"disk2/a")) == VolumeKey(b"", number)
        assert roots.volume_of(Place("all", here[1:] + b"/a")) == VolumeKey(here[1:], number)
        assert roots.volume_of(Place("all", b"elsewhere/a")) == VolumeKey(b"", filesystem_id(b"/"))
        assert roots.volume_of(Place("", here + b"/a")) is None
        assert roots.volume_of(Place("never claimed", b"a")) is None
        disk.rmdir()
        mounts.close()
        mountinfo.write_bytes(mountinfo.read_bytes() + b"1 1 0:1 / /x rw - ext4 source rw\n")
        with pytest.raises(FileNotFoundError):
            roots.volume_of(Place("inbox", b"disk/a"))
    assert Roots(claimed).volume_of(Place("inbox", b"a")) is None


@pytest.mark.parametrize(
    ("former", "lay_on", "claimed", "expected"),
    [
        (b"/photos", b"", b"/photos", b""),
        (b"/photos", b"disk", b"/photos", b"disk"),
        (b"/photos", b"disk", b"/", b"photos/disk"),
        (b"/photos", b"disk", b"/photos/disk", b""),
        (b"/photos", b"disk", b"/photos/disk/sub", b""),
        (b"/photos", b"", b"/photos/disk", b""),
        (b"/photos", b"disk/sub", b"/photos/disk", b"sub"),
        (b"/photos", b"", b"/", None),
    ],
)
def test_a_claimed_location_lies_on_the_volume_that_it_lay_on(
    engine: Engine, finding: MakeFinding, former: bytes, lay_on: bytes, claimed: bytes, expected: bytes | None
) -> None:
    path = b"disk/sub/a"
    with Session(engine) as session:
        claim(session, [Place("former", former)])
        found = finding(path, root="former", volume=VolumeKey(lay_on, 7))
        record_asset(session, NewAsset("aa", found, Properties(size_bytes=1, first_name="a"), ()), None)
        claim(session, [Place("claimed", claimed)])
        volume = select(Volume.root, Volume.path, Volume.filesystem).join(Location)
        assert session.exec(volume).all() == ([] if expected is None else [("claimed", expected, 7)])
        assert session.exec(select(Location.root)).one() == "claimed"
        names = {root.name for root in known_roots(session)}
        assert set(session.exec(select(Volume.root)).all()) <= names
