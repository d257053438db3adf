"""What every reader is asked for beside its facts: previews, and the hash of what they show.

The arguments that all readers share:

- ``previews``: what to write, ``{"size": longest edge in pixels, "path": where}``. Each is written to exactly that
  path, which may exist, and flushed to the disk. None is larger than the picture.
- ``format``: webp, jpeg or png; ``quality``: 1 to 100, PNG has none.
- ``max_pixels``: width times height that is still decoded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import (
    Image,
    JpegImagePlugin,  # noqa: F401 - each registers its format; else the first save would load every one
    PngImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from damd.readers.pixels import flatten

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture is turned upright, by EXIF's orientation (EXIF 3.0, table 6); 1 is upright."""

HASH_EDGE = 512
"""The longest edge, in pixels, of the image that perceptual hashes are taken from, whatever the previews."""


_EDGE, _FREQUENCIES = 32, 8
"""What imagehash makes of a picture, in pixels, and how many of the lowest frequencies in each direction it keeps."""

# The discrete cosine transform (type 2, not normalised), as imagehash takes it, for these frequencies alone.
_COSINES = 2 * np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * (2 * np.arange(_EDGE)[None, :] + 1) / (2 * _EDGE))


def edge_for(previews: Sequence[dict[str, Any]]) -> int:
    """The longest edge that a picture is needed at, for these previews and for its hash."""
    return max([HASH_EDGE, *(int(preview["size"]) for preview in previews)])


def fit(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """The size with its longest edge brought down to ``edge``, if it is larger."""
    scale = min(1.0, edge / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shrink(image: Image.Image, edge: int) -> Image.Image:
    """The image, no larger than ``edge``."""
    if max(image.size) <= edge:
        return image
    return image.resize(fit(image.size, edge), Image.Resampling.HAMMING, reducing_gap=2.0)


def perceptual_hash(image: Image.Image) -> str:
    """The ``phash`` (of imagehash) of an upright image in RGB or RGBA, 16 hexadecimal digits."""
    return hash_of(frequencies(flatten(shrink(image, HASH_EDGE)).convert("L")))


def frequencies(grey: Image.Image, box: tuple[float, float, float, float] | None = None) -> npt.NDArray[np.float64]:
    """How strong the 8 × 8 lowest frequencies of a picture are, or of what is within the box.

    As imagehash takes them, but by one product of matrices: scipy's transform takes longer, and a fifth of a second
    to load, in every worker.
    """
    pixels = np.asarray(grey.resize((_EDGE, _EDGE), Image.Resampling.LANCZOS, box), dtype=np.float64)
    strengths: npt.NDArray[np.float64] = _COSINES @ pixels @ _COSINES.T
    return strengths


def hash_of(strengths: npt.NDArray[np.float64]) -> str:
    """Which of the frequencies are stronger than their median, as 16 hexadecimal digits."""
    return str(imagehash.ImageHash(strengths > np.median(strengths)))


def write_previews(
    image: Image.Image, previews: Sequence[dict[str, Any]], kind: str, quality: int
) -> list[dict[str, Any]]:
    """Write the previews of an upright image in sRGB, mode RGB or RGBA; what was written, each with its size in pixels.

    Raises:
        OSError: One cannot be written.
    """
    return [_write(image, preview, kind, quality) for preview in previews]


def _write(base: Image.Image, preview: dict[str, Any], kind: str, quality: int) -> dict[str, Any]:
    image = shrink(base, preview["size"])
    with open(preview["path"], "wb") as file:  # noqa: PTH123 - a path in JSON may hold undecodable bytes
        if kind == "webp":
            image.save(file, "WEBP", quality=quality, method=0)
        elif kind == "jpeg":
            flatten(image).save(file, "JPEG", quality=quality)
        else:
            image.save(file, "PNG")
        file.flush()
        os.fsync(file.fileno())
    return {"size": preview["size"], "width": image.width, "height": image.height}
