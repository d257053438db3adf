"""The picture that the camera has put into its RAW file: is it good enough, and which way is it up?

LibRaw hands out the largest one, and writes an EXIF before a JPEG that has none, with the RAW file's orientation;
that is taken off again, since only what the JPEG says itself tells whether it was turned already.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import rawpy
from PIL import Image, JpegImagePlugin  # noqa: F401 - it registers its format

from damd.readers.adobe_rgb import ADOBE_RGB, says_adobe_rgb
from damd.readers.limits import check_pixels
from damd.readers.metadata.exif import read_exif, read_orientation
from damd.readers.pixels import make_resizable, to_srgb
from damd.readers.previews import UPRIGHT, fit

SHAPE_TOLERANCE = 1.08
"""How much longer or shorter than the sensor's picture an embedded one may be: less than from 3:2 to 4:3."""
ENOUGH_OF_SENSOR = 0.45
"""Of the sensor's longest edge. Developing yields half of it; cameras' previews are often a little less than half."""
_LEAST_WHOLE = 0.95
"""Of the sensor's width and height; what cameras crop for their own pictures is 1 % or 2."""

_ORIENTATION = 0x0112
_MADE_BY_LIBRAW = b"dcraw v"


class Embedded(NamedTuple):
    """An embedded picture, not decoded yet; `orientation` is its own word, None where it says nothing."""

    image: Image.Image
    size: tuple[int, int]
    orientation: int | None = None
    icc_profile: bytes | None = None

    def turn_to(self, size: tuple[int, int], orientation: int) -> int | None:
        """The orientation, 1 to 8, that brings it to the upright picture's shape; None where none does.

        Its own word counts most, then the RAW file's, and last that it may have been turned already.

        Args:
            size: Of the upright picture.
            orientation: The RAW file's.
        """
        words = (self.orientation, orientation, 1)
        return next((word for word in words if word and _alike(turned(self.size, word), size)), None)

    def is_enough(self, size: tuple[int, int], edge: int) -> bool:
        """Whether it is as large as is wanted, or as developing would make it."""
        return max(self.size) >= min(edge, ENOUGH_OF_SENSOR * max(size))

    def is_whole(self, size: tuple[int, int], orientation: int) -> bool:
        """Whether it is the sensor's picture at its full size, but for a margin."""
        pairs = zip(turned(self.size, self.turn_to(size, orientation) or 1), size, strict=True)
        return all(_LEAST_WHOLE * edge <= own <= edge for own, edge in pairs)


def extract(raw: rawpy.RawPy, max_pixels: int, *, is_adobe_rgb: bool = False) -> Embedded | None:
    """The largest picture in the file; None when there is none that can be opened.

    Args:
        raw: The file.
        max_pixels: That the picture may have.
        is_adobe_rgb: Whether the file says that its pictures are in Adobe RGB; a JPEG with an EXIF of its own
            speaks for itself.

    Raises:
        MemoryError: It takes more than the process may use.
    """
    try:
        found = raw.extract_thumb()
        if isinstance(found.data, bytes):
            return _open_jpeg(found.data, max_pixels, is_adobe_rgb)
        image = Image.fromarray(found.data)
        return Embedded(image, image.size)
    except (MemoryError, rawpy.LibRawUnsufficientMemoryError) as error:
        raise MemoryError(str(error)) from error
    except Exception:  # noqa: BLE001 - whatever hinders it, the sensor's data may be whole
        return None


def show(embedded: Embedded, orientation: int, edge: int) -> Image.Image:
    """It, upright, in sRGB and no larger than `edge`.

    Raises:
        OSError: It is damaged.
    """
    image = embedded.image
    image.draft(None, fit(image.size, edge))
    image.load()
    return finish(make_resizable(image), orientation, edge, embedded.icc_profile)


def finish(image: Image.Image, orientation: int, edge: int, icc_profile: bytes | None = None) -> Image.Image:
    """A decoded image upright, in sRGB and no larger than `edge`."""
    image.thumbnail((edge, edge), Image.Resampling.HAMMING, reducing_gap=2.0)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    image = to_srgb(image, icc_profile)
    image.info = {}  # nothing of it may reach a preview
    return image


def turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """The size after an orientation is applied."""
    return size if orientation < 5 else (size[1], size[0])


def without_libraw_exif(data: bytes) -> bytes:
    """A JPEG as the camera wrote it."""
    end = 4 + int.from_bytes(data[4:6], "big")
    made = data[2:4] == b"\xff\xe1" and data[6:12] == b"Exif\0\0" and _MADE_BY_LIBRAW in data[12:end]
    return data[:2] + data[end:] if made else data


def _open_jpeg(data: bytes, max_pixels: int, is_adobe_rgb: bool) -> Embedded:  # noqa: FBT001 - handed on
    image = Image.open(io.BytesIO(without_libraw_exif(data)), formats=["JPEG"])
    check_pixels(*image.size, max_pixels)
    exif = read_exif(image)
    is_adobe_rgb = says_adobe_rgb(exif) if exif else is_adobe_rgb
    icc_profile = image.info.get("icc_profile") or (ADOBE_RGB if is_adobe_rgb else None)
    orientation = read_orientation(exif) if _ORIENTATION in exif else None
    return Embedded(image, image.size, orientation, icc_profile)


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    across, down = one[0] * other[1], one[1] * other[0]
    return max(across, down) <= SHAPE_TOLERANCE * min(across, down)
