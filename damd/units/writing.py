r"""Paths and words as systemd reads them: quoting, escapes and specifiers (systemd.syntax(7), systemd.unit(5)).

Not every setting knows the same escapes, which no manual says; this was found by asking systemd 252. Commands know C's
(``\xff``). Lists of paths know only a backslash before a character that is to be taken as it is, so that a path with a
line break, or one that is no UTF-8, cannot be written in them at all.
"""

from __future__ import annotations

import os
import string
from pathlib import Path

from damd.errors import DamdError

_BREAKS = frozenset("\n\r\0")
"""What ends a line to systemd, wherever it stands."""

_PLAIN_IN_NAMES = frozenset((string.ascii_letters + string.digits + ":_.").encode())
_LONGEST_NAME = 255


def argument(word: str) -> str:
    """One word of a command line; whatever its bytes are, they arrive."""
    written = "".join(_escaped(byte) for byte in os.fsencode(word))
    plain = written == word.replace("%", "%%") and not set(word) & set(" ;'")
    return written if plain and word else f'"{written}"'


def program(path: Path) -> str:
    """The first word of a command line.

    Raises:
        DamdError: systemd starts no program of such a path.
    """
    text = str(path)
    if not _can_be_written(text) or set(text) & set("\"'\\") or any(each < " " or each == "\x7f" for each in text):
        raise DamdError(f"systemd starts no program with such a path: {shown(path)}: install damd elsewhere")
    return _quoted(text)  # its $ stays as it is, unlike that of the other words


def path_entry(path: Path, *, may_be_missing: bool = False) -> str | None:
    """An entry of a list of paths, such as ``ReadOnlyPaths=``; None where this path cannot be written there."""
    return _quoted("-" * may_be_missing + str(path)) if _can_be_written(str(path)) else None


def bind_entry(path: Path, *, may_be_missing: bool = False) -> str | None:
    """An entry of ``BindPaths=``, to which a colon separates two paths; None where this one cannot be written there."""
    entry = path_entry(path, may_be_missing=may_be_missing)
    return entry.replace(":", r"\:") if entry is not None else None


def mount_unit(place: Path) -> str | None:
    """The unit of a mount point, as ``systemd-escape --path --suffix=mount`` names it; None where that is too long.

    Longer names systemd makes of a hash of its own.
    """
    name = "-".join(
        "".join(chr(byte) if byte in _PLAIN_IN_NAMES else f"\\x{byte:02x}" for byte in os.fsencode(part))
        for part in place.parts[1:]
    )
    if name.startswith("."):
        name = "\\x2e" + name[1:]
    name = f"{name or '-'}.mount"
    return name if len(name) <= _LONGEST_NAME else None


def nearest_written(path: Path) -> Path:
    """The path itself, or the nearest folder above it that can be written in a list of paths."""
    return next(each for each in (path, *path.parents) if _can_be_written(str(each)))


def shown(path: Path) -> str:
    """A path in a comment or a message, from which it cannot break out; what is unprintable is escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(path))


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in '"\\':
        return "\\" + character
    if character in "%$":
        return character * 2
    return character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


def _quoted(text: str) -> str:
    text = text.replace("%", "%%")
    if not set(text) & set(" \t\"'\\"):
        return text
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'


def _can_be_written(text: str) -> bool:
    # Lone surrogates stand for bytes that are no UTF-8; nor does systemd take what Unicode keeps for nothing.
    return not any(
        each in _BREAKS
        or 0xD800 <= (code := ord(each)) <= 0xDFFF
        or 0xFDD0 <= code <= 0xFDEF
        or code & 0xFFFE == 0xFFFE
        for each in text
    )
