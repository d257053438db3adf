"""Files that belong together, and pictures that look alike, find each other whoever comes first."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from bench import Bench
from pictures import photograph
from PIL import Image, ImageDraw

from damd.catalogue.describe import describe_assets
from damd.catalogue.roots import Roots
from damd.events import FileImportedEvent
from damd.results import IngestResult

pytestmark = pytest.mark.anyio

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:Rating="%d">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">%s</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>river</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""


@pytest.fixture
def scenes() -> Iterator[Image.Image]:
    """Pictures, none of which looks like another."""

    def draw() -> Iterator[Image.Image]:
        for number in itertools.count():
            yield scene(number)

    return draw()


def scene(number: int) -> Image.Image:
    image = photograph(320, 240)
    pen = ImageDraw.Draw(image)
    for step in range(40):
        x, y = (step * 7919 * (number + 3)) % 300, (step * 104729 * (number + 7)) % 220
        pen.rectangle((x, y, x + 45, y + 30), fill=((step * 53) % 255, (number * 91 + step * 17) % 255, (x + y) % 255))
    return image


async def components(bench: Bench, result: IngestResult) -> dict[str, Any]:
    roots, folder, number = bench.world.get_resource(Roots), bench.thumbnails.folder, result.asset_id or 0
    [described] = await bench.catalogue.read(lambda session: describe_assets(session, [number], roots, folder))
    found: dict[str, Any] = described["components"]
    return found


def write_sidecar(path: Path, title: str, rating: int = 4) -> Path:
    path.write_text(XMP % (rating, title))
    return path


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_a_picture_and_its_sidecars_know_of_each_other_whatever_the_order(
    bench: Bench, order: tuple[int, ...]
) -> None:
    picture = bench.picture("a.jpg")
    xmp = write_sidecar(bench.folder / "a.jpg.xmp", f"A bridge, {order}")
    takeout = bench.folder / "a.jpg.json"
    said = {"title": "a.jpg", "description": f"by {order}", "photoTakenTime": {"timestamp": "1224685719"}}
    takeout.write_text(json.dumps(said))
    files = [picture, xmp, takeout]
    results = {number: await bench.ingest(files[number]) for number in order}
    assert {result.status for result in results.values()} == {"SUCCESS"}

    related = (await components(bench, results[0]))["related_to"]
    assert {(each["asset_id"], each["kind"], each["path"]) for each in related} == {
        (results[number].asset_id, "sidecar", str(files[number])) for number in (1, 2)
    }
    said_of_it = {each["path"]: each["description"] for each in related}
    assert said_of_it[str(xmp)]["title"] == f"A bridge, {order}"
    assert (said_of_it[str(xmp)]["keywords"], said_of_it[str(xmp)]["rating"]) == (["river"], 4)
    assert said_of_it[str(takeout)]["description"] == f"by {order}"
    for number in (1, 2):
        [owner] = (await components(bench, results[number]))["related_to"]
        assert owner == {"asset_id": results[0].asset_id, "kind": "sidecar_of", "path": str(picture)}


async def test_an_edited_sidecar_takes_the_place_of_the_former_one(bench: Bench) -> None:
    picture = await bench.ingest(bench.picture("b.jpg"))
    first = await bench.ingest(write_sidecar(bench.folder / "b.xmp", "Before the edit"))
    second = await bench.ingest(write_sidecar(bench.folder / "b.xmp", "Afterwards, and longer"))
    [sidecar] = (await components(bench, picture))["related_to"]
    assert (sidecar["asset_id"], sidecar["description"]["title"]) == (second.asset_id, "Afterwards, and longer")
    assert "related_to" not in await components(bench, first)


async def test_a_sidecar_that_moves_with_its_picture_stays_with_it(bench: Bench) -> None:
    picture_path, sidecar_path = bench.picture("c.jpg"), write_sidecar(bench.folder / "c.xmp", "It moves")
    picture, sidecar = await bench.ingest(picture_path), await bench.ingest(sidecar_path)
    (bench.folder / "new").mkdir()
    for path in (picture_path, sidecar_path):
        await bench.ingest(path.rename(bench.folder / "new" / path.name), moved_from=path)
    [related] = (await components(bench, picture))["related_to"]
    assert related["asset_id"] == sidecar.asset_id
    assert related["path"] == str(bench.folder / "new" / "c.xmp")


async def test_json_and_xml_that_belong_to_nothing_are_what_they_are(bench: Bench) -> None:
    other = bench.folder / "package.json"
    other.write_text('{"name": "left-pad", "version": "1.0.0"}')
    assert (await bench.ingest(other)).reason == "Unsupported file type"
    assert (await bench.ingest(other)).is_news is False
    broken = bench.folder / "broken.xmp"
    broken.write_text(XMP[:200])
    result = await bench.ingest(broken)
    assert (result.status, result.family) == ("FAILED", None)


async def imported(bench: Bench, result: IngestResult) -> FileImportedEvent:
    [event] = [event for event in bench.told if event.asset_id == result.asset_id]
    return event


async def test_a_smaller_copy_finds_its_original_and_is_announced_with_it(
    bench: Bench, scenes: Iterator[Image.Image]
) -> None:
    image = next(scenes)
    image.save(bench.folder / "original.jpg", quality=95)
    image.resize((200, 150)).save(bench.folder / "smaller.webp")
    image.crop((0, 0, 308, 232)).save(bench.folder / "cropped.png")
    original = await bench.ingest(bench.folder / "original.jpg")
    smaller = await bench.ingest(bench.folder / "smaller.webp")
    cropped = await bench.ingest(bench.folder / "cropped.png")

    assert (await imported(bench, original)).near_duplicates == []
    assert [each["asset_id"] for each in (await imported(bench, smaller)).near_duplicates] == [original.asset_id]
    told = (await imported(bench, cropped)).near_duplicates
    assert {each["asset_id"] for each in told} == {original.asset_id, smaller.asset_id}
    assert all(0 <= each["distance"] <= 6 for each in told)
    # Those that came first know of it, too.
    for one, others in ((original, {smaller, cropped}), (smaller, {original, cropped})):
        found = (await components(bench, one))["near_duplicate"]
        assert {each["asset_id"] for each in found} == {other.asset_id for other in others}


async def test_alike_pictures_that_arrive_at_the_same_moment_find_each_other(
    bench: Bench, scenes: Iterator[Image.Image]
) -> None:
    next(scenes)
    image = next(scenes)
    paths = [bench.folder / f"{quality}.jpg" for quality in range(60, 96, 5)]
    for path in paths:
        image.save(path, quality=int(path.stem))
    results: list[IngestResult] = []

    async def ingest(path: Path) -> None:
        results.append(await bench.ingest(path))

    async with anyio.create_task_group() as tasks:
        for path in paths:
            tasks.start_soon(ingest, path)
    assert len({result.asset_id for result in results}) == len(paths)
    for result in results:
        found = (await components(bench, result))["near_duplicate"]
        assert {each["asset_id"] for each in found} == {each.asset_id for each in results} - {result.asset_id}


async def test_different_pictures_and_plain_ones_are_nobodys_neighbours(
    bench: Bench, scenes: Iterator[Image.Image]
) -> None:
    results = []
    for number, image in enumerate(itertools.islice(scenes, 5, 9)):
        image.save(bench.folder / f"different {number}.png")
        results.append(await bench.ingest(bench.folder / f"different {number}.png"))
    for number, colour in enumerate(("white", "#fefefe", "black")):
        Image.new("RGB", (300 + number, 200), colour).save(bench.folder / f"plain {number}.png")
        results.append(await bench.ingest(bench.folder / f"plain {number}.png"))
    for result in results:
        assert "near_duplicate" not in await components(bench, result)


async def test_a_copy_of_the_same_bytes_is_a_location_and_no_neighbour(
    bench: Bench, scenes: Iterator[Image.Image]
) -> None:
    image = next(itertools.islice(scenes, 12, None))
    image.save(bench.folder / "one.jpg")
    shutil.copyfile(bench.folder / "one.jpg", bench.folder / "two.jpg")
    one, two = await bench.ingest(bench.folder / "one.jpg"), await bench.ingest(bench.folder / "two.jpg")
    assert two.asset_id == one.asset_id
    assert "near_duplicate" not in await components(bench, one)
