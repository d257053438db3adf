"""Makers' own notes: what Apple, Canon and Nikon write there and nowhere else.

That is the identifier that the still of a Live Photo shares with its film, and the sensitivity of cameras from before
some 2008, which left EXIF's field for it out. The layouts are the makers' own, as exiftool knows them: Apple's is a
mark of 14 bytes, and a directory like a TIFF's whose offsets count from the note's beginning; Nikon's a mark of 10
bytes and a whole TIFF; Canon's the bare directory, whose offsets count from wherever the note once lay.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal

_MARK = b"Apple iOS\0"
_DIRECTORY = 14
_CONTENT_IDENTIFIER = 0x0011
_SHORT, _TEXT = 3, 2
_UUID = re.compile(r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}")

_NIKON = re.compile(rb"Nikon\0\x02.{3}(II\*\0|MM\0\*)", re.DOTALL)
_NIKON_ISO = 0x0002
_CANON_ARRAYS = _CANON_SETTINGS, _CANON_SHOT = 0x0001, 0x0004
_CANON_ISO, _CANON_AUTO, _CANON_BASE = 16, 1, 2
"""Where they stand: the first in the settings, the others in what was found out at the shot."""
_CANON_CODES = {16: 50, 17: 100, 18: 200, 19: 400, 20: 800}
_CANON_PLAIN, _CANON_NONE, _CANON_MOST = 0x4000, 0x7FFF, 500
"""In the settings, what numbers as such begin and end with; and more than 15 stops no camera has."""
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value of each of a TIFF's types; of the others, one."""
_MAX_ENTRIES = 1_000
_ORDERS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}


def read_content_identifier(note: bytes) -> str | None:
    """The identifier, a UUID in upper case; None for a note of another maker, or one without it."""
    if not note.startswith(_MARK):
        return None
    order = "<" if note[12:14] == b"II" else ">"
    for tag, kind, length, value in _entries(note, _DIRECTORY, order):
        if tag == _CONTENT_IDENTIFIER and kind == _TEXT:
            (offset,) = struct.unpack(order + "L", value)
            text = note[offset : offset + min(length, 64)].partition(b"\0")[0].decode("latin-1").strip().upper()
            return text if _UUID.fullmatch(text) else None
    return None


def read_iso(note: bytes, make: str | None) -> int | None:
    """The sensitivity that a Nikon or a Canon worked with; None where its note does not say it.

    Args:
        note: As it lies in the file.
        make: The camera's maker, as EXIF says it: Canon's notes do not say whose they are.
    """
    if found := _NIKON.match(note):
        return _nikon_iso(note[found.start(1) :])
    if (make or "").casefold().startswith("canon"):
        for order in "<>":
            if (iso := _canon_iso(note, order)) is not None:
                return iso
    return None


def _nikon_iso(tiff: bytes) -> int | None:
    order = "<" if tiff.startswith(b"II") else ">"
    if len(tiff) < 8:
        return None
    (start,) = struct.unpack_from(order + "L", tiff, 4)
    for tag, kind, length, value in _entries(tiff, start, order):
        if (tag, kind, length) == (_NIKON_ISO, _SHORT, 2):
            return int(struct.unpack(order + "2H", value)[1]) or None
    return None


def _canon_iso(note: bytes, order: str) -> int | None:
    """What was set, or where the camera chose, what it came to: a base by which the automatic multiplies."""
    arrays = _canon_arrays(note, order)
    settings, shot = arrays.get(_CANON_SETTINGS, ()), arrays.get(_CANON_SHOT, ())
    code = settings[_CANON_ISO] if len(settings) > _CANON_ISO else 0
    if code in _CANON_CODES:
        return _CANON_CODES[code]
    if _CANON_PLAIN < code < _CANON_NONE:
        return code - _CANON_PLAIN
    if len(shot) <= _CANON_BASE or not shot[_CANON_BASE] or max(shot[_CANON_AUTO], shot[_CANON_BASE]) > _CANON_MOST:
        return None
    # Both are in 32nds of a stop: base / 32 at 100, and how many times that.
    return round(2 ** (shot[_CANON_BASE] / 32) * 100 / 32 * 2 ** (shot[_CANON_AUTO] / 32))


def _canon_arrays(note: bytes, order: str) -> dict[int, tuple[int, ...]]:
    """The two arrays of whole numbers, each of which begins with its own length in bytes.

    Editors move the note and leave its offsets, so only their distances count: the first value follows the directory.
    """
    entries = list(_entries(note, 0, order))
    far = [
        (tag, kind, length, struct.unpack(order + "L", value)[0])
        for tag, kind, length, value in entries
        if len(value) < length * _SIZES.get(kind, 1) <= len(note)
    ]
    arrays: dict[int, tuple[int, ...]] = {}
    first = min((offset for *_, offset in far), default=0)
    for gap in (4, 0):  # the pointer to the next directory, which some leave out
        start = 2 + 12 * len(entries) + gap
        for tag, kind, length, offset in far:
            at = start + offset - first
            told = int.from_bytes(note[at : at + 2], _ORDERS[order])
            if tag in _CANON_ARRAYS and kind == _SHORT and told == 2 * length <= len(note) - at:
                arrays.setdefault(tag, struct.unpack_from(f"{order}{length}H", note, at))
    return arrays


def _entries(data: bytes, start: int, order: str) -> Iterator[tuple[int, int, int, bytes]]:
    """A directory's entries, as far as they are there: tag, type, number of values, and the four bytes of a value."""
    if start + 2 > len(data):
        return
    (count,) = struct.unpack_from(order + "H", data, start)
    for position in range(start + 2, min(start + 2 + 12 * min(count, _MAX_ENTRIES), len(data) - 11), 12):
        yield struct.unpack_from(order + "HHL4s", data, position)
