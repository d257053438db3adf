"""The table of what is to be mounted (fstab(5))."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

FSTAB = Path("/etc/fstab")


class Entry(NamedTuple):
    """One line of it.

    Attributes:
        place: Where it is mounted.
        is_automatic: Whether that is done at every start.
    """

    place: Path
    is_automatic: bool


def read_fstab(fstab: Path = FSTAB) -> list[Entry]:
    """Its lines, but for the root of all and what is mounted nowhere; none where it cannot be read. Blocking."""
    try:
        lines = fstab.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [
        Entry(
            Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place)),
            is_automatic="noauto" not in options.split(","),
        )
        for _, place, _, options, *_ in (each for each in fields if len(each) >= 4)
        if place.startswith("/") and place != "/"
    ]
