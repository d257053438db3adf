"""DDS textures through Pillow, without its slow way of reading what is not compressed.

Pillow takes such pixels apart in Python, a minute for 50 million. The usual orders of channels are as well what its
raw decoder reads.
"""

from __future__ import annotations

from typing import IO

from damd.readers.formats.opening import Picture, open_as

_ALPHA = 0xFF000000
_RAW_MODES = {
    (24, (0xFF0000, 0xFF00, 0xFF)): "BGR",
    (32, (0xFF0000, 0xFF00, 0xFF)): "BGRX",
    (32, (0xFF, 0xFF00, 0xFF0000)): "RGBX",
    (32, (0xFF0000, 0xFF00, 0xFF, _ALPHA)): "BGRA",
    (32, (0xFF, 0xFF00, 0xFF0000, _ALPHA)): "RGBA",
}
"""By bits for each pixel and the masks of red, green, blue and alpha."""


def open_dds(file: IO[bytes], max_pixels: int) -> Picture:  # noqa: ARG001 - Pillow has been told the limit
    """The texture's largest picture; others of a cube or of smaller sizes are left.

    Raises:
        Exception: Whatever Pillow raises.
    """
    image = open_as(file, "DDS")
    tile = image.tile[0] if image.tile else None
    if tile is not None and tile.codec_name == "dds_rgb" and isinstance(tile.args, tuple):
        raw_mode = _RAW_MODES.get((tile.args[0], tile.args[1]))
        if raw_mode:
            image.tile = [tile._replace(codec_name="raw", args=(raw_mode, 0, 1))]
    return Picture(image)
