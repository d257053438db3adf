"""Which file system a path lies on, and what is mounted where.

Asked before SQLite is trusted with a folder, before the kernel is trusted to report changes in one (neither
works over a network), and before what is not to be found is taken for deleted. Linux tells it in
``/proc/self/mountinfo`` (proc(5)); elsewhere the type is unknown, local is assumed, and nothing is mounted
below a folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MOUNTINFO = Path("/proc/self/mountinfo")
_ATTEMPTS = 10
_MOUNT_POINT = 0x64616D64
"""Mixed into the numbers of folders that are mount points."""

NETWORK_FILESYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs"}
)
"""Where other hosts write unseen; everything under ``fuse`` counts too, since most of it is remote."""


class Mount(NamedTuple):
    """A line of the table.

    Attributes:
        path: Where it is mounted.
        kind: The type of file system.
        origin: Which folder of its file system; another one than ``/`` for bind mounts and subvolumes.
    """

    path: bytes
    kind: str
    origin: bytes = b"/"

    @property
    def is_remote(self) -> bool:
        """Whether other hosts may change it without this kernel's knowledge."""
        return self.kind in NETWORK_FILESYSTEMS or self.kind == "fuse" or self.kind.startswith("fuse.")


class Mounts:
    """The table of mounts, read again when the kernel says that it changed; safe to ask from several threads.

    Args:
        mountinfo: Where the table is.
    """

    def __init__(self, mountinfo: Path = _MOUNTINFO) -> None:
        self._lock = threading.Lock()
        self._mountinfo = mountinfo
        self._poll = select.poll()
        self._file: int | None = None
        self._mounts: tuple[Mount, ...] = ()
        self._filesystems: dict[bytes, int] = {}
        self._version = 0

    def close(self) -> None:
        """Ask no more."""
        with self._lock:
            if self._file is not None:
                self._poll.unregister(self._file)
                os.close(self._file)
                self._file = None

    @property
    def version(self) -> int:
        """Another number whenever something was mounted or unmounted."""
        with self._lock:
            self._refresh()
            return self._version

    def holding(self, path: bytes) -> Mount:
        """The mount on which this absolute path lies, or would; links in it are not resolved."""
        with self._lock:
            self._refresh()
            # The last of equal mount points lies on top of the others.
            found = Mount(b"/", "unknown")
            for mount in self._mounts:
                if len(mount.path) >= len(found.path) and _holds(mount.path, path):
                    found = mount
            return found

    def below(self, folder: bytes) -> list[Mount]:
        """What is mounted somewhere below a folder, each place once."""
        with self._lock:
            self._refresh()
            found = {mount.path: mount for mount in self._mounts if mount.path != folder and _holds(folder, mount.path)}
        return [found[path] for path in sorted(found)]

    def filesystem_of(self, path: bytes) -> int:
        """The number of the file system at a folder that exists, remembered until the table changes; blocks.

        `filesystem_id`, into which the folder is mixed that is mounted there, where it is not the whole of it.

        Raises:
            OSError: It cannot be asked.
        """
        for _ in range(_ATTEMPTS):
            mount = self.holding(path)
            holder = mount.path
            with self._lock:
                version, known = self._version, self._filesystems.get(holder)
            if known is None:
                known = filesystem_id(path)
                if mount.origin != b"/":
                    # Folders of one file system may take each other's place, and each has its own files.
                    known ^= int.from_bytes(hashlib.sha256(mount.origin).digest()[:8], signed=True)
            with self._lock:
                self._refresh()
                if version == self._version:
                    self._filesystems[holder] = known
                    return known
        raise OSError(errno.EAGAIN, "what is mounted there changes all the time", os.fsdecode(path))

    def carrier_of(self, folder: bytes) -> int:
        """The number of the file system that carries a folder; another one where the folder is its mount point.

        A bind mount that is gone must not look like the folder below it, which may lie on the same file system.

        Raises:
            OSError: It cannot be asked.
        """
        number = self.filesystem_of(folder)
        return number ^ _MOUNT_POINT if self.holding(folder).path == folder else number

    def _refresh(self) -> None:
        if self._file is None:
            try:
                self._file = os.open(self._mountinfo, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return
            self._poll.register(self._file, select.POLLPRI)
        elif not self._poll.poll(0):
            return
        os.lseek(self._file, 0, os.SEEK_SET)
        mounts = tuple(_parse(b"".join(iter(lambda: os.read(self._file or 0, 2**16), b""))))
        # The same table need not be the same disks: one may have taken another's place since the last look.
        self._version += 1
        self._mounts = mounts
        self._filesystems = {}


def filesystem_id(path: bytes) -> int:
    """The number of a path's file system, wrapped into 64 signed bits; blocks.

    Most keep it over reboots; some get another with every mount, and some have none and say 0.

    Raises:
        OSError: It cannot be asked.
    """
    return (os.statvfs(path).f_fsid + 2**63) % 2**64 - 2**63


def filesystem_type(path: Path, *, mountinfo: Path = _MOUNTINFO) -> str:
    """The type of the file system that holds `path`, or would, such as ``ext4``; ``unknown`` where nobody tells."""
    return _mount_of(path, mountinfo).kind


def is_network_mount(path: Path, *, mountinfo: Path = _MOUNTINFO) -> bool:
    """Whether other hosts may change what lies below `path` without this kernel's knowledge."""
    return _mount_of(path, mountinfo).is_remote


def _mount_of(path: Path, mountinfo: Path) -> Mount:
    mounts = Mounts(mountinfo)
    try:
        return mounts.holding(os.fsencode(path.resolve()))
    finally:
        mounts.close()


def _holds(folder: bytes, path: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _parse(table: bytes) -> Iterator[Mount]:
    for line in table.splitlines():
        before, _, after = line.partition(b" - ")
        origin, path = map(_unescaped, before.split(b" ")[3:5])
        yield Mount(path, after.split(b" ")[0].decode("ascii", "replace"), origin)


def _unescaped(path: bytes) -> bytes:
    """Blanks, tabs, newlines and backslashes are octal there."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)
