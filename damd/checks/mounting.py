"""What fstab(5) says is mounted at, above or below a root, and is not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.mounts import Mounts
from damd.patience import in_time

_FSTAB = Path("/etc/fstab")


async def look_at_mounting(config: Config, *, fstab: Path = _FSTAB) -> list[Finding]:
    """A warning for each place: below an empty mount point damd sees a root whose files are gone.

    Args:
        config: The configuration.
        fstab: The table; one that cannot be read says nothing.
    """
    return await in_time(lambda: list(_look(config, fstab)))


def _look(config: Config, fstab: Path) -> Iterator[Finding]:
    expected = _mount_points(fstab)
    with closing(Mounts()) as mounts:
        for name, root in config.roots.items():
            for place in expected:
                concerned = root.path.is_relative_to(place) or place.is_relative_to(root.path)
                if concerned and mounts.holding(os.fsencode(place)).path != os.fsencode(place):
                    says = f"{fstab} names {place}, where {root.path} lies, and nothing is mounted there"
                    if place != root.path and place.is_relative_to(root.path):
                        says = f"{fstab} names {place}, which lies in {root.path}, and nothing is mounted there"
                    advice = f"mount {place}, or take it from {fstab}"
                    yield Finding(check=f"mounts of root {name}", health=Health.WARNING, says=says, advice=advice)


def _mount_points(fstab: Path) -> list[Path]:
    """Those that are mounted at every start; the root of all is mounted anyway."""
    try:
        lines = fstab.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    entries = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [
        Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place))
        for _, place, _, options, *_ in (entry for entry in entries if len(entry) >= 4)
        if place.startswith("/") and place != "/" and "noauto" not in options.split(",")
    ]
