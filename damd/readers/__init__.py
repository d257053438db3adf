"""Readers: bytes to plain data and previews, in the worker processes; see `damd.sandbox`.

A reader is a module with ``read(path, **options)`` that returns what JSON can say. It imports nothing
of damd but `damd.errors`, so that a worker starts fast and small and never holds a database.
"""

READERS = {
    "image": "damd.readers.image",
}
"""Each reader's name and its module, imported on its first call; a further reader is one line here."""
