"""Images: dimensions, capture details, perceptual hash and previews, in one pass over the pixels.

Most of the time goes into decoding, so a JPEG is decoded at the fraction of its size that the largest
preview needs, and everything else (turning it upright, colours, hash) happens to the small image.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, Any

import imagehash
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,  # noqa: F401 - each registers its format
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from damd.errors import (
    BrokenFileError,
    FileError,
    LimitExceededError,
    ReaderUnavailableError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.readers.exif import read_capture, read_exif, read_orientation
from damd.readers.frames import count_frames
from damd.readers.pixels import flatten, make_resizable, to_srgb
from damd.readers.salvage import without_metadata
from damd.readers.tiff import is_camera_raw

HASH_EDGE = 512
"""The longest edge, in pixels, of the image that the perceptual hash is taken from, whatever the previews."""

# Workers fill the processors; threads inside them would only take turns.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

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
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED_BY_DECODER = ("TIFF", "HEIF")


def read(path: str, *, previews: list[dict[str, Any]], format: str, quality: int, max_pixels: int) -> dict[str, Any]:  # noqa: A002 - named as the configuration names it
    """Read one image and write its previews.

    Args:
        path: The image.
        previews: What to write: ``{"size": longest edge in pixels, "path": where}``. Each is written to
            exactly that path, which may exist, and flushed to the disk. None is larger than the image.
        format: Of the previews: webp, jpeg or png.
        quality: Of the previews, 1 to 100; PNG has none.
        max_pixels: Width times height that is still decoded.

    Returns:
        ``format``, ``width`` and ``height`` in pixels as displayed, ``orientation`` (1 to 8, as the file has
        it), ``color_mode``, ``frames``, ``phash`` (16 hexadecimal digits), ``capture`` (see
        `damd.readers.exif.read_capture`) and ``previews``, each with its ``width`` and ``height``.

    Raises:
        BrokenFileError: It is empty, truncated or damaged.
        LimitExceededError: It has too many pixels, or a text in it unpacks to too much.
        UnsupportedTypeError: It is a camera's RAW file.
        ReaderUnavailableError: It is a HEIC, and the package for it is not installed.
        UnreadableFileError: The system does not let it be read.
        OSError: A preview cannot be written.
        MemoryError: Decoding it takes more than the process may use.
    """
    with _plain_pillow(max_pixels), _open_file(path) as file:
        name = _recognise(file)
        with _explaining(name, max_pixels):
            base, facts = _decode(file, name, max((HASH_EDGE, *(preview["size"] for preview in previews))))
            facts["phash"] = str(imagehash.phash(flatten(_shrink(base, HASH_EDGE))))
    facts["previews"] = [_write(base, preview, format, quality) for preview in previews]
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


@contextmanager
def _open_file(path: str) -> Iterator[IO[bytes]]:
    try:
        file = open(path, "rb", opener=_open_nonblocking)  # noqa: SIM115 - closed below
    except OSError as error:
        raise UnreadableFileError(error) from error
    with file:
        yield file


def _open_nonblocking(path: str, flags: int) -> int:
    # A FIFO that took the file's place cannot hold the worker.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _recognise(file: IO[bytes]) -> str:
    """The name that Pillow has for the format that the file begins like."""
    try:
        head = file.read(32)
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
    raise UnsupportedTypeError


def _decode(file: IO[bytes], name: str, edge: int) -> tuple[Image.Image, dict[str, Any]]:
    """The image upright, in sRGB and no larger than ``edge``, and what there is to know about it."""
    image = _open_image(file, name)
    exif = read_exif(image)
    orientation = read_orientation(exif)
    if name == "HEIF":
        # Turned already by the container's own word, and EXIF's set to 1.
        said = image.info.get("original_orientation")
        orientation = said if said in _UPRIGHT else 1
    facts = {
        "format": image.format,
        "orientation": orientation,
        "color_mode": image.mode,
        "capture": read_capture(exif),
    }
    icc_profile = image.info.get("icc_profile")
    size = image.size
    if name == "JPEG":
        image.draft(None, _fit(size, edge))
    image.load()
    if name in _TURNED_BY_DECODER:
        size, orientation = image.size, 1
    facts["frames"] = count_frames(image, file)
    small = make_resizable(image)
    small.thumbnail((edge, edge), Image.Resampling.HAMMING, reducing_gap=2.0)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    facts["width"], facts["height"] = size if orientation < 5 else size[::-1]
    small = to_srgb(small, icc_profile)
    small.info = {}  # nothing of it may reach a preview
    return small, facts


def _open_image(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """Opened as this format or not at all: no other decoder of Pillow's ever sees a file."""
    if name == "HEIF" and not _has_heif():
        raise ReaderUnavailableError("HEIC needs the package pillow-heif: install damd[heic]")
    try:
        return Image.open(file, formats=[name])
    except (UnidentifiedImageError, ValueError) as error:
        if _BOMB.search(str(error)) or (bare := without_metadata(file, name)) is None:
            raise
        return Image.open(bare, formats=[name])


@cache
def _has_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    # An embedded thumbnail may be older than the picture, so none is taken for it.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return True


def _fit(size: tuple[int, int], edge: int) -> tuple[int, int]:
    """The size with its longest edge brought down to ``edge``, if it is larger."""
    scale = min(1.0, edge / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _shrink(image: Image.Image, edge: int) -> Image.Image:
    if max(image.size) <= edge:
        return image
    return image.resize(_fit(image.size, edge), Image.Resampling.HAMMING, reducing_gap=2.0)


def _write(base: Image.Image, preview: dict[str, Any], kind: str, quality: int) -> dict[str, Any]:
    image = _shrink(base, preview["size"])
    with open(preview["path"], "wb") as file:  # noqa: PTH123 - a path in JSON may hold undecodable bytes
        if kind == "webp":
            image.save(file, "WEBP", quality=quality, method=0)
        elif kind == "jpeg":
            flatten(image).save(file, "JPEG", quality=quality)
        else:
            image.save(file, "PNG")
        file.flush()
        os.fsync(file.fileno())
    return {**preview, "width": image.width, "height": image.height}


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
_TRUNCATED = re.compile(r"(?i)truncated|unexpected end|end of file|premature|not enough|buffer is not large")


def _explain(name: str, text: str) -> FileError:
    """A sentence that a photographer understands, chosen by what the decoder said."""
    if _BOMB.search(text):
        return LimitExceededError("Its text or colour profile unpacks to more than is allowed: a decompression bomb")
    if _TRUNCATED.search(text):
        return BrokenFileError("The image is truncated: its data end before the picture is complete")
    return BrokenFileError(f"Not a readable {name}: it is damaged, or of a rare kind that damd cannot read")
