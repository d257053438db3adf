"""Real files made wrong: cut, bits flipped, spliced, of huge dimensions, nested in one another.

The same seed makes the same variants of the same files.
"""

import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

Change = Callable[[random.Random, bytes, bytes], bytes]
"""From a source of chance, a file, and another file, to a variant."""

_HUGE = (0xFFFF, 60_000, 30_000)
_SEGMENT = 65_000


def make_variants(files: Sequence[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many variants, each with the name of what was done to it; every file and every change gets its turn."""
    chance = random.Random(seed)  # noqa: S311 - reproducible is what it must be
    for number in range(count):
        change = _CHANGES[number % len(_CHANGES)]
        file = files[number // len(_CHANGES) % len(files)]
        yield change.__name__.removeprefix("_"), change(chance, file, chance.choice(files))


def _cut(chance: random.Random, file: bytes, _: bytes) -> bytes:
    # As often within the first kilobyte, where the headers are, as anywhere else.
    most = len(file) if chance.random() < 0.5 else min(1024, len(file))
    return file[: chance.randrange(1, max(2, most))]


def _hole(chance: random.Random, file: bytes, _: bytes) -> bytes:
    start = chance.randrange(len(file))
    end = min(len(file), start + chance.randrange(1, 4096))
    return file[:start] + bytes(end - start) + file[end:]


def _flip(chance: random.Random, file: bytes, _: bytes) -> bytes:
    data = bytearray(file)
    most = len(data) if chance.random() < 0.5 else min(2048, len(data))
    for _each in range(chance.choice((1, 3, 10, 60))):
        data[chance.randrange(most)] ^= 1 << chance.randrange(8)
    return bytes(data)


def _splice(chance: random.Random, file: bytes, other: bytes) -> bytes:
    return file[: chance.randrange(1, len(file) + 1)] + other[chance.randrange(len(other)) :]


def _inflate(chance: random.Random, file: bytes, _: bytes) -> bytes:
    """Dimensions, counts and lengths in the header as large as they can be."""
    edge = chance.choice(_HUGE)
    for pattern, change in _DIMENSIONS:
        matches = list(re.finditer(pattern, file[:200_000], re.DOTALL))
        if matches:
            match = chance.choice(matches)
            changed = change(match, edge)
            return file[: match.start()] + changed + file[match.end() :]
    data = bytearray(file)
    at = chance.randrange(4, max(5, min(256, len(data) - 4)))
    data[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def _jpeg_size(match: re.Match[bytes], edge: int) -> bytes:
    return match[1] + struct.pack(">HH", min(edge, 0xFFFF), min(edge, 0xFFFF))


def _png_size(match: re.Match[bytes], edge: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", edge, edge) + match[1]
    return header + struct.pack(">I", zlib.crc32(header))


def _gif_size(match: re.Match[bytes], edge: int) -> bytes:
    return match[1] + struct.pack("<HH", min(edge, 0xFFFF), min(edge, 0xFFFF))


def _webp_size(match: re.Match[bytes], edge: int) -> bytes:
    return match[1] + 2 * (edge - 1).to_bytes(3, "little")


def _tiff_size(order: str) -> Callable[[re.Match[bytes], int], bytes]:
    def change(match: re.Match[bytes], edge: int) -> bytes:
        return match[1] + struct.pack(order + "I", edge) if order == "<" else match[1] + struct.pack(">HH", edge, 0)

    return change


def _box_size(match: re.Match[bytes], edge: int) -> bytes:
    return match[1] + struct.pack(">II", edge, edge)


_DIMENSIONS: tuple[tuple[bytes, Callable[[re.Match[bytes], int], bytes]], ...] = (
    (rb"IHDR.{8}(.{5}).{4}", _png_size),
    (rb"(\xff[\xc0\xc1\xc2]\0.\x08).{4}", _jpeg_size),
    (rb"(GIF8[79]a).{4}", _gif_size),
    (rb"(WEBPVP8X.{8}).{6}", _webp_size),
    (rb"(ispe\0\0\0\0).{8}", _box_size),
    (rb"(ihdr).{8}", _box_size),
    (rb"([\x00\x01]\x01[\x03\x04]\x00\x01\x00\x00\x00).{4}", _tiff_size("<")),
    (rb"(\x01[\x00\x01]\x00[\x03\x04]\x00\x00\x00\x01).{4}", _tiff_size(">")),
)


def _nest(chance: random.Random, file: bytes, other: bytes) -> bytes:
    """The other file where this one has, or could have, metadata, a preview or a cover."""
    if file.startswith(b"\xff\xd8"):
        pieces = [other[start : start + _SEGMENT] for start in range(0, min(len(other), 10 * _SEGMENT), _SEGMENT)]
        head = chance.choice((b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0\1\1", b"MPF\0", b""))
        marker = chance.choice((b"\xff\xe1", b"\xff\xe2", b"\xff\xed", b"\xff\xfe"))
        segments = [marker + struct.pack(">H", len(head + piece) + 2) + head + piece for piece in pieces]
        return file[:2] + b"".join(segments) + file[2:]
    if file.startswith(b"\x89PNG"):
        body = chance.choice((b"iCCPname\0\0", b"zTXtname\0\0", b"iTXtXML:com.adobe.xmp\0\1\0\0\0")) + zlib.compress(
            other
        )
        return file[:33] + _chunk(body) + _chunk(b"eXIf" + other) + file[33:]
    if file.startswith((b"ID3", b"\xff\xfb", b"fLaC")):
        frame = b"\0image/jpeg\0\3\0" + other
        body = b"APIC" + struct.pack(">I", len(frame)) + b"\0\0" + frame
        size = bytes((len(body) >> shift) & 0x7F for shift in (21, 14, 7, 0))
        return b"ID3\3\0\0" + size + body + file
    at = chance.randrange(len(file))
    return file[:at] + other + file[at:]


def _chunk(body: bytes) -> bytes:
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _swap(chance: random.Random, file: bytes, _: bytes) -> bytes:
    """Two stretches that change places: tables that point to the wrong things."""
    length = chance.randrange(1, max(2, min(512, len(file) // 4)))
    most = max(1, min(len(file) - length, chance.choice((4096, len(file)))))
    first, second = chance.randrange(most), chance.randrange(most)
    data = bytearray(file)
    data[first : first + length], data[second : second + length] = (
        file[second : second + length],
        file[first : first + length],
    )
    return bytes(data)


_CHANGES: tuple[Change, ...] = (_cut, _flip, _splice, _inflate, _nest, _hole, _swap)
