"""What a film's metadata say: when, where and with what it was taken, and what people wrote about it.

Every container and every maker has names of its own; FFmpeg has brought some together already. Names are in
lower case, as `damd.readers.streams.container.texts` gives them. What is missing, broken or impossible is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from damd.readers.plain import clean_line

_APPLE, _ANDROID = "com.apple.quicktime.", "com.android."
_LOCAL_MOMENTS = (_APPLE + "creationdate", "date", "date_recorded", "icrd")
_UTC_MOMENTS = ("creation_time", "date_digitized")
_PLACES = (_APPLE + "location.iso6709", "location", "location-eng", "xyz", "©xyz")
_MAKES = (_APPLE + "make", _ANDROID + "manufacturer", "make", "manufacturer")
_MODELS = (_APPLE + "model", _ANDROID + "model", "model")
_TITLES = (_APPLE + "title", _APPLE + "displayname", "title", "name")
_DESCRIPTIONS = (_APPLE + "description", _APPLE + "comment", "description", "synopsis", "comment", "isbj")
_CREATORS = (_APPLE + "author", _APPLE + "artist", _APPLE + "director", "artist", "author", "director", "creator")
_COPYRIGHTS = (_APPLE + "copyright", "copyright")
_KEYWORDS = (_APPLE + "keywords", "keywords", "keyword", "ikey")
_RATINGS = (_APPLE + "rating.user", "rating")
_IDENTIFIER = _APPLE + "content.identifier"
_MAX_KEYWORDS = 200

_MOMENT = re.compile(
    r"(\d{4})[-:/](\d\d?)[-:/](\d\d?)[ T]+(\d\d?):(\d\d):(\d\d)(?:[.,]\d+)? ?(Z|UTC|[+-]\d\d:?\d\d)?", re.IGNORECASE
)
_DAY = re.compile(r"(\d{4})([-:/])(\d\d)\2(\d\d)")
_NEVER = {(1904, 1, 1), (1970, 1, 1), (1903, 12, 31), (1969, 12, 31)}
"""The days on which clocks begin, in every time zone: QuickTime's and Unix's, of a camera that has none."""
_NUMBER = r"[+-]\d+(?:\.\d+)?"
_ISO_6709 = re.compile(rf"({_NUMBER})({_NUMBER})({_NUMBER})?(?:CRS[\w:/]*)?/?")


def read_capture(tags: Mapping[str, str]) -> dict[str, Any]:
    """The capture's details, only the keys that there is a sound value for; see `damd.readers.metadata.exif`.

    ``taken_at`` is the camera's own time where the file has it, with an offset where it says one; else
    the time in UTC that most containers have, ``+00:00``; else the day alone.
    """
    found = {
        "taken_at": _taken_at(tags),
        "make": clean_line(_first(tags, _MAKES)),
        "model": clean_line(_first(tags, _MODELS)),
        **_place(tags),
    }
    return {name: value for name, value in found.items() if value is not None}


def read_description(tags: Mapping[str, str]) -> dict[str, Any]:
    """``title``, ``description``, ``creator``, ``copyright``, ``keywords`` ``rating``: those that are there."""
    found: dict[str, Any] = {
        "title": _first(tags, _TITLES),
        "description": _first(tags, _DESCRIPTIONS),
        "creator": _first(tags, _CREATORS),
        "copyright": _first(tags, _COPYRIGHTS),
        "rating": _rating(_first(tags, _RATINGS)),
    }
    words = re.split(r"[,;\n]", _first(tags, _KEYWORDS) or "")
    keywords = dict.fromkeys(word for word in map(clean_line, words) if word)
    if keywords:
        found["keywords"] = list(keywords)[:_MAX_KEYWORDS]
    return {name: value for name, value in found.items() if value is not None}


def read_identifier(tags: Mapping[str, str]) -> str | None:
    """What a Live Photo's film shares with its picture."""
    return clean_line(tags.get(_IDENTIFIER), 64)


def _first(tags: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((tags[name] for name in names if name in tags), None)


def _taken_at(tags: Mapping[str, str]) -> str | None:
    for name in (*_LOCAL_MOMENTS, *_UTC_MOMENTS):
        if moment := _moment(tags.get(name, "")):
            return moment
    return next(filter(None, (_day(tags.get(name, "")) for name in _LOCAL_MOMENTS)), None)


def _moment(text: str) -> str | None:
    """ISO 8601 in whole seconds, with the offset that the text has."""
    found = _MOMENT.match(text)
    if found is None:
        return None
    *numbers, offset = found.groups()
    try:
        moment = datetime(*map(int, numbers))  # type: ignore[arg-type]  # noqa: DTZ001 - six numbers, and local to the camera
    except ValueError:
        return None
    if (moment.year, moment.month, moment.day) in _NEVER or moment.year < 1900:
        return None
    return moment.isoformat() + _offset(offset)


def _day(text: str) -> str | None:
    """ISO 8601 of a day alone, which is all that some cameras write into an AVI."""
    found = _DAY.fullmatch(text.strip())
    try:
        day = date(int(found[1]), int(found[3]), int(found[4])) if found else None
    except ValueError:
        return None
    return day.isoformat() if day and day.year >= 1900 and (day.year, day.month, day.day) not in _NEVER else None


def _offset(text: str | None) -> str:
    if not text:
        return ""
    if text[0] not in "+-":
        return "+00:00"
    hours, minutes = int(text[1:3]), int(text[-2:])
    return f"{text[:3]}:{text[-2:]}" if hours <= 14 and minutes < 60 else ""


def _place(tags: Mapping[str, str]) -> dict[str, float]:
    """Latitude, longitude and altitude of an ISO 6709 text; 0, 0 is what phones write that do not know."""
    for name in _PLACES:
        found = _ISO_6709.match(tags.get(name, ""))
        if found is None:
            continue
        latitude, longitude = _degrees(found[1], 2, 90), _degrees(found[2], 3, 180)
        if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
            continue
        place = {"latitude": latitude, "longitude": longitude}
        if found[3] and math.isfinite(altitude := float(found[3])) and abs(altitude) <= 100_000:
            place["altitude_m"] = altitude
        return place
    return {}


def _degrees(text: str, digits: int, most: int) -> float | None:
    """Degrees, with minutes and seconds where there are two or four digits more (ISO 6709, annex H)."""
    sign, whole, fraction = text[0], *text[1:].partition(".")[::2]
    more = len(whole) - digits
    if more not in (0, 2, 4):
        # Some write too few zeros in front; nothing but degrees can be meant.
        if more > 0 or not whole:
            return None
        more = 0
    parts = [float(whole[:digits] if more else whole)]
    parts += [float(whole[at : at + 2]) for at in range(digits, digits + more, 2)]
    if any(part >= 60 for part in parts[1:]):
        return None
    parts[-1] += float(f"0.{fraction}") if fraction else 0.0
    degrees = sum(part * 60.0**-power for power, part in enumerate(parts))
    if degrees > most:
        return None
    return round(-degrees if sign == "-" else degrees, 9)


def _rating(text: str | None) -> int | None:
    """0 to 5 stars."""
    if text is None or re.fullmatch(r"\d(?:\.\d*)?", text) is None:
        return None
    stars = round(float(text))
    return stars if 0 <= stars <= 5 else None
