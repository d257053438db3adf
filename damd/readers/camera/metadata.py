"""What a camera wrote into its RAW file beside the pictures, and whether the file is whole.

Most RAW files are TIFFs, some but for their first bytes: ORF (``IIRO``) and RW2 (``IIU``). A RAF holds a JPEG whose
EXIF is the file's, an MRW a TIFF in a block of its own, and a CR3 is an ISO base media file with one TIFF for each
directory. Where things lie: ExifTool's FujiFilm, MinoltaRaw, PanasonicRaw and Canon modules, and the description of
CR3 by L. Roux (github.com/lclevy/canon_cr3). No fault of the metadata is a fault of the file.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from PIL import Image, JpegImagePlugin  # noqa: F401 - it registers its format

from damd.readers.adobe_rgb import says_adobe_rgb
from damd.readers.metadata import image as sources
from damd.readers.metadata.exif import read_capture, read_description, read_exif, read_fix, read_maker_note
from damd.readers.metadata.iptc import read_iptc
from damd.readers.metadata.makernote import read_content_identifier
from damd.readers.metadata.xmp import MAX_BYTES, read_packet
from damd.readers.structure.boxes import walk_boxes
from damd.readers.structure.tiff import find_end

TOLERATED_BYTES = 65_536
"""That a file may lack: makers round the lengths of strips up, and a copy that broke off lacks more."""

_MAKE, _XMP, _IPTC, _DNG_VERSION, _EMBEDDED_JPEG = 0x010F, 700, 33723, 50706, 0x002E
_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825
_MAX_JPEG_BYTES = 64 * 2**20
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_CANON_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_CANON_DIRECTORIES = {b"CMT1": 0, b"CMT2": _EXIF_DIRECTORY, b"CMT4": _GPS_DIRECTORY}
_MAX_PART_BYTES = 2**20
_MAX_BLOCKS = 100
_MAKERS = {"NIKON": "NEF", "SONY": "ARW", "PENTAX": "PEF", "RICOH": "PEF", "SAMSUNG": "SRW", "HASSELBLAD": "3FR"}
_MAKERS |= {"KODAK": "DCR", "EASTMAN": "DCR", "SEIKO": "ERF", "EPSON": "ERF", "PHASE": "IIQ"}
_SIGNATURES = {b"FUJIFILMCCD-RAW": "RAF", b"IIU\0": "RW2", b"IIR": "ORF", b"MMOR": "ORF", b"\0MRM": "MRW"}
_SIGNATURES |= {b"FOVb": "X3F", b"II\x1a\0\0\0HEAPCCDR": "CRW"}


class RawMetadata(NamedTuple):
    """What the file says of itself.

    `format` is the suffix that its maker gives such files, or RAW. `end` is where the last of its pictures ends, 0
    where that is not said. `facts` are those of `damd.readers.metadata.image`. `is_adobe_rgb`: the camera was
    told to make its pictures so.
    """

    format: str
    end: int
    facts: dict[str, Any]
    is_adobe_rgb: bool = False


def read_metadata(file: IO[bytes]) -> RawMetadata:
    """All that is sound; moves the file's position.

    Raises:
        OSError: The file cannot be read.
    """
    file.seek(0)
    head = file.read(108)
    name = next((name for signature, name in _SIGNATURES.items() if head.startswith(signature)), "RAW")
    if head[4:12] == b"ftypcrx ":
        return _read_cr3(file)
    if name == "RAF":
        return _read_raf(file, head)
    if name == "MRW":
        return _read_mrw(file)
    if head[:2] in (b"II", b"MM") and name != "CRW":
        return _read_tiff(file, head, "CR2" if head[8:10] == b"CR" else name)
    return RawMetadata(name, 0, {})


def read_jpeg(data: bytes) -> dict[str, Any]:
    """What a JPEG that is embedded in a RAW file says, as `damd.readers.metadata.image.read_metadata` tells."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return sources.read_metadata(image, read_exif(image))
    except Exception:  # noqa: BLE001 - whatever a broken JPEG raises, it is not the file's picture
        return {}


def _read_tiff(file: IO[bytes], head: bytes, name: str) -> RawMetadata:
    exif = _load_exif(file, head)
    if name == "RAW":
        make = _get(exif, _MAKE)
        maker = make.strip().upper() if isinstance(make, str) else ""
        suffix = next((suffix for begin, suffix in _MAKERS.items() if maker.startswith(begin)), name)
        name = "DNG" if _get(exif, _DNG_VERSION) else suffix
    layers = [read_packet(_get_bytes(exif, _XMP)), read_iptc(_get_bytes(exif, _IPTC))]
    if name == "RW2":
        layers.append(read_jpeg(_get_bytes(exif, _EMBEDDED_JPEG)))  # Panasonic's own tags leave the half unsaid
    # Who converts to DNG makes a preview of his own, and leaves the camera's word about its pictures.
    is_adobe_rgb = name != "DNG" and says_adobe_rgb(exif)
    return RawMetadata(name, find_end(file), _merge(exif, layers), is_adobe_rgb)


def _read_raf(file: IO[bytes], head: bytes) -> RawMetadata:
    """Two pairs of place and length stand in its header: the JPEG's, and the sensor data's."""
    jpeg, length, _, _, sensor, sensor_length = (int.from_bytes(head[at : at + 4], "big") for at in range(84, 108, 4))
    file.seek(jpeg)
    facts = read_jpeg(file.read(min(length, _MAX_JPEG_BYTES)))
    return RawMetadata("RAF", max(jpeg + length, sensor + sensor_length), facts)


def _read_mrw(file: IO[bytes]) -> RawMetadata:
    """Its header is made of blocks; one of them, TTW, is a TIFF without pictures."""
    length = file.seek(0, os.SEEK_END)
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "big")
    position = 8
    for _ in range(_MAX_BLOCKS):
        if position + 8 > min(end, length):
            break
        file.seek(position)
        head = file.read(8)
        size = int.from_bytes(head[4:], "big")
        if head[:4] == b"\0TTW":
            block = file.read(min(size, _MAX_PART_BYTES))
            return RawMetadata("MRW", end, _merge(_load_exif(io.BytesIO(block), block), []))
        position += 8 + size
    return RawMetadata("MRW", end, {})


def _read_cr3(file: IO[bytes]) -> RawMetadata:
    end = 0
    is_adobe_rgb = False
    capture: dict[str, Any] = {}
    layers: list[dict[str, Any]] = []
    exif = Image.Exif()
    for box in walk_boxes(file):
        end = max(end, box.end)
        if box.uuid == _CANON_XMP:
            file.seek(box.start)
            layers.append(read_packet(file.read(min(box.end - box.start, MAX_BYTES))))
        elif box.kind == b"moov":
            for kind, data in _canon_boxes(file, box.start, box.end):
                part = _load_canon(kind, data)
                capture |= read_capture(part)
                is_adobe_rgb |= says_adobe_rgb(part)
                exif = exif if _CANON_DIRECTORIES[kind] else part
    return RawMetadata("CR3", end, _merge(exif, [{"capture": capture}, *layers]), is_adobe_rgb)


def _load_canon(kind: bytes, data: bytes) -> Image.Exif:
    """Each of Canon's directories is a TIFF of its own, whose first directory is what EXIF calls another."""
    pointer = _CANON_DIRECTORIES[kind]
    if not pointer:
        return _load_exif(io.BytesIO(data), data)
    exif = Image.Exif()
    exif.fp, exif.head = io.BytesIO(data), data[:8]
    exif[pointer] = _offset_of_first(data)
    return exif


def _merge(exif: Image.Exif, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """EXIF, which knows the capture best, and what else was found, which knows best what people wrote."""
    written = [*(layer.get("description", {}) for layer in layers), read_description(exif)]
    taken = [read_capture(exif), *(layer.get("capture", {}) for layer in layers), read_fix(exif)]
    facts: dict[str, Any] = {"capture": sources.merge_capture(taken)}
    if description := sources.merge_description(written):
        facts["description"] = description
    if identifier := read_content_identifier(read_maker_note(exif)):
        facts["content_identifier"] = identifier
    return facts


def _canon_boxes(file: IO[bytes], start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    for outer in walk_boxes(file, start, end):
        if outer.uuid == _CANON:
            for box in walk_boxes(file, outer.start, outer.end):
                if box.kind in _CANON_DIRECTORIES:
                    file.seek(box.start)
                    yield box.kind, file.read(min(box.end - box.start, _MAX_PART_BYTES))


def _load_exif(file: IO[bytes], head: bytes) -> Image.Exif:
    """The EXIF of a TIFF whose first four bytes may be a maker's own."""
    exif = Image.Exif()
    exif.endian = ">" if head[:2] == b"MM" else "<"
    try:
        exif.load_from_fp(file, _offset_of_first(head))
    except Exception:  # noqa: BLE001 - whatever a broken directory raises
        return Image.Exif()
    return exif


def _offset_of_first(head: bytes) -> int:
    return int.from_bytes(head[4:8], "big" if head[:2] == b"MM" else "little")


def _get(exif: Image.Exif, tag: int) -> Any:
    try:
        return exif.get(tag)
    except Exception:  # noqa: BLE001 - a field that cannot be decoded is as good as absent
        return None


def _get_bytes(exif: Image.Exif, tag: int) -> bytes:
    value = _get(exif, tag)
    return value if isinstance(value, bytes) else b""
