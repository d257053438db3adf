"""Sidecars: XMP, and the JSON of Google Takeout, exiftool and osxphotos, as descriptions of the file beside them.

XMP is recognised by its elements, JSON by keys that no other JSON has; whatever else comes as XML or JSON is no
sidecar, and no fault of its own. Google's keys are told at https://exiftool.org/forum/index.php?topic=11064, the
names of tags at https://exiftool.org/TagNames/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from damd.errors import BrokenFileError, UnreadableFileError, UnsupportedTypeError
from damd.readers.metadata.xmp import read_moment, read_packet
from damd.readers.opening import opened
from damd.readers.plain import MAX_ITEMS, clean_line, clean_text

MAX_BYTES = 8 * 2**20
"""Of a sidecar; darktable's, with a long history and drawn masks, take some hundred KiB."""

_MAX_ELEMENTS = 200_000
_PADDING = b"\0 \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}RDF"
_ROOTS = frozenset({"{adobe:ns:meta/}xmpmeta", "{adobe:ns:meta/}xapmeta", _RDF})
_NAMES = (
    "{http://ns.adobe.com/camera-raw-settings/1.0/}RawFileName",
    "{http://ns.adobe.com/xap/1.0/mm/}DerivedFrom",
)
"""Where Camera Raw, and darktable, write the name of the file that a sidecar is for."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE_SECONDS = re.compile(r"-?\d{1,12}")
_FAVOURITE = 5


def read(path: str, *, previews: list[dict[str, Any]], format: str, quality: int, max_pixels: int) -> dict[str, Any]:  # noqa: A002, ARG001 - what every reader is asked; a sidecar shows nothing
    """Read one sidecar.

    Its arguments are those of every reader, see `damd.readers.previews`; there is nothing to preview.

    Returns:
        ``properties`` with ``kind`` (``xmp``, ``takeout``, or ``exiftool``, whose format osxphotos writes too) and
        ``names``, the name of the file that it says it belongs to, or None; ``description`` and ``capture``, as the
        components of these names have them, each empty where it says nothing; ``previews``, none.

    Raises:
        BrokenFileError: It is empty, or XMP that cannot be parsed.
        UnsupportedTypeError: It is no sidecar.
        UnreadableFileError: The system does not let it be read.
    """
    data = _contents(path)
    if b"\0" not in data[:64]:  # in UTF-16 a NUL at the end is half a letter
        data = data.strip(_PADDING).removeprefix(_BYTE_ORDER_MARK)
    found = _read_json(data) if data[:1] in (b"{", b"[") else _read_xmp(data)
    return {"description": {}, "capture": {}, **found, "previews": []}


def _contents(path: str) -> bytes:
    with opened(path) as file:
        try:
            data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableFileError(error) from error
    if not data:
        raise BrokenFileError("The file is empty")
    if len(data) > MAX_BYTES:
        raise UnsupportedTypeError
    return data


def _read_xmp(data: bytes) -> dict[str, Any]:
    if data.count(b"<") > _MAX_ELEMENTS:
        raise UnsupportedTypeError
    packet = read_packet(data)
    fault = "its XMP cannot be parsed"
    try:
        root: Element | None = fromstring(data, forbid_dtd=True)
    except DefusedXmlException:
        root, fault = None, "it declares entities of its own, which no XMP does, and none of them is expanded"
    except (ParseError, ValueError, LookupError):
        root = None
    if root is None and not packet and _looks_like_xmp(data):
        raise BrokenFileError(f"The sidecar is damaged: {fault}")
    if not packet and (root is None or root.tag not in _ROOTS or (root.tag == _RDF and b"ns.adobe.com" not in data)):
        raise UnsupportedTypeError
    names = None if root is None else _named_in(root)
    return {"properties": {"kind": "xmp", "names": names}, **packet}


def _looks_like_xmp(data: bytes) -> bool:
    narrow = data.replace(b"\0", b"")
    return b"xmpmeta" in narrow or b":RDF" in narrow


def _named_in(root: Element) -> str | None:
    for element in root.iter():
        for name in _NAMES:
            # As an attribute, or as an element of its own; where it is a structure there is no name in it.
            if found := _file_name(element.get(name) or (element.text if element.tag == name else None)):
                return found
    return None


def _file_name(value: object) -> str | None:
    """The last part of a path, of Windows' kind too; None for what no file can be called."""
    name = re.split(r"[/\\]", clean_line(value, 4_000) or "")[-1]
    return name if name not in {"", ".", ".."} and len(name) <= 255 else None


def _read_json(data: bytes) -> dict[str, Any]:
    # Most of the world's JSON is none of ours, and need not even be parsed.
    if b'"photoTakenTime"' not in data and b'"SourceFile"' not in data:
        raise UnsupportedTypeError
    try:
        said = json.loads(data, parse_constant=lambda name: None)  # noqa: ARG005 - its interface
    except (ValueError, RecursionError) as error:
        raise UnsupportedTypeError from error
    if isinstance(said, list):
        # exiftool writes a list of what it was asked about: a sidecar is about one file.
        said = said[0] if len(said) == 1 else None
    if not isinstance(said, dict):
        raise UnsupportedTypeError
    if isinstance(said.get("photoTakenTime"), dict):
        return _takeout(said)
    if isinstance(said.get("SourceFile"), str):
        return _exiftool(said)
    raise UnsupportedTypeError


def _takeout(said: Mapping[str, Any]) -> dict[str, Any]:
    """Google's ``title`` is the file's name; a favourite gets five stars, as the exporters of other albums do it."""
    people = (person.get("name") for person in _items(said.get("people")) if isinstance(person, dict))
    description = {
        "description": clean_text(said.get("description")),
        "rating": _FAVOURITE if said.get("favorited") is True else None,
        "keywords": _keywords(people),
    }
    taken = {"taken_at": _since_1970(said["photoTakenTime"].get("timestamp"))}
    capture = taken | (_position(said.get("geoData")) or _position(said.get("geoDataExif")))
    names = _file_name(said.get("title"))
    return _facts("takeout", names, description, capture)


def _since_1970(seconds: object) -> str | None:
    text = str(seconds) if isinstance(seconds, str | int) else ""
    if not _WHOLE_SECONDS.fullmatch(text):
        return None
    try:
        return (_EPOCH + timedelta(seconds=int(text))).isoformat()
    except OverflowError:
        return None


def _position(place: object) -> dict[str, Any]:
    """Where it was taken; Google writes zeros where it does not know."""
    if not isinstance(place, dict):
        return {}
    latitude, longitude = _number(place.get("latitude"), 90), _number(place.get("longitude"), 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return {}
    altitude = _number(place.get("altitude"), 100_000)
    return {"latitude": latitude, "longitude": longitude, "altitude_m": altitude or None}


def _exiftool(said: Mapping[str, Any]) -> dict[str, Any]:
    """One object of exiftool's, with or without the groups before the tags."""
    # Two groups may have the same tag; the first, in exiftool's order, is the one it prefers.
    tags: dict[str, Any] = {}
    for name, value in said.items():
        tags.setdefault(name.rpartition(":")[2], value)

    def first(*names: str) -> Any:
        return next((tags[name] for name in names if tags.get(name) not in (None, "", [])), None)

    rating = _number(first("Rating"), 5)
    description = {
        "title": clean_text(_joined(first("Title", "ObjectName", "Headline"))),
        "description": clean_text(_joined(first("Description", "ImageDescription", "Caption-Abstract"))),
        "creator": clean_text(_joined(first("Creator", "Artist", "By-line"))),
        "copyright": clean_text(_joined(first("Rights", "Copyright", "CopyrightNotice"))),
        "rating": None if rating is None else max(-1, round(rating)),
        "keywords": _keywords([*_items(first("Keywords")), *_items(first("Subject"))]),
    }
    taken_at = _joined(first("DateTimeOriginal", "CreateDate")) or ""
    capture = {
        "taken_at": read_moment(taken_at) or read_moment(taken_at[:19]),
        "make": clean_line(first("Make")),
        "model": clean_line(first("Model")),
        "lens": clean_line(first("LensModel", "Lens")),
        **_position({axis: first(f"GPS{axis.capitalize()}") for axis in ("latitude", "longitude", "altitude")}),
    }
    return _facts("exiftool", _file_name(said["SourceFile"]), description, capture)


def _facts(kind: str, names: str | None, description: Mapping[str, Any], capture: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "properties": {"kind": kind, "names": names},
        "description": {name: value for name, value in description.items() if value is not None},
        "capture": {name: value for name, value in capture.items() if value is not None},
    }


def _items(value: object) -> list[Any]:
    return value[:MAX_ITEMS] if isinstance(value, list) else [] if value is None else [value]


def _joined(value: object) -> str | None:
    """A text, or several with commas; exiftool writes a number where a text looks like one."""
    return ", ".join(str(item) for item in _items(value) if isinstance(item, str | int | float)) or None


def _keywords(values: Iterable[object]) -> list[str] | None:
    lines = (clean_line(str(value) if isinstance(value, int | float) else value) for value in values)
    return list(dict.fromkeys(filter(None, lines)))[:MAX_ITEMS] or None


def _number(value: object, most: float) -> float | None:
    """A number, at most so far from zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= most else None  # in this order: an integer may be too long for a float
