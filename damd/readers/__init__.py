"""Readers: bytes to plain data and previews, in the worker processes; see `damd.sandbox`.

A reader is a module with ``read(path, *, previews, format, quality, max_pixels)`` that returns what JSON can
say; what its arguments mean, `damd.readers.previews` tells. It imports nothing of damd but `damd.errors`, so
that a worker starts fast and small and never holds a database.
"""

from typing import NamedTuple


class Reader(NamedTuple):
    """Where a reader is, and its version: a number that grows whenever it reads more, or otherwise, than before."""

    module: str
    version: int


READERS = {
    "image": Reader("damd.readers.image", 2),
    "raw": Reader("damd.readers.raw", 1),
    "video": Reader("damd.readers.video", 1),
    "audio": Reader("damd.readers.audio", 1),
    "document": Reader("damd.readers.document", 1),
    "sidecar": Reader("damd.readers.sidecar", 1),
}
"""Each reader by its name, imported on its first call; a further reader is one line here."""
