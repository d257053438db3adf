"""Types that no first letters tell: RAW beside TIFF, Targa, and sound and films by their streams."""

import os
import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import photograph

from damd.filetype import HEAD_BYTES, get_mime_type

ASCII, SHORT, LONG = 2, 3, 4
REDUCED, FULL = {254: (LONG, 1), 330: (LONG, 4000)}, {254: (LONG, 0), 259: (SHORT, 1), 262: (SHORT, 2)}
MP3_FRAME = b"\xff\xfb\x90\x64" + bytes(413)
ADTS_FRAME = b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)
AC3_FRAME = b"\x0b\x77\0\0\0\x40\x2f" + bytes(121)
ASF_HEAD = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(14)
ASF_VIDEO, ASF_AUDIO = "c0ef19bc4d5bcf11a8fd00805f5c442b", "409e69f84d5bcf11a8fd00805f5c442b"


def type_of(path: Path, content: bytes) -> str | None:
    path.write_bytes(content)
    return get_mime_type(path)


def make_tiff(maker: str, fields: dict[int, tuple[int, int]], *, order: str = "<", at: int = 8) -> bytes:
    """A TIFF whose first directory begins at this offset; what it says of its maker comes right behind."""
    rows = {**fields, 271: (ASCII, 0)}
    behind = at + 2 + 12 * len(rows) + 4
    entries = b""
    for tag, (kind, value) in sorted(rows.items()):
        count, number = (len(maker) + 1, behind) if tag == 271 else (1, value)
        short = struct.pack(order + "HH", number, 0) if kind == SHORT else struct.pack(order + "L", number)
        entries += struct.pack(order + "HHL", tag, kind, count) + short
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HL", 42, at)
    directory = struct.pack(order + "H", len(rows)) + entries + bytes(4)
    return head.ljust(at, b"\0") + directory + maker.encode() + bytes(64)


@pytest.mark.parametrize("at", [8, 3 * HEAD_BYTES])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("maker", "fields", "mime_type"),
    [
        ("NIKON CORPORATION", REDUCED, "image/x-nikon-nef"),
        ("SONY", REDUCED, "image/x-sony-arw"),
        ("PENTAX Corporation", {262: (SHORT, 32803), 259: (SHORT, 65535)}, "image/x-pentax-pef"),
        ("RICOH IMAGING COMPANY, LTD.", {262: (SHORT, 32803)}, "image/x-pentax-pef"),
        ("SAMSUNG", REDUCED, "image/x-samsung-srw"),
        ("Hasselblad", REDUCED, "image/x-hasselblad-3fr"),
        ("Kodak", REDUCED, "image/x-kodak-dcr"),
        ("EASTMAN KODAK COMPANY", REDUCED, "image/x-kodak-dcr"),
        ("SEIKO EPSON CORP.", REDUCED, "image/x-epson-erf"),
        ("Phase One A/S", {262: (SHORT, 32803)}, "image/x-phaseone-iiq"),
        ("Leica Camera AG", {**REDUCED, 50706: (1, 0x0401)}, "image/x-adobe-dng"),
        ("NIKON CORPORATION", {**FULL, 50706: (1, 0x0401)}, "image/x-adobe-dng"),
        ("Someone Unknown", REDUCED, "image/tiff"),
        ("NIKON CORPORATION", FULL, "image/tiff"),
        ("SONY", FULL, "image/tiff"),
    ],
)
def test_a_raw_file_is_its_makers_and_a_photograph_saved_as_tiff_is_not(
    tmp_path: Path, maker: str, fields: dict[int, tuple[int, int]], mime_type: str, order: str, at: int
) -> None:
    assert type_of(tmp_path / "file", make_tiff(maker, fields, order=order, at=at)) == mime_type


def make_targa(kind: int = 2, bits: int = 24, width: int = 20, height: int = 10, palette: int = 0) -> bytes:
    """Its header and as many bytes as it says, without the footer that newer ones have."""
    entry = 24 if palette else 0
    header = struct.pack("<BBBHHBHHHHBB", 0, palette > 0, kind, 0, palette, entry, 0, 0, width, height, bits, 0x20)
    return header + bytes(palette * entry // 8) + b"\x80" * (width * height * bits // 8)


def test_targa_without_a_footer_is_known_by_its_exact_size(tmp_path: Path) -> None:
    for content in (make_targa(), make_targa(3, 8, 50, 5), make_targa(1, 8, 50, 5, 256), make_targa(2, 32, 250, 2)):
        assert type_of(tmp_path / "file", content) == "image/x-tga"
        assert type_of(tmp_path / "file", content + b"\0") is None
        assert type_of(tmp_path / "file", content[:-1]) is None


def test_compressed_targa_is_no_smaller_than_its_pixels_need(tmp_path: Path) -> None:
    photograph().save(tmp_path / "a.tga", compression="tga_rle")
    content = (tmp_path / "a.tga").read_bytes()
    assert content.endswith(b"TRUEVISION-XFILE.\0")
    assert type_of(tmp_path / "file", content[:-26]) == "image/x-tga"
    assert type_of(tmp_path / "file", content[:40]) is None


@pytest.mark.parametrize(
    ("place", "value"), [(1, 1), (2, 4), (5, 9), (16, 7), (16, 255), (17, 0xC0), (12, 0), (17, 0x23)]
)
def test_a_header_that_makes_no_sense_is_no_targa(tmp_path: Path, place: int, value: int) -> None:
    content = bytearray(make_targa() + bytes(8) + b"TRUEVISION-XFILE.\0")
    assert type_of(tmp_path / "file", bytes(content)) == "image/x-tga"
    content[place] = value
    assert type_of(tmp_path / "file", bytes(content)) is None


def test_random_bytes_are_nobodys_sound_film_or_picture(tmp_path: Path) -> None:
    source = random.Random(7)  # noqa: S311 - the same bytes each time
    starts = (
        b"\xff\xfb",
        b"\xff\xf1",
        b"\x0b\x77",
        b"G",
        b"\0\0\x01\0",
        b"\x0a\5\1\x08",
        b"\0\0\x02",
        b"\0\1\1",
        b"RIFF",
        b"",
    )
    for start in starts:
        for size in (20, 100, 1000, 9000):
            mime_type = type_of(tmp_path / "file", start + source.randbytes(size)) or "unknown"
            assert mime_type.partition("/")[0] not in {"image", "audio", "video"}


@pytest.mark.parametrize(
    ("frame", "mime_type"),
    [
        (MP3_FRAME, "audio/mpeg"),
        (b"\xff\xfd\x84\0" + bytes(380), "audio/mpeg"),  # layer II
        (b"\xff\xff\x44\0" + bytes(124), "audio/mpeg"),  # layer I
        (b"\xff\xf3\x40\xc0" + bytes(100), "audio/mpeg"),  # MPEG-2
        (b"\xff\xe3\x18\xc4" + bytes(68), "audio/mpeg"),  # MPEG-2.5
        (ADTS_FRAME, "audio/aac"),
        (AC3_FRAME, "audio/ac3"),
        (b"\x0b\x77\0\x3f\x30\x80\0\0" + bytes(120), "audio/ac3"),  # E-AC-3
    ],
)
def test_a_frame_of_sound_is_believed_when_another_follows(tmp_path: Path, frame: bytes, mime_type: str) -> None:
    path = tmp_path / "file"
    for whole in (frame * 2, frame * 9, frame):
        assert type_of(path, whole) == mime_type
    for broken in (frame[:-1], frame + b"no frame", frame[:-1] + frame):
        assert type_of(path, broken) is None


@pytest.mark.parametrize("length", [0, 100, 5 * HEAD_BYTES])
@pytest.mark.parametrize(
    ("sound", "mime_type"),
    [
        (MP3_FRAME * 2, "audio/mpeg"),
        (b"nothing known", "audio/mpeg"),
        (b"", "audio/mpeg"),
        (ADTS_FRAME * 2, "audio/aac"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"MAC \x96\x0f", "audio/x-ape"),
    ],
)
def test_a_tag_is_looked_behind_however_long_it_is(tmp_path: Path, length: int, sound: bytes, mime_type: str) -> None:
    tag = b"ID3\4\0\0" + bytes((0, length >> 14, length >> 7 & 127, length & 127)) + bytes(length)
    assert type_of(tmp_path / "file", tag + sound) == mime_type
    assert type_of(tmp_path / "file", tag + tag + sound) == mime_type


@pytest.mark.parametrize(("size", "start"), [(188, 0), (192, 4), (204, 0)])
def test_a_transport_stream_is_known_by_all_its_packets(tmp_path: Path, size: int, start: int) -> None:
    packet = (bytes(start) + b"\x47\x40\0\x10").ljust(size, b"\0")
    assert type_of(tmp_path / "file", packet * 20) == "video/mp2t"
    assert type_of(tmp_path / "file", packet * 3) == "video/mp2t"
    assert type_of(tmp_path / "file", packet) is None
    assert type_of(tmp_path / "file", packet * 3 + b"\0" + packet * 20) is None


def asf(*objects: bytes) -> bytes:
    return ASF_HEAD + b"".join(each[:16] + struct.pack("<Q", len(each) + 8) + each[16:] for each in objects)


def test_windows_media_is_sound_if_all_its_streams_are(tmp_path: Path) -> None:
    sound, film = (bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365" + kind) for kind in (ASF_AUDIO, ASF_VIDEO))
    cover = b"\x01" * 16 + bytes(3 * HEAD_BYTES)
    assert type_of(tmp_path / "file", asf(sound)) == "audio/x-ms-wma"
    assert type_of(tmp_path / "file", asf(cover, sound, sound)) == "audio/x-ms-wma"
    assert type_of(tmp_path / "file", asf(sound, cover, film)) == "video/x-ms-wmv"
    assert type_of(tmp_path / "file", asf(cover)) == "video/x-ms-wmv"


@pytest.mark.parametrize(
    ("packets", "mime_type"),
    [
        ((b"\x01vorbis",), "audio/ogg"),
        ((b"fishead\0", b"\x01vorbis", b"\x80theora"), "video/ogg"),
        ((b"OpusHead", b"BBCD\0"), "video/ogg"),
        ((b"\x7fFLAC" + bytes(100), b"Speex   "), "audio/ogg"),
    ],
)
def test_ogg_is_a_film_if_one_of_its_streams_is(tmp_path: Path, packets: tuple[bytes, ...], mime_type: str) -> None:
    pages = b"".join(b"OggS\0\2" + bytes(20) + bytes((1, len(packet))) + packet for packet in packets)
    assert type_of(tmp_path / "file", pages + b"OggS\0\0" + bytes(20) + b"\1\7\x80theora") == mime_type


def element(identity: str, content: bytes) -> bytes:
    return bytes.fromhex(identity) + (len(content) | 1 << 28).to_bytes(4, "big") + content


def test_matroska_is_sound_if_all_its_tracks_are(tmp_path: Path) -> None:
    head = element("1a45dfa3", element("4282", b"matroska"))
    film, sound = (element("ae", element("d7", b"\1") + element("83", kind)) for kind in (b"\1", b"\2"))
    before = element("114d9b74", bytes(40)) + element("ec", bytes(2 * HEAD_BYTES))
    for tracks, mime_type in (
        (sound, "audio/x-matroska"),
        (sound + sound, "audio/x-matroska"),
        (sound + film, "video/x-matroska"),
        (b"", "video/x-matroska"),
        (sound + b"\0", "video/x-matroska"),
    ):
        assert type_of(tmp_path / "file", head + element("18538067", before + element("1654ae6b", tracks))) == mime_type
    assert type_of(tmp_path / "file", head) == "video/x-matroska"


@pytest.mark.parametrize(
    ("container", "film", "sound", "mime_type"),
    [
        ("mp4", "mpeg4", "aac", "video/mp4"),
        ("mov", "mpeg4", "", "video/quicktime"),
        ("3gp", "mpeg4", "", "video/3gpp"),
        ("matroska", "mpeg4", "aac", "video/x-matroska"),
        ("matroska", "", "aac", "audio/x-matroska"),
        ("webm", "libvpx", "libopus", "video/webm"),
        ("avi", "mpeg4", "mp2", "video/x-msvideo"),
        ("mpeg", "mpeg1video", "mp2", "video/mpeg"),
        ("mpeg2video", "mpeg2video", "", "video/mpeg"),
        ("m4v", "mpeg4", "", "video/mpeg"),
        ("mpegts", "mpeg2video", "mp2", "video/mp2t"),
        ("asf", "mpeg4", "mp2", "video/x-ms-wmv"),
        ("asf", "", "mp2", "audio/x-ms-wma"),
        ("flv", "flv", "", "video/x-flv"),
        ("mxf", "mpeg2video", "", "application/mxf"),
        ("dv", "dvvideo", "", "video/x-dv"),
        ("mp3", "", "libmp3lame", "audio/mpeg"),
        ("mp2", "", "mp2", "audio/mpeg"),
        ("adts", "", "aac", "audio/aac"),
        ("ac3", "", "ac3", "audio/ac3"),
        ("eac3", "", "eac3", "audio/ac3"),
        ("flac", "", "flac", "audio/flac"),
        ("ogg", "", "flac", "audio/ogg"),
        ("opus", "", "libopus", "audio/ogg"),
        ("aiff", "", "pcm_s16be", "audio/aiff"),
        ("au", "", "pcm_s16be", "audio/basic"),
        ("caf", "", "pcm_s16be", "audio/x-caf"),
        ("wv", "", "wavpack", "audio/x-wavpack"),
    ],
)
def test_what_ffmpeg_writes_is_known(tmp_path: Path, container: str, film: str, sound: str, mime_type: str) -> None:
    record(tmp_path / "file", container, film, sound)
    assert get_mime_type(tmp_path / "file") == mime_type


def record(path: Path, container: str, film: str, sound: str) -> None:
    """Eight grey frames, a fifth of a second of silence, or both."""
    av = pytest.importorskip("av", reason="needs damd[video]")
    with av.open(str(path), "w", format=container) as output:
        streams = []
        if film:
            pictures = output.add_stream(film, rate=25)
            pictures.width, pictures.height = (720, 576) if film == "dvvideo" else (64, 48)
            pictures.pix_fmt = "yuv420p"
            streams.append((pictures, 8, Fraction(1, 25)))
        if sound:
            samples = output.add_stream(sound, rate=48000, layout="stereo")
            streams.append((samples, 8, Fraction(1, 48000)))
        for stream, count, time_base in streams:
            for number in range(count):
                frame, step = silence(stream) if time_base.denominator == 48000 else (grey(stream), 1)
                frame.pts, frame.time_base = number * step, time_base
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))


def grey(stream: Any) -> Any:
    import av

    frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
    for plane in frame.planes:
        plane.update(b"\x80" * plane.buffer_size)
    return frame


def silence(stream: Any) -> tuple[Any, int]:
    import av

    samples = stream.codec_context.frame_size or 1152
    frame = av.AudioFrame(stream.codec_context.format.name, "stereo", samples)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate = 48000
    return frame, samples


HEADS = (
    make_tiff("SONY", REDUCED),
    make_tiff("NIKON", REDUCED, order=">", at=5000),
    make_targa(),
    MP3_FRAME * 2,
    ADTS_FRAME * 2,
    AC3_FRAME * 2,
    b"ID3\4\0\0\0\0\0\5" + bytes(5) + b"fLaC",
    b"\x47\x40\0\x10".ljust(188, b"\0") * 5,
    asf(bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365" + ASF_AUDIO)),
    b"OggS\0\2" + bytes(20) + b"\1\7\x80theora",
    element("1a45dfa3", element("4282", b"matroska"))
    + element("18538067", element("1654ae6b", element("ae", b"\x83\x81\2"))),
    b"PK\3\4" + bytes(22) + b"\5\0\0\0word/",
    b"\0\0\0\x10mdat" + bytes(8) + b"\0\0\0\x08moov",
    b"\0\0\1\0\1\0" + bytes(8) + b"\x28\0\0\0\x16\0\0\0\x28\0\0\0" + bytes(36),
    b"\x0a\5\1\x08" + bytes(124),
    b'[{"a": [1, 2, {"b": null}]}]',
    b"<?xpacket begin='' id=''?><x:xmpmeta>",
)
"""The beginnings of what is looked at more closely."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    head=st.sampled_from(HEADS),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from((0, 1, 0x7F, 0x80, 0xFF))), max_size=8),
    length=st.integers(0, 10_000),
    rest=st.binary(max_size=50),
)
def test_what_nearly_is_something_never_raises(
    tmp_path: Path, head: bytes, flips: list[tuple[int, int]], length: int, rest: bytes
) -> None:
    content = bytearray(head)
    for place, value in flips:
        content[place % len(content)] = value
    mime_type = type_of(tmp_path / "file", bytes(content[:length]) + rest)
    assert mime_type is None or mime_type.count("/") == 1


def test_a_pipe_is_judged_by_what_is_in_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # Both ways, so that opening it waits for nobody.
    writing = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        for content, mime_type in ((make_tiff("SONY", REDUCED), "image/x-sony-arw"), (MP3_FRAME * 2, "audio/mpeg")):
            os.write(writing, content)
            assert get_mime_type(tmp_path / "pipe") == mime_type
        os.write(writing, make_tiff("SONY", REDUCED, at=5000)[:5000])
        assert get_mime_type(tmp_path / "pipe") == "image/tiff"
    finally:
        os.close(writing)
