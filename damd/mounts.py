"""Which file system a path lies on.

Asked before SQLite is trusted with a folder, and before the kernel is trusted to report changes in
one: neither works over a network. Linux tells it in ``/proc/self/mountinfo`` (proc(5)); elsewhere the
answer is unknown, and local is assumed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_MOUNTINFO = Path("/proc/self/mountinfo")

NETWORK_FILESYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"}
)
"""Where other hosts write unseen; everything under ``fuse`` counts too, since most of it is remote."""


def filesystem_type(path: Path, *, mountinfo: Path = _MOUNTINFO) -> str:
    """The type of the file system that holds `path`, or would, such as ``ext4``; ``unknown`` where nobody tells."""
    try:
        lines = mountinfo.read_bytes().splitlines()
    except OSError:
        return "unknown"
    wanted = os.fsencode(path.resolve())
    best, found = b"", "unknown"
    for line in lines:
        mount_point, kind = _parse(line)
        below = wanted == mount_point or wanted.startswith(mount_point.rstrip(b"/") + b"/")
        # The last of equal mount points lies on top of the others.
        if below and len(mount_point) >= len(best):
            best, found = mount_point, kind
    return found


def is_network_mount(path: Path, *, mountinfo: Path = _MOUNTINFO) -> bool:
    """Whether other hosts may change what lies below `path` without this kernel's knowledge."""
    kind = filesystem_type(path, mountinfo=mountinfo)
    return kind in NETWORK_FILESYSTEMS or kind == "fuse" or kind.startswith("fuse.")


def _parse(line: bytes) -> tuple[bytes, str]:
    before, _, after = line.partition(b" - ")
    # Blanks, tabs, newlines and backslashes in the path are octal.
    mount_point = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), before.split(b" ")[4])
    return mount_point, after.split(b" ")[0].decode("ascii", "replace")
