"""Moves, renames and hard links: a known file under another path is followed, and no other is taken for it."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import Bench, open_bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update
from sqlmodel import Session, col, select

from damd.catalogue.absence import candidates, mark_missing
from damd.catalogue.queries import FormerLocation
from damd.catalogue.record import Finding
from damd.catalogue.roots import Place, Roots
from damd.catalogue.tables import Location, Root, now
from damd.catalogue.volumes import VolumeKey
from damd.errors import UnsupportedTypeError
from damd.events import FileMissingEvent
from damd.fingerprint import Signature, born_ns, calculate_hash, take_signature
from damd.ingest import moves
from damd.ingest.moves import Kinship, exists_as_spelt, judge
from damd.mounts import Mounts
from damd.results import IngestStatus

pytestmark = pytest.mark.anyio

MOVED = (IngestStatus.SKIPPED, "Moved")
DUPLICATE = (IngestStatus.SKIPPED, "Duplicate hash")
KNOWN = (IngestStatus.SKIPPED, "Path already imported")
with tempfile.NamedTemporaryFile() as fresh:
    KNOWS_BIRTHS = born_ns(fresh.name) is not None
knows_births = pytest.mark.skipif(not KNOWS_BIRTHS, reason="this file system keeps no birth times")


async def forget_births(bench: Bench) -> None:
    """As on a file system that keeps none."""
    await bench.catalogue.write(lambda session: session.execute(update(Location).values(born_ns=None)).close())


def to_another_name(bench: Bench, path: Path) -> Path:
    return path.rename(path.with_name(os.fsdecode(b"b\xff.jpg")))


def with_its_folder(bench: Bench, path: Path) -> Path:
    return path.parent.rename(path.parent.with_name(f"{path.parent.name} moved")) / path.name


def to_another_root(bench: Bench, path: Path) -> Path:
    return path.rename(bench.shelf / path.name)


def out_of_every_root(bench: Bench, path: Path) -> Path:
    return path.rename(bench.outside / path.name)


def to_another_case(bench: Bench, path: Path) -> Path:
    return path.rename(path.with_name("A.jpg"))


WAYS = [to_another_name, with_its_folder, to_another_root, out_of_every_root, to_another_case]


@knows_births
@pytest.mark.parametrize("move", WAYS)
async def test_a_moved_file_is_followed_without_being_read(bench: Bench, move: Callable[[Bench, Path], Path]) -> None:
    (bench.folder / "sub").mkdir()
    path = bench.picture("sub/a.jpg")
    first = await bench.ingest(path)
    bench.reset()
    there = move(bench, path)
    result = await bench.ingest(there)
    assert (result.status, result.reason, result.asset_id, result.sha256) == (*MOVED, first.asset_id, first.sha256)
    assert (bench.hashed, bench.told, bench.changed) == ([], [], [])
    assert await bench.known(path) == (None, None)
    known = await bench.known(there)
    assert known.location
    assert known.location[:3] == (first.asset_id, first.sha256, take_signature(there))
    (event,) = bench.moved
    roots = bench.world.get_resource(Roots)
    assert (event.asset_id, event.sha256, event.previous_path) == (first.asset_id, first.sha256, str(path))
    assert (event.root or "", event.previous_root) == (roots.place(there).root, "inbox")
    assert (event.path_base64 is not None) == (b"\xff" in os.fsencode(there))
    assert (await bench.ingest(there)).reason == "Path already imported"


@knows_births
async def test_a_file_that_moves_into_a_root_from_outside_is_followed(bench: Bench) -> None:
    path = bench.picture("a.jpg").rename(bench.outside / "a.jpg")
    first = await bench.ingest(path)
    assert (await bench.ingest(path)).reason == "Path already imported"
    result = await bench.ingest(path.rename(bench.folder / "a.jpg"))
    assert (result.reason, result.asset_id) == ("Moved", first.asset_id)
    (event,) = bench.moved
    assert (event.root, event.previous_root, event.previous_path) == ("inbox", None, str(path))


@pytest.mark.parametrize("move", WAYS)
async def test_a_rename_that_the_kernel_reported_is_believed_where_nobody_knows_birth_times(
    bench: Bench, move: Callable[[Bench, Path], Path]
) -> None:
    (bench.folder / "sub").mkdir()
    path = bench.picture("sub/a.jpg")
    await bench.ingest(path)
    await forget_births(bench)
    bench.reset()
    result = await bench.ingest(move(bench, path), moved_from=path)
    assert (result.reason, bench.hashed, len(bench.moved)) == ("Moved", [], 1)


@pytest.mark.parametrize("reported", [None, "another.jpg"])
async def test_a_rename_that_nobody_vouches_for_is_hashed_and_not_decoded(bench: Bench, reported: str | None) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    await forget_births(bench)
    bench.reset()
    there = path.rename(bench.folder / "b.jpg")
    result = await bench.ingest(there, moved_from=bench.folder / reported if reported else None)
    assert (result.status, result.reason, result.asset_id) == (*MOVED, first.asset_id)
    assert (len(bench.hashed), bench.read, len(bench.moved)) == (1, [], 1)
    assert await bench.locations(first.asset_id) == {b"b.jpg"}


def create_in_its_inode(path: Path, content: str, former: Path) -> None:
    """Delete a file and create one with the same inode, size and mtime, as some file systems do by themselves."""
    status = former.lstat()
    former.unlink()
    path.write_text(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if path.lstat().st_ino != status.st_ino:
        pytest.skip("this file system does not reuse inodes at once")
    assert take_signature(path)[:2] == Signature.of(status)[:2]


@knows_births
@pytest.mark.parametrize("reported", [False, True])
async def test_another_file_in_a_deleted_ones_inode_is_not_taken_for_it(bench: Bench, reported: bool) -> None:
    former, path = bench.shelf / "former.txt", bench.shelf / "new.txt"
    former.write_text(f"first {reported:d}")
    first = await bench.ingest(former)
    create_in_its_inode(path, f"other {reported:d}", former)
    bench.reset()
    result = await bench.ingest(path, moved_from=former if reported else None)
    assert (result.status, result.sha256) == ("SUCCESS", await calculate_hash(path))
    assert result.asset_id != first.asset_id
    assert (len(bench.hashed), bench.moved) == (1, [])
    assert await bench.locations(first.asset_id) == {b"former.txt"}, "only reconciling says that it is missing"


@knows_births
async def test_another_file_in_a_deleted_ones_inode_and_place_is_not_taken_for_it(bench: Bench) -> None:
    path = bench.shelf / "a.txt"
    path.write_text("once")
    first = await bench.ingest(path)
    create_in_its_inode(path, "then", path)
    result = await bench.ingest(path)
    assert (result.status, result.sha256) == ("SUCCESS", await calculate_hash(path))
    assert [event.previous_asset_id for event in bench.changed] == [first.asset_id]


@knows_births
async def test_a_row_of_another_birth_is_not_believed_whatever_the_kernel_said(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    await bench.ingest(path)
    await bench.catalogue.write(lambda session: session.execute(update(Location).values(born_ns=1)).close())
    bench.reset()
    await bench.ingest(path.rename(bench.folder / "b.jpg"), moved_from=path)
    assert len(bench.hashed) == 1


@knows_births
async def test_a_file_that_is_moved_over_another_changes_what_lies_there(bench: Bench) -> None:
    path, other = bench.picture("a.jpg"), bench.picture("b.jpg")
    first, second = await bench.ingest(path), await bench.ingest(other)
    bench.reset()
    path.rename(other)
    assert (await bench.ingest(other)).reason == "Moved"
    assert await bench.locations(first.asset_id) == {b"b.jpg"}
    assert await bench.locations(second.asset_id) == set()
    (moved,), (changed,) = bench.moved, bench.changed
    assert (moved.path, moved.previous_path) == (str(other), str(path))
    assert (changed.asset_id, changed.previous_asset_id, changed.path) == (first.asset_id, second.asset_id, str(other))
    assert (changed.sha256, changed.previous_sha256) == (first.sha256, second.sha256)


@knows_births
async def test_files_that_change_places_are_both_known_again_and_neither_is_decoded(bench: Bench) -> None:
    path, other, aside = bench.picture("a.jpg"), bench.picture("b.jpg"), bench.folder / "aside"
    first, second = await bench.ingest(path), await bench.ingest(other)
    bench.reset()
    path.rename(aside)
    other.rename(path)
    aside.rename(other)
    for each in (path, other):
        assert (await bench.ingest(each)).status == "SKIPPED"
    assert (await bench.asset_at(path), await bench.asset_at(other)) == (second.asset_id, first.asset_id)
    assert bench.read == []


async def test_a_move_forgets_the_failures_of_both_paths(bench: Bench) -> None:
    path, there = bench.folder / "a.jpg", bench.folder / "b.jpg"
    bench.picture("a.jpg")
    await bench.ingest(path)
    picture = path.read_bytes()
    for each in (path, there):
        each.write_bytes(b"")
        assert (await bench.ingest(each)).status == "FAILED"
    path.write_bytes(picture)
    assert (await bench.ingest(path)).reason == "Path already imported"
    there.write_bytes(b"broken, too")
    await bench.ingest(there)
    assert (await bench.ingest(path.replace(there), moved_from=path)).reason == "Moved"
    assert (await bench.failure(path), await bench.failure(there)) == (None, None)


@knows_births
async def test_a_hard_link_is_a_further_location_and_is_not_hashed(bench: Bench) -> None:
    path, link = bench.picture("a.jpg"), bench.shelf / "link.jpg"
    first = await bench.ingest(path)
    bench.reset()
    link.hardlink_to(path)
    result = await bench.ingest(link)
    assert (result.status, result.reason, result.asset_id) == (*DUPLICATE, first.asset_id)
    assert (bench.hashed, bench.told, bench.moved) == ([], [], [])
    assert await bench.locations(first.asset_id) == {b"a.jpg", b"link.jpg"}
    there = link.rename(bench.shelf / "moved.jpg")
    assert (await bench.ingest(there)).reason == "Moved"
    assert await bench.locations(first.asset_id) == {b"a.jpg", b"moved.jpg"}
    assert bench.hashed == []


async def test_a_hard_link_that_nobody_vouches_for_is_hashed(bench: Bench) -> None:
    path, link = bench.picture("a.jpg"), bench.folder / "link.jpg"
    first = await bench.ingest(path)
    await forget_births(bench)
    link.hardlink_to(path)
    result = await bench.ingest(link, moved_from=path)
    assert (result.status, result.reason, result.asset_id) == (*DUPLICATE, first.asset_id)
    assert len(bench.hashed) == 2
    assert await bench.locations(first.asset_id) == {b"a.jpg", b"link.jpg"}


async def test_a_change_through_one_of_two_hard_links_is_seen_through_both(bench: Bench) -> None:
    path, link = bench.shelf / "a.txt", bench.shelf / "link.txt"
    path.write_text("one way")
    link.hardlink_to(path)
    first = await bench.ingest(path)
    await bench.ingest(link)
    status = path.stat()
    path.write_text("another")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = await bench.ingest(path)
    assert result.status == "SUCCESS"
    assert (await bench.ingest(link)).asset_id == result.asset_id
    assert await bench.locations(first.asset_id) == set()
    assert await bench.locations(result.asset_id) == {b"a.txt", b"link.txt"}
    assert [event.path for event in bench.changed] == [str(path), str(link)]


async def test_a_copy_of_what_is_out_of_reach_is_no_move(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        path = bench.picture("a.jpg")
        first = await bench.ingest(path)
        copy = Path(shutil.copy2(path, bench.shelf / "a.jpg"))
        bench.folder.rename(tmp_path / "not mounted")
        result = await bench.ingest(copy)
        assert (result.status, result.reason, bench.moved) == (*DUPLICATE, [])
        (tmp_path / "not mounted").rename(bench.folder)
        path.unlink()
        again = Path(shutil.copy2(copy, bench.shelf / "b.jpg"))
        assert (await bench.ingest(again)).reason == "Moved"
        statement = select(Location.root, Location.path).where(Location.entity_id == first.asset_id)
        places = await bench.catalogue.read(lambda session: set(session.exec(statement).all()))
        assert places == {("shelf", b"a.jpg"), ("shelf", b"b.jpg")}


async def test_a_location_that_was_missing_and_is_what_it_was_is_found_again_unread(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    missing = update(Location).where(col(Location.entity_id) == first.asset_id).values(missing_since=now())
    await bench.catalogue.write(lambda session: session.execute(missing).close())
    bench.reset()
    again = await bench.ingest(path)
    assert (again.status, again.reason, again.asset_id, bench.hashed) == (*KNOWN, first.asset_id, [])
    location = (await bench.known(path)).location
    assert location
    assert not location.missing


async def report_missing(bench: Bench, path: Path) -> None:
    """As a scan does that does not find it."""
    roots = bench.world.get_resource(Roots)
    root, below = roots.place(path)

    def mark(session: Session) -> list[FileMissingEvent]:
        return mark_missing(session, roots, root, candidates(session, root, [below]), at=now())

    (event,) = await bench.catalogue.write(mark)
    assert event.path == str(path)


async def rows_of(bench: Bench, asset_id: int | None) -> list[tuple[str, bytes, bool]]:
    """Root, name, and whether it is missing, of each of an asset's locations."""
    statement = select(Location).where(Location.entity_id == asset_id)
    rows = await bench.catalogue.read(lambda session: session.exec(statement).all())
    return sorted((row.root, row.path.rpartition(b"/")[2], row.missing_since is not None) for row in rows)


@knows_births
@pytest.mark.parametrize("root", ["inbox", "shelf"])
async def test_a_file_that_was_reported_missing_and_turns_up_elsewhere_has_moved(bench: Bench, root: str) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    before = await bench.catalogue.read(lambda session: location_id(session, first.asset_id))
    away = path.rename(bench.outside / "away.jpg")
    await report_missing(bench, path)
    assert await rows_of(bench, first.asset_id) == [("inbox", b"a.jpg", True)]
    bench.reset()
    there = away.rename((bench.folder if root == "inbox" else bench.shelf) / "b.jpg")
    result = await bench.ingest(there)
    assert (result.status, result.reason, result.asset_id, bench.hashed) == (*MOVED, first.asset_id, [])
    assert await rows_of(bench, first.asset_id) == [(root, b"b.jpg", False)]
    assert await bench.catalogue.read(lambda session: location_id(session, first.asset_id)) == before
    (event,) = bench.moved
    assert (event.event_type, event.path, event.previous_path) == ("file.moved", str(there), str(path))
    assert (event.root, event.previous_root) == (root, "inbox")


def location_id(session: Session, asset_id: int | None) -> int | None:
    return session.exec(select(Location.id).where(Location.entity_id == asset_id)).one()


@pytest.mark.parametrize("reported", [False, True])
async def test_a_file_that_was_missing_is_not_known_again_unread_where_nobody_knows_its_birth(
    bench: Bench, reported: bool
) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    await forget_births(bench)
    there = path.rename(bench.folder / "b.jpg")
    await report_missing(bench, path)
    bench.reset()
    result = await bench.ingest(there, moved_from=path if reported else None)
    assert (result.status, result.reason, result.asset_id) == (*DUPLICATE, first.asset_id)
    assert (len(bench.hashed), bench.read, bench.moved) == (1, [], [])
    assert await rows_of(bench, first.asset_id) == [("inbox", b"a.jpg", True), ("inbox", b"b.jpg", False)]


@knows_births
async def test_another_file_in_the_inode_of_one_that_is_missing_is_not_taken_for_it(bench: Bench) -> None:
    former, path = bench.shelf / "former.txt", bench.shelf / "new.txt"
    former.write_text("missing")
    first = await bench.ingest(former)
    create_in_its_inode(path, "strange", former)
    await report_missing(bench, former)
    bench.reset()
    result = await bench.ingest(path)
    assert (result.status, result.sha256) == ("SUCCESS", await calculate_hash(path))
    assert (len(bench.hashed), bench.moved) == (1, [])
    assert await rows_of(bench, first.asset_id) == [("shelf", b"former.txt", True)]


@knows_births
async def test_a_file_that_was_missing_and_is_back_under_two_names_is_linked_and_found_again(bench: Bench) -> None:
    path, link = bench.picture("a.jpg"), bench.folder / "link.jpg"
    first = await bench.ingest(path)
    away = path.rename(bench.outside / "away.jpg")
    await report_missing(bench, path)
    bench.reset()
    away.rename(path)
    link.hardlink_to(path)
    for each, reason in ((link, "Duplicate hash"), (path, "Path already imported")):
        assert (await bench.ingest(each)).reason == reason
    assert await rows_of(bench, first.asset_id) == [("inbox", b"a.jpg", False), ("inbox", b"link.jpg", False)]
    assert (bench.read, bench.moved) == ([], [])


@knows_births
@pytest.mark.parametrize("lost", ["a.jpg", "b.jpg"])
async def test_of_a_missing_name_and_one_that_was_there_the_latter_has_moved(bench: Bench, lost: str) -> None:
    path, link = bench.picture("a.jpg"), bench.folder / "b.jpg"
    link.hardlink_to(path)
    first = await bench.ingest(path)
    await bench.ingest(link)
    gone, there = (path, link) if lost == path.name else (link, path)
    gone.unlink()
    await report_missing(bench, gone)
    bench.reset()
    assert (await bench.ingest(there.rename(bench.folder / "c.jpg"))).reason == "Moved"
    assert [event.previous_path for event in bench.moved] == [str(there)]
    assert await rows_of(bench, first.asset_id) == [("inbox", lost.encode(), True), ("inbox", b"c.jpg", False)]


async def test_new_content_in_place_is_told_of_as_imported_and_as_changed(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    assert bench.changed == []
    bench.picture("a.jpg")
    second = await bench.ingest(path)
    assert [event.asset_id for event in bench.told] == [first.asset_id, second.asset_id]
    (event,) = bench.changed
    assert (event.asset_id, event.sha256) == (second.asset_id, second.sha256)
    assert (event.previous_asset_id, event.previous_sha256) == (first.asset_id, first.sha256)
    assert (event.path, event.root) == (str(path), "inbox")
    os.utime(path, (1, 1))
    await bench.ingest(path)
    path.chmod(0o600)
    await bench.ingest(path)
    assert (len(bench.hashed), len(bench.changed)) == (4, 1), "a touch changes no content"


async def test_content_that_is_known_elsewhere_is_told_of_as_changed_only(bench: Bench) -> None:
    path, other = bench.picture("a.jpg"), bench.picture("b.jpg")
    first, second = await bench.ingest(path), await bench.ingest(other)
    bench.reset()
    shutil.copy(other, path)
    assert (await bench.ingest(path)).asset_id == second.asset_id
    assert [(event.asset_id, event.previous_asset_id) for event in bench.changed] == [(second.asset_id, first.asset_id)]
    assert (bench.told, bench.moved) == ([], [])


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names that no listing shows, as where a file system finds a file by a spelling that is not its name."""
    names: set[str] = set()
    real = os.listdir

    def list_others(path: bytes) -> list[bytes]:
        return [name for name in real(path) if os.fsdecode(name) not in names]

    monkeypatch.setattr(os, "listdir", list_others)
    return names


@knows_births
@pytest.mark.parametrize("spellings", [("photo.jpg", "Photo.JPG"), ("caf\u00e9.jpg", "cafe\u0301.jpg")])
async def test_a_rename_of_case_or_normal_form_alone_is_a_move_where_the_file_system_does_not_care(
    bench: Bench, hidden: set[str], spellings: tuple[str, str]
) -> None:
    path, there = bench.folder / spellings[0], bench.folder / spellings[1]
    bench.picture(path.name)
    first = await bench.ingest(path)
    there.hardlink_to(path)
    hidden.add(path.name)
    assert (await bench.ingest(there)).reason == "Moved"
    assert await bench.locations(first.asset_id) == {os.fsencode(there.name)}
    stale = await bench.ingest(path)
    assert (stale.status, stale.reason, stale.asset_id) == (*KNOWN, first.asset_id)
    assert await bench.locations(first.asset_id) == {os.fsencode(there.name)}
    hidden.clear()
    assert (await bench.ingest(path)).reason == "Duplicate hash"
    assert len(await bench.locations(first.asset_id)) == 2, "here they are two names"


async def test_a_rename_of_case_alone_is_a_move_once_it_is_hashed_where_nobody_knows_birth_times(
    bench: Bench, hidden: set[str]
) -> None:
    path, there = bench.picture("photo.jpg"), bench.folder / "PHOTO.jpg"
    first = await bench.ingest(path)
    await forget_births(bench)
    there.hardlink_to(path)
    hidden.add(path.name)
    assert (await bench.ingest(there)).reason == "Moved"
    assert await bench.locations(first.asset_id) == {b"PHOTO.jpg"}
    assert len(bench.read) == 1


def test_a_path_has_the_names_that_its_folders_list(tmp_path: Path) -> None:
    (tmp_path / "Dir").mkdir()
    (tmp_path / "Dir" / "a").touch()
    here = os.fsencode(tmp_path)
    assert exists_as_spelt(here + b"/Dir/a", here + b"/Dir/A")
    assert not exists_as_spelt(here + b"/Dir/A", here + b"/Dir/a")
    assert exists_as_spelt(here + b"/Dir/a", here + b"/dir/a")
    assert not exists_as_spelt(here + b"/dir/a", here + b"/Dir/a")
    assert exists_as_spelt(b"/nowhere/a", b"/elsewhere/b"), "nothing is in doubt"
    with pytest.raises(FileNotFoundError):
        exists_as_spelt(b"/nowhere/a", b"/nowhere/A")


def located(root: str, path: Path, *, volume: VolumeKey | None = None, known_as: str | None = None) -> FormerLocation:
    place = Place(root, os.fsencode(known_as or path.name))
    return FormerLocation(1, place, 1, "aa", volume, born_ns(path))


def found(root: str, path: Path) -> Finding:
    return Finding(Place(root, os.fsencode(path.name)), take_signature(path), None, born_ns(path))


@knows_births
def test_what_lay_on_another_file_system_did_not_move(tmp_path: Path) -> None:
    proc = Path("/proc/self")
    if not proc.exists():
        pytest.skip("needs a second file system")
    roots = Roots([Root(name="inbox", path=os.fsencode(tmp_path)), Root(name="disk", path=b"/proc/self")])
    path = tmp_path / "a"
    path.touch()
    assert judge(roots, found("inbox", path), located("inbox", path, known_as="gone"), is_pair=False) is Kinship.MOVED
    assert judge(roots, found("inbox", path), located("disk", path, known_as="gone"), is_pair=True) is None
    assert judge(roots, found("inbox", path), located("disk", path, known_as="status"), is_pair=True) is None
    assert judge(roots, found("inbox", path), located("forgotten", path), is_pair=True) is None


def test_what_cannot_be_looked_at_leads_to_no_conclusion(tmp_path: Path) -> None:
    roots = Roots([Root(name="inbox", path=os.fsencode(tmp_path))])
    path = tmp_path / "a"
    path.touch()
    with pytest.raises(OSError, match="File name too long"):
        judge(roots, found("inbox", path), located("inbox", path, known_as="n" * 300), is_pair=True)


def test_a_file_is_gone_only_from_a_root_and_a_volume_that_are_there(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text("1 1 0:1 / / rw - ext4 source rw\n")
    mounts = Mounts(mountinfo)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    path = inbox / "a"
    path.touch()
    roots = Roots([Root(name="inbox", path=os.fsencode(inbox)), Root(name="off", path=b"/nowhere")], mounts)
    here = roots.volume_of(Place("inbox", b"a"))
    assert here
    finding = found("inbox", path)

    def gone(known: FormerLocation) -> bool:
        return moves._gone_ones(roots, finding, [known]) == [known]

    assert gone(located("inbox", path, volume=here, known_as="b"))
    assert gone(located("inbox", path, volume=here, known_as="b/c"))
    assert not gone(located("inbox", path, volume=here))
    assert not gone(located("inbox", path, volume=here._replace(filesystem=here.filesystem ^ 1), known_as="b"))
    assert not gone(located("inbox", path, volume=VolumeKey(b"disk", here.filesystem), known_as="disk/b"))
    assert not gone(located("inbox", path, known_as="b")), "where it lay is not known"
    assert not gone(located("off", path, volume=here, known_as="b"))
    assert not gone(located("", path, known_as="/nowhere/b")), "outside every root nobody knows what is there"
    mounts.close()


NAMES = st.sampled_from(["A", "B", "C", "D"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "move", "link", "remove", "ingest", "forget births", "recreate as if nothing was"]),
        NAMES,
        NAMES,
        st.sampled_from(["as A", "as E"]),
    ),
    max_size=8,
)


@given(steps=STEPS, order=st.permutations("ABCD"))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_after_whatever_was_moved_every_path_leads_to_the_asset_of_its_bytes(
    bench: Bench, steps: list[tuple[str, str, str, str]], order: list[str]
) -> None:
    folders = {"A": bench.shelf, "B": bench.shelf, "C": bench.shelf, "D": bench.outside}
    paths = {name: folder / f"{name}.txt" for name, folder in folders.items()}
    for name, path in paths.items():
        path.unlink(missing_ok=True)
        path.write_text(f"as {name}")
        await bench.ingest(path)
    # A kernel vouches for a rename; for what was recreated in between, only birth times do.
    vouched = all(what != "recreate as if nothing was" for what, *_ in steps)
    renamed: dict[Path, Path] = {}
    for what, one, other, content in steps:
        path = paths[one]
        if what == "forget births":
            await forget_births(bench)
        elif what == "ingest" and path.exists():
            await bench.ingest(path, moved_from=renamed.get(path) if vouched else None)
        else:
            change(what, path, paths[other], content, renamed)
    for name in order:
        path = paths[name]
        if not path.exists():
            continue
        result = await bench.ingest(path)
        if result.status == "FAILED":
            assert (result.reason or "").startswith(str(UnsupportedTypeError()))
            continue
        location = (await bench.known(path)).location
        assert location is not None
        assert location[1:] == (await calculate_hash(path), take_signature(path), False)


def change(what: str, path: Path, other: Path, content: str, renamed: dict[Path, Path]) -> None:
    """What may happen to files, and what the kernel would say of it."""
    if what == "write":
        path.write_text(content)
    elif not path.exists() or path == other:
        return
    elif what == "move":
        path.replace(other)
        renamed[other] = path
    elif what == "link":
        other.unlink(missing_ok=True)
        other.hardlink_to(path)
        renamed.pop(other, None)
    elif what == "remove":
        path.unlink()
    elif what == "recreate as if nothing was":
        status = path.stat()
        path.unlink()
        path.write_text(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        path.replace(other)
        renamed.pop(other, None)
