"""A file of lines that is rotated, and whose lines are whole.

Each line is one write to the end of the file, so that it is there or it is not: what the standard library's rotating
handlers could not write stays in a buffer, half a line at times, and keeps them from closing the file.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

_MODE = 0o640
"""As other logs have it: for its owner, and for the group that may read logs."""


class RotatedFile:
    """Lines at the end of a file, whose former contents are beside it as ``FILE.1``, the newest, to ``FILE.N``.

    Blocking, and for one thread at a time. That somebody else renamed or removed the file is noticed at the next line.

    Args:
        file: Made where it is missing; its folder is not.
        max_bytes: A line that would make it longer goes to a new one.
        keep: How many former ones there are at most; at least one.
    """

    def __init__(self, file: Path, *, max_bytes: int, keep: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None

    def open(self) -> None:
        """Open the file, so that what is wrong with it is known before the first line.

        Raises:
            OSError: It cannot be written, or rotated, or is none.
        """
        self._current()
        if not os.access(self._file.parent, os.W_OK | os.X_OK):
            self.close()
            raise OSError(errno.EACCES, "its folder cannot be written to, so that it could not be rotated")

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def write(self, line: bytes) -> None:
        """Put a line, with its end, behind the others.

        Raises:
            OSError: It cannot be written; nothing of it is in the file, and the next one may fare better.
        """
        descriptor = self._current()
        size = os.fstat(descriptor).st_size
        if size and size + len(line) > self._max_bytes:
            self._rotate()
            descriptor, size = self._current(), 0
        if (written := os.write(descriptor, line)) < len(line):
            os.truncate(descriptor, size)
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written")

    def _current(self) -> int:
        if self._descriptor is not None and not _is_at(self._file, self._descriptor):
            self.close()
        if self._descriptor is None:
            self._descriptor = _opened(self._file)
        return self._descriptor

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep, 1, -1):
            with suppress(FileNotFoundError):
                self._former(number - 1).replace(self._former(number))
        self._file.replace(self._former(1))

    def _former(self, number: int) -> Path:
        return self._file.with_name(f"{self._file.name}.{number}")


def why_not_written(file: Path) -> str | None:
    """Why this file could not be written and rotated, without trying; None if nothing speaks against it. Blocking."""
    if not file.parent.is_dir():
        return "its folder does not exist"
    if file.exists() and not file.is_file():
        return "it is not a regular file"
    if not os.access(file.parent, os.W_OK | os.X_OK) or (file.exists() and not os.access(file, os.W_OK)):
        return "it is closed to damd"
    return None


def _opened(file: Path) -> int:
    # O_NONBLOCK: a FIFO would be waited for.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    descriptor = os.open(file, flags, _MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
