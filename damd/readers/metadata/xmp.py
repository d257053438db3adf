"""XMP: what people and their programs wrote about a file, from a packet in it or a sidecar beside it.

Properties and their meaning: XMP parts 1 and 2 (ISO 16684), and Exif 2.3 for XMP (CIPA DC-010). Both of RDF's
spellings count, attributes and elements. A packet that is broken says nothing; no fault of it is a fault of the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from damd.readers.metadata.captions import clean_caption
from damd.readers.plain import MAX_ITEMS, clean_line, clean_text

MAX_BYTES = 4 * 2**20
"""Of a packet; what Photoshop writes after years of edits has some hundred KiB."""

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_EXIF_EX = "{http://cipa.jp/exif/1.0/}"
_TIFF = "{http://ns.adobe.com/tiff/1.0/}"
_AUX = "{http://ns.adobe.com/exif/1.0/aux/}"
_PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"

_CONTAINERS = (f"{_RDF}Alt", f"{_RDF}Bag", f"{_RDF}Seq")
_BEGIN = re.compile(r"<(?:[A-Za-z]\w*:)?(?:xmpmeta|xapmeta|RDF)[\s>]")
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_DATE = re.compile(
    r"(\d{4})[-:](\d\d)[-:](\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,]\d+)?)?\s*(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?)?"
)
_DEGREES = re.compile(r"(\d{1,3})(?:,(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?|(\.\d+))?\s*([NSEW])")
_SIGNS = {"N": 1, "E": 1, "S": -1, "W": -1}


def read_packet(data: bytes) -> dict[str, Any]:
    """What an XMP packet says: ``description`` and ``capture``, each only where there is something to say.

    ``description`` has ``title``, ``description``, ``creator``, ``copyright``, ``rating`` (-1 to 5) and ``keywords``,
    ``capture`` has ``taken_at``, ``make``, ``model``, ``lens``, ``latitude``, ``longitude`` and ``altitude_m``, as
    `damd.readers.metadata.exif` tells; both only the keys that have a value. Nothing is raised: a packet that is
    broken, larger than `MAX_BYTES`, or brings its own entities, is ``{}``.
    """
    root = _parse(data)
    if root is None:
        return {}
    properties = _properties(root)
    found = {"description": _describe(properties), "capture": _capture(properties)}
    return {name: values for name, values in found.items() if values}


def read_moment(text: str | None) -> str | None:
    """A date of XMP's in ISO 8601: whole seconds, and the offset where it has one; or the day alone.

    XMP allows less than a day too, which says too little to be kept.
    """
    match = _DATE.fullmatch((text or "").strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, offset = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001 - the offset follows as text
    except ValueError:
        return None
    if hour is None:
        return moment.date().isoformat()
    if offset and offset != "Z":
        return moment.isoformat() + offset[:3] + ":" + offset[-2:]
    return moment.isoformat() + ("+00:00" if offset else "")


def _parse(data: bytes) -> Element | None:
    if len(data) > MAX_BYTES:
        return None
    text = _NO_XML.sub("", _decode(data))
    begin = _BEGIN.search(text)
    if begin is None:
        return None
    try:
        # From the first element to the last bracket: what lies around it is padding, and often spoilt.
        root: Element = fromstring(text[begin.start() : text.rfind(">") + 1].partition("<?xpacket")[0], forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        return None
    return root


def _decode(data: bytes) -> str:
    """As UTF-8, or as UTF-16 where every other byte of its beginning is zero."""
    head = data[:64].lstrip(b"\xef\xbb\xbf\xff\xfe \r\n\t")
    if head[1:2] == b"\0" or data[:2] == b"\xff\xfe":
        return data.decode("utf-16-le", "replace")
    if data[:2] == b"\xfe\xff" or data[:1] == b"\0":
        return data.decode("utf-16-be", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _properties(root: Element) -> dict[str, list[str]]:
    """Each property's values by its name, namespace and all; the first that is not empty where it is said twice."""
    rdf = root if root.tag == f"{_RDF}RDF" else root.find(f".//{_RDF}RDF")
    found: dict[str, list[str]] = {}
    for about in rdf.findall(f"{_RDF}Description") if rdf is not None else ():
        for name, value in about.attrib.items():
            _add(found, name, [value])
        for element in about:
            _add(found, element.tag, _values(element))
    return found


def _add(found: dict[str, list[str]], name: str, values: Iterable[str]) -> None:
    told = [value for value in values if value.strip()]
    if told:
        found.setdefault(name, told)


def _values(element: Element) -> list[str]:
    """A property's texts; of alternatives in several languages the default one comes first."""
    container = next((child for child in element if child.tag in _CONTAINERS), None)
    if container is None:
        return [_text(element)]
    items = container.findall(f"{_RDF}li")[:MAX_ITEMS]
    if container.tag == f"{_RDF}Alt":
        items.sort(key=lambda item: item.get(_LANGUAGE) != "x-default")
    return [_text(item) for item in items]


def _text(element: Element) -> str:
    value = element.find(f".//{_RDF}value")  # a value with qualifiers
    return (element if value is None else value).text or ""


def _describe(properties: Mapping[str, list[str]]) -> dict[str, Any]:
    def first(*names: str) -> str | None:
        return next((text for name in names for text in properties.get(name, ())), None)

    creators = properties.get(f"{_DC}creator") or properties.get(f"{_TIFF}Artist") or ()
    keywords = (clean_line(keyword) for keyword in properties.get(f"{_DC}subject", ()))
    found = {
        "title": clean_caption(first(f"{_DC}title", f"{_PHOTOSHOP}Headline")),
        "description": clean_caption(first(f"{_DC}description", f"{_TIFF}ImageDescription")),
        "creator": clean_text(", ".join(filter(None, map(clean_line, creators)))),
        "copyright": clean_text(first(f"{_DC}rights", f"{_TIFF}Copyright")),
        "rating": _rating(first(f"{_XMP}Rating")),
        "keywords": list(dict.fromkeys(filter(None, keywords))) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _rating(text: str | None) -> int | None:
    rating = _number(text)
    return round(rating) if rating is not None and -1 <= rating <= 5 else None


def _capture(properties: Mapping[str, list[str]]) -> dict[str, Any]:
    def first(*names: str) -> str | None:
        return next((text for name in names for text in properties.get(name, ())), None)

    dates = (f"{_EXIF}DateTimeOriginal", f"{_PHOTOSHOP}DateCreated", f"{_XMP}CreateDate")
    found: dict[str, Any] = {
        "taken_at": next(filter(None, (read_moment(first(name)) for name in dates)), None),
        "make": clean_line(first(f"{_TIFF}Make")),
        "model": clean_line(first(f"{_TIFF}Model")),
        "lens": clean_line(first(f"{_EXIF_EX}LensModel", f"{_AUX}Lens")),
        "altitude_m": _altitude(first(f"{_EXIF}GPSAltitude"), first(f"{_EXIF}GPSAltitudeRef")),
    }
    latitude, longitude = (_degrees(first(f"{_EXIF}GPS{axis}"), most) for axis, most in _AXES)
    if latitude is not None and longitude is not None:
        found |= {"latitude": latitude, "longitude": longitude}
    return {name: value for name, value in found.items() if value is not None}


_AXES = (("Latitude", 90), ("Longitude", 180))


def _degrees(text: str | None, most: int) -> float | None:
    """``52,31.2N`` or ``52,31,12N``, and ``52.52N``, which some programs write."""
    match = _DEGREES.fullmatch((text or "").strip().upper())
    if match is None or (match[5] in "NS") != (most == 90):
        return None
    degrees = float(match[1] + (match[4] or "")) + float(match[2] or 0) / 60 + float(match[3] or 0) / 3600
    return _SIGNS[match[5]] * degrees if degrees <= most else None


def _altitude(text: str | None, below: str | None) -> float | None:
    altitude = _number(text)
    if altitude is None or not -1_000 < altitude <= 100_000:
        return None
    return -altitude if (below or "").strip() in ("1", "1/1") else altitude


def _number(text: str | None) -> float | None:
    """A decimal number, or a fraction."""
    numerator, _, denominator = (text or "").strip()[:64].partition("/")
    try:
        number = float(numerator) / float(denominator or 1)
    except (ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) else None
