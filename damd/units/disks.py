"""The disks that a service waits for, and can do without.

RequiresMountsFor= would end the service, for all of its folders, with any one of their disks. systemd has no
WantsMountsFor=, which would find the mounts by itself, before version 256: so each is named by its unit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from damd.mounts import Mounts
from damd.units import writing
from damd.units.fstab import read_fstab


def wait_for(folders: Sequence[Path], fstab: Path) -> Iterator[str]:
    """Lines for the section ``[Unit]``; blocking, but nothing is asked of the disks themselves.

    Args:
        folders: What is to be there before the service starts, by its absolute paths.
        fstab: The table of what is to be mounted.
    """
    places = [place for place in _mount_points(fstab) if any(each.is_relative_to(place) for each in folders)]
    if places:
        yield "# damd waits for these mounts when the machine starts, and runs without those that fail or go away."
    for place in places:
        name = writing.mount_unit(place)
        if name is None:
            yield f"# systemd-escape has no name for the mount {writing.shown(place)}: damd does not wait for it."
            continue
        yield f"After={name}"
        yield f"Wants={name}"


def _mount_points(fstab: Path) -> list[Path]:
    with closing(Mounts()) as mounts:
        mounted = [Path(os.fsdecode(mount.path)) for mount in mounts.below(b"/")]
    return sorted({*mounted, *(entry.place for entry in read_fstab(fstab))})
