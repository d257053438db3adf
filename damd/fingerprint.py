"""Signature, birth time and content hash of one path, and the threads in which files are read.

SHA-256, because every tool on the user's machine can check it, and with the processor's own
instructions nothing is faster.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
import struct
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio.from_thread
import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from damd.errors import NotAFileError, UnreadableFileError

Seen = TypeVar("Seen")

_THREADS = 4  # of each root
_PIECE_BYTES = 2**20  # a millisecond's work, some of a slow network's
_limiters: RunVar[dict[str, CapacityLimiter]] = RunVar("damd reading threads")

# Of statx(2) and linux/stat.h: the relative to what, the mask that asks for the birth time, and where it lies.
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_BTIME = 0x800
_STATX_BYTES = 256
_MASK, _BIRTH = struct.Struct("=I"), struct.Struct("=qI")
_BIRTH_OFFSET = 80

_TICKS_S = 0.02
_COARSEST_GRAIN_S = 2.0

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}


class Signature(NamedTuple):
    """Size, mtime, ctime and inode of a file at one moment; never the device number, which a reboot may change.

    Each is wrapped into 64 signed bits, the most that databases hold: compared, never computed with.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """The signature in what ``os.stat`` returned."""
        return cls(*map(_signed, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)))


def young_s(signature: Signature, now_ns: int) -> float:
    """For how many seconds a further change of the file could still leave it this very signature.

    File systems stamp files with the time of the kernel's last tick, up to 10 ms ago; a time without a fraction of a
    second speaks of one that counts in up to 2 s, as FAT does. A change in the future tells nothing.

    Args:
        signature: The file's.
        now_ns: Now, in nanoseconds since 1970.
    """
    newest_ns = max(signature.mtime_ns, signature.ctime_ns)
    age_s = (now_ns - newest_ns) / 1e9
    grain_s = _TICKS_S if newest_ns % 10**9 else _COARSEST_GRAIN_S
    return max(0.0, grain_s - age_s) if age_s >= 0 else 0.0


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def _find_statx() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    statx: Callable[..., int] | None = getattr(ctypes.CDLL(None), "statx", None)
    return statx


_statx = _find_statx()


def born_ns(path: str | bytes | os.PathLike[str], *, follow_symlinks: bool = False) -> int | None:
    """When the file at a path was made, in nanoseconds since 1970, wrapped into 64 signed bits; blocking, microseconds.

    None where nobody knows: neither every file system nor every system keeps it, and the file may be gone.
    """
    name = os.fsencode(path)
    if _statx is None or b"\0" in name:
        return None
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    flags = 0 if follow_symlinks else _AT_SYMLINK_NOFOLLOW
    if _statx(_AT_FDCWD, name, flags, _STATX_BTIME, buffer) != 0:
        return None
    (known,) = _MASK.unpack_from(buffer)
    seconds, nanoseconds = _BIRTH.unpack_from(buffer, _BIRTH_OFFSET)
    if not known & _STATX_BTIME:
        return None
    return _signed(seconds * 10**9 + nanoseconds) or None  # tools that make file systems leave zeros


def regular_file_status(path: Path, *, follow_symlinks: bool = False) -> os.stat_result:
    """The status of a regular file; blocking. Symbolic links are followed only where that is asked for.

    Raises:
        NotAFileError: It is something else.
        UnreadableFileError: The system does not say, for whatever reason; it may be gone.
    """
    try:
        status = path.stat(follow_symlinks=follow_symlinks)
    except OSError as error:
        raise UnreadableFileError(error) from error
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(_KINDS.get(stat.S_IFMT(status.st_mode), "nothing that damd knows"))
    return status


def take_signature(path: Path, *, follow_symlinks: bool = False) -> Signature:
    """The signature of a regular file now; blocking.

    Raises:
        NotAFileError: It is something else.
        UnreadableFileError: The system does not say, for whatever reason; it may be gone.
    """
    return Signature.of(regular_file_status(path, follow_symlinks=follow_symlinks))


async def look_in(root: str, look: Callable[..., Seen], *arguments: object) -> Seen:
    """What a blocking look at the files of one root returns, taken in one of that root's own few threads.

    Where its file system does not answer, they hang, and nobody's but this root's. Cancelled, the look is left to
    itself: for what reads, not for what writes.

    Args:
        root: The root's name; empty for all that lies outside every root.
        look: Called with the arguments; whatever it raises is raised here.
        arguments: Its positional ones.
    """
    return await anyio.to_thread.run_sync(look, *arguments, limiter=_threads_of(root), abandon_on_cancel=True)


def _threads_of(root: str) -> CapacityLimiter:
    try:
        limiters = _limiters.get()
    except LookupError:
        limiters = {}
        _limiters.set(limiters)
    if root not in limiters:
        limiters[root] = CapacityLimiter(_THREADS)
    return limiters[root]


async def calculate_hash(path: str | os.PathLike[str], *, follow_symlinks: bool = False, root: str = "") -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits; cancelled, its thread ends within a piece of the file.

    Args:
        path: The file.
        follow_symlinks: Whether a symbolic link stands for what it leads to.
        root: The name of the root in whose threads it is read, as for `look_in`.

    Raises:
        NotAFileError: It is a FIFO, a socket, a link that is not followed, or anything else but a file.
        UnreadableFileError: It cannot be opened or read.
    """
    return await look_in(root, _hash_file, path, 0 if follow_symlinks else os.O_NOFOLLOW)


def _hash_file(path: str | os.PathLike[str], nofollow: int) -> str:
    # Merely to open a device can set something off.
    regular_file_status(Path(path), follow_symlinks=not nofollow)
    try:
        # Without O_NONBLOCK a FIFO that took the file's place would hold the thread until somebody writes.
        descriptor = os.open(path, os.O_RDONLY | nofollow | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise NotAFileError("a symbolic link or a socket") from error
        raise UnreadableFileError(error) from error
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG:
            raise NotAFileError(_KINDS.get(kind, "nothing that damd knows"))
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:  # which would leave a folder's open
            return _digest(file)
    except OSError as error:
        raise UnreadableFileError(error) from error
    finally:
        os.close(descriptor)


def _digest(file: FileIO) -> str:
    digest, piece = hashlib.sha256(), bytearray(_PIECE_BYTES)
    view = memoryview(piece)
    while count := file.readinto(piece):
        digest.update(view[:count])
        if count == _PIECE_BYTES:
            anyio.from_thread.check_cancelled()
    return digest.hexdigest()
