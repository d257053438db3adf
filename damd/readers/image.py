"""Images: dimensions, capture details, perceptual hash and previews, in one pass over the pixels.

Most of the time goes into decoding, so a JPEG is decoded at the fraction of its size that the largest
preview needs, and everything else (turning it upright, colours, hash) happens to the small image.
"""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from damd.errors import BrokenFileError, FileError, LimitExceededError, UnreadableFileError
from damd.readers.adobe_rgb import ADOBE_RGB, says_adobe_rgb
from damd.readers.formats.frames import count_frames
from damd.readers.formats.jpeg2000 import halvings
from damd.readers.formats.opening import Picture, open_as, open_picture, recognise
from damd.readers.formats.salvage import without_metadata
from damd.readers.likeness import likeness
from damd.readers.metadata.exif import read_exif, read_orientation
from damd.readers.metadata.image import read_metadata
from damd.readers.opening import opened
from damd.readers.pixels import make_resizable, to_srgb, without_empty_alpha
from damd.readers.previews import UPRIGHT, edge_for, fit, write_previews

_COUNTED = ("AVIF", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats that hold pages or frames; what others count are layers or sizes of one picture."""
_EMPTY_ALPHA = ("DDS", "ICO", "TGA")


def read(path: str, *, previews: list[dict[str, Any]], format: str, quality: int, max_pixels: int) -> dict[str, Any]:  # noqa: A002 - named as the configuration names it
    """Read one image and write its previews.

    Its arguments are those of every reader, see `damd.readers.previews`.

    Returns:
        ``format``, ``width`` and ``height`` in pixels as displayed, ``orientation`` (1 to 8, as the file has
        it), ``color_mode``, ``frames``, ``phash`` and ``crops`` (see `damd.readers.likeness`), ``capture`` (see
        `damd.readers.metadata.exif`) and ``previews``, each with its ``width`` and ``height``; and where the
        file has them, ``description`` (see `damd.readers.metadata.xmp`) and ``content_identifier``, Apple's.

    Raises:
        BrokenFileError: It is empty, truncated or damaged.
        LimitExceededError: It has too many pixels, or a text in it unpacks to too much.
        UnsupportedTypeError: It is a camera's RAW file, or no image that is read here.
        ReaderUnavailableError: It is a HEIC or JPEG XL, and the package for it is not installed.
        UnreadableFileError: The system does not let it be read.
        OSError: A preview cannot be written.
        MemoryError: Decoding it takes more than the process may use.
    """
    with _plain_pillow(max_pixels), opened(path) as file:
        name = recognise(file)
        with _explaining(name, max_pixels):
            base, facts = _decode(file, name, edge_for(previews), max_pixels)
            facts |= likeness(base)
    facts["previews"] = write_previews(base, previews, format, quality)
    return facts


@contextmanager
def _plain_pillow(max_pixels: int) -> Iterator[None]:
    """Pillow with our limit instead of its own, and without its warnings, which nobody here reads."""
    before = Image.MAX_IMAGE_PIXELS
    # Pillow fails beyond twice this number, and warns beyond it once.
    Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment]  # an odd limit needs the half
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode(file: IO[bytes], name: str, edge: int, max_pixels: int) -> tuple[Image.Image, dict[str, Any]]:
    """The image upright, in sRGB and no larger than ``edge``, and what there is to know about it."""
    picture = _open(file, name, max_pixels)
    image = picture.image
    exif = read_exif(image)
    orientation = picture.orientation or read_orientation(exif)
    facts = {
        "format": image.format if name == "JPEG" else name,
        "orientation": orientation,
        "color_mode": image.mode,
        **read_metadata(image, exif),
    }
    icc_profile = image.info.get("icc_profile")
    if icc_profile is None and image.mode == "RGB" and says_adobe_rgb(exif):
        icc_profile = ADOBE_RGB
    size = image.size
    _reduce(image, file, edge)
    image.load()
    if picture.is_upright:
        size, orientation = image.size, 1
    facts["frames"] = count_frames(image, file) if name in _COUNTED else 1
    small = make_resizable(image)
    small.thumbnail((edge, edge), Image.Resampling.HAMMING, reducing_gap=2.0)
    if orientation in UPRIGHT:
        small = small.transpose(UPRIGHT[orientation])
    facts["width"], facts["height"] = size if orientation < 5 else size[::-1]
    small = to_srgb(small, icc_profile)
    if name in _EMPTY_ALPHA:
        small = without_empty_alpha(small)
    small.info = {}  # nothing of it may reach a preview
    return small, facts


def _reduce(image: Image.Image, file: IO[bytes], edge: int) -> None:
    """Let the decoder make it smaller, where it can."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        image.draft(None, fit(image.size, edge))
    elif image.format == "JPEG2000":
        image.reduce = halvings(file, image.size, edge)  # type: ignore[method-assign,assignment]  # its plugin's own


def _open(file: IO[bytes], name: str, max_pixels: int) -> Picture:
    try:
        return open_picture(file, name, max_pixels)
    except (UnidentifiedImageError, ValueError) as error:
        if _BOMB.search(str(error)) or (bare := without_metadata(file, name)) is None:
            raise
        return Picture(open_as(bare, name), is_upright=name == "TIFF")


@contextmanager
def _explaining(name: str, max_pixels: int) -> Iterator[None]:
    """Whatever a decoder raises, as an error of ours that says what is wrong with the file."""
    try:
        yield
    except (FileError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        count = pixels[0] if pixels else "more"
        raise LimitExceededError(f"It has {count} pixels, and max_pixels allows {max_pixels}") from error
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        # Only the system's own errors have a number; EINVAL is a seek to where a broken header points.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise UnreadableFileError(error) from error
        raise _explain(name, str(error)) from error


_BOMB = re.compile(r"Decompressed data too large|Too much memory used in text")
_MAX_TEXT_MIB, _MAX_TEXTS_MIB = PngImagePlugin.MAX_TEXT_CHUNK // 2**20, PngImagePlugin.MAX_TEXT_MEMORY // 2**20
"""Pillow's, of one text or profile and of all texts of a PNG."""
_TRUNCATED = re.compile(r"(?i)truncated|unexpected end|end of file|premature|not enough|buffer is not large")


def _explain(name: str, text: str) -> FileError:
    """A sentence that a photographer understands, chosen by what the decoder said."""
    if _BOMB.search(text):
        what = f"Its texts unpack to more than {_MAX_TEXTS_MIB} MiB"
        if text.startswith("Decompressed"):
            what = f"A text or colour profile in it unpacks to more than {_MAX_TEXT_MIB} MiB"
        return LimitExceededError(f"{what}: a decompression bomb")
    if _TRUNCATED.search(text):
        return BrokenFileError("The image is truncated: its data end before the picture is complete")
    return BrokenFileError(f"Not a readable {name}: it is damaged, or of a rare kind that damd cannot read")
