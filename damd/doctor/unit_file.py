"""A unit of systemd as it is installed, with its drop-ins: as much of systemd.syntax(7) as a check needs."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Unit = Mapping[tuple[str, str], Sequence[str]]
"""The values of each key by its section, such as ``("Service", "ProtectHome")``, in the order of their lines."""

_COLON = "\0"
"""Stands for a colon that does not separate; no path holds one."""


def read_unit(files: Sequence[Path]) -> Unit:
    """What the unit and its drop-ins say together, in the order in which systemd reads them; blocking.

    Args:
        files: Those that exist; an empty assignment forgets what came before it.
    """
    values: dict[tuple[str, str], list[str]] = defaultdict(list)
    for file in files:
        section = ""
        for line in _lines(file):
            if match := re.fullmatch(r"\[(.+)\]", line):
                section = match[1]
                continue
            key, _, value = line.partition("=")
            place = section, key.strip()
            values[place] = [*values[place], value.strip()] if value.strip() else []
    return values


def paths_in(unit: Unit, section: str, *keys: str) -> list[Path]:
    """The paths that these keys list; of a bind mount, the place where it is seen."""
    return [
        Path(_seen(word.lstrip("-+")) if key.startswith("Bind") else word.lstrip("-+").replace(_COLON, ":"))
        for key in keys
        for value in unit.get((section, key), ())
        for word in _words(value)
    ]


def last_of(unit: Unit, key: str, default: str) -> str:
    """The value of a key of the service that has one value."""
    values = unit.get(("Service", key), ())
    return values[-1].lower() if values else default


def _lines(file: Path) -> Iterator[str]:
    try:
        text = file.read_text(errors="surrogateescape")
    except OSError:
        return
    # A comment between continued lines is left out; a backslash at the end stands for a blank.
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
    yield from (line.strip() for line in kept.replace("\\\n", " ").splitlines() if line.strip())


def _words(value: str) -> list[str]:
    """Without quotes, escapes and the per cent signs of specifiers; an escaped colon is still told from a plain one."""
    value = value.replace("\\:", _COLON).replace("%%", "%")
    try:
        return shlex.split(value)
    except ValueError:  # a quote that does not end
        return value.split()


def _seen(word: str) -> str:
    """``source:destination:options`` of ``BindPaths=``."""
    parts = word.split(":")
    return (parts[1] if len(parts) > 1 and parts[1].startswith("/") else parts[0]).replace(_COLON, ":")
