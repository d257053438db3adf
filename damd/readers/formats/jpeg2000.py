"""JPEG 2000 through Pillow, with what Pillow leaves in the file: colour profile, EXIF, XMP, IPTC.

Boxes: ISO 15444-1, annex I. The UUIDs of metadata: XMP part 3, and what exiftool knows of them.
"""

from __future__ import annotations

from typing import IO, Any

from PIL import Image, Jpeg2KImagePlugin

from damd.errors import BrokenFileError
from damd.readers.formats.opening import Picture, open_as
from damd.readers.limits import check_pixels
from damd.readers.structure.boxes import Box, walk_boxes

_UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("0537cdab9d0c4431a72afa561f2a113e"): "exif",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
    bytes.fromhex("09a14e97c0b442e0bebf36df6f0ce36f"): "iptc",
}
_SIZE_MARKER = b"\xff\x4f\xff\x51"
_CODING, _COMPONENT, _TILE = 0x52, 0x53, 0x90
_HEADER_BYTES = 4_096
_RESTRICTED_PROFILE = 2
_MAX_CONTENT = 16 * 2**20
"""Bytes that are read of a box with metadata or a colour profile."""


def open_jpeg2000(file: IO[bytes], max_pixels: int) -> Picture:
    """A JP2 file or a bare codestream.

    Raises:
        LimitExceededError: It has more than ``max_pixels``, in its header or in its codestream.
        Exception: Whatever Pillow raises.
    """
    image = open_as(file, "JPEG2000")
    if isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile) and image.codec == "jp2":
        position = file.tell()
        image.info.update(_look_into(file, image, max_pixels))
        file.seek(position)
    return Picture(image)


def halvings(file: IO[bytes], size: tuple[int, int], edge: int) -> int:
    """How often the decoder may halve a picture of this size so that its longest edge still has ``edge`` pixels.

    A codestream holds as many smaller pictures as its COD marker says; where components differ in that, none is taken.
    """
    for box in walk_boxes(file):
        if box.kind == b"jp2c":
            file.seek(box.start)
            break
    else:
        file.seek(0)
    head = file.read(_HEADER_BYTES)
    steps = range(1, _levels(head) + 1)
    return max((step for step in steps if max(size) >> step >= edge and _keeps_tiles(head, size, step)), default=0)


def _keeps_tiles(head: bytes, size: tuple[int, int], step: int) -> bool:
    """Whether tiles begin at whole pixels of the smaller picture too; Pillow refuses what comes out otherwise."""
    if len(head) < 40 or any(head[16:24]) or any(head[32:40]):  # the picture's and the tiles' offsets
        return False
    tile = int.from_bytes(head[24:28], "big"), int.from_bytes(head[28:32], "big")
    return all(length >= whole or length % (1 << step) == 0 for length, whole in zip(tile, size, strict=True))


def _levels(head: bytes) -> int:
    position = 2
    levels = 0
    while position + 4 <= len(head) and head[position] == 0xFF and head[position + 1] not in (_TILE, _COMPONENT):
        if head[position + 1] == _CODING:
            levels = min(head[position + 9], 32) if position + 9 < len(head) else 0
        position += 2 + int.from_bytes(head[position + 2 : position + 4], "big")
    return 0 if head[position + 1 : position + 2] == bytes([_COMPONENT]) else levels


def _look_into(file: IO[bytes], image: Image.Image, max_pixels: int) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for box in walk_boxes(file):
        if box.kind == b"jp2h":
            info |= _read_profile(file, box)
        elif box.kind == b"uuid" and box.uuid in _UUIDS:
            info.setdefault(_UUIDS[box.uuid], _read(file, box))
        elif box.kind == b"jp2c":
            _check_codestream(_read(file, box, 24), image, max_pixels)
    return info


def _read_profile(file: IO[bytes], header: Box) -> dict[str, Any]:
    for box in walk_boxes(file, header.start, header.end):
        if box.kind == b"colr":
            data = _read(file, box)
            if data[:1] == bytes([_RESTRICTED_PROFILE]):
                return {"icc_profile": data[3:]}
    return {}


def _read(file: IO[bytes], box: Box, limit: int = _MAX_CONTENT) -> bytes:
    file.seek(box.start)
    return file.read(min(box.end - box.start, limit))


def _check_codestream(head: bytes, image: Image.Image, max_pixels: int) -> None:
    """The decoder goes by the codestream's size, whatever the header has said."""
    if not head.startswith(_SIZE_MARKER) or len(head) < 24:
        raise BrokenFileError("Not a readable JPEG 2000: it is damaged")
    right, bottom, left, top = (int.from_bytes(head[start : start + 4], "big") for start in (8, 12, 16, 20))
    check_pixels(max(0, right - left), max(0, bottom - top), max_pixels)
    if (right - left, bottom - top) != image.size:
        raise BrokenFileError("Not a readable JPEG 2000: its parts do not agree about its size")
