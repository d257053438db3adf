"""The image formats: how a file of each begins, and how it is opened, as this format or not at all.

No other decoder of Pillow's ever sees a file, so none of its rare ones, and none that starts another program, is
within a file's reach. What Pillow cannot open well has an opener of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import IO, NamedTuple

from PIL import (
    AvifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,  # noqa: F401 - previews are written with it; without it Pillow would load all that it has
    WebPImagePlugin,  # noqa: F401 - likewise
)

from damd.errors import BrokenFileError, ReaderUnavailableError, UnreadableFileError, UnsupportedTypeError
from damd.readers.structure.tiff import is_camera_raw

# Workers fill the processors; threads inside them would only take turns.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

HEAD_BYTES = 32
_SHORTEST = 22
"""Bytes of the shortest header that has to be looked at closely, and still say nothing of a picture."""

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"BM": "BMP",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JXL",
    b"\xff\x0a": "JXL",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"8BPS\0\1": "PSD",
    b"8BPS\0\2": "PSD",
    b"icns": "ICNS",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"P7\n": "PAM",
    **{b"P%d%c" % (kind, space): "PPM" for kind in range(1, 7) for space in b" \t\r\n"},
    **{b"Pf" + bytes([space]): "PPM" for space in b" \t\r\n"},
}
_MODULES = {"WEBP": "WebP", "JPEG2000": "Jpeg2K"}
"""Of Pillow's plugins, those whose modules are not named like their formats."""
_OWN = {
    "DDS": "damd.readers.formats.dds",
    "HEIF": "damd.readers.formats.heif",
    "ICO": "damd.readers.formats.icons",
    "ICNS": "damd.readers.formats.icons",
    "JPEG2000": "damd.readers.formats.jpeg2000",
    "JXL": "damd.readers.formats.jpegxl",
    "PAM": "damd.readers.formats.netpbm",
    "PPM": "damd.readers.formats.netpbm",
    "PSD": "damd.readers.formats.photoshop",
}
"""Modules with an ``open_NAME(file, max_pixels)`` each, for what Pillow alone does not open well."""


class Picture(NamedTuple):
    """An opened image, not decoded yet where its format allows that.

    `image` has ``exif``, ``xmp``, ``iptc`` and ``icc_profile`` in its ``info``, as bytes, where the file has them.
    `orientation` is what the container says, 1 to 8, and None where EXIF says it. `is_upright`: the decoder has
    turned the pixels already, or does it.
    """

    image: Image.Image
    orientation: int | None = None
    is_upright: bool = False


def recognise(file: IO[bytes]) -> str:
    """The name that Pillow has for the format that the file begins like.

    Raises:
        BrokenFileError: It is empty.
        UnsupportedTypeError: It begins like nothing that is read here, or like a camera's RAW file.
        UnreadableFileError: The system does not let it be read.
    """
    try:
        head = file.read(HEAD_BYTES)
    except OSError as error:
        raise UnreadableFileError(error) from error
    if not head:
        raise BrokenFileError("The file is empty")
    if head[4:8] == b"ftyp":
        return "AVIF" if head[8:12] in (b"avif", b"avis") or b"avif" in head[16:] else "HEIF"
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            if name == "TIFF" and is_camera_raw(file):
                raise UnsupportedTypeError("camera RAW")
            return name
    lax = _by_header(head)
    if lax is None:
        raise UnsupportedTypeError
    return lax


def open_picture(file: IO[bytes], name: str, max_pixels: int) -> Picture:
    """The file as a picture of the format that `recognise` named.

    Raises:
        LimitExceededError: It has more pixels than ``max_pixels``.
        ReaderUnavailableError: The package for this format is not installed.
        Exception: Whatever its decoder raises.
    """
    file.seek(0)
    if name in _OWN:
        picture: Picture = _opener(name)(file, max_pixels)
        return picture
    return Picture(open_as(file, name), is_upright=name == "TIFF")


def open_as(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """Opened by Pillow's plugin for this format, and by no other."""
    _load_plugin(name)
    return Image.open(file, formats=[name])


def without_package(format_name: str, package: str, extra: str) -> ReaderUnavailableError:
    """The error for a format whose optional package is not installed."""
    return ReaderUnavailableError(f"{format_name} needs the package {package}: install damd[{extra}]")


@cache
def _load_plugin(name: str) -> None:
    importlib.import_module(f"PIL.{_MODULES.get(name, name.capitalize())}ImagePlugin")


@cache
def _opener(name: str) -> Callable[[IO[bytes], int], Picture]:
    opener: Callable[[IO[bytes], int], Picture] = getattr(importlib.import_module(_OWN[name]), f"open_{name.lower()}")
    return opener


def _by_header(head: bytes) -> str | None:
    """A format whose first bytes prove too little, by all that its header must say; the laxest comes last."""
    if len(head) < _SHORTEST:
        return None
    if head[:4] == b"\0\0\1\0" and 0 < head[4] + 256 * head[5] <= 256 and head[9] == 0:
        return "ICO"
    if head[:2] == b"\x01\xda" and head[2] in (0, 1) and head[3] in (1, 2) and head[4:6] in (b"\0\1", b"\0\2", b"\0\3"):
        return "SGI"
    if head[:1] == b"\x0a" and head[1:2] in b"\0\2\3\4\5" and head[2:3] in b"\0\1" and head[3:4] in b"\1\2\4\x08":
        return "PCX"
    return "TGA" if _is_tga(head) else None


def _is_tga(head: bytes) -> bool:
    """TGA has no signature: every field of its header has a value that some program writes."""
    has_palette, kind, palette, depth, flags = head[1], head[2], head[3:8], head[16], head[17]
    if kind in (1, 9):
        plausible = has_palette == 1 and palette[4] in (15, 16, 24, 32) and depth == 8 and palette[2:4] != b"\0\0"
    elif has_palette or any(palette[:4]):
        return False
    else:
        plausible = depth in ({2: (16, 24, 32), 3: (8, 16)}.get(kind & ~8, ()))
    return plausible and head[12:14] != b"\0\0" != head[14:16] and flags & 0xC0 == 0 and flags & 0x0F in (0, 1, 8)
