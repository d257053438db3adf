"""The bones of a TIFF, read without decoding anything: is it a camera's RAW file, and how many pages has it?

Layout and tags: TIFF 6.0 (Adobe, 1992), TIFF/EP (ISO 12234-2), the DNG specification, and the BigTIFF design.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Container
from typing import IO

_NEW_SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 254, 259, 262, 330, 50706
_REDUCED = 1
_RAW_PHOTOMETRIC = {32803, 34892}
"""Colour filter array, and linear RAW."""
_RAW_COMPRESSION = {32767, 32769, 32770, 32772, 34713, 65000, 65535}
"""Sony, Epson and Samsung (three), Nikon, Kodak, Pentax."""
_FAULTS = (struct.error, OverflowError, ValueError)


def is_camera_raw(file: IO[bytes]) -> bool:
    """Whether the first directory is that of a camera's RAW file, whose pictures lie elsewhere in it.

    Such a file begins with a small preview that points to the full picture, says that it is a DNG or a
    CR2, or holds pixels that only a RAW developer understands.
    """
    try:
        if _read_at(file, 8, 2) == b"CR":
            return True
        tags = _first_directory(file)
    except _FAULTS:
        return False
    return (
        _DNG_VERSION in tags
        or tags.get(_PHOTOMETRIC) in _RAW_PHOTOMETRIC
        or tags.get(_COMPRESSION) in _RAW_COMPRESSION
        or (tags.get(_NEW_SUBFILE_TYPE) == _REDUCED and _SUB_DIRECTORIES in tags)
    )


def count_directories(file: IO[bytes], limit: int) -> int:
    """How many pages there are: at least one, at most ``limit``, where counting stops."""
    seen: set[int] = set()
    try:
        layout, offset = _read_header(file)
        while offset and offset not in seen and len(seen) < limit:
            seen.add(offset)
            count = layout.count.unpack(_read_at(file, offset, layout.count.size))[0]
            end = offset + layout.count.size + count * layout.entry.size
            offset = layout.pointer.unpack(_read_at(file, end, layout.pointer.size))[0]
    except _FAULTS:
        pass  # a broken chain ends where it breaks
    return max(1, len(seen))


def blank_fields(data: bytes, tags: Container[int]) -> bytes:
    """The same file with these fields of its first directory made into some that every reader skips."""
    file = io.BytesIO(data)
    blanked = bytearray(data)
    try:
        layout, offset = _read_header(file)
        count = layout.count.unpack(_read_at(file, offset, layout.count.size))[0]
        start = offset + layout.count.size
        for position in range(start, start + min(count, 0xFFFF) * layout.entry.size, layout.entry.size):
            if layout.entry.unpack(_read_at(file, position, layout.entry.size))[0] in tags:
                blanked[position + 2 : position + 4] = b"\0\0"  # type 0 is none
    except _FAULTS:
        pass  # blanked up to where it breaks
    return bytes(blanked)


class _Layout:
    """The shapes of a directory's parts in one byte order, classic or BigTIFF."""

    def __init__(self, order: str, *, big: bool) -> None:
        self.order = order
        self.count = struct.Struct(order + ("Q" if big else "H"))
        self.entry = struct.Struct(order + ("HHQ8s" if big else "HHL4s"))
        self.pointer = struct.Struct(order + ("Q" if big else "L"))


def _read_header(file: IO[bytes]) -> tuple[_Layout, int]:
    head = _read_at(file, 0, 16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    layout = _Layout(order, big=big)
    return layout, layout.pointer.unpack_from(head, 8 if big else 4)[0]


def _first_directory(file: IO[bytes]) -> dict[int, int]:
    """The first directory's tags and the first whole number of each; 0 for what is none."""
    layout, offset = _read_header(file)
    count = layout.count.unpack(_read_at(file, offset, layout.count.size))[0]
    size = layout.entry.size
    entries = _read_at(file, offset + layout.count.size, min(count, 0xFFFF) * size)
    tags = {}
    for tag, kind, _, value in layout.entry.iter_unpack(entries[: len(entries) // size * size]):
        number = {3: "H", 4: "L"}.get(kind)
        tags[tag] = struct.unpack_from(layout.order + number, value)[0] if number else 0
    return tags


def _read_at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
