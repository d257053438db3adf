"""What a camera wrote about the capture: time, device, exposure and place, as plain JSON values.

Cameras, phones and editors write EXIF carelessly, so each field is read alone, and one that is missing,
broken or impossible is left out; no fault of the metadata is a fault of the image. Tags and units: EXIF
3.0 (CIPA DC-008).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from damd.readers.metadata.captions import clean_caption
from damd.readers.metadata.makernote import read_iso
from damd.readers.plain import MAX_CHARACTERS, MAX_ITEMS, clean_line, clean_text

MAX_TEXT = 200
"""Characters that are kept of a text."""

_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825
_ORIENTATION, _MAKE, _MODEL = 0x0112, 0x010F, 0x0110
_ORIGINAL, _DIGITIZED = (0x9003, 0x9011), (0x9004, 0x9012)
_EXPOSURE, _APERTURE, _FOCAL_LENGTH, _LENS = 0x829A, 0x829D, 0x920A, 0xA434
_ISO, _RECOMMENDED_INDEX, _ISO_OVERFLOW = 0x8827, 0x8832, 65535
_IMAGE_DESCRIPTION, _ARTIST, _COPYRIGHT, _RATING, _MAKER_NOTE = 0x010E, 0x013B, 0x8298, 0x4746, 0x927C
_WINDOWS_TITLE, _WINDOWS_COMMENT, _WINDOWS_AUTHOR, _WINDOWS_KEYWORDS = 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E
_LATITUDE, _LONGITUDE, _ALTITUDE = (0x0001, 0x0002), (0x0003, 0x0004), (0x0005, 0x0006)
_GPS_TIME, _GPS_DATE, _FIRST_YEAR = 0x0007, 0x001D, 1980
"""The satellites' time begins in that year, and receivers without any begin with it."""

_DATE = re.compile(r"(\d{4})[:/.-]([ \d]?\d)[:/.-]([ \d]?\d)[ T]+([ \d]?\d):([ \d]?\d):([ \d]?\d)")
_DAY = re.compile(r"(\d{4})[:/.-](\d\d)[:/.-](\d\d)")
_OFFSET = re.compile(r"[+-](?:0\d|1[0-4]):[0-5]\d")


def read_exif(image: Image.Image) -> Image.Exif:
    """The image's EXIF; an empty one when it has none or it is broken beyond use.

    A TIFF's must be read before its pixels are, since Pillow turns it upright and forgets what it said.
    """
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - whatever broken metadata raises, the picture may be whole
        return Image.Exif()


def read_orientation(exif: Image.Exif) -> int:
    """1 to 8 as EXIF has it; 1 when it says nothing or nonsense."""
    orientation = _field(exif, _ORIENTATION)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def read_capture(exif: Image.Exif) -> dict[str, Any]:
    """The capture's details; only the keys that the file has a sound value for.

    ``taken_at`` is ISO 8601 in whole seconds, local to the camera: DateTimeOriginal, or else
    DateTimeDigitized, with an offset from UTC when the file names that too. Plain DateTime is when the
    file was last changed, which editors do, so it never counts as the time of capture. ``exposure_s`` in
    seconds, ``aperture`` as the f-number, ``iso``, which the maker's note tells where EXIF does not,
    ``focal_length_mm`` as the lens says it. ``latitude`` and ``longitude`` in degrees, both or neither;
    ``altitude_m`` in metres above the sea.
    """
    details = _directory(exif, _EXIF_DIRECTORY)
    make = _text(_field(exif, _MAKE))
    found = {
        "taken_at": _moment(details, exif),
        "make": make,
        "model": _text(_field(exif, _MODEL)),
        "lens": _text(_field(details, _LENS)),
        "exposure_s": _number(_field(details, _EXPOSURE), above=0, most=86_400 * 366),
        "aperture": _number(_field(details, _APERTURE), above=0, most=1_000),
        "iso": _sensitivity(details) or read_iso(_note(details), make),
        "focal_length_mm": _number(_field(details, _FOCAL_LENGTH), above=0, most=100_000),
        **_place(_directory(exif, _GPS_DIRECTORY)),
    }
    return {name: value for name, value in found.items() if value is not None}


def read_description(exif: Image.Exif) -> dict[str, Any]:
    """What people wrote: ``title``, ``description``, ``creator``, ``copyright``, ``rating`` and ``keywords``.

    Only the keys that the file has a value for. Besides EXIF's own fields those of Windows' Explorer are read.
    """
    keywords = (clean_line(keyword) for keyword in (_windows_text(exif, _WINDOWS_KEYWORDS) or "").split(";"))
    rating = _field(exif, _RATING)
    found = {
        "title": clean_caption(_windows_text(exif, _WINDOWS_TITLE)),
        "description": _long_text(exif, _IMAGE_DESCRIPTION) or clean_caption(_windows_text(exif, _WINDOWS_COMMENT)),
        "creator": _long_text(exif, _ARTIST) or clean_text(_windows_text(exif, _WINDOWS_AUTHOR)),
        "copyright": _long_text(exif, _COPYRIGHT),
        "rating": rating if isinstance(rating, int) and 0 <= rating <= 5 else None,
        "keywords": list(dict.fromkeys(filter(None, keywords)))[:MAX_ITEMS] or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def read_maker_note(exif: Image.Exif) -> bytes:
    """The maker's own notes as they are, empty where there are none."""
    return _note(_directory(exif, _EXIF_DIRECTORY))


def read_fix(exif: Image.Exif) -> dict[str, Any]:
    """``taken_at`` as the satellites had it, in UTC: for a picture that says its time nowhere else."""
    gps = _directory(exif, _GPS_DIRECTORY)
    date, clock = _DAY.fullmatch(_text(_field(gps, _GPS_DATE)) or ""), _field(gps, _GPS_TIME)
    if date is None or not isinstance(clock, tuple) or len(clock) != 3:
        return {}
    parts = [_number(part, above=-1, most=60) for part in clock]
    try:
        moment = datetime(*map(int, (*date.groups(), *(-1 if part is None else part for part in parts))), tzinfo=UTC)  # type: ignore[arg-type, misc]  # six numbers
    except ValueError:
        return {}
    return {"taken_at": moment.isoformat()} if moment.year > _FIRST_YEAR else {}


def _note(details: Mapping[int, Any]) -> bytes:
    note = _field(details, _MAKER_NOTE)
    return note if isinstance(note, bytes) else b""


def _long_text(exif: Image.Exif, tag: int) -> str | None:
    """A text of any length; Pillow takes its bytes for Latin-1, and many programs write UTF-8."""
    value = _field(exif, tag)
    if isinstance(value, tuple) and value:
        value = value[0]
    return clean_caption(value[: 4 * MAX_CHARACTERS].encode("latin-1", "replace") if isinstance(value, str) else value)


def _windows_text(exif: Image.Exif, tag: int) -> str | None:
    value = _field(exif, tag)
    if isinstance(value, tuple) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        value = bytes(value)
    return value[: 4 * MAX_CHARACTERS].decode("utf-16-le", "replace") if isinstance(value, bytes) else None


def _field(directory: Mapping[int, Any], tag: int) -> Any:
    try:
        return directory.get(tag)
    except Exception:  # noqa: BLE001 - a field that cannot be decoded is as good as absent
        return None


def _directory(exif: Image.Exif, pointer: int) -> Mapping[int, Any]:
    """A directory that decodes each field when it is asked for, so that a broken one harms no other."""
    offset = _field(exif, pointer)
    if not isinstance(offset, int):
        return {}
    try:
        directory = ImageFileDirectory_v2(exif.head, group=pointer)
        exif.fp.seek(offset)
        directory.load(exif.fp)
    except Exception:  # noqa: BLE001 - an unreadable directory is as good as absent
        return {}
    return directory


def _text(value: Any) -> str | None:
    """Printable, stripped, at most `MAX_TEXT` characters; up to the first NUL, as EXIF ends its texts."""
    if isinstance(value, tuple) and value:
        value = value[0]
    if isinstance(value, str):
        # Pillow takes the bytes for Latin-1; many cameras write UTF-8.
        value = value.encode("latin-1", "replace")
    if not isinstance(value, bytes):
        return None
    raw = value.partition(b"\0")[0][: 8 * MAX_TEXT]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = "".join(letter if letter.isprintable() else " " if letter.isspace() else "" for letter in text)
    return text.strip()[:MAX_TEXT].rstrip() or None


def _number(value: Any, *, above: float, most: float) -> float | None:
    """A finite number with ``above < number <= most``."""
    if isinstance(value, tuple) and value:
        value = value[0]
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) and above < number <= most else None


def _sensitivity(details: Mapping[int, Any]) -> int | None:
    iso = _number(_field(details, _ISO), above=0, most=_ISO_OVERFLOW)
    if iso == _ISO_OVERFLOW:
        iso = _number(_field(details, _RECOMMENDED_INDEX), above=0, most=2**31 - 1)
    return int(iso) if iso and iso >= 1 else None


def _moment(details: Mapping[int, Any], exif: Mapping[int, Any]) -> str | None:
    for date_tag, offset_tag in (_ORIGINAL, _DIGITIZED):
        # Some programs put it into the first directory, where it does not belong.
        date = _DATE.match(_text(_field(details, date_tag)) or _text(_field(exif, date_tag)) or "")
        if date is None:
            continue
        try:
            moment = datetime(*map(int, date.groups())).isoformat()  # type: ignore[arg-type]  # noqa: DTZ001 - six numbers, and local to the camera
        except ValueError:
            continue
        offset = _text(_field(details, offset_tag)) or ""
        return moment + (offset if _OFFSET.fullmatch(offset) else "+00:00" if offset == "Z" else "")
    return None


def _place(gps: Mapping[int, Any]) -> dict[str, float]:
    place = {}
    latitude = _degrees(gps, _LATITUDE, {"N": 1, "S": -1}, 90)
    longitude = _degrees(gps, _LONGITUDE, {"E": 1, "W": -1}, 180)
    if latitude is not None and longitude is not None:
        place = {"latitude": latitude, "longitude": longitude}
    altitude = _number(_field(gps, _ALTITUDE[1]), above=-1, most=100_000)
    if altitude is not None:
        below = _field(gps, _ALTITUDE[0])
        place["altitude_m"] = -altitude if below in (1, 3, b"\1", b"\3", "1", "3") else altitude
    return place


def _degrees(gps: Mapping[int, Any], tags: tuple[int, int], directions: Mapping[str, int], most: int) -> float | None:
    """Degrees, minutes and seconds, signed by the direction beside them, without which they mean nothing."""
    parts = _field(gps, tags[1])
    sign = directions.get((_text(_field(gps, tags[0])) or "").upper())
    if sign is None or not isinstance(parts, tuple) or len(parts) > 3:
        return None
    numbers = [_number(part, above=-1, most=2**32) for part in parts]
    if not numbers or None in numbers:
        return None
    degrees = sum(number / 60**power for power, number in enumerate(numbers) if number is not None)
    return sign * degrees if 0 <= degrees <= most else None
