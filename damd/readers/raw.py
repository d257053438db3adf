"""Camera RAW: what the camera wrote about the capture, and the picture, from the preview in the file or developed.

A camera puts a JPEG into its RAW file that looks as it means the picture to look, and that decodes in a fraction of
the time that developing takes; so it is shown where it is good enough (`damd.readers.camera.preview`), and the sensor's
data are developed where it is not. Neither is a RAW developer's last word.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import rawpy
from PIL import Image

from damd.errors import (
    BrokenFileError,
    FileError,
    LimitExceededError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.readers.camera.metadata import TOLERATED_BYTES, read_metadata
from damd.readers.camera.preview import Embedded, extract, finish, show, turned
from damd.readers.likeness import likeness
from damd.readers.limits import check_pixels
from damd.readers.opening import opened
from damd.readers.previews import edge_for, write_previews

_ORIENTATIONS = (1, 2, 4, 3, 5, 8, 6, 7)
"""EXIF's, by LibRaw's flip, whose bits are: mirrored left to right, top to bottom, then along the diagonal."""
_LEAST_CROP = 0.55
"""Of the sensor's width and height; LibRaw does not believe in a smaller one either."""
_LEAST_EDGE = 128
"""In pixels: less shows nobody anything."""
_SRGB_CURVE = (2.4, 12.92)
_CHUNK = 2**20
_TRUNCATED = "The RAW file is truncated: its data end before the picture is complete"
_DAMAGED = "Not a readable RAW file: it is damaged"
_UNKNOWN = "camera RAW of a kind that cannot be developed"


def read(path: str, *, previews: list[dict[str, Any]], format: str, quality: int, max_pixels: int) -> dict[str, Any]:  # noqa: A002 - named as the configuration names it
    """Read one RAW file and write its previews.

    Its arguments are those of every reader, see `damd.readers.previews`.

    Returns:
        What `damd.readers.image` returns. ``format`` is the suffix of such files. ``width`` and ``height`` are those
        of the upright picture that the camera itself makes: the sensor without the margin that it crops.
        ``orientation`` is LibRaw's finding, as EXIF would have it.

    Raises:
        BrokenFileError: It is empty, truncated or damaged.
        LimitExceededError: It has too many pixels.
        NotAFileError: It is no file any more.
        UnsupportedTypeError: It is of a camera, or compressed in a way, that LibRaw does not know.
        UnreadableFileError: The system does not let it be read.
        OSError: A preview cannot be written.
        MemoryError: Decoding it takes more than the process may use.
    """
    with _quiet(), opened(path) as file:
        base, facts = _read(file, edge_for(previews), max_pixels)
    facts |= likeness(base)
    facts["previews"] = write_previews(base, previews, format, quality)
    return facts


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow without its warnings, which nobody here reads, and its limit, instead of which ours is asked."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _read(file: IO[bytes], edge: int, max_pixels: int) -> tuple[Image.Image, dict[str, Any]]:
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise BrokenFileError("The file is empty")
    try:
        metadata = read_metadata(file)
    except OSError as error:
        raise UnreadableFileError(error) from error
    if metadata.end > size + TOLERATED_BYTES:
        raise BrokenFileError(_TRUNCATED)
    with _explaining(file), _open_raw(file) as raw:
        sensor = Sensor.of(raw)
        check_pixels(raw.sizes.raw_width, raw.sizes.raw_height, max_pixels)
        embedded = extract(raw, max_pixels, is_adobe_rgb=metadata.is_adobe_rgb)
        image = _show(raw, embedded, sensor, edge)
        color_mode = "L" if raw.num_colors == 1 else "RGB"
    width, height = _measure(sensor, embedded)
    facts = {"format": metadata.format, "width": width, "height": height, "orientation": sensor.orientation}
    return image, facts | {"color_mode": color_mode, "frames": 1, "capture": {}} | metadata.facts


def _open_raw(file: IO[bytes]) -> rawpy.RawPy:
    """By its descriptor: a path that is no UTF-8 says nothing to rawpy, and may lead elsewhere by now."""
    return rawpy.imread(f"/dev/fd/{file.fileno()}")


def _measure(sensor: Sensor, embedded: Embedded | None) -> tuple[int, int]:
    """Width and height of the camera's own picture, which tells them where LibRaw does not know what is cropped."""
    if embedded and not sensor.is_cropped and embedded.is_whole(sensor.upright, sensor.orientation):
        return turned(embedded.size, embedded.turn_to(sensor.upright, sensor.orientation) or 1)
    return sensor.upright


class Sensor(NamedTuple):
    """The sensor's picture as it lies in the file.

    Attributes:
        size: In pixels, without the margin that the camera crops, where `is_cropped`.
        box: What is left of the developed picture after that: left, top, right and bottom, each from 0 to 1.
        orientation: EXIF's, 1 to 8.
    """

    size: tuple[int, int]
    box: tuple[float, float, float, float]
    orientation: int
    is_cropped: bool

    @classmethod
    def of(cls, raw: rawpy.RawPy) -> Sensor:
        """As LibRaw found it.

        Raises:
            BrokenFileError: It has no pixels.
        """
        sizes = raw.sizes
        left, top, width, height, is_cropped = 0, 0, sizes.width, sizes.height, False
        crop_left, crop_top = sizes.crop_left_margin - sizes.left_margin, sizes.crop_top_margin - sizes.top_margin
        if (
            0 <= crop_left <= width - sizes.crop_width
            and 0 <= crop_top <= height - sizes.crop_height
            and sizes.crop_width >= _LEAST_CROP * width
            and sizes.crop_height >= _LEAST_CROP * height
        ):
            left, top, width, height, is_cropped = crop_left, crop_top, sizes.crop_width, sizes.crop_height, True
        if not (width and height):
            raise BrokenFileError(_DAMAGED)
        box = (left / sizes.width, top / sizes.height, (left + width) / sizes.width, (top + height) / sizes.height)
        # Pixels that are not square are drawn out along the edge that is too short.
        aspect = sizes.pixel_aspect if 0.25 <= sizes.pixel_aspect <= 4 else 1.0
        size = round(width * max(1.0, aspect)), round(height / min(1.0, aspect))
        return cls(size, box, _ORIENTATIONS[sizes.flip & 7], is_cropped)

    @property
    def upright(self) -> tuple[int, int]:
        """Its size as it is displayed."""
        return turned(self.size, self.orientation)


def _show(raw: rawpy.RawPy, embedded: Embedded | None, sensor: Sensor, edge: int) -> Image.Image:
    """The embedded picture where it is good enough, else the developed one; the embedded one where nothing else is."""
    if embedded and embedded.is_enough(sensor.size, edge):
        image = _show_embedded(embedded, sensor, edge)
        if image:
            return image
    try:
        return _develop(raw, sensor, edge)
    except (rawpy.LibRawNonFatalError, rawpy.LibRawTooBigError):
        image = _show_embedded(embedded, sensor, edge) if embedded else None
        if image and max(image.size) >= _LEAST_EDGE:
            return image
        raise


def _show_embedded(embedded: Embedded, sensor: Sensor, edge: int) -> Image.Image | None:
    orientation = embedded.turn_to(sensor.upright, sensor.orientation)
    if orientation is None:
        return None
    try:
        return show(embedded, orientation, edge)
    except (OSError, ValueError, SyntaxError):
        return None  # it is damaged


def _develop(raw: rawpy.RawPy, sensor: Sensor, edge: int) -> Image.Image:
    """The sensor's data at half their size, which needs no interpolation of colours, and no guess at brightness."""
    pixels = raw.postprocess(
        half_size=True, use_camera_wb=True, no_auto_bright=True, output_bps=8, user_flip=0, gamma=_SRGB_CURVE
    )
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] < 3 else pixels[:, :, :3])
    left, top, right, bottom = sensor.box
    box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    return finish(image.crop(tuple(map(round, box))), sensor.orientation, edge)  # type: ignore[arg-type]  # four numbers


@contextmanager
def _explaining(file: IO[bytes]) -> Iterator[None]:
    """What LibRaw raises, as an error of ours that says what is wrong with the file."""
    try:
        yield
    except (FileError, MemoryError):
        raise
    except (rawpy.LibRawUnsufficientMemoryError, rawpy.LibRawMemPoolOverflowError) as error:
        raise MemoryError(str(error)) from error
    except rawpy.LibRawTooBigError as error:
        raise LimitExceededError("Its picture is larger than LibRaw develops") from error
    except (rawpy.LibRawFileUnsupportedError, rawpy.LibRawNotImplementedError) as error:
        raise UnsupportedTypeError(_UNKNOWN) from error
    except Exception as error:
        _check_disk(file)
        raise BrokenFileError(_TRUNCATED if isinstance(error, rawpy.LibRawIOError) else _DAMAGED) from error


def _check_disk(file: IO[bytes]) -> None:
    """LibRaw does not tell a damaged file from a damaged disk.

    Raises:
        UnreadableFileError: The system cannot read all of the file.
    """
    try:
        file.seek(0)
        while file.read(_CHUNK):
            pass
    except OSError as error:
        raise UnreadableFileError(error) from error
