"""What a file is, by its bytes: `get_mime_type` and the guide's `get_file_type`.

The name never counts. Three judges are asked in turn: the tables below, which hold what damd reads or
is likely to meet and what the library gets wrong; a look for plain text; and the library `puremagic`,
whose guess at a type that the tables know is not believed, since the tables did not agree.
"""

from __future__ import annotations

import codecs
import os
import re
from pathlib import Path

HEAD_BYTES = 4096
"""How much of a file is looked at."""

_SIGNATURES = (
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"(?:II\*\0|MM\0\*)....CR[\x02\x03]", "image/x-canon-cr2"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "image/tiff"),
    # Two letters prove nothing: the size of the header that follows is one of the known ones.
    (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", "image/bmp"),
    (rb"IIR[OS]|MMOR", "image/x-olympus-orf"),
    (rb"IIU\0", "image/x-panasonic-rw2"),
    (rb"FUJIFILMCCD-RAW", "image/x-fujifilm-raf"),
    (rb"FOVb", "image/x-sigma-x3f"),
    (rb"\0MRM", "image/x-minolta-mrw"),
    (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", "image/jxl"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (rb"\xff\x4f\xff\x51", "image/x-j2c"),
    (rb"8BPS\0[\x01\x02]", "image/vnd.adobe.photoshop"),
    (rb"%PDF-", "application/pdf"),
    (rb"PK\x03\x04", "application/zip"),
    (rb"RIFF....AVI ", "video/x-msvideo"),
    (rb"RIFF....WAVE", "audio/x-wav"),
    (rb"\x1aE\xdf\xa3.{0,60}?webm", "video/webm"),
    (rb"\x1aE\xdf\xa3.{0,60}?matroska", "video/x-matroska"),
    (rb"\0\0\x01\xba", "video/mpeg"),
    (rb"ID3[\x02-\x04]", "audio/mpeg"),
    (rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][^\xf0-\xff]", "audio/mpeg"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS.{24}\x80theora", "video/ogg"),
    (rb"OggS", "audio/ogg"),
)
"""What a file begins with, and its MIME type; the first that fits decides."""

_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"hevm": "image/heic",
    b"hevs": "image/heic",
    b"crx ": "image/x-canon-cr3",
    b"jxl ": "image/jxl",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
    b"F4A ": "audio/mp4",
    b"F4B ": "audio/mp4",
    b"M4V ": "video/x-m4v",
}
"""Brands of ISO base media files that decide alone; most are registered at mp4ra.org."""

_GENERIC_IMAGE_BRANDS = (b"mif1", b"mif2", b"msf1")
"""They say "images", not how these are coded: a compatible brand says that."""

_COMPILED = tuple((re.compile(pattern, re.DOTALL), mime_type) for pattern, mime_type in _SIGNATURES)
_KNOWN = {mime_type for _, mime_type in _SIGNATURES} | {"image/avif", "image/heic", "image/heif"}
_ISO_MEDIA = re.compile(rb"(....)ftyp(....)", re.DOTALL)
# Atomic and possessive: it never goes back, so no text can make it slow.
_SVG = re.compile(r"(?>\s|<\?xml[^>]*>|<!DOCTYPE[^>]*>|<!--.*?-->)*+<svg[\s>]", re.DOTALL)
_NOT_TEXT = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_TEXT_GUESS = re.compile(r"text/|application/(?:json|xml|rtf|postscript)$")
_SHORTEST_GUESS = 4
"""Bytes that a signature of puremagic must have: with fewer, anything looks like something."""


def get_mime_type(path: Path) -> str | None:
    """The MIME type of the file's first `HEAD_BYTES` bytes; None when nobody knows, or there are none.

    Blocks. A FIFO or a device cannot make it wait.

    Raises:
        OSError: It cannot be read.
    """
    # O_NONBLOCK: opening a FIFO without a writer would wait for one.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        head = os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)
    return _judge(head)


def get_file_type(path: Path) -> str:
    """The guide's word for a file: the MIME type's first part, such as ``image``, or ``unknown``.

    Raises:
        OSError: It cannot be read.
    """
    mime_type = get_mime_type(path)
    return mime_type.partition("/")[0] if mime_type else "unknown"


def _judge(head: bytes) -> str | None:
    if not head:
        return None
    for pattern, mime_type in _COMPILED:
        if pattern.match(head):
            return mime_type
    if media := _ISO_MEDIA.match(head):
        return _judge_brands(media[2], head[16 : max(16, int.from_bytes(media[1], "big"))])
    text = _decode(head)
    return _guess_binary(head) if text is None else _guess_text(text, head)


def _judge_brands(major: bytes, compatible: bytes) -> str:
    """The type of an ISO base media file; what no brand decides is a video, or a generic image."""
    if major in _BRANDS:
        return _BRANDS[major]
    if major[:3] in (b"3gp", b"3ge", b"3gg", b"3gs", b"3gr"):
        return "video/3gpp"
    if major[:3] == b"3g2":
        return "video/3gpp2"
    if major in _GENERIC_IMAGE_BRANDS:
        brands = (compatible[start : start + 4] for start in range(0, len(compatible), 4))
        coded = (_BRANDS.get(brand, "") for brand in brands)
        return next((mime_type for mime_type in coded if mime_type.startswith("image/")), "image/heif")
    return "video/mp4"


def _decode(head: bytes) -> str | None:
    """The head as text, or None when it is not: text has no control characters but white space."""
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        # Not final: the head may end within a character.
        text = codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return None
    return None if _NOT_TEXT.search(text) else text


def _guess_text(text: str, head: bytes) -> str:
    """Text stays text, whatever picture or film its first letters could also begin."""
    if _SVG.match(text):
        return "image/svg+xml"
    return next((guess for guess in _guesses(head) if _TEXT_GUESS.match(guess)), "text/plain")


def _guess_binary(head: bytes) -> str | None:
    guesses = (guess for guess in _guesses(head) if guess not in _KNOWN and not guess.startswith("text/"))
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
