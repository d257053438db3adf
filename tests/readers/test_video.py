import os
import resource
import struct
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from pictures import CORNERS, corners, near
from PIL import Image, ImageStat

from damd.errors import BrokenFileError, LimitExceededError, PermanentFileError, UnreadableFileError

pytest.importorskip("av", reason="needs damd[video]")

from films import RATE, black, black_until, make_cover_only, make_film, scene

from damd.readers.streams.pictures import contrast
from damd.readers.video import read as read_video

APPLE = {
    "com.apple.quicktime.creationdate": "2019-07-24T11:25:40+0300",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 6",
    "com.apple.quicktime.location.ISO6709": "+48.1173+011.5167+545.000/",
    "com.apple.quicktime.content.identifier": "B2F1-77",
    "com.apple.quicktime.title": "The lake",
    "com.apple.quicktime.keywords": "water, summer",
    "com.apple.quicktime.rating.user": "4",
    "creation_time": "2019-07-24T08:25:57Z",
}


def read(path: Path, *sizes: int, max_pixels: int = 10**8) -> dict[str, Any]:
    previews = [{"size": size, "path": str(path.parent / f"{size}.png")} for size in sizes]
    return read_video(str(path), previews=previews, format="png", quality=80, max_pixels=max_pixels)


def poster(path: Path, size: int = 512) -> Image.Image:
    read(path, size)
    with Image.open(path.parent / f"{size}.png") as image:
        return image.convert("RGB")


def shown(image: Image.Image) -> dict[str, str | None]:
    """Which of `CORNERS` each corner of the image looks like."""
    return {
        place: next((name for name, known in CORNERS.items() if near(colour, known, 45)), None)
        for place, colour in corners(image).items()
    }


def test_a_film_tells_what_it_is(tmp_path: Path) -> None:
    facts = read(make_film(tmp_path / "a.mp4", sound=True), 64, 100)
    properties = facts["properties"]
    assert properties.pop("bit_rate") > 1000
    assert properties == {
        "container": "mp4",
        "video_codec": "mpeg4",
        "audio_codec": "aac",
        "duration_s": 3.0,
        "width": 160,
        "height": 120,
        "rotation": 0,
        "frame_rate": RATE,
    }
    assert [frame["at_s"] for frame in facts["frame_hashes"]] == [0.3, 0.9, 1.5, 2.1, 2.7]
    assert {len(frame["phash"]) for frame in facts["frame_hashes"]} == {16}
    assert facts["previews"] == [{"size": 64, "width": 64, "height": 48}, {"size": 100, "width": 100, "height": 75}]
    assert "family" not in facts


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("a.mov", "mjpeg", "mov"),
        ("a.3gp", "mpeg4", "3gp"),
        ("a.mkv", "mpeg4", "matroska"),
        ("a.avi", "mjpeg", "avi"),
        ("a.mpg", "mpeg1video", "mpeg"),
        ("a.ts", "mpeg2video", "mpegts"),
        ("a.wmv", "wmv2", "asf"),
        ("a.flv", "flv1", "flv"),
        ("a.mxf", "mpeg2video", "mxf"),
        ("a.m1v", "mpeg1video", "mpegvideo"),
    ],
)
def test_every_container_is_read(tmp_path: Path, name: str, codec: str, container: str) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    rate = RATE if codec in ("mjpeg", "mpeg4", "wmv2", "flv1") else 25  # MPEG-1 and -2 know but few
    film = make_film(tmp_path / name, codec=codec, pixels=pixels, rate=rate, frames=3 * rate)
    facts = read(film, 160)
    properties = facts["properties"]
    assert (properties["container"], properties["video_codec"]) == (container, codec)
    assert (properties["width"], properties["height"]) == (160, 120)
    # Without timestamps, nobody can seek.
    assert len(facts["frame_hashes"]) == (1 if container == "mpegvideo" else 5)
    with Image.open(tmp_path / "160.png") as image:
        assert shown(image) == {name: name for name in CORNERS}


@pytest.mark.parametrize(
    ("rotation", "mirrored", "expected"),
    [
        (90, False, ("bottom left", "top left", "bottom right", "top right")),
        (180, False, ("bottom right", "bottom left", "top right", "top left")),
        (270, False, ("top right", "bottom right", "top left", "bottom left")),
        (0, True, ("top right", "top left", "bottom right", "bottom left")),
    ],
)
def test_a_film_is_turned_as_its_matrix_says(
    tmp_path: Path, rotation: int, mirrored: bool, expected: tuple[str, ...]
) -> None:
    film = make_film(tmp_path / "a.mp4", rotation=rotation, mirrored=mirrored)
    properties = read(film)["properties"]
    assert properties["rotation"] == rotation
    assert (properties["width"], properties["height"]) == ((120, 160) if rotation % 180 else (160, 120))
    image = poster(film)
    assert image.size == (properties["width"], properties["height"])
    assert tuple(shown(image).values()) == expected


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mkv", aspect=Fraction(4, 3), size=(120, 96))
    properties = read(film)["properties"]
    assert (properties["width"], properties["height"]) == (160, 96)
    assert poster(film).size == (160, 96)


def test_turned_pixels_that_are_not_square_are_made_so_too(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mov", aspect=Fraction(4, 3), size=(120, 96), rotation=90)
    properties = read(film)["properties"]
    assert (properties["width"], properties["height"]) == (96, 160)
    assert poster(film).size == (96, 160)


def test_the_poster_of_a_film_that_begins_black_is_not_black(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", paint=black_until(20))
    assert shown(poster(film)) == {name: name for name in CORNERS}
    # What shows nothing has no hash that means anything.
    assert [frame["at_s"] for frame in read(film)["frame_hashes"]] == [2.1, 2.7]


def test_a_poster_is_found_where_only_a_little_is_not_black(tmp_path: Path) -> None:
    def paint(number: int, size: tuple[int, int]) -> Image.Image:
        return scene(number, size) if 18 <= number < 20 else black(number, size)

    film = make_film(tmp_path / "a.mp4", paint=paint)
    assert read(film)["frame_hashes"] == []
    assert shown(poster(film)) == {name: name for name in CORNERS}


def test_a_film_that_is_all_black_has_a_black_poster(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", paint=black)
    assert max(ImageStat.Stat(poster(film)).mean) < 10
    assert read(film)["frame_hashes"] == []


def test_a_poster_is_found_where_nobody_can_seek(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.m1v", codec="mpeg1video", rate=25, paint=black_until(9))
    assert shown(poster(film)) == {name: name for name in CORNERS}
    assert len(read(film)["frame_hashes"]) == 1


def test_only_what_shows_something_has_contrast() -> None:
    assert contrast(scene(1)) > 30
    for flat in ("black", "white", "#777777", "#101010"):
        assert contrast(Image.new("RGB", (80, 60), flat)) == 0


def test_colours_are_right_whatever_matrix_and_range_they_are_coded_with(tmp_path: Path) -> None:
    for number, (codec, pixels) in enumerate([("mjpeg", "yuvj444p"), ("prores_ks", "yuv422p10le"), ("png", "rgb24")]):
        film = make_film(tmp_path / f"{number}.mov", codec=codec, pixels=pixels)
        image = poster(film)
        assert all(near(colour, CORNERS[name], 12) for name, colour in corners(image).items()), pixels


def test_reading_again_gives_the_same(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mkv", paint=black_until(5), sound=True, metadata={"title": "Once"})
    assert read(film, 64) == read(film, 64)


def test_a_variable_frame_rate_is_told_as_its_average(tmp_path: Path) -> None:
    times = [number if number < 10 else 10 + (number - 10) * 3 for number in range(30)]
    properties = read(make_film(tmp_path / "a.mp4", times=times))["properties"]
    assert properties["duration_s"] == pytest.approx(6.8, abs=0.3)
    assert properties["frame_rate"] == pytest.approx(30 / properties["duration_s"], rel=0.1)


def test_one_picture_is_a_film(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.avi"):
        facts = read(make_film(tmp_path / name, frames=1), 64)
        assert [frame["at_s"] for frame in facts["frame_hashes"]] == [0.0]
        assert len(facts["previews"]) == 1


def test_what_a_phone_wrote_is_told(tmp_path: Path) -> None:
    facts = read(make_film(tmp_path / "a.mov", metadata=APPLE))
    assert facts["capture"] == {
        "taken_at": "2019-07-24T11:25:40+03:00",
        "make": "Apple",
        "model": "iPhone 6",
        "latitude": 48.1173,
        "longitude": 11.5167,
        "altitude_m": 545.0,
    }
    assert facts["description"] == {"title": "The lake", "keywords": ["water", "summer"], "rating": 4}
    assert facts["content_identifier"] == "B2F1-77"


def test_a_film_without_a_word_about_it_says_nothing(tmp_path: Path) -> None:
    facts = read(make_film(tmp_path / "a.mp4"))
    assert (facts["capture"], facts["description"], facts["content_identifier"]) == ({}, {}, None)


def test_a_word_in_an_old_encoding_survives(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.avi", codec="mjpeg", pixels="yuvj420p", metadata={"title": "Gruesse XXXX"})
    film.write_bytes(film.read_bytes().replace(b"Gruesse XXXX", b"Gr\xfc\xdfe im \xc4rmel"[:12]))
    assert read(film)["description"]["title"] == "Grüße im Ärm"


def test_sound_with_a_cover_is_sound(tmp_path: Path) -> None:
    facts = read(make_cover_only(tmp_path / "a.mp4"), 64)
    assert facts["family"] == "audio"
    assert facts["properties"]["codec"] == "aac"


def test_a_playlist_reads_nothing(tmp_path: Path) -> None:
    named = make_film(tmp_path / "secret.ts", codec="mpeg2video", rate=25)
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{named}\n#EXT-X-ENDLIST\n"
    dash = f'<?xml version="1.0"?><MPD type="static"><Period><BaseURL>file://{named}</BaseURL></Period></MPD>'
    concat = f"ffconcat version 1.0\nfile {named}\n"
    for number, text in enumerate((hls, dash, concat)):
        path = tmp_path / f"{number}.mp4"
        path.write_text(text)
        with pytest.raises(BrokenFileError):
            read(path)


def test_a_film_that_names_another_file_does_not_open_it(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mov", frames=5)
    raw = film.read_bytes()
    # A data reference that is no longer "in this file".
    assert b"url \0\0\0\1" in raw
    film.write_bytes(raw.replace(b"url \0\0\0\1", b"url \0\0\0\0"))
    with suppress(BrokenFileError):
        assert read(film)["properties"]["width"] == 160


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_film_whose_index_is_cut_off_is_truncated(tmp_path: Path, keep: float) -> None:
    film = make_film(tmp_path / "a.mp4")
    raw = film.read_bytes()
    film.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(BrokenFileError, match="truncated"):
        read(film)


def test_a_film_whose_end_is_missing_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mkv")
    raw = film.read_bytes()
    film.write_bytes(raw[: len(raw) * 2 // 3])
    facts = read(film, 64)
    assert 1 <= len(facts["frame_hashes"]) <= 5
    assert facts["previews"]


def test_pictures_that_are_noise_are_told_so(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mov", codec="mjpeg", pixels="yuvj420p")
    raw = film.read_bytes()
    start, end = raw.index(b"mdat") + 4, raw.index(b"moov") - 4
    film.write_bytes(raw[:start] + b"\x55" * (end - start) + raw[end:])
    with pytest.raises(BrokenFileError, match="None of the film's pictures"):
        read(film)


def test_an_encrypted_film_is_told_so(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", metadata={"title": "sinf"})  # stands for the box of this name
    raw = film.read_bytes()
    at = raw.rindex(b"mp4v")
    film.write_bytes(raw[:at] + b"encv" + raw[at + 4 :])
    with pytest.raises(PermanentFileError, match="encrypted"):
        read(film)


def test_what_is_no_film_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for content in (b"", b"\0" * 4096, os.urandom(64), b"\0\0\0\x18ftypisom" + b"\0" * 12):
        path.write_bytes(content)
        with pytest.raises(BrokenFileError) as raised:
            read(path)
        assert str(path) not in str(raised.value)
    with pytest.raises(UnreadableFileError):
        read(tmp_path / "gone.mp4")


def test_more_pixels_than_allowed_are_not_decoded(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4")
    with pytest.raises(LimitExceededError, match="It has 19200 pixels, and max_pixels allows 19199"):
        read(film, max_pixels=19_199)
    assert read(film, max_pixels=19_200)


def test_huge_dimensions_that_are_only_declared_cost_nothing(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.avi", codec="ffv1")
    film.write_bytes(film.read_bytes().replace(struct.pack("<ii", 160, 120), struct.pack("<ii", 12_000, 12_000)))
    with pytest.raises(LimitExceededError, match="It has 144000000 pixels, and max_pixels allows"):
        read(film)


def test_a_long_film_costs_no_more_than_its_samples(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mkv", frames=3000, keyframe_every=50, size=(64, 48))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert read(film)["properties"]["duration_s"] == 300
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 1


def test_a_film_of_4k_is_read_within_the_memory_of_a_worker(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mkv", frames=2, size=(3840, 2160), codec="mjpeg", pixels="yuvj420p")
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "from damd.readers.video import read\n"
        "print(read(sys.argv[1], previews=[], format='png', quality=80, max_pixels=10**8)['properties']['width'])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, str(film)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (finished.stdout, finished.stderr) == ("3840\n", "")


def test_no_damage_escapes_as_anything_else(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mov", frames=8, metadata=APPLE)
    raw = film.read_bytes()
    path = tmp_path / "b.mov"
    for number in range(120):
        at = number * len(raw) // 120
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0xFF, 0xFF, number]) + raw[at + 3 :])
        with suppress(PermanentFileError):
            assert read(path)["properties"]["width"] > 0
