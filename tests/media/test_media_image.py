"""Images from file to catalogue, and what any family may rely on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, open_bench
from pictures import CORNERS, corners, make_animation, make_picture, make_tiff_header, near
from PIL import Image

from damd.catalogue.describe import describe_assets
from damd.catalogue.roots import Roots
from damd.errors import BrokenFileError, FileChangedError, UnsupportedTypeError
from damd.fingerprint import calculate_hash, take_signature
from damd.ingest.ingest_file import IngestFileCommand
from damd.media import FAMILIES
from damd.media.base import Families, Family, ProcessMediaCommand
from damd.media.image import FAMILY, ProcessImageCommand
from damd.results import IngestResult, IngestStatus

pytestmark = pytest.mark.anyio


async def describe(bench: Bench, result: IngestResult) -> dict[str, Any]:
    roots, folder, number = bench.world.get_resource(Roots), bench.thumbnails.folder, result.asset_id or 0
    (described,) = await bench.catalogue.read(lambda session: describe_assets(session, [number], roots, folder))
    return described


def save(path: Path) -> Path:
    return make_picture(path, size=(160, 120))


@pytest.mark.parametrize(
    ("suffix", "mime_type"),
    [
        (".jpg", "image/jpeg"),
        (".png", "image/png"),
        (".gif", "image/gif"),
        (".webp", "image/webp"),
        (".tif", "image/tiff"),
        (".bmp", "image/bmp"),
        (".avif", "image/avif"),
    ],
)
async def test_every_format_becomes_an_asset_whatever_its_name_says(bench: Bench, suffix: str, mime_type: str) -> None:
    path = save(bench.folder / f"a{suffix}").rename(bench.folder / "a.dat")
    result = await bench.ingest(path)
    assert (result.status, result.mime_type, result.family) == ("SUCCESS", mime_type, "image")
    described = await describe(bench, result)
    assert (described["mime_type"], described["family"], described["first_name"]) == (mime_type, "image", "a.dat")
    properties = described["components"]["image_properties"]
    assert (properties["width"], properties["height"], properties["frames"]) == (160, 120, 1)
    assert len(described["components"]["perceptual_hash"]["phash"]) == 16
    assert [preview["path"] for preview in described["previews"]] == [result.thumbnail_path]
    with Image.open(result.thumbnail_path or "") as preview:
        assert preview.size == (160, 120)
        assert all(near(colour, CORNERS[name], 60) for name, colour in corners(preview).items())


async def test_heic_is_read_where_its_package_is_installed(bench: Bench) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs damd[heic]")
    with Image.open(make_picture(bench.folder / "a.png")) as image:
        pillow_heif.from_pillow(image.convert("RGB")).save(bench.folder / "a.heic")
    result = await bench.ingest(bench.folder / "a.heic")
    assert (result.status, result.mime_type, result.family) == ("SUCCESS", "image/heic", "image")


async def test_what_the_camera_wrote_is_catalogued_and_the_size_is_that_of_the_upright_picture(bench: Bench) -> None:
    result = await bench.ingest(bench.picture("a.jpg", orientation=6))
    components = (await describe(bench, result))["components"]
    assert components["image_properties"] == {
        "width": 160,
        "height": 120,
        "orientation": 6,
        "color_mode": "RGB",
        "frames": 1,
    }
    capture = components["capture"]
    assert (capture["taken_at"], capture["make"], capture["model"]) == ("2012-05-04T10:11:12+02:00", "Canon", "EOS 5D")
    assert (capture["iso"], capture["aperture"], capture["focal_length_mm"]) == (400, 2.8, 50)
    assert (round(capture["latitude"], 3), round(capture["longitude"], 3)) == (-33.865, 151.21)
    assert capture["exposure_s"] == 1 / 250


async def test_a_picture_without_details_has_no_row_for_them(bench: Bench) -> None:
    path = bench.folder / "a.png"
    Image.new("RGB", (31, 17), "teal").save(path)
    assert set((await describe(bench, await bench.ingest(path)))["components"]) == {
        "image_properties",
        "perceptual_hash",
        "reader_version",
    }


async def test_the_frames_of_an_animation_are_counted(bench: Bench) -> None:
    result = await bench.ingest(make_animation(bench.folder / "a.gif", 4))
    assert (await describe(bench, result))["components"]["image_properties"]["frames"] == 4


async def test_every_size_of_preview_is_made_and_the_largest_is_told(tmp_path: Path) -> None:
    async with open_bench(tmp_path, thumbnails={"sizes": [32, 100, 64], "format": "jpeg"}) as bench:
        result = await bench.ingest(bench.picture("a.jpg"))
        assert (result.thumbnail_path or "").endswith("-100.jpeg")
        previews = (await describe(bench, result))["previews"]
        assert sorted(preview["width"] for preview in previews) == [32, 64, 100]
        for preview in previews:
            with Image.open(preview["path"]) as image:
                assert (image.format, image.size) == ("JPEG", (preview["width"], preview["height"]))


async def process(bench: Bench, path: Path, **fields: Any) -> IngestResult:
    command = ProcessImageCommand(file_path=path, file_hash=await calculate_hash(path), **fields)
    result = (await bench.world.dispatch_command(command)).one()
    assert isinstance(result, IngestResult)
    return result


async def test_the_command_alone_makes_an_asset(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    result = await process(bench, path, mime_type="image/jpeg")
    assert (result.status, result.family) == (IngestStatus.SUCCESS, "image")
    known = await bench.known(path)
    assert known.location is not None
    assert known.location.signature == take_signature(path)
    again = await process(bench, path)
    assert (again.status, again.reason, again.asset_id) == ("SKIPPED", "Duplicate hash", result.asset_id)
    assert again.thumbnail_path == result.thumbnail_path


async def test_the_command_alone_raises_what_is_wrong_and_leaves_nothing(bench: Bench) -> None:
    path, broken, raw = bench.picture("a.jpg"), bench.picture("broken.jpg"), bench.folder / "raw.tif"
    broken.write_bytes(broken.read_bytes()[:-500])
    raw.write_bytes(make_tiff_header((0xC612, 4, 0x401)))
    with pytest.raises(FileChangedError):
        await process(bench, path, signature=take_signature(broken))
    with pytest.raises(BrokenFileError):
        await process(bench, broken)
    with pytest.raises(UnsupportedTypeError):
        await process(bench, raw)
    for each in (path, broken, raw):
        assert bench.previews(await calculate_hash(each)) == []
        assert await bench.known(each) == (None, None)


async def handle_nothing(cmd: ProcessMediaCommand) -> None:
    """A handler for families that are only looked up."""


def test_a_family_is_found_by_type_and_the_one_added_last_counts() -> None:
    families = Families(FAMILIES)
    assert families.of("image/jpeg") is FAMILY
    assert families.of("text/plain") is families.of(None) is None
    tiffs = Family(
        name="scan", mime_types=frozenset({"image/tiff"}), command=ProcessMediaCommand, handler=handle_nothing
    )
    families.add(tiffs)
    assert families.of("image/tiff") is tiffs
    assert families.of("image/jpeg") is FAMILY
    assert list(families) == [*FAMILIES, tiffs]
    assert Families(FAMILIES).of("image/tiff") is FAMILY


def test_no_two_families_read_the_same_type_and_their_names_are_their_own() -> None:
    types = [mime_type for family in FAMILIES for mime_type in family.mime_types]
    assert len(types) == len(set(types))
    assert len({family.name for family in FAMILIES}) == len({family.command for family in FAMILIES}) == len(FAMILIES)


@dataclass(frozen=True, kw_only=True)
class ProcessTextCommand(ProcessMediaCommand):
    """A family of a plugin's."""


async def test_a_family_that_a_plugin_adds_reads_its_types(tmp_path: Path) -> None:
    async def read_text(cmd: ProcessTextCommand) -> str:
        return cmd.file_path.read_text()

    async with open_bench(tmp_path) as bench:
        family = Family(
            name="text", mime_types=frozenset({"text/plain"}), command=ProcessTextCommand, handler=read_text
        )
        bench.world.get_resource(Families).add(family)
        bench.world.register_system(family.handler, command_type=family.command)
        path = bench.folder / "a.txt"
        path.write_text("what it says")
        result = await bench.world.dispatch_command(IngestFileCommand(file_path=path))
        assert result.results == ["what it says"]
