import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from pictures import CORNERS, corners, make_png, near
from PIL import Image

from damd.errors import BrokenFileError, UnreadableFileError

pytest.importorskip("av", reason="needs damd[audio]")
pytest.importorskip("mutagen", reason="needs damd[audio]")

import av
import mutagen
from mutagen.apev2 import APEBinaryValue, APEv2
from mutagen.asf import ASF, ASFByteArrayAttribute  # type: ignore[attr-defined]  # its documentation names it
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, COMM, ID3, TALB, TCON, TDRC, TIT2, TPE1, TRCK
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggopus import OggOpus
from mutagen.wave import WAVE
from sounds import CODECS, make_cover, make_sound

from damd.readers import audio

TAGS: dict[str, Any] = {
    "title": "Kjerag",
    "artist": "A Band",
    "album": "Fjorde",
    "track": "3/12",
    "date": "2001-05-04",
    "genre": "Rock",
}
SAID = {"title": "Kjerag", "artist": "A Band", "album": "Fjorde", "track": 3, "year": 2001, "genre": "Rock"}


def read(path: Path, *sizes: int, max_pixels: int = 10**8) -> dict[str, Any]:
    previews = [{"size": size, "path": str(path.parent / f"{size}.tmp")} for size in sizes or (64,)]
    return audio.read(str(path), previews=previews, format="png", quality=80, max_pixels=max_pixels)


def tags_of(path: Path) -> dict[str, Any]:
    tags: dict[str, Any] = read(path)["tags"]
    return tags


def assert_cover(path: Path, size: int = 64) -> None:
    assert read(path, size)["previews"] == [{"size": size, "width": size, "height": size}]
    with Image.open(path.parent / f"{size}.tmp") as image:
        assert image.mode == "RGB"
        assert all(near(colour, CORNERS[name], 40) for name, colour in corners(image).items())


@pytest.mark.parametrize(
    ("suffix", "codec", "container"),
    [
        (".mp3", "mp3", "mp3"),
        (".m4a", "aac", "mp4"),
        (".flac", "flac", "flac"),
        (".ogg", "vorbis", "ogg"),
        (".opus", "opus", "ogg"),
        (".wav", "pcm_s16le", "wav"),
        (".aiff", "pcm_s16be", "aiff"),
        (".aac", "aac", "aac"),
        (".wma", "wmav2", "asf"),
        (".wv", "wavpack", "wv"),
        (".caf", "pcm_s16be", "caf"),
        (".ac3", "ac3", "ac3"),
        (".mka", "flac", "matroska"),
        (".au", "pcm_s16be", "au"),
    ],
)
def test_every_format_says_how_it_sounds_and_what_is_played(
    tmp_path: Path, suffix: str, codec: str, container: str
) -> None:
    facts = read(make_sound(tmp_path / f"a{suffix}", **TAGS))
    properties = facts["properties"]
    assert (properties["codec"], properties["container"]) == (codec, container)
    assert (properties["sample_rate"], properties["channels"]) == (48_000, 2)
    assert properties["duration_s"] == pytest.approx(2.0, abs=0.1)
    assert 10_000 < properties["bit_rate"] < 2_000_000
    unsaid = {".ac3": set(SAID), ".au": {"year"}}.get(suffix, set())  # they have no room for it
    assert facts["tags"] == {key: value for key, value in SAID.items() if key not in unsaid}
    assert facts["previews"] == []
    assert suffix in CODECS


def test_sound_without_tags_has_none(tmp_path: Path) -> None:
    facts = read(make_sound(tmp_path / "a.flac", seconds=0.5, rate=8_000, layout="mono"))
    assert (facts["tags"], facts["previews"]) == ({}, [])
    assert (facts["properties"]["sample_rate"], facts["properties"]["channels"]) == (8_000, 1)


def test_several_artists_are_joined_and_said_once(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.flac")
    file = FLAC(path)
    file["artist"] = ["One", "Two", "One", " ", "Th\0ree"]
    file.save()
    assert tags_of(path)["artist"] == "One, Two, Th, ree"
    path = make_sound(tmp_path / "a.wv")
    ape = APEv2(path)
    ape["Artist"] = ["One", "Two"]
    ape.save(path)
    assert tags_of(path)["artist"] == "One, Two"


@pytest.mark.parametrize(
    ("genre", "meant"),
    [("17", "Rock"), ("(17)", "Rock"), ("(17)Slow Rock", "Rock, Slow Rock"), ("Rock", "Rock"), ("(255)", None)],
)
def test_genres_by_number_have_their_names(tmp_path: Path, genre: str, meant: str | None) -> None:
    path = make_sound(tmp_path / "a.mp3")
    ID3().save(path)
    tags = ID3()
    tags.add(TCON(encoding=3, text=[genre]))
    tags.save(path, v2_version=3)
    assert tags_of(path).get("genre") == meant


def test_the_old_tag_at_the_end_of_an_mp3_is_read(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.mp3")
    ID3(path).delete(path)
    fields = (b"Kjerag", b"A Band", b"Fjorde", b"2001", b"")
    old = b"TAG" + b"".join(value.ljust(30 if at != 3 else 4, b"\0") for at, value in enumerate(fields))
    path.write_bytes(path.read_bytes() + old[:-2] + bytes([0, 3, 17]))
    assert tags_of(path) == SAID


@pytest.mark.parametrize(
    ("date", "track", "meant"),
    [
        ("2001-05-04T10:11", "3", (2001, 3)),
        ("2001", "03/12", (2001, 3)),
        ("0000", "0", (None, None)),
        ("around 1987", "A3", (1987, None)),
        ("20010504", "123456", (None, None)),
        ("", "", (None, None)),
    ],
)
def test_years_and_tracks_are_numbers_or_nothing(
    tmp_path: Path, date: str, track: str, meant: tuple[int | None, int | None]
) -> None:
    path = make_sound(tmp_path / "a.flac", seconds=0.5, date=date, track=track)
    tags = tags_of(path)
    assert (tags.get("year"), tags.get("track")) == meant


def test_wav_says_it_in_info_or_in_id3(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav", title="Info")
    assert tags_of(path) == {"title": "Info"}
    file = WAVE(path)
    file.add_tags()
    file["TPE1"] = TPE1(encoding=3, text=["A Band"])
    file["APIC"] = APIC(encoding=3, mime="image/jpeg", type=3, desc="", data=make_cover())
    file.save()
    assert tags_of(path) == {"title": "Info", "artist": "A Band"}
    assert_cover(path)


def add_cover(path: Path, cover: bytes) -> None:
    """Put a cover into a file in the way of its kind, behind another picture where there can be several."""
    back = make_cover("PNG", width=9, height=5)
    match path.suffix:
        case ".mp3":
            tags = ID3(path)
            tags.add(APIC(encoding=3, mime="image/png", type=4, desc="back", data=back))
            tags.add(APIC(encoding=3, mime="image/jpeg", type=3, desc="front", data=cover))
            tags.save(path)
        case ".m4a":
            mp4 = MP4(path)
            mp4["covr"] = [MP4Cover(cover, MP4Cover.FORMAT_JPEG)]
            mp4.save()
        case ".flac":
            flac = FLAC(path)
            flac.add_picture(_picture(back, 4))
            flac.add_picture(_picture(cover, 3))
            flac.save()
        case ".opus":
            opus = OggOpus(path)
            opus["metadata_block_picture"] = [base64.b64encode(_picture(cover, 3).write()).decode()]
            opus.save()
        case ".ogg":
            ogg = mutagen.File(path)
            ogg["coverart"] = [base64.b64encode(cover).decode()]
            ogg.save()
        case ".wv":
            ape = APEv2(path)
            ape["Cover Art (Back)"] = APEBinaryValue(b"back.png\0" + back)
            ape["Cover Art (Front)"] = APEBinaryValue(b"front.jpg\0" + cover)
            ape.save(path)
        case ".wma":
            asf = ASF(path)
            words = "image/jpeg\0front\0".encode("utf-16-le")
            value = struct.pack("<BI", 3, len(cover)) + words + cover
            asf["WM/Picture"] = [ASFByteArrayAttribute(value)]
            asf.save()


def _picture(data: bytes, kind: int) -> Picture:
    picture = Picture()
    picture.data, picture.type, picture.mime = data, kind, "image/jpeg"
    return picture


WAYS = (".mp3", ".m4a", ".flac", ".opus", ".ogg", ".wv", ".wma")


@pytest.mark.parametrize("suffix", WAYS)
def test_the_front_cover_is_the_preview(tmp_path: Path, suffix: str) -> None:
    path = make_sound(tmp_path / f"a{suffix}", title="T")
    add_cover(path, make_cover())
    assert_cover(path)
    assert tags_of(path) == {"title": "T"}


def test_the_first_picture_is_taken_where_none_is_of_the_front(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.flac")
    file = FLAC(path)
    for width in (40, 50):
        file.add_picture(_picture(make_cover(width=width, height=10), 0))
    file.save()
    assert read(path, 512)["previews"] == [{"size": 512, "width": 40, "height": 10}]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_covers_of_every_usual_kind_are_shown_and_never_larger_than_they_are(tmp_path: Path, kind: str) -> None:
    path = make_sound(tmp_path / "a.flac")
    add_cover(path, make_cover(kind))
    assert_cover(path, 120)
    assert read(path, 512)["previews"][0]["width"] == 120


@pytest.mark.parametrize(
    "cover",
    [
        b"no picture",
        make_cover()[:400],
        make_cover("TIFF"),
        make_png(40_000, 40_000),
        make_png(9_000, 9_000, rows=bytes(9_001 * 9_000)),
    ],
    ids=["text", "cut", "tiff", "bomb", "large"],
)
@pytest.mark.parametrize("suffix", [".mp3", ".flac"])
def test_a_cover_that_cannot_be_shown_costs_only_the_cover(tmp_path: Path, suffix: str, cover: bytes) -> None:
    path = make_sound(tmp_path / f"a{suffix}", title="T")
    add_cover(path, cover)
    facts = read(path)
    assert (facts["tags"], facts["previews"]) == ({"title": "T"}, [])


def test_a_cover_is_bound_by_max_pixels(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.flac")
    add_cover(path, make_cover())
    assert read(path, max_pixels=120 * 120)["previews"] != []
    assert read(path, max_pixels=120 * 120 - 1)["previews"] == []


def test_a_picture_that_only_ffmpeg_knows_of_is_a_cover_too(tmp_path: Path) -> None:
    sound = make_sound(tmp_path / "sound.flac", title="T")
    with av.open(sound) as source, av.open(tmp_path / "a.mka", "w", format="matroska") as container:
        stream = container.add_stream_from_template(source.streams.audio[0])
        container.add_attachment("cover.jpg", "image/jpeg", make_cover())
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    assert_cover(tmp_path / "a.mka")


def test_damaged_pictures_cost_only_the_cover(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.opus", title="T")
    file = OggOpus(path)
    for text in ("%%%", base64.b64encode(b"\0\0\0\3\xff\xff\xff\xffshort").decode(), "AAA"):
        file["metadata_block_picture"] = [text]
        file.save()
        assert read(path)["tags"] == {"title": "T"}


def test_tags_are_bounded_and_clean(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.mp3")
    tags = ID3(path)
    tags.add(TIT2(encoding=3, text=["Two\r\nlines\x07 and more"]))
    tags.add(TPE1(encoding=3, text=[f"Artist {number}" for number in range(10_000)]))
    tags.add(TALB(encoding=3, text=["x" * 10**6]))
    tags.add(TRCK(encoding=3, text=["9" * 10**5]))
    tags.add(TDRC(encoding=3, text=["2001"]))
    tags.add(TCON(encoding=3, text=["(" * 10**5]))
    tags.add(COMM(encoding=3, lang="eng", desc="", text=["c" * 5 * 10**6]))
    tags.save(path)
    found = tags_of(path)
    assert found["title"] == "Two lines and more"
    assert found["artist"].startswith("Artist 0, Artist 1, ")
    assert all(len(value) <= 500 for value in found.values() if isinstance(value, str))
    assert (len(found["album"]), found.get("track"), found["year"]) == (500, None, 2001)


def test_a_tag_that_claims_more_than_there_is_costs_nothing_but_itself(tmp_path: Path) -> None:
    whole = make_sound(tmp_path / "a.mp3", title="T").read_bytes()
    start = 10 + ((whole[8] << 7) | whole[9])
    frame = b"TIT2" + struct.pack(">I", 200_000_000) + b"\0\0" + b"\3T"
    path = tmp_path / "b.mp3"
    path.write_bytes(b"ID3\3\0\0" + bytes([0, 0, 0, len(frame)]) + frame + whole[start:])
    assert read(path)["properties"]["codec"] == "mp3"
    packed = zlib.compress(bytes(10**7))
    body = struct.pack(">I", 2**31 - 1) + packed
    frame = b"TXXX" + struct.pack(">I", len(body)) + b"\0\x80" + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\3\0\0" + size + frame + whole[start:])
    assert read(path)["properties"]["codec"] == "mp3"


@pytest.mark.parametrize("suffix", [".m4a", ".flac", ".ogg", ".opus", ".wav", ".aiff", ".wv", ".mka", ".au", ".mp3"])
def test_sound_that_was_cut_off_is_broken(tmp_path: Path, suffix: str) -> None:
    path = make_sound(tmp_path / f"a{suffix}", seconds=4.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenFileError, match="truncated"):
        read(path)


def test_sound_whose_index_is_whole_and_whose_packets_are_not_is_broken(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.m4a", seconds=4.0, options={"movflags": "faststart"})
    whole = path.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenFileError, match="truncated"):
        read(path)


def test_sound_of_a_pipe_that_does_not_know_its_length_is_whole(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav")
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[4:8] = data[at + 4 : at + 8] = b"\xff" * 4
    path.write_bytes(data)
    assert read(path)["properties"]["duration_s"] == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    "data", [b"", b"no sound at all", b"ID3\3\0\0\0\0\0\0" + bytes(5000), b"fLaC" + bytes(100), b"OggS" + bytes(500)]
)
def test_what_is_no_sound_is_broken(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.mp3").write_bytes(data)
    with pytest.raises(BrokenFileError):
        read(tmp_path / "a.mp3")


def test_sound_whose_packets_are_noise_is_broken(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.m4a", seconds=1.0)
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    path.write_bytes(data[:start] + b"\xff" * (end - start) + data[end:])
    with pytest.raises(BrokenFileError, match="nothing in it can be decoded"):
        read(path)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    make_sound(tmp_path / "a.mp3")
    (tmp_path / "b.mp3").write_text(f"#EXTM3U\n#EXTINF:2,T\n{tmp_path / 'a.mp3'}\n")
    with pytest.raises(BrokenFileError):
        read(tmp_path / "b.mp3")


def test_a_file_that_cannot_be_opened_is_not_called_broken(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.mp3", tmp_path):
        with pytest.raises(UnreadableFileError):
            read(path)


def test_without_previews_the_cover_is_left_alone(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.flac")
    add_cover(path, make_cover())
    facts = audio.read(str(path), previews=[], format="png", quality=80, max_pixels=10**8)
    assert facts["previews"] == []


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.mp3", **TAGS)
    assert read(path) == read(path)
