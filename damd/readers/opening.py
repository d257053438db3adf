"""How a reader opens its file: without waiting for it, and without believing what its headers promise."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from damd.errors import NotAFileError, UnreadableFileError

_MUCH = 2**20


class BoundedReader(io.BufferedReader):
    """A file that lays out no memory for what a header promises and the file does not have."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self._size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to so many bytes."""
        if size is not None and size > _MUCH:
            size = max(0, min(size, self._size - self.tell()))
        return super().read(size)


def open_raw(path: str) -> io.FileIO:
    """The file, unbuffered.

    Raises:
        UnreadableFileError: The system does not let it be opened.
        NotAFileError: It is no regular file: another one, such as a FIFO, took its place.
    """
    try:
        # A FIFO would wait for its writer.
        file = io.FileIO(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        raise UnreadableFileError(error) from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotAFileError("something else took its place")
    return file


@contextmanager
def opened(path: str) -> Iterator[BoundedReader]:
    """The file, buffered, and closed at the end.

    Raises:
        UnreadableFileError: The system does not let it be opened.
        NotAFileError: It is no regular file.
    """
    with BoundedReader(open_raw(path)) as file:
        yield file
