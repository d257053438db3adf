"""Boxes of ISO base media files (ISO 14496-12), walked without reading what is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, NamedTuple

MAX_BOXES = 1_000
"""Of one level; a CR3 has a dozen in any."""


class Box(NamedTuple):
    """One box: its four-letter kind, a ``uuid`` box's own 16 bytes, and where its contents begin and end."""

    kind: bytes
    uuid: bytes
    start: int
    end: int


def walk_boxes(file: IO[bytes], start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes between two places of a file, as far as they are sound.

    A box's `end` may lie beyond the file's, where the file was cut, or its parent's, where the file is damaged.
    """
    length = file.seek(0, os.SEEK_END)
    end = length if end is None else min(end, length)
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(8)
        size, body = int.from_bytes(head[:4], "big"), start + 8
        if size == 1:  # the size did not fit, and follows
            size, body = int.from_bytes(file.read(8), "big"), start + 16
        elif size == 0:  # to the end
            size = end - start
        kind = head[4:8]
        uuid = file.read(16) if kind == b"uuid" else b""
        body += len(uuid)
        if start + size < body:
            return
        yield Box(kind, uuid, body, start + size)
        start += size
