"""What the streams of a PDF unpack to, found before anything unpacks them: a library cannot be told to stop.

Streams are found by their words, not by the document's tables, so what a hostile document hides from this look
(in encryption, or in another stream's bytes) is left to the worker's own limit of memory.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import IO

from damd.errors import LimitExceededError

MAX_STREAM_BYTES = 256 * 2**20
"""Of one stream that is no picture. The drawing instructions of the largest city maps have some 100 MB; PDFium
takes them within 2 GiB, and more than a gigabyte it takes in one piece or dies of it."""
_BLOCK = 2**16
_DICTIONARY = 2**12
"""How far before its stream a dictionary is looked for, in bytes."""
_STREAM = re.compile(rb"(?<!end)stream(?:\r\n|\n)")
_FILTER = re.compile(rb"/(?:(\w+)Decode|(Fl|LZW|RL|AHx|A85|DCT|CCF))\b")
_NEVER_UNPACKED = re.compile(rb"/EmbeddedFile\b|/Type\s*/3D\b")


def check_streams(file: IO[bytes]) -> None:
    """Unpack every deflated stream, keeping nothing, except those that are pictures' pixels or attached files.

    Raises:
        LimitExceededError: One unpacks to more than `MAX_STREAM_BYTES`.
        OSError: The file cannot be read.
    """
    place = 0
    while (found := _next_stream(file, place)) is not None:
        dictionary, place = found
        if layers := _count_layers(dictionary):
            place += _unpack(file, place, layers)


def _next_stream(file: IO[bytes], start: int) -> tuple[bytes, int] | None:
    """The next stream's dictionary, and where its bytes begin."""
    place = max(0, start - _DICTIONARY)
    file.seek(place)
    window = file.read(_BLOCK)
    while (match := _STREAM.search(window, max(0, start - place))) is None:
        if not (more := file.read(_BLOCK)):
            return None
        kept = window[-_DICTIONARY:]
        place += len(window) - len(kept)
        window = kept + more
    head = window[max(0, match.start() - _DICTIONARY) : match.start()]
    return head[head.rfind(b" obj") + 1 :], place + match.end()


def _count_layers(dictionary: bytes) -> int:
    """How many times a stream was deflated, one over the other; 0 where nobody unpacks it at once."""
    filters = [long or short for long, short in _FILTER.findall(dictionary)]
    layers = 0
    while layers < min(len(filters), 8) and filters[layers] in (b"Flate", b"Fl"):
        layers += 1
    # PDFium unpacks a picture by its lines, but whatever lies between two filters at once.
    is_picture = re.search(rb"/Subtype\s*/Image\b", dictionary) is not None
    if _NEVER_UNPACKED.search(dictionary) or (is_picture and len(filters) == 1):
        return 0
    return layers


def _unpack(file: IO[bytes], place: int, layers: int) -> int:
    """Unpack a stream and throw away what comes; the number of packed bytes that it has, 0 for a damaged one."""
    chain = [_Layer() for _ in range(layers)]
    file.seek(place)
    taken = 0
    while not chain[0].ended and (block := file.read(_BLOCK)):
        taken += len(block)
        _push(chain, block)
    return 0 if chain[0].damaged else taken - chain[0].left_over


def _push(chain: list[_Layer], block: bytes) -> None:
    if chain:
        for piece in chain[0].unpack(block):
            _push(chain[1:], piece)


class _Layer:
    """One of a stream's filters, and how much came out of it."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj()
        self._count = 0
        self.damaged = False

    @property
    def ended(self) -> bool:
        return self.damaged or self._inflater.eof

    @property
    def left_over(self) -> int:
        return len(self._inflater.unused_data)

    def unpack(self, block: bytes) -> Iterator[bytes]:
        """What this block unpacks to, a piece at a time, up to where it is damaged: PDFium uses as much of it."""
        while block and not self.ended:
            before = self._inflater.copy()
            try:
                piece = self._inflater.decompress(block, _BLOCK)
            except zlib.error:  # with it goes what came before the damage, in the same call
                self._inflater = before
                half = len(block) // 2
                self.damaged = not half
                if half:
                    yield from self.unpack(block[:half])
                    yield from self.unpack(block[half:])
                return
            self._count += len(piece)
            if self._count > MAX_STREAM_BYTES:
                limit = MAX_STREAM_BYTES // 2**20
                raise LimitExceededError(f"A stream in it unpacks to more than {limit} MiB: a decompression bomb")
            block = self._inflater.unconsumed_tail
            yield piece
