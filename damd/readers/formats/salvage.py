"""The picture alone, for when a decoder stumbles over the metadata beside it.

Pillow reads some metadata while it opens a file, and refuses the file when that is broken. No fault of
the metadata is a fault of the image, so such a file is opened again without it.
"""

from __future__ import annotations

import io
import re
from typing import IO

from damd.readers.structure.tiff import blank_fields

_JPEG_KEPT = {0xE0, 0xEE}
"""Of the application segments: JFIF, and Adobe's, which says how colours are coded."""
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_AVIF_EXIF = re.compile(rb"(infe.{8}(?:..)?)Exif", re.DOTALL)
_TIFF_METADATA = {
    *(269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316),  # names, texts, dates, resolution
    *(700, 33432, 33723, 34377, 34665, 34675, 34853, 37724),  # XMP, IPTC, Photoshop, EXIF, ICC, GPS
}


def without_metadata(file: IO[bytes], name: str) -> IO[bytes] | None:
    """A copy in memory of an image file of the format ``name``; None when there is nothing to leave out."""
    strip = {"JPEG": _strip_jpeg, "PNG": _strip_png, "AVIF": _strip_avif, "TIFF": _strip_tiff}.get(name)
    if strip is None:
        return None
    file.seek(0)
    data = file.read()
    stripped = strip(data)
    return io.BytesIO(stripped) if stripped != data else None


def _strip_jpeg(data: bytes) -> bytes:
    kept = [data[:2]]
    position = 2
    while data[position : position + 1] == b"\xff" and len(data) > position + 4:
        marker = data[position + 1]
        if marker == 0xDA:  # the picture itself begins
            break
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _JPEG_KEPT or not 0xE0 <= marker <= 0xEF:
            kept.append(data[position:end])
        position = end
    return b"".join((*kept, data[position:]))


def _strip_png(data: bytes) -> bytes:
    kept = [data[:8]]
    position = 8
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] in _PNG_KEPT:
            kept.append(data[position:end])
        position = end
    return b"".join(kept)


def _strip_avif(data: bytes) -> bytes:
    return _AVIF_EXIF.sub(rb"\1free", data)


def _strip_tiff(data: bytes) -> bytes:
    return blank_fields(data, _TIFF_METADATA)
