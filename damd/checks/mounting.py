"""What fstab(5) says is mounted at, above or below a root, and is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.mounts import Mounts
from damd.patience import in_time
from damd.units.fstab import FSTAB, read_fstab


async def look_at_mounting(config: Config, *, fstab: Path = FSTAB) -> list[Finding]:
    """A warning for each place: below an empty mount point damd sees a root whose files are gone.

    Args:
        config: The configuration.
        fstab: The table; one that cannot be read says nothing.
    """
    return await in_time(lambda: list(_look(config, fstab)))


def _look(config: Config, fstab: Path) -> Iterator[Finding]:
    expected = [entry.place for entry in read_fstab(fstab) if entry.is_automatic]
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
