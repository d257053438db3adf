"""All that an image says about itself, from EXIF, XMP and IPTC together.

About the capture the camera knows best, so EXIF comes first. About what people wrote, XMP does, which every program
of today keeps up to date, then IPTC, then EXIF (the order of the Metadata Working Group's guidelines, 2010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from damd.readers.formats.photoshop import iterate_resources
from damd.readers.metadata.exif import read_capture, read_description, read_fix, read_maker_note
from damd.readers.metadata.iptc import read_iptc
from damd.readers.metadata.makernote import read_content_identifier
from damd.readers.metadata.xmp import read_packet

_XMP, _IPTC, _PHOTOSHOP = 700, 33723, 34377
"""Tags of a TIFF."""
_IPTC_RESOURCE = 0x0404
_PLACE = ("latitude", "longitude")


def read_metadata(image: Image.Image, exif: Image.Exif) -> dict[str, Any]:
    """What an open image says: ``capture``, and where there is one ``description`` and ``content_identifier``.

    A TIFF must not have been loaded yet, since Pillow forgets its tags then.
    """
    xmp = read_packet(_xmp(image))
    iptc = read_iptc(_iptc(image))
    written = [xmp.get("description", {}), iptc.get("description", {}), read_description(exif)]
    taken = [read_capture(exif), xmp.get("capture", {}), iptc.get("capture", {}), read_fix(exif)]
    found: dict[str, Any] = {"capture": merge_capture(taken)}
    if description := merge_description(written):
        found["description"] = description
    if identifier := read_content_identifier(read_maker_note(exif)):
        found["content_identifier"] = identifier
    return found


def merge_capture(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each value from the first that has it; a position whole, and never half of one and half of another."""
    merged: dict[str, Any] = {}
    for layer in layers:
        has_place = any(name in merged for name in _PLACE)
        merged |= {
            name: value
            for name, value in layer.items()
            if name not in merged and not (has_place and name in (*_PLACE, "altitude_m"))
        }
    return merged


def merge_description(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each value from the first that has it, and everybody's keywords, none of them twice."""
    merged: dict[str, Any] = {}
    keywords: dict[str, None] = {}
    for layer in layers:
        merged |= {name: value for name, value in layer.items() if name not in merged}
        keywords |= dict.fromkeys(layer.get("keywords", ()))
    return merged | ({"keywords": list(keywords)} if keywords else {})


def _xmp(image: Image.Image) -> bytes:
    return _bytes(image.info.get("xmp")) or _tag(image, _XMP)


def _iptc(image: Image.Image) -> bytes:
    resources = image.info.get("photoshop")
    if isinstance(resources, dict):
        return _bytes(resources.get(_IPTC_RESOURCE))
    if found := _bytes(image.info.get("iptc")) or _tag(image, _IPTC):
        return found
    return dict(iterate_resources(_tag(image, _PHOTOSHOP))).get(_IPTC_RESOURCE, b"")


def _tag(image: Image.Image, tag: int) -> bytes:
    """A TIFF's field as it lies in the file, since Photoshop calls IPTC's bytes whole numbers."""
    raw = getattr(getattr(image, "tag_v2", None), "_tagdata", None)
    return _bytes(raw.get(tag)) if isinstance(raw, dict) else b""


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return bytes(value) if isinstance(value, bytes | bytearray) else b""
