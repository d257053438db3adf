"""Portable anymaps: PAM, which Pillow does not open, and deep PGM, whose range it does not tell.

Layout: pam(5) and pgm(5) of Netpbm.
"""

from __future__ import annotations

from typing import IO

import numpy as np
from PIL import Image

from damd.errors import BrokenFileError
from damd.readers.formats.opening import Picture, open_as
from damd.readers.limits import check_pixels

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_NUMBERS = (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
_MAX_LINES = 200


def open_ppm(file: IO[bytes], max_pixels: int) -> Picture:  # noqa: ARG001 - Pillow has been told the limit
    """A PBM, PGM, PPM or PFM.

    Raises:
        Exception: Whatever Pillow raises.
    """
    image = open_as(file, "PPM")
    # Pillow brings more than eight bits to the range of sixteen, in a mode that has any range.
    return Picture(image.convert("I;16") if image.mode == "I" else image)


def open_pam(file: IO[bytes], max_pixels: int) -> Picture:
    """The picture decoded, in 8 bits.

    Raises:
        BrokenFileError: It is damaged or truncated, or has other channels than grey or RGB and alpha.
        LimitExceededError: It has more than ``max_pixels``.
    """
    width, height, depth, highest = _read_header(file)
    if width < 1 or height < 1 or depth not in _MODES or not 0 < highest < 65536:
        raise BrokenFileError("Not a readable PAM: its header makes no sense")
    check_pixels(width, height, max_pixels)
    kind = np.dtype(">u2") if highest > 255 else np.dtype("u1")
    length = width * height * depth * kind.itemsize
    data = file.read(length)
    if len(data) < length:
        raise BrokenFileError("The image is truncated: its data end before the picture is complete")
    if highest != 255:
        values = np.minimum(np.frombuffer(data, kind), highest).astype(np.uint32)
        data = ((values * 255 + highest // 2) // highest).astype(np.uint8).tobytes()
    image = Image.frombytes(_MODES[depth], (width, height), data)
    image.format = "PAM"
    return Picture(image)


def _read_header(file: IO[bytes]) -> list[int]:
    found = {}
    file.readline(8)
    for _ in range(_MAX_LINES):
        words = file.readline(1_000).split()
        if words[:1] == [b"ENDHDR"]:
            break
        if len(words) == 2 and words[0] in _NUMBERS and words[1].isdigit() and len(words[1]) < 10:
            found[words[0]] = int(words[1])
    return [found.get(name, 0) for name in _NUMBERS]
