"""Bombs: small files that would fill the memory, the disk or the day of whoever believes them."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import papers
from pictures import chunk, make_exif, make_jpeg_with, make_png, make_tiff_header, make_xmp, photograph
from PIL import Image
from raws import make_dng
from samples import RAW_SIZE, song, variant

HUGE = 60_000
"""An edge whose square no picture has."""
LARGE = 14_000
"""One whose square is still allowed, and takes more memory than is."""
_BLOCK = 2**20


def zeros(count: int) -> bytes:
    """So many MiB of zeros, deflated by repeating one block, which takes no time."""
    packer = zlib.compressobj(9)
    head = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-15)
    end = last.flush()
    check = ((count * _BLOCK % 65_521) << 16) | 1
    return head + block * (count - 1) + end + struct.pack(">I", check)


def saved(format_name: str, **options: Any) -> bytes:
    """A photograph in this format."""
    file = io.BytesIO()
    photograph().save(file, format_name, **options)
    return file.getvalue()


def claiming(
    format_name: str, layout: str, place: int | bytes, beyond: int = 0, edge: int = HUGE, **options: Any
) -> bytes:
    """A photograph in this format whose header claims to be a square of this edge."""
    data = bytearray(saved(format_name, **options))
    start = place if isinstance(place, int) else data.index(place)
    struct.pack_into(layout, data, start + beyond, edge, edge)
    return bytes(data)


def huge_webp() -> bytes:
    """With a canvas of its own, which may be larger than WebP's pictures are."""
    return saved("WEBP", exif=make_exif().tobytes()).replace(b"\x9f\0\0\x77\0\0", (HUGE - 1).to_bytes(3, "little") * 2)


def huge_jpeg_xl() -> bytes:
    """A codestream's first bits: no small size, 30 bits of height, no ratio, 30 bits of width, all else as usual."""
    bits = position = 0
    for value, length in ((0, 1), (3, 2), (HUGE - 1, 30), (0, 3), (3, 2), (HUGE - 1, 30), (1, 1)):
        bits |= value << position
        position += length
    return b"\xff\x0a" + bits.to_bytes(40, "little")


def huge_gif_frame() -> bytes:
    """A small screen, and a first frame that is far larger."""
    data = bytearray(saved("GIF"))
    descriptor = data.index(b",\0\0\0\0\xa0\0\x78\0")
    struct.pack_into("<HH", data, descriptor + 5, HUGE, HUGE)
    return bytes(data)


def tiff_of(edge: int, compression: int, strip: bytes, *, bands: int = 3) -> bytes:
    """A TIFF of one strip that claims to be a square of this edge."""
    fields = [(256, 4, edge), (257, 4, edge), (258, 3, 8), (259, 3, compression), (262, 3, 2 if bands == 3 else 1)]
    fields += [(277, 3, bands), (278, 4, edge), (279, 4, len(strip))]
    place = len(make_tiff_header(*fields, (273, 4, 0)))
    return make_tiff_header(*fields, (273, 4, place)) + strip


def png_of(edge: int, *, bands: int = 3) -> bytes:
    """A black PNG that is what it claims to be, and deflated to a thousandth."""
    header = struct.pack(">IIBBBBB", edge, edge, 8, {1: 0, 3: 2, 4: 6}[bands], 0, 0, 0)
    pixels = zeros(-(-edge * (edge * bands + 1) // _BLOCK))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def run_length_bmp(edge: int) -> bytes:
    """A BMP whose few runs are to fill a square of this edge."""
    palette, runs = bytes(1024), b"\xff\0" * 1000
    info = struct.pack("<IiiHHIIiiII", 40, edge, edge, 1, 8, 1, len(runs), 0, 0, 0, 0)
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


def talkative_png(*chunks: bytes) -> bytes:
    """A sound little PNG with these chunks before its pixels."""
    return make_png(8, 8, before=b"".join(chunks), rows=bytes(9 * 8))


def many_frames_gif(count: int) -> bytes:
    """So many frames of one grey."""
    file = io.BytesIO()
    frames = [Image.new("L", (8, 8), shade) for shade in (1, 2)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=20, loop=0)
    data = file.getvalue()
    start = data.rindex(b"!\xf9")
    return data[:start] + data[start:-1] * count + b";"


def many_frames_webp(count: int) -> bytes:
    """So many frames of one grey."""
    file = io.BytesIO()
    frames = [Image.new("L", (8, 8), shade) for shade in (1, 99)]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=20, lossless=True)
    data = file.getvalue()
    start = data.rindex(b"ANMF")
    body = data[12:start] + data[start:] * count
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def laughs(levels: int = 12) -> str:
    """The declaration of entities that expand to ten to this power."""
    inner = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, levels + 1))
    return f'<!DOCTYPE lolz [<!ENTITY l0 "ha">{inner}]>'


def laughing_xmp(levels: int = 12) -> bytes:
    """An XMP packet whose title is a billion laughs, and more."""
    packet = make_xmp(f"<dc:title><rdf:Alt><rdf:li>&l{levels};</rdf:li></rdf:Alt></dc:title>").decode()
    return packet.replace("?>", "?>" + laughs(levels), 1).encode()


def laughing_jpeg(path: Path) -> bytes:
    """A sound JPEG with such a packet in it."""
    return make_jpeg_with(path, b"\xe1http://ns.adobe.com/xap/1.0/\0" + laughing_xmp()).read_bytes()


def laughing_svg() -> bytes:
    return f'<?xml version="1.0"?>{laughs()}<svg xmlns="http://www.w3.org/2000/svg"><text>&l12;</text></svg>'.encode()


def nested_json(depth: int = 100_000) -> bytes:
    """Lists within lists, in what begins like a sidecar of Google's."""
    return b'{"photoTakenTime": {"timestamp": "1"}, "people": ' + b"[" * depth + b"]" * depth + b"}"


def zipped_id3(sound: bytes, count: int) -> bytes:
    """A recording before which stands a comment that unpacks to so many MiB (ID3v2.4, 4.1.2)."""
    body = struct.pack(">I", 0) + zeros(count)
    frame = b"COMM" + _syncsafe(len(body)) + b"\0\x09" + body
    return b"ID3\4\0\0" + _syncsafe(len(frame)) + frame + sound


def _syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def zipped_index(count: int) -> bytes:
    """A film of QuickTime whose index is deflated, and unpacks to so many MiB (QuickTime File Format, 'cmov')."""
    packed = struct.pack(">I", count * _BLOCK) + zeros(count)
    cmov = _box(b"dcom", b"zlib") + _box(b"cmvd", packed)
    return _box(b"ftyp", b"qt  \0\0\0\0qt  ") + _box(b"moov", _box(b"cmov", cmov)) + _box(b"mdat", bytes(100))


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


# Bombs of time

SLOW_SIZE = (6_000, 4_500)
"""Of what is slow: less than is allowed, and of the shape of a sensor's picture."""


@cache
def slow_jpeg() -> bytes:
    """A small JPEG that keeps a decoder busy for long: one scan of a progressive picture, again and again.

    Every scan visits every block, and of a picture of one colour it has hardly any bytes.
    """
    file = io.BytesIO()
    Image.new("L", SLOW_SIZE, 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 1_000 + data[-2:]


def _slow_picture(path: Path) -> None:
    path.write_bytes(slow_jpeg())


def _slow_dng(path: Path) -> None:
    make_dng(path, size=RAW_SIZE, preview=slow_jpeg())


def _slow_film(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", 10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *SLOW_SIZE, "yuvj420p"
        for number in range(3):
            packet: av.Packet[Any] = av.Packet(slow_jpeg())
            packet.stream, packet.pts, packet.dts, packet.duration = stream, number, number, 1
            packet.is_keyframe = True
            container.mux(packet)


def _slow_song(path: Path) -> None:
    song(path, slow_jpeg())


def _slow_paper(path: Path) -> None:
    path.write_bytes(papers.picture_paper(*SLOW_SIZE, slow_jpeg(), b"/Filter /DCTDecode"))


def _slow_sidecar(path: Path) -> None:
    items = b"<rdf:li>%s</rdf:li>" % (b"&amp;" * 8)
    path.write_bytes(make_xmp("KEYWORDS").replace(b"KEYWORDS", items * 90_000))


SLOW = {
    "image": variant("jpg", _slow_picture),
    "raw": variant("dng", _slow_dng),
    "video": variant("avi", _slow_film),
    "audio": variant("mp3", _slow_song),
    "document": variant("pdf", _slow_paper),
    "sidecar": variant("xmp", _slow_sidecar),
}
"""By the reader's name."""
