"""Plain data within bounds: all that may leave a worker, and all that the daemon believes it was sent.

A file says whatever it likes, at any length. What a reader returns passes through `plain` on both sides of the
pipe, so that neither a reader that forgot nor a worker that was taken over brings more into the catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_CHARACTERS = 4_000
"""Of a text. The longest captions of picture agencies have some 2,000 (IPTC's field ends there)."""
MAX_ITEMS = 1_000
"""Of a list, and of an object's keys."""
MAX_DEPTH = 8
MAX_VALUES = 10_000
"""Of everything that one file yields."""
_INTEGERS = range(-(2**63), 2**63)
_KEPT = "\n\u200c\u200d"
"""Line ends, and the joiners that several scripts and most families of emoji are written with."""


def clean_text(value: object, limit: int = MAX_CHARACTERS) -> str | None:
    """A text as people may see it: no NUL, no control characters but line ends, stripped and cut; None for no text.

    Bytes are UTF-8, or else Latin-1. A text ends at its first NUL, as C's do.
    """
    if isinstance(value, bytes):
        value = _decode(value[: 4 * limit].partition(b"\0")[0], is_cut=len(value) > 4 * limit)
    if not isinstance(value, str):
        return None
    # Cut first, generously, so that 50 MB of text cost nothing.
    text = value[: 4 * limit].partition("\0")[0]
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(char if char.isprintable() or char in _KEPT else " " if char.isspace() else "" for char in text)
    return text.strip()[:limit].rstrip() or None


def clean_line(value: object, limit: int = 200) -> str | None:
    """A text, as `clean_text` makes it, on one line."""
    text = clean_text(value)
    return None if text is None else " ".join(text.split())[:limit].rstrip() or None


def _decode(raw: bytes, *, is_cut: bool) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if is_cut and error.start >= len(raw) - 3:  # within a character
            return raw[: error.start].decode("utf-8")
        return raw.decode("latin-1")


def plain(value: Any) -> Any:
    """The value as JSON can say it, within the bounds above.

    Texts are cleaned, and empty where nothing is left; numbers that are not finite, or take more than 64 bits,
    become None; what is too much of a list or an object is left out, and so is what lies too deep.

    Raises:
        TypeError: Something in it is no plain data.
    """
    return _Plain().of(value, 0)


class _Plain:
    def __init__(self) -> None:
        self._left = MAX_VALUES

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        match value:
            case None | bool():
                return value
            case str():
                return clean_text(value) or ""
            case int():
                return int(value) if value in _INTEGERS else None
            case float():
                return float(value) if math.isfinite(value) else None
            case Mapping():
                return self._object(value, depth + 1)
            case list() | tuple():
                return self._list(value, depth + 1)
        raise TypeError(f"{type(value).__name__} is no plain data")

    def _object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            return {}
        found = {}
        for key in list(value)[:MAX_ITEMS]:
            if self._left <= 0:
                break
            if not isinstance(key, str):
                raise TypeError(f"a key of type {type(key).__name__} is no plain data")
            found[clean_text(key, 100) or ""] = self.of(value[key], depth)
        return found

    def _list(self, value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        if depth > MAX_DEPTH:
            return []
        return [self.of(item, depth) for item in value[: max(0, min(MAX_ITEMS, self._left))]]
