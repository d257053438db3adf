"""Sound from file to catalogue."""

from typing import Any

import pytest
from bench import Bench
from PIL import Image

from damd.catalogue.describe import describe_assets
from damd.catalogue.roots import Roots
from damd.catalogue.tables import FileProperties
from damd.errors import BrokenFileError
from damd.fingerprint import calculate_hash
from damd.media.audio import AudioProperties, AudioTags, ProcessAudioCommand, audio_rows
from damd.results import IngestResult

pytest.importorskip("av", reason="needs damd[audio]")
pytest.importorskip("mutagen", reason="needs damd[audio]")

from mutagen.flac import FLAC, Picture
from pictures import CORNERS, corners, near
from sounds import make_cover, make_sound

pytestmark = pytest.mark.anyio


async def describe(bench: Bench, result: IngestResult) -> dict[str, Any]:
    roots, folder, number = bench.world.get_resource(Roots), bench.thumbnails.folder, result.asset_id or 0
    (described,) = await bench.catalogue.read(lambda session: describe_assets(session, [number], roots, folder))
    return described


async def test_a_recording_becomes_an_asset_with_its_cover_as_preview(bench: Bench) -> None:
    path = make_sound(bench.folder / "a.flac", title="Kjerag", artist="A Band", track="3/12", date="2001-05-04")
    file, picture = FLAC(path), Picture()
    picture.data, picture.type, picture.mime = make_cover(), 3, "image/jpeg"
    file.add_picture(picture)
    file.save()
    result = await bench.ingest(path.rename(bench.folder / "a.dat"))
    assert (result.status, result.mime_type, result.family) == ("SUCCESS", "audio/flac", "audio")
    components = (await describe(bench, result))["components"]
    properties = components["audio_properties"]
    assert (properties["codec"], properties["container"], properties["duration_s"]) == ("flac", "flac", 2.0)
    assert (properties["sample_rate"], properties["channels"]) == (48_000, 2)
    assert components["audio_tags"] == {
        "title": "Kjerag",
        "artist": "A Band",
        "album": None,
        "track": 3,
        "year": 2001,
        "genre": None,
    }
    with Image.open(result.thumbnail_path or "") as preview:
        assert preview.size == (120, 120)
        assert all(near(colour, CORNERS[name], 60) for name, colour in corners(preview).items())


@pytest.mark.parametrize(
    ("suffix", "mime_type"),
    [(".mp3", "audio/mpeg"), (".m4a", "audio/mp4"), (".opus", "audio/ogg"), (".wav", "audio/x-wav")],
)
async def test_sound_without_tags_and_cover_has_only_its_properties(bench: Bench, suffix: str, mime_type: str) -> None:
    options = {"brand": "M4A "} if suffix == ".m4a" else None
    result = await bench.ingest(make_sound(bench.folder / f"a{suffix}", seconds=0.5, options=options))
    assert (result.status, result.mime_type, result.family) == ("SUCCESS", mime_type, "audio")
    assert result.thumbnail_path is None
    described = await describe(bench, result)
    assert described["previews"] == []
    assert "audio_properties" in described["components"]
    assert "audio_tags" not in described["components"]


async def test_sound_that_was_cut_off_fails_for_good(bench: Bench) -> None:
    path = make_sound(bench.folder / "a.flac", seconds=4.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = await bench.ingest(path)
    reason = "The recording is truncated: it ends before its sound is complete"
    assert (result.status, result.reason) == ("FAILED", reason)
    failure = await bench.failure(path)
    assert failure is not None
    assert failure.permanent


async def test_the_command_alone_raises_what_is_wrong_and_leaves_nothing(bench: Bench) -> None:
    path = bench.folder / "a.mp3"
    path.write_bytes(b"ID3 and no sound")
    before = await bench.count(FileProperties), await bench.count(AudioProperties)
    command = ProcessAudioCommand(file_path=path, file_hash=await calculate_hash(path), mime_type="audio/mpeg")
    with pytest.raises(BrokenFileError):
        await bench.world.dispatch_command(command)
    assert before == (await bench.count(FileProperties), await bench.count(AudioProperties))


def test_there_are_rows_for_what_is_known_and_no_others() -> None:
    properties = {"codec": "flac", "container": "flac"}
    assert [type(row) for row in audio_rows({"properties": properties, "tags": {}})] == [AudioProperties]
    rows = audio_rows({"properties": properties, "tags": {"title": "T"}})
    assert [type(row) for row in rows] == [AudioProperties, AudioTags]
