"""Whether a root is there, which volumes carry it, and whether they are the ones that were known."""

import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

import damd.media  # noqa: F401 - its tables belong to the schema
from damd import mounts as mounts_module
from damd.catalogue.absence import Comparison, note_volumes
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset
from damd.catalogue.roots import Place
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Location, Volume
from damd.catalogue.volumes import VolumeKey
from damd.errors import WatchError
from damd.fingerprint import Signature
from damd.mounts import Mounts
from damd.watch.ignore import IgnoreRules
from damd.watch.presence import Presence, Volumes, look_for, recognise
from damd.watch.reconcile import differences
from damd.watch.tree import Tree


def mounted(number: int) -> int:
    """A root's own number where its folder is a mount point."""
    return number ^ mounts_module._MOUNT_POINT


LINE = "{number} 1 0:{number} / {path} rw,relatime shared:1 - {kind} source rw\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with some folders, over which something may be mounted."""
    root = tmp_path / "root"
    for name in ("a/b", "card", "c"):
        (root / name).mkdir(parents=True)
    return root


@pytest.fixture
def mount(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mounts]]:
    """Make a table of mounts: ``mount(("", 1), ("card", 2))``, each below the root with its file system's number."""
    tables: list[Mounts] = []

    def make(*mounted: tuple[str, int | None]) -> Mounts:
        numbers: dict[bytes, int | None] = {b"/": 1000}
        lines = [LINE.format(number=1, path="/", kind="ext4")]
        for index, (below, number) in enumerate(mounted, start=2):
            path = os.path.normpath(os.fsencode(folder / below))
            numbers[path] = number
            escaped = "".join(f"\\{byte:03o}" if byte in b" \\\n" or byte > 126 else chr(byte) for byte in path)
            lines.append(LINE.format(number=index, path=escaped, kind="xfs"))
        mountinfo = tmp_path / f"mountinfo {len(tables)}"
        mountinfo.write_text("".join(lines))

        def number_of(path: bytes) -> int:
            holder = max((each for each in numbers if (path + b"/").startswith(each.rstrip(b"/") + b"/")), key=len)
            number = numbers[holder]
            if number is None:
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
            return number

        monkeypatch.setattr(mounts_module, "filesystem_id", number_of)
        tables.append(Mounts(mountinfo))
        return tables[-1]

    yield make
    for table in tables:
        table.close()


def test_a_root_that_is_there_is_known_by_its_folder_and_its_file_system(folder: Path) -> None:
    status = folder.stat()
    mounts = Mounts()
    try:
        presence = look_for(os.fsencode(folder), mounts)
    finally:
        mounts.close()
    assert presence.identity == (status.st_dev, status.st_ino)
    number = (os.statvfs(folder).f_fsid + 2**63) % 2**64 - 2**63
    assert presence.volumes == (VolumeKey(b"", number),), "the folder is no mount point"


def test_another_folder_in_the_root_s_place_is_another_presence(folder: Path, mount: Callable[..., Mounts]) -> None:
    mounts = mount()
    before = look_for(os.fsencode(folder), mounts)
    assert look_for(os.fsencode(folder), mounts) == before
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()
    assert look_for(os.fsencode(folder), mounts) != before


def test_a_root_that_is_gone_or_no_folder_is_not_there(folder: Path, mount: Callable[..., Mounts]) -> None:
    (folder / "file").touch()
    for path, why in ((folder / "gone", "No such file"), (folder / "file", "Not a directory")):
        with pytest.raises(WatchError, match=why):
            look_for(os.fsencode(path), mount())


def test_a_root_whose_file_system_does_not_answer_is_not_there(folder: Path, mount: Callable[..., Mounts]) -> None:
    with pytest.raises(WatchError, match="not connected"):
        look_for(os.fsencode(folder), mount(("", None)))


def test_what_is_mounted_below_a_root_carries_it_too(folder: Path, mount: Callable[..., Mounts]) -> None:
    presence = look_for(os.fsencode(folder), mount(("", 1), ("card", 2), ("a", 3), ("a/b", 4), ("../rooted", 5)))
    assert presence.volumes == (
        VolumeKey(b"", mounted(1)),
        *(VolumeKey(path, number) for path, number in ((b"a", 3), (b"a/b", 4), (b"card", 2))),
    )


def test_a_nested_mount_that_does_not_answer_is_not_there_and_the_root_is(
    folder: Path, mount: Callable[..., Mounts]
) -> None:
    presence = look_for(os.fsencode(folder), mount(("", 1), ("card", None)))
    assert presence.volumes == (VolumeKey(b"", mounted(1)),)


def test_mounts_below_the_root_of_the_file_system_are_told_from_it(folder: Path, mount: Callable[..., Mounts]) -> None:
    presence = look_for(b"/", mount(("", 1)))
    assert presence.volumes == (VolumeKey(b"", mounted(1000)), VolumeKey(os.fsencode(folder)[1:], 1))


def test_names_of_any_bytes_can_be_mounted_over(folder: Path, mount: Callable[..., Mounts]) -> None:
    (folder / "with blank\\").mkdir()
    presence = look_for(os.fsencode(folder), mount(("", 1), ("with blank\\", 2)))
    assert presence.volumes[1:] == (VolumeKey(b"with blank\\", 2),)


def test_a_path_lies_on_the_innermost_volume_around_it() -> None:
    volumes = Volumes(
        {VolumeKey(b"", 1): 10, VolumeKey(b"a", 2): 20, VolumeKey(b"a/b", 3): 30, VolumeKey(b"file.jpg", 4): 40}
    )
    expected = {b"x": 10, b"a": 20, b"a/c": 20, b"a-b": 10, b"a0": 10, b"a/b/c": 30, b"a/bc": 20, b"file.jpg": 40}
    assert {path: volumes.at(path) for path in expected} == expected


def test_without_a_volume_of_the_root_s_own_nobody_knows_where_a_path_lies() -> None:
    assert Volumes({}).at(b"a") is None


class Disk:
    """The files of a disk that can be put at a place below the root, and taken away."""

    def __init__(self, place: Path, away: Path, *names: str) -> None:
        self._place, self._away = place, away / f"with {names[0]}"
        self._away.mkdir()
        for name in names:
            (self._away / name).write_text(name)

    def insert(self) -> None:
        self._place.rmdir()
        self._away.rename(self._place)

    def remove(self) -> None:
        self._place.rename(self._away)
        self._place.mkdir()


async def recognised(catalogue: Catalogue, folder: Path, mounts: Mounts) -> Volumes:
    path = os.fsencode(folder)
    presence: Presence = look_for(path, mounts)
    return await recognise(catalogue, "inbox", path, presence)


def tree_of(folder: Path) -> Tree:
    rules = IgnoreRules()
    return Tree(root="inbox", folder=os.fsencode(folder), recursive=True, rules=rules, excluded=b"/nowhere")


async def record(catalogue: Catalogue, folder: Path, volumes: Volumes, keys: dict[int | None, VolumeKey]) -> None:
    """Record all that is there."""

    def change(session: Session) -> None:
        for files in tree_of(folder).walk():
            for path, numbers in files:
                finding = Finding(Place("inbox", path), Signature(*numbers), keys[volumes.at(path)])
                properties = Properties(size_bytes=1, first_name="a")
                record_asset(session, NewAsset(f"{abs(hash(path)):064x}", finding, properties, []), None)

    await catalogue.write(change)


async def compared(catalogue: Catalogue, folder: Path, volumes: Volumes) -> tuple[list[bytes], list[bytes], int]:
    """What is unknown, what is unseen, and how much is out of reach."""
    found: list[Comparison] = [each async for each in differences(catalogue, tree_of(folder).walk(), volumes)]
    (one,) = found
    await catalogue.write(partial(note_volumes, elsewhere=one.elsewhere))
    return one.unknown, one.unseen, one.out_of_reach


async def imported(catalogue: Catalogue, folder: Path, mounts: Mounts) -> Volumes:
    presence = look_for(os.fsencode(folder), mounts)
    volumes = await recognised(catalogue, folder, mounts)
    keys = {volumes.at(key.path + b"/x" if key.path else b"x"): key for key in presence.volumes}
    await record(catalogue, folder, volumes, dict(keys))
    return volumes


async def filesystems(catalogue: Catalogue) -> dict[bytes, int | None]:
    """Of each location the number of its file system."""

    def query(session: Session) -> dict[bytes, int | None]:
        volumes = {volume.id: volume.filesystem for volume in session.exec(select(Volume)).all()}
        return {each.path: volumes.get(each.volume_id) for each in session.exec(select(Location)).all()}

    return await catalogue.read(query)


@pytest.mark.anyio
async def test_the_same_files_under_another_number_lie_on_the_same_volume(
    catalogue: Catalogue, folder: Path, mount: Callable[..., Mounts]
) -> None:
    for name in (*map(str, range(9)), "a/9"):
        (folder / name).write_text(name)
    await imported(catalogue, folder, mount(("", 1)))
    (folder / "2").unlink()
    volumes = await recognised(catalogue, folder, mount(("", 2)))
    assert await compared(catalogue, folder, volumes) == ([], [b"2"], 0)
    assert set((await filesystems(catalogue)).values()) == {mounted(2)}


@pytest.mark.anyio
async def test_a_disk_that_holds_most_of_the_files_of_another_is_another_volume(
    catalogue: Catalogue, folder: Path, mount: Callable[..., Mounts]
) -> None:
    for name in map(str, range(10)):
        (folder / name).write_text(name)
    await imported(catalogue, folder, mount(("", 1)))
    (folder / "2").unlink()
    (folder / "3").unlink()
    volumes = await recognised(catalogue, folder, mount(("", 2)))
    assert await compared(catalogue, folder, volumes) == ([], [], 2)


@pytest.mark.anyio
async def test_other_files_under_another_number_lie_on_another_volume(
    catalogue: Catalogue, tmp_path: Path, folder: Path, mount: Callable[..., Mounts]
) -> None:
    first, second = Disk(folder / "card", tmp_path, "1", "2"), Disk(folder / "card", tmp_path, "3")
    (folder / "own").touch()
    first.insert()
    await imported(catalogue, folder, mount(("", 1), ("card", 2)))

    first.remove()
    empty = await recognised(catalogue, folder, mount(("", 1)))
    assert await compared(catalogue, folder, empty) == ([], [], 2)

    second.insert()
    other = await imported(catalogue, folder, mount(("", 1), ("card", 3)))
    assert await compared(catalogue, folder, other) == ([], [], 2)

    second.remove()
    first.insert()
    again = await recognised(catalogue, folder, mount(("", 1), ("card", 2)))
    assert await compared(catalogue, folder, again) == ([], [], 1)
    assert await filesystems(catalogue) == {b"own": mounted(1), b"card/1": 2, b"card/2": 2, b"card/3": 3}


@pytest.mark.anyio
async def test_disks_that_rotate_and_get_new_numbers_are_told_apart(
    catalogue: Catalogue, tmp_path: Path, folder: Path, mount: Callable[..., Mounts]
) -> None:
    disks = [Disk(folder / "card", tmp_path, f"{name}1", f"{name}2", f"{name}3") for name in "abc"]
    for turn in range(7):
        disk = disks[turn % 3]
        disk.insert()
        mounts = mount(("", 1), ("card", 100 + turn))
        volumes = await (imported if turn < 3 else recognised)(catalogue, folder, mounts)
        unknown, unseen, out_of_reach = await compared(catalogue, folder, volumes)
        assert (unknown, unseen, out_of_reach) == ([], [], 3 * min(turn, 2))
        disk.remove()
    assert sorted(set((await filesystems(catalogue)).values()), key=str) == [104, 105, 106]


@pytest.mark.anyio
async def test_a_disk_that_is_known_by_two_numbers_is_one_volume(
    catalogue: Catalogue, folder: Path, mount: Callable[..., Mounts]
) -> None:
    for name in ("1", "2", "3"):
        (folder / name).write_text(name)
    await imported(catalogue, folder, mount(("", 1)))
    volumes = await recognised(catalogue, folder, mount(("", 1)))
    # As if what was recorded meanwhile had been recorded with the new number.
    (folder / "4").write_text("4")
    other = VolumeKey(b"", mounted(2))
    await record(catalogue, folder, Volumes({other: 0}), {0: other})
    await catalogue.write(
        lambda session: session.execute(
            Location.__table__.update().where(col(Location.path) != b"4").values(volume_id=volumes.at(b"1"))  # type: ignore[attr-defined]  # a table's
        ).close()
    )
    assert await filesystems(catalogue) == dict.fromkeys((b"1", b"2", b"3"), mounted(1)) | {b"4": mounted(2)}
    merged = await recognised(catalogue, folder, mount(("", 2)))
    assert set((await filesystems(catalogue)).values()) == {mounted(2)}
    assert await compared(catalogue, folder, merged) == ([], [], 0)


@pytest.mark.anyio
async def test_what_a_mount_lies_over_is_out_of_reach_until_it_is_taken_away(
    catalogue: Catalogue, folder: Path, mount: Callable[..., Mounts]
) -> None:
    (folder / "card" / "under").touch()
    (folder / "card-b").touch()
    await imported(catalogue, folder, mount(("", 1)))
    (folder / "card").rename(folder / ".hidden")
    (folder / "card").mkdir()
    over = await recognised(catalogue, folder, mount(("", 1), ("card", 2)))
    assert await compared(catalogue, folder, over) == ([b".hidden/under"], [], 1)
    (folder / "card").rmdir()
    (folder / ".hidden").rename(folder / "card")
    again = await recognised(catalogue, folder, mount(("", 1)))
    assert await compared(catalogue, folder, again) == ([], [], 0)


@pytest.mark.anyio
async def test_an_empty_mount_point_is_not_the_disk_that_was_there(
    catalogue: Catalogue, tmp_path: Path, folder: Path, mount: Callable[..., Mounts]
) -> None:
    disk = Disk(folder, tmp_path, "1", "2")
    for each in ("a/b", "a", "c", "card"):
        (folder / each).rmdir()
    disk.insert()
    await imported(catalogue, folder, mount(("", 7)))
    disk.remove()
    volumes = await recognised(catalogue, folder, mount())
    assert await compared(catalogue, folder, volumes) == ([], [], 2)
    disk.insert()
    volumes = await recognised(catalogue, folder, mount(("", 8)))
    assert await compared(catalogue, folder, volumes) == ([], [], 0)


@pytest.mark.anyio
async def test_the_folder_below_a_bind_mount_of_the_same_file_system_is_another_volume(
    catalogue: Catalogue, tmp_path: Path, folder: Path, mount: Callable[..., Mounts]
) -> None:
    disk = Disk(folder, tmp_path, "1", "2")
    for each in ("a/b", "a", "c", "card"):
        (folder / each).rmdir()
    disk.insert()
    await imported(catalogue, folder, mount(("", 1000)))
    disk.remove()
    volumes = await recognised(catalogue, folder, mount())
    assert await compared(catalogue, folder, volumes) == ([], [], 2)
    disk.insert()
    volumes = await recognised(catalogue, folder, mount(("", 1000)))
    assert await compared(catalogue, folder, volumes) == ([], [], 0)


@pytest.mark.anyio
async def test_what_an_older_damd_recorded_lies_wherever_it_is_found_and_is_out_of_reach_until_then(
    catalogue: Catalogue, folder: Path, mount: Callable[..., Mounts]
) -> None:
    for name in ("1", "card/2"):
        (folder / name).write_text(name)
    volumes = await recognised(catalogue, folder, mount(("", 1), ("card", 2)))
    nowhere: dict[int | None, VolumeKey] = {}

    def change(session: Session) -> None:
        for path, numbers in [each for files in tree_of(folder).walk() for each in files] + [(b"gone", (1, 2, 3, 4))]:
            finding = Finding(Place("inbox", path), Signature(*numbers), nowhere.get(0))
            properties = Properties(size_bytes=1, first_name="a")
            record_asset(session, NewAsset(f"{abs(hash(path)):064x}", finding, properties, []), None)

    await catalogue.write(change)
    assert await compared(catalogue, folder, volumes) == ([], [], 1)
    assert await filesystems(catalogue) == {b"1": mounted(1), b"card/2": 2, b"gone": None}
    (folder / "card" / "2").unlink()
    assert await compared(catalogue, folder, volumes) == ([], [b"card/2"], 1)


@pytest.mark.anyio
async def test_the_volumes_of_a_root_are_recognised_in_each_root_by_itself(
    catalogue: Catalogue, folder: Path, mount: Callable[..., Mounts]
) -> None:
    (folder / "1").touch()
    await imported(catalogue, folder, mount(("", 1)))
    presence = look_for(os.fsencode(folder), mount(("", 2)))
    await recognise(catalogue, "phone", os.fsencode(folder), presence)
    roots = await catalogue.read(partial(_volumes_by_root))
    assert roots == [("inbox", mounted(1)), ("phone", mounted(2))]


def _volumes_by_root(session: Session) -> list[tuple[str, int]]:
    return sorted((volume.root, volume.filesystem) for volume in session.exec(select(Volume)).all())
