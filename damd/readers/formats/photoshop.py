"""Photoshop's PSD and PSB: the merged picture that Photoshop keeps beside the layers, and its resources.

Pillow decodes the common kind, 8 bits in a PSD. What has 16 bits, or is a PSB, is decoded here. Layout: Adobe
Photoshop File Formats Specification (2019).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from damd.errors import BrokenFileError, UnsupportedTypeError
from damd.readers.formats.opening import Picture, open_as
from damd.readers.limits import check_pixels

_BANDS = {1: "L", 3: "RGB", 4: "CMYK", 8: "L", 9: "LAB"}
_RESOURCES = {1028: "iptc", 1039: "icc_profile", 1058: "exif", 1060: "xmp"}
_MAX_RESOURCES = 64 * 2**20
_RAW, _RUNS = 0, 1
_LONGEST_RUN = 128


def open_psd(file: IO[bytes], max_pixels: int) -> Picture:
    """The merged picture; all black or white where the program was told not to keep one.

    Raises:
        BrokenFileError: It is damaged.
        UnsupportedTypeError: It is of a kind that nothing here decodes, such as 32 bits for each colour.
        LimitExceededError: It has more than ``max_pixels``.
        Exception: Whatever Pillow raises.
    """
    try:
        header = _read_header(file)
    except struct.error as error:
        raise BrokenFileError("The image is truncated: its data end before the picture is complete") from error
    check_pixels(header.width, header.height, max_pixels)
    is_common = header.depth in (1, 8) and not header.is_large
    image = _open(file, header) if is_common else _decode(file, header)
    image.info |= header.metadata
    image.format = "PSD"
    return Picture(image)


def _open(file: IO[bytes], header: _Header) -> Image.Image:
    file.seek(0)
    image = open_as(file, "PSD")
    if not image.tile:
        raise UnsupportedTypeError("a Photoshop file whose picture is packed in a rare way")
    if image.mode == "RGBA" and not header.is_transparent:
        return image.convert("RGB")  # the fourth channel is a selection that somebody saved
    return image


class _Header(NamedTuple):
    is_large: bool
    channels: int
    height: int
    width: int
    depth: int
    mode: int
    metadata: dict[Any, Any]
    is_transparent: bool
    pixels_at: int


def _read_header(file: IO[bytes]) -> _Header:
    version, channels, height, width, depth, mode = struct.unpack(">4xH6xHIIHH", file.read(26))
    is_large = version == 2
    _skip(file, 4)  # colours of a palette
    length = struct.unpack(">I", file.read(4))[0]
    start = file.tell()
    metadata = {
        _RESOURCES[number]: content
        for number, content in iterate_resources(file.read(min(length, _MAX_RESOURCES)))
        if number in _RESOURCES and content
    }
    file.seek(start + length)
    width_of_length = 8 if is_large else 4
    layers = _skip(file, width_of_length)
    end = file.tell()
    file.seek(layers)
    layer_info = file.read(width_of_length + 2) if end - layers > width_of_length + 2 else b""
    # A negative count says that the first further channel is the merged picture's transparency.
    is_transparent = any(layer_info[:-2]) and layer_info[-2] >= 0x80
    return _Header(is_large, channels, height, width, depth, mode, metadata, is_transparent, end)


def _skip(file: IO[bytes], width_of_length: int) -> int:
    """Go past a section; where its content began."""
    length = struct.unpack(">Q" if width_of_length == 8 else ">I", file.read(width_of_length))[0]
    start = file.tell()
    file.seek(start + length)
    return start


def iterate_resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The numbers and contents of Photoshop's image resources, up to the first that is broken."""
    position = 0
    while data[position : position + 4] == b"8BIM" and position + 12 <= len(data):
        number = int.from_bytes(data[position + 4 : position + 6], "big")
        position += 6 + (data[position + 6] // 2 + 1) * 2  # a name and its length, padded to an even number
        length = int.from_bytes(data[position : position + 4], "big")
        yield number, data[position + 4 : position + 4 + length]
        position += 4 + length + length % 2


def _decode(file: IO[bytes], header: _Header) -> Image.Image:
    bands = _BANDS.get(header.mode)
    if bands is None or header.depth not in (8, 16):
        raise UnsupportedTypeError("a Photoshop file whose colours are of a rare kind")
    if header.channels < len(bands):
        raise BrokenFileError("Not a readable PSD: it has too few channels")
    file.seek(header.pixels_at)
    compression = int.from_bytes(file.read(2), "big")
    if compression not in (_RAW, _RUNS):
        raise UnsupportedTypeError("a Photoshop file whose picture is packed in a rare way")
    lengths = _channel_lengths(file, header, compression, len(bands))
    planes = [_read_plane(file, header, compression, length) for length in lengths]
    if bands == "CMYK":
        planes = [~plane for plane in planes]
    images = [Image.fromarray(plane) for plane in planes]
    return images[0] if bands == "L" else Image.merge(bands, images)


def _channel_lengths(file: IO[bytes], header: _Header, compression: int, count: int) -> list[int]:
    if compression == _RAW:
        return [header.width * header.height * (header.depth // 8)] * count
    table = file.read(header.channels * header.height * (4 if header.is_large else 2))
    rows = np.frombuffer(table, ">u4" if header.is_large else ">u2")
    return [int(channel.sum()) for channel in rows.reshape(header.channels, header.height)[:count].astype(np.int64)]


def _read_plane(file: IO[bytes], header: _Header, compression: int, length: int) -> NDArray[np.uint8]:
    """One channel in 8 bits; of 16 the upper ones."""
    step = header.depth // 8
    size = (header.width * step, header.height)
    data = file.read(length)
    # Two bytes stand for 128 at most, so that less than this is no picture, and nothing is laid out for it.
    if len(data) * (_LONGEST_RUN // 2 if compression == _RUNS else 1) < size[0] * size[1]:
        raise BrokenFileError("The image is truncated: its data end before the picture is complete")
    args = ("packbits", ("L",)) if compression == _RUNS else ("raw", "L")
    return np.ascontiguousarray(np.asarray(Image.frombytes("L", size, data, *args), dtype=np.uint8)[:, ::step])
