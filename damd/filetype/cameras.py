"""TIFFs, told apart from the cameras' RAW files that are built like them.

A RAW file's type is its camera's maker, so a photograph that an editor saved as TIFF says the same of
itself: only the first directory's shape, which `damd.readers.structure.tiff` judges, makes it a RAW file. Tags: TIFF
6.0 (Adobe, 1992), TIFF/EP (ISO 12234-2), the DNG specification.
"""

from __future__ import annotations

import struct

from damd.filetype.peek import Peek
from damd.readers.structure.tiff import is_camera_raw

MAKERS = (
    (b"NIKON", "image/x-nikon-nef"),
    (b"SONY", "image/x-sony-arw"),
    (b"PENTAX", "image/x-pentax-pef"),
    (b"RICOH", "image/x-pentax-pef"),
    (b"SAMSUNG", "image/x-samsung-srw"),
    (b"HASSELBLAD", "image/x-hasselblad-3fr"),
    (b"KODAK", "image/x-kodak-dcr"),
    (b"EASTMAN KODAK", "image/x-kodak-dcr"),
    (b"SEIKO EPSON", "image/x-epson-erf"),
    (b"EPSON", "image/x-epson-erf"),
    (b"PHASE ONE", "image/x-phaseone-iiq"),
)
"""How the makers write their names, in capitals, and what their cameras' RAW files are called."""

_MAKE, _DNG_VERSION, _BYTE, _ASCII = 271, 50706, 1, 2
_MOST_FIELDS = 512
_LONGEST_MAKER = 32


def judge_tiff(peek: Peek) -> str:
    """The RAW file's type, if it is one of a known maker, else TIFF."""
    fields = _read_first_directory(peek)
    if fields.get(_DNG_VERSION, (0,))[0] == _BYTE:
        return "image/x-adobe-dng"
    maker = _read_maker(peek, fields)
    mime_type = next((mime_type for name, mime_type in MAKERS if maker.startswith(name)), None)
    return mime_type if mime_type and is_camera_raw(peek.open()) else "image/tiff"


def _read_first_directory(peek: Peek) -> dict[int, tuple[int, int, bytes]]:
    """By its tag, each field's type, its count, and its value or the value's offset."""
    order, big = _read_layout(peek)
    width = 8 if big else 4
    offset = _number(peek.head[width : 2 * width], order)
    entry = struct.Struct(order + ("HHQ8s" if big else "HHL4s"))
    size = width if big else 2
    count = min(_number(peek.read(offset, size), order), _MOST_FIELDS)
    entries = peek.read(offset + size, count * entry.size)
    whole = entries[: len(entries) // entry.size * entry.size]
    return {tag: (kind, number, value) for tag, kind, number, value in entry.iter_unpack(whole)}


def _read_maker(peek: Peek, fields: dict[int, tuple[int, int, bytes]]) -> bytes:
    kind, count, value = fields.get(_MAKE, (0, 0, b""))
    if kind != _ASCII:
        return b""
    order, _ = _read_layout(peek)
    text = value[:count] if count <= len(value) else peek.read(_number(value, order), min(count, _LONGEST_MAKER))
    return text.strip(b"\0 ").upper()


def _read_layout(peek: Peek) -> tuple[str, bool]:
    """The byte order as `struct` writes it, and whether it is a BigTIFF."""
    return ("<" if peek.head[:1] == b"I" else ">"), b"+" in peek.head[2:4]


def _number(data: bytes, order: str) -> int:
    return int.from_bytes(data, "little" if order == "<" else "big")
