"""Duplicates in the catalogue: hashes to compare, pairs and places, over each of its databases."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import anyio
import pytest
from sqlalchemy import delete, insert, update
from sqlmodel import Session, col, select

from damd.catalogue.components import NearDuplicate, PerceptualHash, RelatedTo
from damd.catalogue.duplicates import (
    HashPage,
    Neighbour,
    count_hashes,
    describe_duplicates,
    exact_duplicates_after,
    hash_page,
    hashes_after,
    hashes_of,
    pairs_after,
    record_neighbours,
    settled_below,
    take_turns,
)
from damd.catalogue.record import Finding, NewAsset, record_asset, record_location
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Entity, Location, Root, now
from damd.similarity import SimilaritySettings
from damd.similarity.resource import Similarity

pytestmark = pytest.mark.anyio

MakeAsset = Callable[..., NewAsset]
MakeFinding = Callable[..., Finding]
ROOTS = Roots([Root(name="inbox", path=b"/srv/inbox")])
ALIKE, OTHER = "994c33b3cc4c33b3", "66b3cc4c33b3cc4c"


@pytest.fixture
async def asset_ids(catalogue: Catalogue, image_asset: MakeAsset) -> list[int]:
    """Four assets, each in one place."""
    assets = [image_asset(f"{number:064}", b"%d.jpg" % number) for number in range(4)]
    recorded = await catalogue.write(lambda session: [record_asset(session, asset, None) for asset in assets])
    return [each.asset_id for each in recorded]


async def lose(catalogue: Catalogue, asset_id: int, path: bytes | None = None) -> None:
    """Everywhere, or at one path."""
    statement = update(Location).where(col(Location.entity_id) == asset_id).values(missing_since=datetime.now(UTC))
    if path is not None:
        statement = statement.where(col(Location.path) == path)
    await catalogue.write(lambda session: session.execute(statement))


def add(session: Session, phash: str, crops: str | None = None) -> int:
    """An asset that has nothing but hashes."""
    asset_id = session.scalars(insert(Entity).values(created_at=now()).returning(col(Entity.id))).one()
    assert asset_id is not None
    session.execute(insert(PerceptualHash).values(entity_id=asset_id, phash=phash, crops=crops))
    put(session, asset_id)
    return asset_id


def put(session: Session, asset_id: int) -> None:
    """Let this asset lie at a path of its own."""
    seen = {"size_bytes": 1, "mtime_ns": 0, "ctime_ns": 0, "inode": asset_id, "first_seen_at": now()}
    session.execute(insert(Location).values(entity_id=asset_id, root="", path=b"/%d" % asset_id, **seen))


async def test_hashes_are_read_in_pages_and_without_those_that_mean_nothing(catalogue: Catalogue) -> None:
    rows = [(ALIKE, "0" * 144), (OTHER, None), ("8000000000000000", ""), (ALIKE, None), ("no hash", None)]
    first, second, plain, third, _ = await catalogue.write(lambda session: [add(session, *row) for row in rows])

    alike, other, cropped = ALIKE * 10, OTHER * 10, ALIKE + "0" * 144
    assert await catalogue.read(lambda session: hash_page(session, 0, 2)) == (f"{first},{second}", cropped + other)
    assert await catalogue.read(lambda session: hash_page(session, second, 2)) == HashPage(str(third), alike)
    assert await catalogue.read(lambda session: hash_page(session, third, 2)) is None
    assert await catalogue.read(lambda session: hashes_after(session, first)) == [(second, other), (third, alike)]
    await lose(catalogue, second)
    found = await catalogue.read(lambda session: hashes_of(session, [first, second, plain, third, 10**6]))
    assert sorted(found) == [(first, cropped), (third, alike)]
    assert await catalogue.read(lambda session: count_hashes(session, first, plain)) == 2


async def test_alike_pictures_that_two_processes_import_at_the_same_moment_find_each_other(
    catalogues: tuple[Catalogue, Catalogue],
) -> None:
    barrier = Barrier(2)
    found: list[tuple[int, list[Neighbour]]] = []

    async def record(catalogue: Catalogue) -> None:
        similarity = Similarity(SimilaritySettings())

        def change(session: Session) -> tuple[int, list[Neighbour]]:
            asset_id = add(session, ALIKE)
            if catalogue.engine.dialect.name == "postgresql":  # SQLite lets only one begin
                barrier.wait()
            return asset_id, similarity.neighbours(session, asset_id, PerceptualHash(phash=ALIKE))

        found.append(await catalogue.write(change))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for catalogue in catalogues:
                tasks.start_soon(record, catalogue)
    assert sorted(len(near) for _, near in found) == [0, 1]


async def test_a_number_that_was_given_earlier_and_commits_later_is_still_found(
    catalogues: tuple[Catalogue, Catalogue],
) -> None:
    if catalogues[0].engine.dialect.name == "sqlite":
        pytest.skip("SQLite gives numbers in the order of commits")
    similarity = Similarity(SimilaritySettings())
    first, second = await catalogues[0].write(lambda session: [add(session, OTHER), add(session, ALIKE)])
    await catalogues[0].write(
        lambda session: session.execute(delete(Entity).where(col(Entity.id) == first))
    )  # as if it had not committed yet
    await similarity.keep_up(catalogues[0])

    def commit_late(session: Session) -> None:
        session.execute(insert(Entity).values(id=first, created_at=now()))
        session.execute(insert(PerceptualHash).values(entity_id=first, phash=ALIKE))
        put(session, first)

    await catalogues[1].write(commit_late)
    for _ in range(100):
        asked = PerceptualHash(phash=ALIKE)
        found = await catalogues[0].read(lambda session: similarity.neighbours(session, 0, asked))  # noqa: B023 - awaited here
        assert [each.asset_id for each in found] == [first, second]
        await similarity.keep_up(catalogues[0])


async def test_turns_are_taken_and_the_next_one_comes_when_a_transaction_has_ended(catalogue: Catalogue) -> None:
    for _ in range(2):
        await catalogue.write(take_turns)
    assert await catalogue.read(lambda session: settled_below(session, 10)) in {0, 10}


async def test_a_pair_is_one_row_on_the_later_asset(catalogue: Catalogue, asset_ids: list[int]) -> None:
    one, two, three, _ = asset_ids
    await catalogue.write(lambda session: record_neighbours(session, two, [Neighbour(one, 4), Neighbour(three, 2)]))
    pairs = await catalogue.read(lambda session: pairs_after(session, 0))
    assert [pair[1:] for pair in pairs] == [(one, two, 4), (two, three, 2)]
    assert await catalogue.read(lambda session: pairs_after(session, 0, limit=1)) == pairs[:1]
    assert await catalogue.read(lambda session: pairs_after(session, pairs[0].number)) == pairs[1:]
    assert await catalogue.read(lambda session: pairs_after(session, 0, distance=3)) == pairs[1:]


async def test_neighbours_that_are_found_again_take_the_place_of_those_before(
    catalogue: Catalogue, asset_ids: list[int]
) -> None:
    one, two, three, four = asset_ids
    await catalogue.write(lambda session: record_neighbours(session, two, [Neighbour(one, 4), Neighbour(three, 2)]))
    await catalogue.write(lambda session: record_neighbours(session, four, [Neighbour(three, 6)]))
    await catalogue.write(lambda session: record_neighbours(session, two, [Neighbour(four, 1)], again=True))
    pairs = await catalogue.read(lambda session: pairs_after(session, 0))
    assert [pair[1:] for pair in pairs] == [(three, four, 6), (two, four, 1)]
    await catalogue.write(lambda session: record_neighbours(session, four, [], again=True))
    assert await catalogue.read(lambda session: session.exec(select(NearDuplicate)).all()) == []


async def test_pairs_that_nobody_looked_at_again_stay_as_long_as_they_are_right(catalogue: Catalogue) -> None:
    close = f"{int(ALIKE, 16) ^ 0b111:016x}"
    mine, away, far, *crowd = await catalogue.write(
        lambda session: [add(session, phash) for phash in (close, ALIKE, OTHER, *[ALIKE] * 120)]
    )
    everyone = [Neighbour(each, 3) for each in (away, far, *crowd)]
    await catalogue.write(lambda session: record_neighbours(session, mine, everyone))
    await lose(catalogue, away)

    def others(session: Session) -> set[int]:
        return set(session.scalars(select(col(NearDuplicate.entity_id))))

    nearest = [Neighbour(each, 3) for each in crowd[:100]]
    await catalogue.write(lambda session: record_neighbours(session, mine, nearest, again=True))
    assert await catalogue.read(others) == {away, *crowd}
    await catalogue.write(lambda session: record_neighbours(session, mine, nearest[:5], again=True))
    assert await catalogue.read(others) == {away, *crowd[:5]}


async def test_what_belongs_together_is_no_pair(catalogue: Catalogue, asset_ids: list[int]) -> None:
    one, two, three, four = asset_ids
    await catalogue.write(lambda session: record_neighbours(session, two, [Neighbour(one, 0), Neighbour(three, 2)]))
    await catalogue.write(lambda session: record_neighbours(session, four, [Neighbour(three, 1)]))
    relations = [(one, "raw", two), (two, "rendition", one), (three, "live_video", four), (four, "live_photo", three)]
    rows = [{"entity_id": entity_id, "kind": kind, "other_id": other} for entity_id, kind, other in relations]
    await catalogue.write(lambda session: session.execute(insert(RelatedTo), rows))
    pairs = await catalogue.read(lambda session: pairs_after(session, 0))
    assert [pair[1:] for pair in pairs] == [(two, three, 2)]


async def test_a_pair_of_which_one_lies_nowhere_any_more_is_left_out(
    catalogue: Catalogue, asset_ids: list[int]
) -> None:
    one, two, three, four = asset_ids
    await catalogue.write(lambda session: record_neighbours(session, two, [Neighbour(one, 4)]))
    await catalogue.write(lambda session: record_neighbours(session, four, [Neighbour(three, 4)]))
    await lose(catalogue, one)
    pairs = await catalogue.read(lambda session: pairs_after(session, 0))
    assert [pair[1:] for pair in pairs] == [(three, four, 4)]


async def test_what_lies_in_several_places_is_an_exact_duplicate(
    catalogue: Catalogue, asset_ids: list[int], finding: MakeFinding
) -> None:
    one, two, three, _ = asset_ids
    for asset_id, path in ((one, b"copy of 0.jpg"), (two, b"copy of 1.jpg"), (three, b"copy of 2.jpg")):
        await catalogue.write(lambda session: record_location(session, asset_id, finding(path)))  # noqa: B023 - awaited here
    await lose(catalogue, two, b"1.jpg")
    assert await catalogue.read(lambda session: exact_duplicates_after(session, 0)) == [one, three]
    assert await catalogue.read(lambda session: exact_duplicates_after(session, 0, limit=1)) == [one]
    assert await catalogue.read(lambda session: exact_duplicates_after(session, one)) == [three]


async def test_duplicates_are_told_with_what_tells_them_apart(
    catalogue: Catalogue, asset_ids: list[int], finding: MakeFinding
) -> None:
    one, two, *_ = asset_ids
    for path in (b"copy.jpg", b"gone.jpg", b"odd\xff.jpg"):
        await catalogue.write(lambda session: record_location(session, one, finding(path)))  # noqa: B023 - awaited here
    await lose(catalogue, one, b"gone.jpg")
    told = await catalogue.read(lambda session: describe_duplicates(session, [two, one, 10**6], ROOTS, Path("/p")))
    assert set(told) == {one, two}
    assert told[two] == {
        "sha256": f"{1:064}",
        "size_bytes": 2**40,
        "width": 4000,
        "height": 3000,
        "locations": ["/srv/inbox/1.jpg"],
        "previews": [f"/p/{1:064}-512.webp", f"/p/{1:064}-1024.webp"],
    }
    assert told[one]["locations"][:2] == ["/srv/inbox/0.jpg", "/srv/inbox/copy.jpg"]
    assert len(told[one]["locations"]) == 3
    assert told[one]["locations_base64"][:2] == [None, None]
    assert told[one]["locations_base64"][2] is not None


async def test_what_has_no_dimensions_is_told_without(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    asset = image_asset("f" * 64)._replace(components=[])
    recorded = await catalogue.write(lambda session: record_asset(session, asset, None))
    told = await catalogue.read(lambda session: describe_duplicates(session, [recorded.asset_id], ROOTS, Path("/p")))
    assert (told[recorded.asset_id]["width"], told[recorded.asset_id]["previews"]) == (None, [])
