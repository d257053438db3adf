"""Reconciling finds what the catalogue does not know, and what is not there, and nothing else."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, delete, insert, select

import damd.media  # noqa: F401 - its tables belong to the schema
from damd.catalogue import absence
from damd.catalogue.absence import note_volumes
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import ContentHash, Entity, Failure, Location, Volume, now
from damd.catalogue.volumes import VolumeKey, present_volumes, volume_id
from damd.fingerprint import Signature
from damd.watch import reconcile
from damd.watch.ignore import IgnoreRules
from damd.watch.presence import Volumes
from damd.watch.reconcile import differences, those_gone
from damd.watch.tree import Numbers, Tree, Walk

OWN = VolumeKey(b"", 1)
ABSENT = VolumeKey(b"", 2)


def tree_of(folder: Path | bytes, *patterns: str, follow_symlinks: bool = False) -> Tree:
    rules = IgnoreRules(patterns)
    path = os.fsencode(folder)
    return Tree(
        root="inbox", folder=path, recursive=True, rules=rules, excluded=b"/nowhere", follow_symlinks=follow_symlinks
    )


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")


class Row(NamedTuple):
    """What the catalogue knows of a path: a location, or a failure, with its signature."""

    table: type[Location | Failure]
    path: bytes
    signature: Signature
    volume: int | None = None
    missing: bool = False
    permanent: bool = False
    root: str = "inbox"

    def insert(self, session: Session, entity: int) -> None:
        values = {"root": self.root, "path": self.path, **self.signature._asdict()}
        if self.table is Location:
            missing_since = now() if self.missing else None
            values |= {"entity_id": entity, "volume_id": self.volume, "missing_since": missing_since}
            values |= {"first_seen_at": now()}
        else:
            moment = datetime.now(UTC)
            values |= {"reason": "broken", "permanent": self.permanent, "attempts": 1}
            values |= {"first_failed_at": moment, "last_failed_at": moment}
        session.execute(insert(self.table).values(values))


async def know(catalogue: Catalogue, rows: Sequence[Row]) -> None:
    """Have the catalogue know these rows, and nothing else of any file."""

    def change(session: Session) -> None:
        for table in (Location, Failure, ContentHash, Entity):
            session.execute(delete(table))
        entity = session.execute(insert(Entity).values(created_at=now()).returning(col(Entity.id))).scalar_one()
        for row in rows:
            row.insert(session, entity)

    await catalogue.write(change)


@dataclass
class Told:
    """What all comparisons of one walk say together."""

    unknown: list[bytes] = field(default_factory=list)
    unseen: list[bytes] = field(default_factory=list)
    unseen_failures: list[bytes] = field(default_factory=list)
    out_of_reach: int = 0
    known: int = 0

    def __add__(self, other: "Told") -> "Told":
        return Told(
            self.unknown + other.unknown,
            self.unseen + other.unseen,
            self.unseen_failures + other.unseen_failures,
            self.out_of_reach + other.out_of_reach,
            self.known + other.known,
        )

    def in_order(self) -> "Told":
        return Told(
            sorted(self.unknown), sorted(self.unseen), sorted(self.unseen_failures), self.out_of_reach, self.known
        )


async def told(catalogue: Catalogue, walk: Walk, volumes: Volumes) -> Told:
    everything = Told()
    async with aclosing(differences(catalogue, walk, volumes)) as comparisons:
        async for each in comparisons:
            await catalogue.write(partial(note_volumes, elsewhere=each.elsewhere))
            everything += Told(each.unknown, each.unseen, each.unseen_failures, each.out_of_reach, each.known)
    return everything


async def volumes_of(catalogue: Catalogue, *keys: VolumeKey) -> Volumes:
    return Volumes(await catalogue.write(partial(present_volumes, root="inbox", keys=keys or (OWN,))))


def lost(path: bytes, volumes: Volumes) -> Row:
    """A location whose file is not there as it was, on the volume that is."""
    return Row(Location, path, Signature(1, 2, 3, 4), volumes.at(path))


def found_in(tree: Tree) -> dict[bytes, Numbers]:
    return {path: numbers for files in tree.walk() for path, numbers in files}


NAMES = st.sampled_from([b"a", b"a-", b"a.", b"a0", b"b", b"\xff", b"\xc3\xa9", b"\n"])
TREES = st.recursive(st.none(), lambda below: st.dictionaries(NAMES, below, max_size=4), max_leaves=20).filter(
    lambda tree: tree is not None
)
SUFFIXES = st.sampled_from([b"", b"", b"", b"", b"/x", b"-", b"-b/c", b".jpg", b"0", b"\0"[:0], b"\x01"])


class Known(NamedTuple):
    """What is drawn: which path, and what is known of it."""

    at: int
    suffix: bytes
    what: str
    volume: str


KNOWN = st.builds(
    Known,
    at=st.integers(0, 100),
    suffix=SUFFIXES,
    what=st.sampled_from(["same", "same", "changed", "missing", "permanent", "transient", "other", "both"]),
    volume=st.sampled_from(["none", "own", "nested", "absent"]),
)


def _make(folder: bytes, tree: Mapping[bytes, Any], below: bytes = b"") -> Iterator[bytes]:
    """Make a tree; each of its paths, folders too."""
    for name, content in tree.items():
        path = below + name
        yield path
        if content is None:
            os.close(os.open(folder + b"/" + path, os.O_CREAT))
        else:
            os.mkdir(folder + b"/" + path)  # noqa: PTH102 - pathlib has no paths of bytes
            yield from _make(folder, content, path + b"/")


def _rows(drawn: Sequence[Known], paths: Sequence[bytes], found: Mapping[bytes, Numbers], at: dict[str, int]) -> Any:
    """The rows that were drawn, each path once in each table."""
    rows: dict[tuple[object, str, bytes], Row] = {}
    for known in drawn:
        path = paths[known.at % len(paths)] + known.suffix
        same = Signature(*found.get(path, (1, 2, 3, 4)))
        other = same._replace(ctime_ns=same.ctime_ns + 1)
        volume = at.get(known.volume)
        made = {
            "same": [Row(Location, path, same, volume)],
            "changed": [Row(Location, path, other, volume)],
            "missing": [Row(Location, path, same, volume, missing=True)],
            "permanent": [Row(Failure, path, same, permanent=True)],
            "transient": [Row(Failure, path, same)],
            "other": [Row(Location, path, same, root="another"), Row(Failure, path, other, permanent=True)],
            "both": [Row(Location, path, other, volume), Row(Failure, path, same, permanent=True)],
        }[known.what]
        rows.update({(row.table, row.root, row.path): row for row in made})
    return list(rows.values())


def _expected(rows: Sequence[Row], found: Mapping[bytes, Numbers], folder: bytes, volumes: Volumes) -> Told:
    ours = [row for row in rows if row.root == "inbox"]
    locations = [row for row in ours if row.table is Location and not row.missing]
    failures = [row for row in ours if row.table is Failure]
    dealt_with = {(row.path, row.signature) for row in locations}
    dealt_with |= {(row.path, row.signature) for row in failures if row.permanent}
    lost = [row for row in locations if row.path not in found]
    in_reach = [row.path for row in lost if row.volume is not None and row.volume == volumes.at(row.path)]

    def is_file(path: bytes) -> bool:
        return Path(os.fsdecode(folder + b"/" + path)).is_file()

    return Told(
        [path for path in found if (path, Signature(*found[path])) not in dealt_with],
        [path for path in in_reach if not is_file(path)],
        [row.path for row in failures if not is_file(row.path)],
        len(lost) - len(in_reach),
        len(locations),
    )


async def _check_against_the_model(catalogue: Catalogue, content: dict[bytes, Any], drawn: Sequence[Known]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = os.fsencode(name)
        tree = tree_of(folder)
        paths = [*_make(folder, content), b"z"]
        found = found_in(tree)
        nested = VolumeKey(next((path for path in paths if path not in found), b"z"), 3)
        volumes = await volumes_of(catalogue, OWN, nested)
        absent = await catalogue.write(partial(volume_id, root="inbox", key=ABSENT))
        # Those of no folder are names of the pool.
        numbers = {"own": volumes.at(b"y"), "nested": volumes.at(nested.path + b"/x"), "absent": absent}
        rows = _rows(drawn, paths, found, {key: number for key, number in numbers.items() if number is not None})
        expected = _expected(rows, found, folder, volumes)
        everything = found.keys() | {row.path for row in rows}

        await know(catalogue, rows)
        parts = Told()
        for part in {path.split(b"/")[0] for path in everything}:
            parts += await told(catalogue, tree.walk(part), volumes)
        assert parts.in_order() == expected.in_order()

        await know(catalogue, rows)
        assert await told(catalogue, tree.walk(), volumes) == expected.in_order()
        same = {row.path for row in rows if row.root == "inbox" and not row.missing and found.get(row.path)}
        statement = select(Location.path, Location.size_bytes, Location.volume_id, Location.ctime_ns)
        statement = statement.where(col(Location.root) == "inbox", col(Location.missing_since).is_(None))
        for path, _, volume, ctime_ns in await catalogue.read(lambda session: session.exec(statement).all()):
            if path in same and found[path][2] == ctime_ns:
                assert volume == volumes.at(path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, st.lists(KNOWN, max_size=25), st.integers(1, 10), st.integers(1, 10))
def test_differences_are_what_a_model_says_in_whole_and_in_parts(
    catalogue: Catalogue, content: dict[bytes, Any], drawn: list[Known], piece: int, most_rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconcile, "_PIECE", piece)
        patch.setattr(absence, "_MOST_ROWS", most_rows)
        anyio.run(_check_against_the_model, catalogue, content, drawn)


@pytest.mark.anyio
async def test_what_is_known_and_unchanged_is_told_by_nothing_but_a_number(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    write(tmp_path, "known", "new", "sub/known", "sub/new")
    tree = tree_of(tmp_path)
    found = found_in(tree)
    await know(catalogue, [Row(Location, path, Signature(*found[path])) for path in (b"known", b"sub/known")])
    assert await told(catalogue, tree.walk(), await volumes_of(catalogue)) == Told([b"new", b"sub/new"], known=2)


@pytest.mark.anyio
async def test_a_wide_folder_is_compared_in_pieces(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "_PIECE", 4)
    names = [f"wide/{number:02}" for number in range(10)]
    write(tmp_path, "narrow/a", *names, "z")
    volumes = await volumes_of(catalogue)
    pieces = [each.unknown async for each in differences(catalogue, tree_of(tmp_path).walk(), volumes)]
    assert [path for piece in pieces for path in piece] == [b"narrow/a", *map(os.fsencode, names), b"z"]
    assert max(map(len, pieces)) < 2 * 4
    assert len(pieces) >= 3


@pytest.mark.anyio
@pytest.mark.parametrize("number", Signature._fields)
async def test_any_difference_of_the_signature_is_told(catalogue: Catalogue, tmp_path: Path, number: str) -> None:
    write(tmp_path, "a", "b")
    tree = tree_of(tmp_path)
    found = found_in(tree)
    changed = Signature(*found[b"b"])._replace(**{number: 12345})
    await know(catalogue, [Row(Location, b"a", Signature(*found[b"a"])), Row(Location, b"b", changed)])
    assert (await told(catalogue, tree.walk(), await volumes_of(catalogue))).unknown == [b"b"]


@pytest.mark.anyio
@pytest.mark.parametrize("table", [Location, Failure])
async def test_numbers_beyond_63_bits_are_known_again(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: type[Location | Failure]
) -> None:
    write(tmp_path, "a", "b")
    tree = tree_of(tmp_path)
    huge = {path: (*numbers[:3], 2**64 - 1 - numbers[3]) for path, numbers in found_in(tree).items()}
    monkeypatch.setattr(Walk, "__iter__", lambda walk: iter([list(huge.items())]))
    wrapped = Signature(*huge[b"a"])._replace(inode=huge[b"a"][3] - 2**64)
    await know(catalogue, [Row(table, b"a", wrapped, permanent=True)])
    assert (await told(catalogue, tree.walk(), await volumes_of(catalogue))).unknown == [b"b"]


SIBLINGS = (b"a!", b"a-b", b"a-b/c", b"a.jpg", b"a/b", b"a/c/d", b"a0", b"aa/b", b"b")


@pytest.mark.anyio
async def test_a_part_ends_where_its_siblings_begin(catalogue: Catalogue, tmp_path: Path) -> None:
    tree = tree_of(tmp_path)
    volumes = await volumes_of(catalogue)
    await know(catalogue, [lost(path, volumes) for path in (b"a", *SIBLINGS)])
    assert await told(catalogue, tree.walk(b"a"), volumes) == Told(unseen=[b"a", b"a/b", b"a/c/d"], known=3)
    assert await told(catalogue, tree.walk(b"a/c"), volumes) == Told(unseen=[b"a/c/d"], known=1)
    assert await told(catalogue, tree.walk(b"a-b"), volumes) == Told(unseen=[b"a-b", b"a-b/c"], known=2)


@pytest.mark.anyio
async def test_a_file_in_the_place_of_a_folder_and_a_folder_in_that_of_a_file_are_told(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    write(tmp_path, "was-a-folder", "was-a-file/b")
    tree = tree_of(tmp_path)
    volumes = await volumes_of(catalogue)
    await know(catalogue, [lost(path, volumes) for path in (b"was-a-folder/b", b"was-a-file")])
    expected = Told([b"was-a-file/b", b"was-a-folder"], [b"was-a-file", b"was-a-folder/b"], known=2)
    assert await told(catalogue, tree.walk(), volumes) == expected
    parts = [await told(catalogue, tree.walk(part), volumes) for part in (b"was-a-file", b"was-a-folder")]
    assert parts[0] + parts[1] == expected


@pytest.mark.anyio
async def test_what_is_ignored_now_is_not_taken_for_gone(catalogue: Catalogue, tmp_path: Path) -> None:
    write(tmp_path, "a.raw", "drafts/b")
    tree = tree_of(tmp_path, "*.raw", "drafts/")
    volumes = await volumes_of(catalogue)
    await know(catalogue, [lost(path, volumes) for path in (b"a.raw", b"c.raw", b"drafts/b", b"drafts/d")])
    assert await told(catalogue, tree.walk(), volumes) == Told(unseen=[b"c.raw", b"drafts/d"], known=4)
    assert await told(catalogue, tree.walk(b"drafts"), volumes) == Told(unseen=[b"drafts/d"], known=2)


@pytest.mark.anyio
async def test_what_lay_nobody_knows_where_is_out_of_reach_until_it_is_seen_once(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    write(tmp_path, "seen")
    tree = tree_of(tmp_path)
    volumes = await volumes_of(catalogue)
    seen = Signature(*found_in(tree)[b"seen"])
    await know(catalogue, [Row(Location, path, seen) for path in (b"never", b"seen")])
    assert await told(catalogue, tree.walk(), volumes) == Told(out_of_reach=1, known=2)
    (tmp_path / "seen").unlink()
    assert await told(catalogue, tree.walk(), volumes) == Told(unseen=[b"seen"], out_of_reach=1, known=2)


@pytest.mark.anyio
async def test_a_tree_whose_folder_is_gone_tells_of_no_file(catalogue: Catalogue, tmp_path: Path) -> None:
    assert await told(catalogue, tree_of(tmp_path / "gone").walk(), await volumes_of(catalogue)) == Told()


@pytest.mark.anyio
async def test_a_location_is_noted_on_the_volume_on_which_it_was_found(catalogue: Catalogue, tmp_path: Path) -> None:
    write(tmp_path, "a", "card/b", "card/c")
    tree = tree_of(tmp_path)
    volumes = await volumes_of(catalogue, OWN, VolumeKey(b"card", 9))
    found = found_in(tree)
    await know(catalogue, [Row(Location, path, Signature(*found[path])) for path in (b"a", b"card/b")])
    await told(catalogue, tree.walk(), volumes)

    def known(session: Session) -> list[tuple[bytes, bytes, int]]:
        statement = sqlalchemy.select(col(Location.path), col(Volume.path), col(Volume.filesystem)).join(
            Volume, col(Volume.id) == col(Location.volume_id)
        )
        return [tuple(row) for row in session.execute(statement.order_by(col(Location.path)))]

    assert await catalogue.read(known) == [(b"a", b"", 1), (b"card/b", b"card", 9)]


def test_only_what_the_system_says_is_not_there_is_gone(tmp_path: Path) -> None:
    write(tmp_path, "file", "folder/a")
    (tmp_path / "loop").symlink_to("loop")
    tree = tree_of(tmp_path)
    paths = [b"file", b"file/b", b"folder/a", b"folder/b", b"gone/c", b"loop/d"]
    assert those_gone(tree, [*paths, b"x" * 300, b"y/" * 3000]) == [b"file/b", b"folder/b", b"gone/c"]


def test_a_file_is_gone_where_something_that_is_no_file_took_its_place(tmp_path: Path) -> None:
    write(tmp_path, "file", "folder/a")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
        listener.bind("socket")  # a short name: only some hundred bytes are allowed
    paths = [b"file", b"folder", b"fifo", b"socket"]
    for follow_symlinks in (False, True):
        assert those_gone(tree_of(tmp_path, follow_symlinks=follow_symlinks), paths) == paths[1:]


def test_a_file_is_gone_where_a_link_took_its_place_unless_links_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "file")
    links = {b"to-file": "file", b"dangling": "nowhere", b"loop": "loop"}
    for name, target in links.items():
        (tmp_path / os.fsdecode(name)).symlink_to(target)
    assert those_gone(tree_of(tmp_path), links) == list(links)
    assert those_gone(tree_of(tmp_path, follow_symlinks=True), links) == []


def test_what_lay_in_a_folder_that_became_a_link_into_the_root_is_gone(tmp_path: Path) -> None:
    write(tmp_path, "folder/a", "folder/sub/b")
    for name, target in {"link": "folder", "dangling": "nowhere", "root": "."}.items():
        (tmp_path / name).symlink_to(target)
    paths = [b"link/a", b"link/gone", b"link/sub/b", b"dangling/a", b"root/folder/a"]
    assert those_gone(tree_of(tmp_path), [*paths, b"folder/a", b"folder/sub/b"]) == paths


@pytest.mark.parametrize("follow_symlinks", [False, True])
def test_behind_a_link_that_leads_outside_the_root_nothing_is_known_to_be_gone(
    tmp_path: Path, follow_symlinks: bool
) -> None:
    # Its name begins as the root's does.
    outside, root = tmp_path / "root-2", tmp_path / "root"
    write(outside, "a", "folder/b")
    write(root, "c")
    (root / "link").symlink_to(outside)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    tree = tree_of(root, follow_symlinks=follow_symlinks)
    assert those_gone(tree, [b"link/a", b"link/gone", b"link/folder", b"link/folder/gone", b"dangling/a"]) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may look into every folder")
def test_what_lies_in_a_folder_that_cannot_be_entered_is_not_gone(tmp_path: Path) -> None:
    write(tmp_path, "closed/a")
    (tmp_path / "closed").chmod(0)
    try:
        assert those_gone(tree_of(tmp_path), [b"closed/a", b"closed/b"]) == []
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_behind_a_link_that_is_followed_nothing_is_known_to_be_gone(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    write(outside, "a")
    write(root, "folder/b")
    (root / "link").symlink_to(outside)
    tree = tree_of(root, follow_symlinks=True)
    assert those_gone(tree, [b"link/c", b"link/d/e", b"folder/c", b"removed/a"]) == [b"folder/c", b"removed/a"]
