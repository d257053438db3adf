"""Icons of Windows and macOS: the largest picture in them, and of equally large ones the one with most colours."""

from __future__ import annotations

from typing import IO

from PIL import IcnsImagePlugin, IcoImagePlugin, Image

from damd.errors import BrokenFileError
from damd.readers.formats.opening import Picture


def open_ico(file: IO[bytes], max_pixels: int) -> Picture:  # noqa: ARG001 - Pillow has been told the limit
    """The best picture of an ICO file, a BMP or a PNG within it."""
    icon = IcoImagePlugin.IcoFile(file)
    if not icon.entry:
        raise BrokenFileError("The icon holds no picture")
    # Pillow would take the one with the fewest colours.
    best = max(range(len(icon.entry)), key=lambda index: (icon.entry[index].square, icon.entry[index].color_depth))
    return _named(icon.frame(best), "ICO")


def open_icns(file: IO[bytes], max_pixels: int) -> Picture:  # noqa: ARG001 - Pillow has been told the limit
    """The best picture of an ICNS file: of its own kind, or a PNG or JPEG 2000 within it."""
    return _named(IcnsImagePlugin.IcnsFile(file).getimage(), "ICNS")


def _named(image: Image.Image, name: str) -> Picture:
    # What the picture within says about itself is not the icon's.
    image.format = name
    return Picture(image, 1, is_upright=True)
