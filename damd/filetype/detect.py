"""The judges in their order: the tables, a look for text, the library."""

from __future__ import annotations

import os
from pathlib import Path

from damd.filetype.peek import HEAD_BYTES, Peek
from damd.filetype.signatures import KNOWN, SIGNATURES, UNSIGNED, Signature
from damd.filetype.text import decode_text, judge_text

_SHORTEST_GUESS = 4
"""Bytes that a signature of puremagic must have: with fewer, anything looks like something."""


def get_mime_type(path: Path) -> str | None:
    """The MIME type of the file by its bytes; None when nobody knows, or there are none.

    Blocks, for 64 KiB at most. A FIFO or a device cannot make it wait.

    Raises:
        OSError: It cannot be read.
    """
    # O_NONBLOCK: opening a FIFO without a writer would wait for one.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _judge(Peek(descriptor))
    finally:
        os.close(descriptor)


def get_file_type(path: Path) -> str:
    """The guide's word for a file: the MIME type's first part, such as ``image``, or ``unknown``.

    Raises:
        OSError: It cannot be read.
    """
    mime_type = get_mime_type(path)
    return mime_type.partition("/")[0] if mime_type else "unknown"


def _judge(peek: Peek) -> str | None:
    if not peek.head:
        return None
    if mime_type := _look_up(SIGNATURES, peek):
        return mime_type
    text = decode_text(peek.head)
    if text is not None:
        return judge_text(text, cut=len(peek.head) == HEAD_BYTES) or _guess_text(peek.head)
    return _look_up(UNSIGNED, peek) or _guess_binary(peek.head)


def _look_up(signatures: tuple[Signature, ...], peek: Peek) -> str | None:
    for pattern, answer in signatures:
        if not pattern.match(peek.head):
            continue
        mime_type = answer if isinstance(answer, str) else answer(peek)
        if mime_type:
            return mime_type
    return None


def _guess_text(head: bytes) -> str:
    """Text stays text, whatever picture or film its first letters could also begin."""
    kinds = ("text/", "application/xml", "application/rtf")
    return next((guess for guess in _guesses(head) if guess.startswith(kinds)), "text/plain")


def _guess_binary(head: bytes) -> str | None:
    guesses = (guess for guess in _guesses(head) if guess not in KNOWN and not guess.startswith("text/"))
    return next(guesses, None)


def _guesses(head: bytes) -> list[str]:
    """What puremagic thinks, the likeliest first; it is given bytes and nothing else."""
    import puremagic

    try:
        matches = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return []
    return [
        match.mime_type
        for match in matches
        # A negative offset counts from the file's end, which a head does not have.
        if match.offset >= 0 and len(match.byte_match) >= _SHORTEST_GUESS and _is_mime_type(match.mime_type)
    ]


def _is_mime_type(guess: str) -> bool:
    return "/" in guess and guess != "application/octet-stream"
