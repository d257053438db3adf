"""JPEG XL, through pillow-jxl-plugin's decoder.

Not through its plugin for Pillow, which decodes before anybody has asked for the size, on all processors, and keeps
no XMP. What was once a JPEG is decoded as that JPEG, at the fraction of its size that is needed.

The codestream's header tells size and orientation (ISO 18181-1, annex D); the latter overrules EXIF's, and the
decoder turns the pixels by it. A JPEG that comes back is not turned.
"""

from __future__ import annotations

import io
from typing import IO, Any, NamedTuple

from PIL import Image

from damd.errors import BrokenFileError
from damd.readers.formats.opening import Picture, open_as, without_package
from damd.readers.limits import check_pixels
from damd.readers.structure.boxes import Box, walk_boxes

_CODESTREAM = b"\xff\x0a"
_TIFF_MARKS = (b"II*\0", b"MM\0*")
_HEADER_BYTES = 64
_MAX_CONTENT = 16 * 2**20
"""Bytes that are read of a box with metadata."""
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZE_BITS = (9, 13, 18, 30)


def open_jxl(file: IO[bytes], max_pixels: int) -> Picture:
    """The picture decoded, or as the JPEG that it was made of.

    Raises:
        LimitExceededError: It has more than ``max_pixels``; nothing was decoded.
        ReaderUnavailableError: pillow-jxl-plugin is not installed.
        Exception: Whatever the decoder raises.
    """
    try:
        from pillow_jxl import Decoder
    except ImportError as error:
        raise without_package("JPEG XL", "pillow-jxl-plugin", "jxl") from error
    header = _read_header(_codestream_head(file))
    check_pixels(header.width, header.height, max_pixels)
    file.seek(0)
    is_jpeg, found, pixels, icc_profile, _ = Decoder(num_threads=0)(file.read())
    if is_jpeg:
        return Picture(open_as(io.BytesIO(pixels), "JPEG"), header.orientation)
    mode = "F" if found.mode == "F;16" else found.mode
    image = Image.frombytes(mode, (found.width, found.height), pixels)
    image.info = _read_metadata(file)
    if icc_profile:
        image.info["icc_profile"] = bytes(icc_profile)
    return Picture(image, header.orientation, is_upright=True)


def _read(file: IO[bytes], box: Box, limit: int = _MAX_CONTENT) -> bytes:
    file.seek(box.start)
    return file.read(min(box.end - box.start, limit))


class _Header(NamedTuple):
    width: int
    height: int
    orientation: int


def _codestream_head(file: IO[bytes]) -> bytes:
    file.seek(0)
    head = file.read(_HEADER_BYTES)
    if head.startswith(_CODESTREAM):
        return head
    found = b""
    for box in walk_boxes(file):
        if box.kind == b"jxlc":
            return _read(file, box, _HEADER_BYTES)
        if box.kind == b"jxlp":  # each part begins with its number
            found += _read(file, box, 4 + _HEADER_BYTES)[4:]
            if len(found) >= _HEADER_BYTES:
                break
    return found


def _read_header(data: bytes) -> _Header:
    if not data.startswith(_CODESTREAM):
        raise BrokenFileError("Not a readable JPEG XL: it holds no picture")
    bits = _Bits(data[2:])
    has_small_size = bits.take(1)
    height = _read_length(bits, has_small_size)
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = _RATIOS[ratio]
        width = height * numerator // denominator
    else:
        width = _read_length(bits, has_small_size)
    all_default = bits.take(1)
    orientation = 1 + bits.take(3) if not all_default and bits.take(1) else 1
    return _Header(width, height, orientation)


def _read_length(bits: _Bits, is_small: int) -> int:
    if is_small:
        return 8 * (1 + bits.take(5))
    return 1 + bits.take(_SIZE_BITS[bits.take(2)])


class _Bits:
    """Bits of bytes, the least significant first; zeros after the end."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value


def _read_metadata(file: IO[bytes]) -> dict[Any, Any]:
    """EXIF and XMP; what is compressed with Brotli stays closed."""
    info: dict[Any, Any] = {}
    for box in walk_boxes(file):
        if box.kind == b"Exif":
            data = _read(file, box)
            # An offset comes before it, which some encoders forget.
            start = 0 if data.startswith(_TIFF_MARKS) else 4 + int.from_bytes(data[:4], "big")
            info["exif"] = data[start:]
        elif box.kind == b"xml ":
            info.setdefault("xmp", _read(file, box))
    return info
