"""IPTC's older metadata, IIM, which picture agencies and archives write beside XMP or instead of it.

Layout and datasets: IPTC-NAA Information Interchange Model 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from damd.readers.metadata.captions import clean_caption
from damd.readers.metadata.xmp import read_moment
from damd.readers.plain import MAX_ITEMS, clean_line, clean_text

_MARK = 0x1C
_UTF_8 = b"\x1b%G"
_CHARACTER_SET = (1, 90)
_TITLE, _KEYWORDS, _DATE, _TIME, _BY_LINE = (2, 5), (2, 25), (2, 55), (2, 60), (2, 80)
_HEADLINE, _COPYRIGHT, _CAPTION = (2, 105), (2, 116), (2, 120)
_MAX_DATASETS = 2 * MAX_ITEMS


def read_iptc(data: bytes) -> dict[str, Any]:
    """What the datasets say, in the shape of `damd.readers.metadata.xmp.read_packet`; nothing is raised.

    Texts are UTF-8 where the file says so or they could be nothing else, and Windows' Latin-1 otherwise.
    """
    found: dict[tuple[int, int], list[bytes]] = {}
    for key, value in _iterate(data):
        found.setdefault(key, []).append(value)
    says_utf_8 = _UTF_8 in found.get(_CHARACTER_SET, ())
    texts = {key: [_decode(value, says_utf_8=says_utf_8) for value in values] for key, values in found.items()}
    described = _describe(texts)
    taken_at = _moment(texts)
    return ({"description": described} if described else {}) | ({"capture": {"taken_at": taken_at}} if taken_at else {})


def _iterate(data: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """The datasets up to the first that is broken."""
    position = 0
    for _ in range(_MAX_DATASETS):
        head = data[position : position + 5]
        if len(head) < 5 or head[0] != _MARK:
            return
        length = int.from_bytes(head[3:], "big")
        position += 5
        if length & 0x8000:  # the length of a length
            size = length & 0x7FFF
            if size > 4:
                return
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        yield (head[1], head[2]), data[position : position + length]
        position += length


def _decode(raw: bytes, *, says_utf_8: bool) -> str:
    raw = raw[:16_000]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8" if says_utf_8 else "cp1252", "replace")


def _describe(texts: dict[tuple[int, int], list[str]]) -> dict[str, Any]:
    def first(*keys: tuple[int, int]) -> str | None:
        return next((text for key in keys for text in texts.get(key, ()) if text.strip()), None)

    found = {
        "title": clean_caption(first(_TITLE, _HEADLINE)),
        "description": clean_caption(first(_CAPTION)),
        "creator": clean_text(", ".join(filter(None, map(clean_line, texts.get(_BY_LINE, ()))))),
        "copyright": clean_text(first(_COPYRIGHT)),
        "keywords": list(dict.fromkeys(filter(None, map(clean_line, texts.get(_KEYWORDS, ()))))) or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _moment(texts: dict[tuple[int, int], list[str]]) -> str | None:
    """``CCYYMMDD`` and ``HHMMSS±HHMM``; the day alone where there is no time."""
    date, time = ((texts.get(key) or [""])[0].strip() for key in (_DATE, _TIME))
    if len(date) != 8:
        return None
    day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    moment = read_moment(f"{day}T{time[:2]}:{time[2:4]}:{time[4:6]}{time[6:]}")
    return moment or read_moment(day)
