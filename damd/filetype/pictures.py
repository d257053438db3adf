"""Pictures that begin with nothing of their own: Targa, PCX, icons."""

from __future__ import annotations

import struct

from damd.filetype.peek import Peek

_TARGA = struct.Struct("<BBBHHBHHHHBB")
_TARGA_FOOTER = b"TRUEVISION-XFILE.\0"
_TARGA_DEPTHS = {1: (8, 16), 2: (15, 16, 24, 32), 3: (1, 8, 16)}
"""Bits of a pixel by its kind: from a palette, in colour, grey; Pillow writes black and white as grey."""
_RUN_LENGTH = 8
"""This much more is a Targa's kind when it is compressed."""
_LONGEST_RUN = 128


def judge_targa(peek: Peek) -> str | None:
    """Targa, by its footer, or by a header that makes sense and a size that fits it.

    Layout: Truevision TGA file format specification 2.0 (1991).
    """
    if len(peek.head) < _TARGA.size:
        return None
    header = _TARGA.unpack_from(peek.head)
    pixels = _targa_size(header)
    if not pixels:
        return None
    signed = peek.read(peek.size - len(_TARGA_FOOTER), len(_TARGA_FOOTER)) == _TARGA_FOOTER
    smallest, largest = pixels
    return "image/x-tga" if signed or smallest <= peek.size <= largest else None


def _targa_size(header: tuple[int, ...]) -> tuple[int, int] | None:
    """The bytes that a file with this header has, at least and at most; None for an impossible header."""
    name, palette, kind, first, colours, colour_bits, _, _, width, height, bits, flags = header
    compressed, kind = bool(kind & _RUN_LENGTH), kind & ~_RUN_LENGTH
    if bits not in _TARGA_DEPTHS.get(kind, ()) or not width or not height or flags & 0xC0:
        return None
    if palette != (kind == 1) or (flags & 0x0F) not in (0, 1, 8):
        return None
    if palette and (colour_bits not in (15, 16, 24, 32) or not 0 < colours <= 256 or first >= colours):
        return None
    if not palette and (first, colours, colour_bits) not in ((0, 0, 0), (0, 0, 24), (0, 0, 32)):
        return None
    before = _TARGA.size + name + colours * ((colour_bits + 7) // 8)
    pixel, count = (bits + 7) // 8, width * height
    if not compressed:
        return before + pixel * count, before + pixel * count
    # A packet is one byte and up to 128 pixels, or the one that is repeated.
    return before + -(-count // _LONGEST_RUN) * (1 + pixel), before + (1 + pixel) * count


def judge_pcx(peek: Peek) -> str | None:
    """PCX, if its header makes sense: a window, planes, and lines as long as these need.

    Layout: ZSoft PCX file format technical reference manual, revision 5.
    """
    if len(peek.head) < 128:
        return None
    left, top, right, bottom = struct.unpack_from("<4H", peek.head, 4)
    reserved, planes, line = struct.unpack_from("<BBH", peek.head, 64)
    needed = ((right - left + 1) * peek.head[3] + 7) // 8
    sensible = left <= right and top <= bottom and reserved == 0 and 1 <= planes <= 4 and line >= needed
    return "image/x-pcx" if sensible else None


def judge_icon(peek: Peek) -> str | None:
    """A Windows icon, if its first picture lies behind the list of pictures and in the file."""
    count = int.from_bytes(peek.head[4:6], "little")
    first = peek.head[6:22]
    if not count or len(first) < 16 or first[3] not in (0, 255):
        return None
    size, offset = struct.unpack_from("<2L", first, 8)
    if not size or not 6 + 16 * count <= offset < peek.size:
        return None
    start = peek.read(offset, 8)
    is_picture = start == b"\x89PNG\r\n\x1a\n" or start[:4] in (b"\x28\0\0\0", b"\x0c\0\0\0")
    return "image/vnd.microsoft.icon" if is_picture else None
