"""Who looks like whom: pictures that are copies, pictures that are not, and everything that happens meanwhile."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import sqlalchemy
from PIL import Image, ImageEnhance
from pydantic import ValidationError
from sqlalchemy import delete, insert, update
from sqlmodel import Session, col

import damd.media  # noqa: F401 - its tables belong to the schema
from damd.catalogue.components import PerceptualHash
from damd.catalogue.duplicates import MOST_NEIGHBOURS, Neighbour, Pair
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.schema import upgrade
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Entity, Location, Table, now
from damd.readers.likeness import likeness
from damd.similarity import SimilaritySettings
from damd.similarity.groups import Groups
from damd.similarity.resource import Similarity

pytestmark = pytest.mark.anyio

OWN = 0x994C33B3CC4C33B3


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("similarity")
    engine = make_engine(CatalogueSettings(), state)
    upgrade(engine, Table.metadata)
    engine.dispose()
    return state


@pytest.fixture
def catalogue(migrated: Path) -> Iterator[Catalogue]:
    """The module's catalogue, empty."""
    engine = make_engine(CatalogueSettings(), migrated)
    with engine.begin() as connection:
        connection.execute(delete(Entity))
    yield Catalogue(engine)
    engine.dispose()


@pytest.fixture
def similarity() -> Similarity:
    return Similarity(SimilaritySettings())


def scene(seed: int) -> Image.Image:
    """A picture that no other seed makes, of large and small things as photographs are."""
    chance = np.random.default_rng(seed)
    image = Image.new("RGB", (800, 600))
    for edge, weight in ((4, 1.0), (12, 0.5), (40, 0.3)):
        pixels = chance.integers(0, 256, (edge * 3 // 4, edge, 3), dtype=np.uint8)
        layer = Image.fromarray(pixels).resize(image.size, Image.Resampling.BICUBIC)
        image = Image.blend(image, layer, weight)
    return image


def hashes_of(image: Image.Image) -> PerceptualHash:
    found = likeness(image)
    return PerceptualHash(phash=found["phash"], crops=found["crops"])


def saved(image: Image.Image, kind: str, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return Image.open(file).convert("RGB")


def flipped(*bits: int, crops: str | None = None) -> PerceptualHash:
    """Hashes so many bits away from `OWN`."""
    value = OWN
    for bit in bits:
        value ^= 1 << bit
    return PerceptualHash(phash=f"{value:016x}", crops=crops)


def record(session: Session, row: PerceptualHash, similarity: Similarity | None = None) -> tuple[int, list[Neighbour]]:
    """Make an asset with these hashes; returns its number and its neighbours."""
    asset_id = session.scalars(insert(Entity).values(created_at=now()).returning(col(Entity.id))).one()
    assert asset_id is not None
    found = similarity.neighbours(session, asset_id, row) if similarity else []
    session.execute(insert(PerceptualHash).values(entity_id=asset_id, phash=row.phash, crops=row.crops))
    session.execute(insert(Location).values(lies(asset_id)))
    return asset_id, found


def lies(asset_id: int) -> dict[str, Any]:
    """A location's row: that asset at a path of its own."""
    seen = {"size_bytes": 1, "mtime_ns": 0, "ctime_ns": 0, "inode": asset_id}
    return {"entity_id": asset_id, "root": "", "path": b"/%d.jpg" % asset_id, "first_seen_at": now(), **seen}


async def record_all(catalogue: Catalogue, *rows: PerceptualHash) -> list[int]:
    return await catalogue.write(lambda session: [record(session, row)[0] for row in rows])


async def neighbours(catalogue: Catalogue, similarity: Similarity, row: PerceptualHash) -> list[Neighbour]:
    return await catalogue.read(lambda session: similarity.neighbours(session, 0, row))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half as large": lambda image: image.resize((400, 300)),
    "a quarter, saved badly": lambda image: saved(image.resize((200, 150)), "JPEG", 30),
    "saved as WebP": lambda image: saved(image, "WEBP", 50),
    "brightened": lambda image: saved(ImageEnhance.Brightness(image).enhance(1.1), "JPEG", 80),
    "cropped all around": lambda image: image.crop((20, 15, 780, 585)),
    "cropped at a corner": lambda image: saved(image.crop((40, 30, 800, 600)), "JPEG", 60),
    "cropped at one side": lambda image: image.crop((40, 0, 800, 600)),
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("first", ["original", "copy"])
async def test_a_copy_is_found_whichever_came_first(
    catalogue: Catalogue, similarity: Similarity, kind: str, first: str
) -> None:
    pair = [hashes_of(scene(1)), hashes_of(COPIES[kind](scene(1)))]
    before, after = pair if first == "original" else pair[::-1]
    asset_ids = await record_all(catalogue, *(hashes_of(scene(seed)) for seed in (2, 3)), before)
    [found] = await neighbours(catalogue, similarity, after)
    assert found.asset_id == asset_ids[-1]
    assert found.distance <= similarity.settings.distance


async def test_different_pictures_are_not_found(catalogue: Catalogue, similarity: Similarity) -> None:
    await record_all(catalogue, *(hashes_of(scene(seed)) for seed in range(20)))
    for seed in range(20, 40):
        assert await neighbours(catalogue, similarity, hashes_of(scene(seed))) == []


async def test_pictures_of_one_colour_are_no_neighbours(catalogue: Catalogue, similarity: Similarity) -> None:
    white = hashes_of(Image.new("RGB", (300, 200), "white"))
    await record_all(catalogue, white, white)
    assert await neighbours(catalogue, similarity, white) == []
    await similarity.keep_up(catalogue)
    assert await neighbours(catalogue, similarity, PerceptualHash(phash=white.phash)) == []


@pytest.mark.parametrize("loaded", [True, False], ids=["in memory", "not yet in memory"])
async def test_the_nearest_come_first_and_no_more_than_a_hundred(
    catalogue: Catalogue, similarity: Similarity, loaded: bool
) -> None:
    rows = [flipped(*range(count)) for count in (6, 0, 7, 2)]
    far, same, _, near = await record_all(catalogue, *rows)
    if loaded:
        await similarity.keep_up(catalogue)
    assert await neighbours(catalogue, similarity, flipped()) == [(same, 0), (near, 2), (far, 6)]

    await record_all(catalogue, *[flipped(1)] * (5 * MOST_NEIGHBOURS + 50))
    found = await neighbours(catalogue, similarity, flipped())
    assert len(found) == MOST_NEIGHBOURS
    assert found[0] == (same, 0)
    assert {each.distance for each in found[1:]} == {1}


async def test_the_distance_is_configured(catalogue: Catalogue) -> None:
    asset_id, _ = await record_all(catalogue, flipped(1, 2), flipped(*range(9)))
    assert await neighbours(catalogue, Similarity(SimilaritySettings(distance=1)), flipped()) == []
    assert await neighbours(catalogue, Similarity(SimilaritySettings(distance=2)), flipped()) == [(asset_id, 2)]
    for distance in (-1, 17):
        with pytest.raises(ValidationError):
            SimilaritySettings(distance=distance)


async def test_an_asset_is_no_neighbour_of_its_own(catalogue: Catalogue, similarity: Similarity) -> None:
    [asset_id] = await record_all(catalogue, flipped())
    await similarity.keep_up(catalogue)
    assert await catalogue.read(lambda session: similarity.neighbours(session, asset_id, flipped())) == []


async def test_alike_pictures_that_are_imported_at_the_same_moment_find_each_other(
    catalogue: Catalogue, similarity: Similarity
) -> None:
    found: list[tuple[int, list[Neighbour]]] = []

    async def add() -> None:
        found.append(await catalogue.write(partial(record, row=flipped(), similarity=similarity)))

    await similarity.keep_up(catalogue)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(add)
    found.sort()
    asset_ids = [asset_id for asset_id, _ in found]
    assert [[each.asset_id for each in near] for _, near in found] == [asset_ids[:count] for count in range(5)]


async def test_what_was_rolled_back_is_nobodys_neighbour(catalogue: Catalogue, similarity: Similarity) -> None:
    def fail(session: Session) -> None:
        record(session, flipped(), similarity)
        raise ZeroDivisionError

    await similarity.keep_up(catalogue)
    with pytest.raises(ZeroDivisionError):
        await catalogue.write(fail)
    assert await neighbours(catalogue, similarity, flipped()) == []


async def test_what_comes_in_is_kept_up_with(catalogue: Catalogue, similarity: Similarity) -> None:
    expected = []
    for number in range(150):
        await similarity.keep_up(catalogue)
        expected += [(each, 1) for each in await record_all(catalogue, flipped(number % 64))]
        found = await neighbours(catalogue, similarity, flipped())
        assert found == expected[:MOST_NEIGHBOURS]


async def test_an_asset_that_is_gone_is_found_no_more(catalogue: Catalogue, similarity: Similarity) -> None:
    gone, here = await record_all(catalogue, flipped(), flipped())
    await similarity.keep_up(catalogue)
    await catalogue.write(lambda session: session.execute(delete(Entity).where(col(Entity.id) == gone)))
    assert await neighbours(catalogue, similarity, flipped()) == [(here, 0)]


async def lose(catalogue: Catalogue, asset_ids: list[int], *, back: bool = False) -> None:
    missing = None if back else now()
    which = col(Location.entity_id).in_(asset_ids)
    await catalogue.write(lambda session: session.execute(update(Location).where(which).values(missing_since=missing)))


@pytest.mark.parametrize("loaded", [True, False], ids=["in memory", "not yet in memory"])
async def test_what_lies_nowhere_crowds_nobody_out_and_is_found_once_it_is_back(
    catalogue: Catalogue, similarity: Similarity, loaded: bool
) -> None:
    *gone, missing, here = await record_all(catalogue, *[flipped()] * 400, flipped(), flipped(0, 1))
    await catalogue.write(
        lambda session: session.execute(delete(Location).where(col(Location.entity_id).in_(gone)))
    )  # as if other bytes had taken their place
    await lose(catalogue, [missing])
    for _ in range(2):
        if loaded:
            await similarity.keep_up(catalogue)
        assert await neighbours(catalogue, similarity, flipped()) == [(here, 2)]
    await lose(catalogue, [missing], back=True)
    assert await neighbours(catalogue, similarity, flipped()) == [(missing, 0), (here, 2)]


async def test_hashes_that_another_process_took_later_are_found_out(
    catalogue: Catalogue, similarity: Similarity
) -> None:
    late, _ = await record_all(catalogue, flipped(), flipped(*range(9)))
    await catalogue.write(
        lambda session: session.execute(delete(PerceptualHash).where(col(PerceptualHash.entity_id) == late))
    )
    await similarity.keep_up(catalogue)
    hashes = {"entity_id": late, "phash": flipped().phash}
    await catalogue.write(lambda session: session.execute(insert(PerceptualHash).values(hashes)))
    for _ in range(64):
        await similarity.keep_up(catalogue)
    assert await neighbours(catalogue, similarity, flipped()) == [(late, 0)]


async def test_hashes_that_another_process_changed_are_found_out_in_time(
    catalogue: Catalogue, similarity: Similarity
) -> None:
    changed, _ = await record_all(catalogue, flipped(*range(30)), flipped(*range(9)))
    await similarity.keep_up(catalogue)
    values = update(PerceptualHash).where(col(PerceptualHash.entity_id) == changed).values(phash=flipped().phash)
    await catalogue.write(lambda session: session.execute(values))
    assert await neighbours(catalogue, similarity, flipped()) == []
    for _ in range(16_384):
        await similarity.keep_up(catalogue)
    assert await neighbours(catalogue, similarity, flipped()) == [(changed, 0)]


async def test_hashes_that_an_asset_was_given_later_are_learnt(catalogue: Catalogue, similarity: Similarity) -> None:
    changed, bare, _ = await record_all(catalogue, flipped(*range(20, 60)), flipped(*range(20, 60)), flipped(*range(9)))

    def change(session: Session) -> None:
        session.execute(delete(PerceptualHash).where(col(PerceptualHash.entity_id).in_([changed, bare])))
        rows = [{"entity_id": each, "phash": flipped().phash} for each in (changed, bare)]
        session.execute(insert(PerceptualHash), rows)

    await similarity.keep_up(catalogue)
    await catalogue.write(change)
    for asset_id in (changed, bare):
        similarity.learn(asset_id, flipped())
    for _ in range(100):  # until it has been read again, and beyond
        assert await neighbours(catalogue, similarity, flipped()) == [(changed, 0), (bare, 0)]
        await similarity.keep_up(catalogue)


@pytest.mark.parametrize("loaded", [True, False], ids=["in memory", "not yet in memory"])
@pytest.mark.parametrize("phash", ["no hash at all!!", "994c33b3 c4c33b3", "", "99", "é" * 16])
async def test_what_is_no_hash_harms_nobody(
    catalogue: Catalogue, similarity: Similarity, phash: str, loaded: bool
) -> None:
    odd = PerceptualHash(phash=phash)
    odd_crops = flipped(crops="zz")
    _, asset_id, _ = await record_all(catalogue, odd, flipped(), odd_crops)
    if loaded:
        await similarity.keep_up(catalogue)
    assert await neighbours(catalogue, similarity, flipped()) == [(asset_id, 0)]
    assert await neighbours(catalogue, similarity, odd) == []


async def test_a_million_take_no_time(catalogue: Catalogue, similarity: Similarity) -> None:
    """A hundredth of them here; ``benchmarks/similarity.py --million`` measures all."""
    chance = np.random.default_rng(1)
    phashes = [f"{value:016x}" for value in chance.integers(0, 2**64, 10_000, dtype=np.uint64).tolist()]

    def fill(session: Session) -> None:
        session.execute(insert(Entity), [{"id": number + 1, "created_at": now()} for number in range(len(phashes))])
        rows = [{"entity_id": number, "phash": phash, "crops": None} for number, phash in enumerate(phashes, start=1)]
        session.execute(insert(PerceptualHash), rows)
        session.execute(insert(Location), [lies(number) for number in range(1, 1 + len(phashes))])

    statements: list[str] = []
    await catalogue.write(fill)
    await similarity.keep_up(catalogue)
    sqlalchemy.event.listen(catalogue.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    assert await neighbours(catalogue, similarity, PerceptualHash(phash=phashes[4321])) == [(4322, 0)]
    assert len([each for each in statements if each.startswith("SELECT")]) == 2, (
        "the latest rows, and those that are near"
    )


def test_groups_hold_what_hangs_together() -> None:
    groups = Groups()
    groups.add([Pair(1, 7, 9, 4), Pair(2, 2, 5, 6)])
    groups.add([Pair(3, 5, 8, 0), Pair(4, 3, 9, 2), Pair(5, 3, 7, 6)])
    assert groups.found() == [[(2, 6), (5, 0), (8, 0)], [(3, 2), (7, 4), (9, 2)]]
    assert Groups().found() == []
