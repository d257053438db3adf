"""Which volume a location lies on, and how one that got another number is recognised, over both databases."""

from collections.abc import Callable
from functools import partial

import pytest
import sqlalchemy
from sqlmodel import Session, col, select

from damd.catalogue import volumes
from damd.catalogue.record import Finding, NewAsset, record_asset, record_location
from damd.catalogue.roots import Place
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Location, Volume, now
from damd.catalogue.volumes import (
    KnownFile,
    VolumeKey,
    accept,
    is_the_same,
    present_volumes,
    recognise_as,
    sample,
    volume_id,
)
from damd.fingerprint import Signature

pytestmark = pytest.mark.anyio

MakeAsset = Callable[..., NewAsset]
OWN, OTHER = VolumeKey(b"", 1), VolumeKey(b"", 2)
CARD = VolumeKey(b"card", 3)


@pytest.fixture
async def asset_id(catalogue: Catalogue, image_asset: MakeAsset) -> int:
    """An asset that lies outside every root, for further locations."""
    asset = image_asset("0" * 64)
    asset = asset._replace(finding=asset.finding._replace(place=Place("", b"/elsewhere")))
    return (await catalogue.write(lambda session: record_asset(session, asset, None))).asset_id


async def locate(
    catalogue: Catalogue, asset_id: int, volume: VolumeKey | None, *paths: bytes, root: str = "inbox"
) -> None:
    """Files that lie on a volume, each of 3 bytes and from the same moment."""

    def change(session: Session) -> None:
        for path in paths:
            record_location(session, asset_id, Finding(Place(root, path), Signature(3, 10, 20, 30), volume))

    await catalogue.write(change)


async def whereabouts(catalogue: Catalogue, root: str = "inbox") -> dict[bytes, tuple[bytes, int] | None]:
    """Of each location its volume's place and number."""

    def query(session: Session) -> dict[bytes, tuple[bytes, int] | None]:
        statement = sqlalchemy.select(col(Location.path), col(Volume.path), col(Volume.filesystem))
        statement = statement.outerjoin(Volume, col(Volume.id) == col(Location.volume_id))
        rows = session.execute(statement.where(col(Location.root) == root))
        return {path: None if number is None else (place, number) for path, place, number in rows}

    return await catalogue.read(query)


async def known_volumes(catalogue: Catalogue) -> set[tuple[str, bytes, int]]:
    rows = await catalogue.read(lambda session: session.exec(select(Volume)).all())
    return {(row.root, row.path, row.filesystem) for row in rows}


async def test_a_volume_keeps_its_number_and_each_root_has_its_own(catalogue: Catalogue) -> None:
    first = await catalogue.write(partial(present_volumes, root="inbox", keys=[OWN, CARD]))
    again = await catalogue.write(partial(present_volumes, root="inbox", keys=[CARD, OWN]))
    other = await catalogue.write(partial(present_volumes, root="phone", keys=[OWN]))
    assert first == again
    assert len({*first.values(), *other.values()}) == 3


@pytest.mark.parametrize("number", [0, -1, -(2**63), 2**63 - 1])
async def test_any_number_of_64_signed_bits_is_a_volume_s(catalogue: Catalogue, number: int) -> None:
    key = VolumeKey(b"\xff\x00card", number)
    made = await catalogue.write(partial(volume_id, root="inbox", key=key))
    assert await catalogue.write(partial(volume_id, root="inbox", key=key)) == made


async def test_a_sample_is_taken_of_what_lies_on_the_others_of_the_same_place(
    catalogue: Catalogue, asset_id: int
) -> None:
    await locate(catalogue, asset_id, OWN, b"a")
    await locate(catalogue, asset_id, OTHER, b"b", b"c")
    await locate(catalogue, asset_id, CARD, b"card/d")
    await locate(catalogue, asset_id, OTHER, b"e", root="phone")
    await catalogue.write(
        lambda session: session.execute(
            sqlalchemy.update(Location).where(col(Location.path) == b"c").values(missing_since=now())
        ).close()
    )
    ((number, files),) = await catalogue.read(partial(sample, root="inbox", key=OWN))
    assert number == await catalogue.write(partial(volume_id, root="inbox", key=OTHER))
    assert files == [KnownFile(b"b", 3, 10)]
    assert await catalogue.read(partial(sample, root="inbox", key=CARD)) == []


async def test_a_sample_is_small(catalogue: Catalogue, asset_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "_SAMPLE", 2)
    await locate(catalogue, asset_id, OTHER, b"a", b"b", b"c")
    ((_, files),) = await catalogue.read(partial(sample, root="inbox", key=OWN))
    assert len(files) == 2


async def test_a_sample_is_from_all_over_a_volume(
    catalogue: Catalogue, asset_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "_SAMPLE", 2)
    await locate(catalogue, asset_id, OTHER, *(b"%d" % number for number in range(6)))
    ((_, files),) = await catalogue.read(partial(sample, root="inbox", key=OWN))
    first, second = (int(file.path) for file in files)
    assert abs(second - first) == 3


@pytest.mark.parametrize(
    ("there", "expected"),
    [(20, True), (18, True), (17, False), (10, False), (0, False)],
)
def test_nearly_all_of_a_sample_must_be_there_by_size_and_mtime(there: int, *, expected: bool) -> None:
    files = [KnownFile(b"%d" % number, 3, 10) for number in range(20)]
    looks = {file.path: (3, 10) for file in files[:there]} | {file.path: (3, 11) for file in files[there:19]}
    assert is_the_same(files, looks.get) is expected


@pytest.mark.parametrize("count", range(1, 51))
def test_a_tenth_of_a_sample_of_any_size_may_have_gone_and_no_more(count: int) -> None:
    files = [KnownFile(b"%d" % number, 3, 10) for number in range(count)]
    for gone in (count // 10, count // 10 + 1):
        looks = dict.fromkeys((file.path for file in files[gone:]), (3, 10))
        assert is_the_same(files, looks.get) is (10 * gone <= count)


def test_of_a_volume_on_which_nothing_is_known_nothing_is_not_there() -> None:
    assert is_the_same([], lambda _: None)


async def test_a_volume_with_another_number_remains_what_it_was(catalogue: Catalogue, asset_id: int) -> None:
    await locate(catalogue, asset_id, OWN, b"a")
    number = await catalogue.write(partial(volume_id, root="inbox", key=OWN))
    await catalogue.write(partial(recognise_as, volume=number, root="inbox", key=OTHER))
    assert await catalogue.write(partial(volume_id, root="inbox", key=OTHER)) == number
    assert await whereabouts(catalogue) == {b"a": (b"", 2)}


async def test_two_volumes_that_turn_out_to_be_one_are_merged(catalogue: Catalogue, asset_id: int) -> None:
    await locate(catalogue, asset_id, OWN, b"a")
    await locate(catalogue, asset_id, OTHER, b"b")
    number = await catalogue.write(partial(volume_id, root="inbox", key=OWN))
    await catalogue.write(partial(recognise_as, volume=number, root="inbox", key=OTHER))
    assert await whereabouts(catalogue) == {b"a": (b"", 2), b"b": (b"", 2)}
    assert await known_volumes(catalogue) == {("inbox", b"", 2)}


async def test_what_lay_on_an_absent_volume_or_nobody_knows_where_lies_on_what_is_there_once_that_is_accepted(
    catalogue: Catalogue, asset_id: int
) -> None:
    await locate(catalogue, asset_id, OWN, b"a")
    await locate(catalogue, asset_id, OTHER, b"b")
    await locate(catalogue, asset_id, OTHER, b"c", root="phone")
    await locate(catalogue, asset_id, CARD, b"card/d")
    await locate(catalogue, asset_id, None, b"e")
    await locate(catalogue, asset_id, None, b"f", root="phone")
    await catalogue.write(partial(accept, root="inbox", keys=[OWN]))
    assert await whereabouts(catalogue) == dict.fromkeys((b"a", b"b", b"card/d", b"e"), (b"", 1))
    assert await whereabouts(catalogue, "phone") == {b"c": (b"", 2), b"f": None}
    assert await known_volumes(catalogue) == {("inbox", b"", 1), ("phone", b"", 2)}


@pytest.mark.parametrize("turn", range(3))
async def test_what_a_mount_lies_over_lies_on_the_innermost_one_once_that_is_accepted(
    catalogue: Catalogue, asset_id: int, turn: int
) -> None:
    await locate(catalogue, asset_id, OWN, b"card", b"card-b", b"card/a", b"card/b/c", b"card0")
    await locate(catalogue, asset_id, CARD, b"card/d")
    inner = VolumeKey(b"card/b", 4)
    await locate(catalogue, asset_id, inner, b"card/b/e")
    await locate(catalogue, asset_id, None, b"card/b/f")
    keys = [OWN, CARD, inner]
    await catalogue.write(partial(accept, root="inbox", keys=keys[turn:] + keys[:turn]))
    assert await whereabouts(catalogue) == {
        b"card-b": (b"", 1),
        b"card0": (b"", 1),
        b"card/d": (b"card", 3),
        b"card/b/e": (b"card/b", 4),
        b"card": (b"card", 3),
        b"card/a": (b"card", 3),
        b"card/b/c": (b"card/b", 4),
        b"card/b/f": (b"card/b", 4),
    }
    assert await known_volumes(catalogue) == {("inbox", *key) for key in keys}


@pytest.fixture
async def taken_over(catalogue: Catalogue, asset_id: int) -> None:
    """Of two files on one volume, one belongs to another root now, and still has the volume of its former one."""
    await locate(catalogue, asset_id, OTHER, b"a", b"b", root="former")
    change = sqlalchemy.update(Location).where(col(Location.path) == b"a").values(root="inbox")
    await catalogue.write(lambda session: session.execute(change).close())


@pytest.mark.usefixtures("taken_over")
async def test_what_came_from_another_root_with_its_volume_lies_on_what_is_there_once_that_is_accepted(
    catalogue: Catalogue,
) -> None:
    await catalogue.write(partial(accept, root="inbox", keys=[OWN]))
    assert await whereabouts(catalogue) == {b"a": (b"", 1)}
    assert await whereabouts(catalogue, "former") == {b"b": (b"", 2)}
    assert await known_volumes(catalogue) == {("inbox", b"", 1), ("former", b"", 2)}


@pytest.mark.usefixtures("taken_over")
async def test_of_what_went_to_another_root_with_its_volume_nobody_knows_where_it_lies_once_that_is_accepted(
    catalogue: Catalogue,
) -> None:
    await catalogue.write(partial(accept, root="former", keys=[OWN]))
    assert await whereabouts(catalogue, "former") == {b"b": (b"", 1)}
    assert await whereabouts(catalogue) == {b"a": None}
    assert await known_volumes(catalogue) == {("former", b"", 1)}
