"""A bounded look at a file: its first bytes, and a little of what lies further in."""

from __future__ import annotations

import io
import os
import stat
from typing import Any

HEAD_BYTES = 4096
"""How much of every file is looked at."""

_FURTHER_BYTES = 60 * 1024
"""How much more of one that does not tell by these, in all."""


class Peek:
    """An open file's `head`, and what can be read beyond it."""

    __slots__ = ("_descriptor", "_left", "_size", "head")

    def __init__(self, descriptor: int) -> None:
        self.head = os.read(descriptor, HEAD_BYTES)
        self._descriptor = descriptor
        self._left = _FURTHER_BYTES
        self._size: int | None = None

    @property
    def size(self) -> int:
        """Bytes in the file; of what is no regular file, those that were seen."""
        if self._size is None:
            status = os.fstat(self._descriptor)
            self._size = status.st_size if stat.S_ISREG(status.st_mode) else len(self.head)
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or fewer: where the file ends, or where enough of it has been read.

        Raises:
            OSError: They cannot be read.
        """
        size = min(size, self.size - offset)
        if size <= 0 or offset < 0:
            return b""
        if offset + size <= len(self.head):
            return self.head[offset : offset + size]
        data = os.pread(self._descriptor, min(size, self._left), offset)
        self._left -= len(data)
        return data

    def open(self) -> io.BufferedReader:
        """The same, for code that wants a file."""
        return io.BufferedReader(_Window(self), buffer_size=512)


class _Window(io.RawIOBase):
    def __init__(self, peek: Peek) -> None:
        self._peek = peek
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._peek.size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        data = self._peek.read(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
