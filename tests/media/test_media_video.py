"""Films from file to catalogue."""

from pathlib import Path
from typing import Any

import pytest
from bench import Bench
from pictures import CORNERS, corners, near
from PIL import Image

from damd.catalogue.describe import describe_assets
from damd.catalogue.roots import Roots
from damd.errors import BrokenFileError
from damd.fingerprint import calculate_hash, take_signature
from damd.media.video import ProcessVideoCommand
from damd.results import IngestResult

pytest.importorskip("av", reason="needs damd[video]")

from films import black_until, make_cover_only, make_film

pytestmark = pytest.mark.anyio


async def process(bench: Bench, path: Path, mime_type: str) -> IngestResult:
    digest = await calculate_hash(path)
    signature = take_signature(path)
    command = ProcessVideoCommand(file_path=path, file_hash=digest, mime_type=mime_type, signature=signature)
    result = (await bench.world.dispatch_command(command)).one()
    assert isinstance(result, IngestResult)
    return result


async def describe(bench: Bench, result: IngestResult) -> dict[str, Any]:
    roots, folder, number = bench.world.get_resource(Roots), bench.thumbnails.folder, result.asset_id or 0
    (described,) = await bench.catalogue.read(lambda session: describe_assets(session, [number], roots, folder))
    return described


async def test_a_film_becomes_an_asset_with_a_poster(bench: Bench) -> None:
    path = make_film(bench.folder / "a.mp4", paint=black_until(4), sound=True, rotation=90)
    result = await process(bench, path, "video/mp4")
    assert (result.status, result.family, result.mime_type) == ("SUCCESS", "video", "video/mp4")
    components = (await describe(bench, result))["components"]
    assert components["video_properties"].pop("bit_rate") > 1000
    assert components["video_properties"] == {
        "container": "mp4",
        "video_codec": "mpeg4",
        "audio_codec": "aac",
        "duration_s": 3.0,
        "width": 120,
        "height": 160,
        "rotation": 90,
        "frame_rate": 10.0,
    }
    assert "capture" not in components
    with Image.open(result.thumbnail_path or "") as poster:
        assert poster.size == (120, 160)
        assert near(corners(poster)["top left"], CORNERS["bottom left"], 60)


async def test_every_sampled_frame_has_a_row(bench: Bench) -> None:
    result = await process(bench, make_film(bench.folder / "a.mkv"), "video/x-matroska")
    hashes = (await describe(bench, result))["components"]["frame_hash"]
    assert [row["at_s"] for row in hashes] == [0.3, 0.9, 1.5, 2.1, 2.7]


async def test_what_a_phone_wrote_is_catalogued(bench: Bench) -> None:
    metadata = {
        "com.apple.quicktime.creationdate": "2019-07-24T11:25:40+0300",
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.location.ISO6709": "+48.1173+011.5167/",
        "com.apple.quicktime.content.identifier": "B2F1-77",
        "title": "The lake",
    }
    result = await process(bench, make_film(bench.folder / "a.mov", metadata=metadata), "video/quicktime")
    components = (await describe(bench, result))["components"]
    capture = components["capture"]
    assert (capture["taken_at"], capture["make"]) == ("2019-07-24T11:25:40+03:00", "Apple")
    assert (capture["latitude"], capture["longitude"]) == (48.1173, 11.5167)
    assert components["description"]["title"] == "The lake"
    assert components["content_identifier"]["identifier"] == "B2F1-77"


async def test_a_container_of_films_with_only_sound_is_sound(bench: Bench) -> None:
    result = await process(bench, make_cover_only(bench.folder / "a.mp4"), "video/mp4")
    assert result.family == "audio"
    components = (await describe(bench, result))["components"]
    assert components["audio_properties"]["codec"] == "aac"
    assert "video_properties" not in components


async def test_a_film_that_is_cut_off_leaves_nothing(bench: Bench) -> None:
    path = make_film(bench.folder / "a.mp4")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(BrokenFileError, match="The recording is truncated"):
        await process(bench, path, "video/mp4")
    assert bench.previews(await calculate_hash(path)) == []
    assert await bench.asset_at(path) is None
