"""Makers of camera RAW files: a DNG as converters write it, and the containers of the cameras' makers."""

import io
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from pictures import _STORED_AS, photograph
from PIL import Image

_FROM_XYZ = (3.2404542, -1.5371385, -0.4985314, -0.9692660, 1.8760108, 0.0415560, 0.0556434, -0.2040259, 1.0572252)
"""Of sRGB: a camera that sees as screens show, so that its pictures develop to the colours they were made of."""

Fields = Mapping[int, tuple[int, Any]]
"""A directory: the type and the value (bytes, a number, or several) of each tag."""


class Blob(bytes):
    """Bytes that lie somewhere in the file; a field of this value says where."""


class Directory(dict[int, tuple[int, Any]]):
    """A further directory; a field of this value says where it lies."""


class TiffWriter:
    """A TIFF in memory, little-endian unless told otherwise; what directories point to is written before them."""

    def __init__(self, head: bytes = b"II*\0", order: str = "<") -> None:
        self._order = order
        self._data = bytearray(head + bytes(4))

    def write(self, fields: Fields) -> bytes:
        """The file whose first directory has these fields."""
        self._data[4:8] = struct.pack(self._order + "L", self._add_directory(fields))
        return bytes(self._data)

    def _add(self, raw: bytes) -> int:
        self._data += bytes(len(self._data) % 2)
        position = len(self._data)
        self._data += raw
        return position

    def _add_directory(self, fields: Fields) -> int:
        entries = b""
        for tag, (kind, value) in sorted(fields.items()):
            count, raw = self._pack(kind, value)
            held = raw if len(raw) <= 4 else struct.pack(self._order + "L", self._add(raw))
            entries += struct.pack(self._order + "HHL", tag, kind, count) + held.ljust(4, b"\0")
        return self._add(struct.pack(self._order + "H", len(fields)) + entries + bytes(4))

    def _pack(self, kind: int, value: Any) -> tuple[int, bytes]:
        if isinstance(value, bytes) and not isinstance(value, Blob):
            return len(value), value
        values = [self._place(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if kind in (5, 10):
            pairs = [Fraction(one).limit_denominator(10**6) for one in values]
            flat = [number for pair in pairs for number in (pair.numerator, pair.denominator)]
            return len(values), struct.pack(f"{self._order}{len(flat)}{'L' if kind == 5 else 'l'}", *flat)
        return len(values), struct.pack(f"{self._order}{len(values)}{'BBHL'[kind - 1]}", *values)

    def _place(self, value: Any) -> Any:
        """Where a value lies that lies elsewhere."""
        if isinstance(value, Blob):
            return self._add(value)
        return self._add_directory(value) if isinstance(value, Directory) else value


def stored_as(image: Image.Image, orientation: int) -> Image.Image:
    """An upright image as a sensor that was held otherwise saw it."""
    turn = _STORED_AS[orientation]
    return image if turn is None else image.transpose(turn)


def mosaic(image: Image.Image) -> bytes:
    """What a sensor with red, green, green and blue filters sees of an image, linear, 16 bits."""
    values = ((np.asarray(image.convert("RGB"), dtype=np.float64) / 255) ** 2.2 * 65535).astype("<u2")
    seen = values[:, :, 1].copy()
    seen[0::2, 0::2] = values[0::2, 0::2, 0]
    seen[1::2, 1::2] = values[1::2, 1::2, 2]
    return seen.tobytes()


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, **options)
    return file.getvalue()


EXIF_FIELDS = Directory(
    {
        0x829A: (5, Fraction(1, 250)),
        0x829D: (5, Fraction(28, 10)),
        0x8827: (3, 400),
        0x9003: (2, b"2012:05:04 10:11:12\0"),
        0x9011: (2, b"+02:00\0"),
        0x920A: (5, 50),
        0xA434: (2, b"EF50mm f/1.8\0"),
    }
)
"""What a good camera writes of an exposure."""
NAMES: Fields = {0x010F: (2, b"Canon\0"), 0x0110: (2, b"EOS 5D\0")}


def make_dng(
    path: Path,
    *,
    size: tuple[int, int] = (640, 480),
    orientation: int = 1,
    preview: bytes | None = None,
    crop: tuple[int, int, int, int] | None = None,
    compression: int = 1,
    linear: bool = False,
    grey: bool = False,
    fields: Fields | None = None,
) -> Path:
    """A photograph as uncompressed RAW, upright where `orientation` is heeded.

    Args:
        path: Where.
        size: Of the upright picture.
        orientation: EXIF's.
        preview: A JPEG that lies in a directory of its own.
        crop: DefaultCrop: left, top, width and height in the sensor's own pixels.
        compression: What it claims; the pixels are not compressed.
        linear: Whether it has all the colours of each pixel, and not what a sensor saw.
        grey: Whether the linear one has no colours.
        fields: Further ones of the first directory.
    """
    stored = stored_as(photograph(*size), orientation)
    pictures = [
        _linear_fields(stored.convert("L" if grey else "RGB")) if linear else _sensor_fields(stored, crop, compression)
    ]
    if preview is not None:
        pictures.append(_preview_fields(preview))
    thumbnail = stored.resize((16, 12))
    path.write_bytes(
        TiffWriter().write(
            {
                254: (4, 1),
                **_picture_fields(thumbnail.size, Blob(thumbnail.tobytes()), bits=(8, 8, 8), photometric=2),
                **NAMES,
                274: (3, orientation),
                330: (4, pictures),
                0x8769: (4, EXIF_FIELDS),
                50706: (1, (1, 4, 0, 0)),
                50707: (1, (1, 1, 0, 0)),
                50708: (2, b"Canon EOS 5D\0"),
                50721: (10, _FROM_XYZ),
                50728: (5, (1, 1, 1)),
                50778: (3, 21),
                **(fields or {}),
            }
        )
    )
    return path


def _picture_fields(
    size: tuple[int, int], pixels: Blob, *, bits: Sequence[int], photometric: int, compression: int = 1
) -> Fields:
    return {
        256: (4, size[0]),
        257: (4, size[1]),
        258: (3, bits),
        259: (3, compression),
        262: (3, photometric),
        273: (4, pixels),
        277: (3, len(bits)),
        278: (4, size[1]),
        279: (4, len(pixels)),
        284: (3, 1),
    }


def _sensor_fields(
    image: Image.Image, crop: tuple[int, int, int, int] | None = None, compression: int = 1
) -> Directory:
    pixels = Blob(mosaic(image))
    picture = _picture_fields(image.size, pixels, bits=[16], photometric=32803, compression=compression)
    fields = Directory({254: (4, 0), **picture})
    fields |= {33421: (3, (2, 2)), 33422: (1, (0, 1, 1, 2)), 50714: (3, 0), 50717: (4, 65535)}
    if crop:
        fields |= {50719: (4, crop[:2]), 50720: (4, crop[2:])}
    return fields


def _linear_fields(image: Image.Image) -> Directory:
    bands = len(image.getbands())
    pixels = Blob((np.asarray(image).astype("<u2") * 257).tobytes())
    fields = Directory({254: (4, 0), **_picture_fields(image.size, pixels, bits=[16] * bands, photometric=34892)})
    fields |= {50714: (3, [0] * bands), 50717: (4, [65535] * bands)}
    return fields


def _preview_fields(preview: bytes) -> Directory:
    with Image.open(io.BytesIO(preview)) as image:
        size = image.size
    return Directory(
        {254: (4, 1), **_picture_fields(size, Blob(preview), bits=(8, 8, 8), photometric=6, compression=7)}
    )


def make_maker_raw(
    path: Path,
    make: str,
    model: str,
    *,
    head: bytes = b"II*\0",
    preview: bytes | None = None,
    orientation: int = 1,
    fields: Fields | None = None,
) -> Path:
    """A RAW file as a camera's own: the sensor's picture first, the JPEG in a directory of its own."""
    sensor = _sensor_fields(stored_as(photograph(640, 480), orientation))
    del sensor[50714], sensor[50717]
    names = {0x010F: (2, make.encode() + b"\0"), 0x0110: (2, model.encode() + b"\0"), 274: (3, orientation)}
    previews = {330: (4, [_reduced_fields(preview)])} if preview else {}
    written = TiffWriter(head).write({**sensor, **names, **previews, 0x8769: (4, EXIF_FIELDS), **(fields or {})})
    path.write_bytes(written)
    return path


def make_rw2(path: Path, **options: Any) -> Path:
    """Panasonic's: the sensor's measures stand in tags of its own."""
    measures = {2: 640, 3: 480, 4: 0, 5: 0, 6: 480, 7: 640, 9: 1, 10: 16}
    fields = {1: (7, b"0310")} | {tag: (3, value) for tag, value in measures.items()} | options.pop("fields", {})
    return make_maker_raw(path, "Panasonic", "DMC-GH4", head=b"IIU\0", fields=fields, **options)


def make_raf(path: Path, preview: bytes, size: tuple[int, int] = (640, 480)) -> Path:
    """Fujifilm's: a header, a JPEG, a directory of records, and the sensor's picture."""
    width, height = size
    head = b"FUJIFILMCCD-RAW 0201FF389501".ljust(28, b"\0") + b"FinePix S5000".ljust(32, b"\0") + b"0100" + bytes(20)
    records = struct.pack(">L4H4H", 2, 0x100, 4, height, width, 0x121, 4, height, width)
    pixels = mosaic(photograph(*size))
    places: list[int] = []
    position = 160
    for part in (preview, records, pixels):
        places += (position, len(part))
        position += len(part)
    path.write_bytes((head + struct.pack(">6L", *places)).ljust(160, b"\0") + preview + records + pixels)
    return path


def make_cr3(path: Path, *, xmp: bytes = b"") -> Path:
    """Canon's latest, with all that it says in words and none of its pictures."""
    gps = {1: (2, b"S\0"), 2: (5, (33, 51, 54)), 3: (2, b"E\0"), 4: (5, (151, 12, 36))}
    directories = {b"CMT1": NAMES, b"CMT2": EXIF_FIELDS, b"CMT4": gps}
    boxes = b"".join(box(kind, TiffWriter().write(fields)) for kind, fields in directories.items())
    canon = box(b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + boxes)
    packet = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + xmp) if xmp else b""
    path.write_bytes(
        box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", canon) + packet + box(b"mdat", bytes(100_000))
    )
    return path


def make_mrw(path: Path) -> Path:
    """Minolta's: blocks, one of which is a TIFF."""
    tiff = TiffWriter(b"MM\0*", ">").write({**NAMES, 0x8769: (4, EXIF_FIELDS)})
    blocks = b"".join(
        kind + struct.pack(">L", len(data)) + data for kind, data in ((b"\0PRD", bytes(24)), (b"\0TTW", tiff))
    )
    path.write_bytes(b"\0MRM" + struct.pack(">L", len(blocks)) + blocks)
    return path


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", 8 + len(data)) + kind + data


def _reduced_fields(preview: bytes) -> Directory:
    return Directory({254: (4, 1), 259: (3, 6), 513: (4, Blob(preview)), 514: (4, len(preview))})
