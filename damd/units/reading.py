"""A unit of systemd as it is installed, with its drop-ins: as much of systemd.syntax(7) as a check needs."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Unit = Mapping[tuple[str, str], Sequence[str]]
"""The values of each key by its section, such as ``("Service", "ProtectHome")``, in the order of their lines."""

_COLON = "\0"
"""Stands for a colon that does not separate; no path holds one."""


def read_unit(files: Sequence[Path], specifiers: Mapping[str, str] | None = None) -> Unit:
    """What the unit and its drop-ins say together, in the order in which systemd reads them; blocking.

    Args:
        files: Those that exist; an empty assignment forgets what came before it.
        specifiers: What stands for ``%i`` and its kin, by their letters; others are left as they are.
    """
    known = {"%": "%", **(specifiers or {})}
    values: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file in files:
        section = ""
        for line in _lines(file):
            if match := re.fullmatch(r"\[(.+)\]", line):
                section = match[1]
                continue
            key, _, value = line.partition("=")
            place = section, key.strip()
            value = re.sub("%(.)", lambda found: known.get(found[1], found[0]), value.strip())
            values[place] = [*values[place], value] if value else []
    return values


def paths_in(unit: Unit, section: str, *keys: str) -> list[Path]:
    """The paths that these keys list; of a bind mount, the place where it is seen."""
    return [
        Path(_seen(word.lstrip("-+")) if key.startswith("Bind") else word.lstrip("-+").replace(_COLON, ":"))
        for key in keys
        for value in unit.get((section, key), ())
        for word in words_of(value)
    ]


def last_of(unit: Unit, key: str, default: str) -> str:
    """The value of a key of the service that has one value."""
    values = unit.get(("Service", key), ())
    return values[-1] if values else default


def option_of(command: str, *names: str) -> str | None:
    """What a command line gives to an option, such as ``--config``; None where it does not name it."""
    words = [_unescaped(word) for word in words_of(command)]
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word in names:
            return following
        name, separator, value = word.partition("=")
        if separator and name in names:
            return value
    return None


def _unescaped(word: str) -> str:
    """The dollar signs and bytes that `damd.units.writing` writes."""
    parts = re.split(r"\\x([0-9a-f]{2})", word.replace("$$", "$"))
    text, codes = parts[::2], parts[1::2]
    written = [os.fsencode(text[0])]
    for code, after in zip(codes, text[1:], strict=True):
        written += [bytes([int(code, 16)]), os.fsencode(after)]
    return os.fsdecode(b"".join(written))


def _lines(file: Path) -> Iterator[str]:
    try:
        text = file.read_text(errors="surrogateescape")
    except OSError:
        return
    # A comment between continued lines is left out; a backslash at the end stands for a blank.
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
    yield from (line.strip() for line in kept.replace("\\\n", " ").splitlines() if line.strip())


def words_of(value: str) -> list[str]:
    """Without quotes and escapes; an escaped colon is still told from a plain one."""
    value = value.replace("\\:", _COLON)
    try:
        return shlex.split(value)
    except ValueError:  # a quote that does not end
        return value.split()


def _seen(word: str) -> str:
    """``source:destination:options`` of ``BindPaths=``."""
    parts = word.split(":")
    return (parts[1] if len(parts) > 1 and parts[1].startswith("/") else parts[0]).replace(_COLON, ":")
