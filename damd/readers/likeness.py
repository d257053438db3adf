"""What a picture looks like, in hashes: its own, and those of slight crops of it.

A perceptual hash survives resizing and recompressing, but not cropping: at 6 bits it finds half of the copies that
lost 5 % of their width and height. So a picture is hashed as nine crops of itself too, and two pictures are as near as
either of them is to a crop of the other: that finds 99 % of these copies, and no more pictures that are different.
``python benchmarks/similarity.py`` measures it.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from damd.readers.pixels import flatten
from damd.readers.previews import HASH_EDGE, fit, frequencies, hash_of, shrink

_NEAR, _FAR = 0.05, 0.95
_CROPS = (
    (0.025, 0.025, 0.975, 0.975),
    (0, 0, _FAR, _FAR),
    (_NEAR, 0, 1, _FAR),
    (0, _NEAR, _FAR, 1),
    (_NEAR, _NEAR, 1, 1),
    (_NEAR, 0, 1, 1),
    (0, _NEAR, 1, 1),
    (0, 0, _FAR, 1),
    (0, 0, 1, _FAR),
)
"""Left, top, right and bottom, as parts of width and height: 5 % is cut off all around, at a corner, at a side."""

_CROPS_EDGE = 128
"""The longest edge, in pixels, of what crops are cut from; more pixels take longer, and find no more copies."""

_PLAIN_BELOW = 25
"""The median of the frequencies' strengths below which a picture is too plain.

Half the bits come from strengths below that median, and rounding to whole shades of grey makes some 12 by itself. Of
pictures of one colour, or of a ramp, all bits or most are the same. A clear sky has 40 to 80: copies of it are hardly
found, but it is not taken for another one either. Whole photographs have 750 and more.
"""


def likeness(image: Image.Image) -> dict[str, str]:
    """The hashes of an upright image in RGB or RGBA.

    Returns:
        ``phash``: imagehash's, 16 hexadecimal digits. ``crops``: those of nine crops of it, one after another, or
        nothing where the picture is too plain for its hash to mean anything.
    """
    grey = flatten(shrink(image, HASH_EDGE)).convert("L")
    strengths = frequencies(grey)
    is_plain = np.median(np.abs(strengths).flatten()[1:]) < _PLAIN_BELOW  # the first is the picture's brightness
    return {"phash": hash_of(strengths), "crops": "" if is_plain else "".join(_hashes_of_crops(grey))}


def _hashes_of_crops(grey: Image.Image) -> list[str]:
    small = grey.resize(fit(grey.size, _CROPS_EDGE), Image.Resampling.BOX)
    width, height = small.size
    return [
        hash_of(frequencies(small, (width * left, height * top, width * right, height * bottom)))
        for left, top, right, bottom in _CROPS
    ]
