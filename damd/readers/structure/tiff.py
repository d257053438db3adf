"""The bones of a TIFF, read without decoding anything: is it a camera's RAW file, is it whole, how many pages has it?

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
_PIXELS = ((273, 279), (324, 325))
"""Where strips and tiles lie, and how long each is."""
_FAULTS = (struct.error, OverflowError, ValueError)
_MAX_DIRECTORIES = 64
_MAX_PIECES = 1 << 16
_NOWHERE = 0xFFFFFF00
"""From here on it is no offset: Panasonic's strips lie at 0xFFFFFFFF, and a private tag says where."""


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


def find_end(file: IO[bytes]) -> int:
    """Where the last of its pictures ends, as its directories say; 0 where they do not say.

    In a whole file that is no further than its end. ORF and RW2 count too, which are TIFFs but for their first bytes.
    """
    end = 0
    seen: set[int] = set()
    try:
        layout, offset = _read_header(file)
        waiting = [offset]
        while waiting and len(seen) < _MAX_DIRECTORIES:
            if (offset := waiting.pop()) and offset not in seen:
                seen.add(offset)
                directory = _Directory(file, layout, offset)
                end = max(end, *(directory.end_of_pixels(*tags) for tags in _PIXELS))
                waiting += [directory.next, *directory.numbers(_SUB_DIRECTORIES)[:_MAX_DIRECTORIES]]
    except _FAULTS:
        pass  # a broken chain ends where it breaks
    return end


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


class _Directory:
    """One directory's whole numbers, read when they are asked for."""

    def __init__(self, file: IO[bytes], layout: _Layout, offset: int) -> None:
        self._file, self._layout = file, layout
        count = min(layout.count.unpack(_read_at(file, offset, layout.count.size))[0], 0xFFFF)
        start, size = offset + layout.count.size, layout.entry.size
        entries = _read_at(file, start, count * size)
        self._entries = {
            entry[0]: entry[1:] for entry in layout.entry.iter_unpack(entries[: len(entries) // size * size])
        }
        after = _read_at(file, start + count * size, layout.pointer.size)
        self.next = layout.pointer.unpack(after)[0] if len(after) == layout.pointer.size else 0

    def numbers(self, tag: int) -> tuple[int, ...]:
        """A field's numbers; none where they are no whole numbers, too many, or beyond the file's end."""
        kind, count, value = self._entries.get(tag, (0, 0, b""))
        letter = {3: "H", 4: "L", 13: "L", 16: "Q"}.get(kind)
        if letter is None or not 0 < count <= _MAX_PIECES:
            return ()
        numbers = struct.Struct(f"{self._layout.order}{count}{letter}")
        if numbers.size > len(value):
            value = _read_at(self._file, self._layout.pointer.unpack(value)[0], numbers.size)
        return numbers.unpack(value[: numbers.size]) if len(value) >= numbers.size else ()

    def end_of_pixels(self, offsets: int, lengths: int) -> int:
        pieces = zip(self.numbers(offsets), self.numbers(lengths), strict=False)
        return max((offset + length for offset, length in pieces if 0 < offset < _NOWHERE), default=0)


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
    try:
        file.seek(offset)
    except OSError as error:
        raise ValueError("no file is that long") from error
    return file.read(size)
