"""Apple's maker note: the identifier that the still of a Live Photo shares with its film.

The note's layout is Apple's own, as exiftool knows it: a mark of 14 bytes, and a directory like a TIFF's whose
offsets count from the note's beginning.
"""

from __future__ import annotations

import re
import struct

_MARK = b"Apple iOS\0"
_DIRECTORY = 14
_CONTENT_IDENTIFIER = 0x0011
_TEXT = 2
_UUID = re.compile(r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}")


def read_content_identifier(note: bytes) -> str | None:
    """The identifier, a UUID in upper case; None for a note of another maker, or one without it."""
    if not note.startswith(_MARK):
        return None
    order = "<" if note[12:14] == b"II" else ">"
    try:
        (count,) = struct.unpack_from(order + "H", note, _DIRECTORY)
        for position in range(_DIRECTORY + 2, _DIRECTORY + 2 + 12 * min(count, 1_000), 12):
            tag, kind, length, offset = struct.unpack_from(order + "HHLL", note, position)
            if tag == _CONTENT_IDENTIFIER and kind == _TEXT:
                text = note[offset : offset + min(length, 64)].partition(b"\0")[0].decode("latin-1").strip().upper()
                return text if _UUID.fullmatch(text) else None
    except struct.error:
        pass  # cut short
    return None
