"""Containers that hold several types of file: ASF, Ogg, Matroska, ZIP. Each is judged by what is first in it."""

from __future__ import annotations

import re

from damd.filetype.peek import Peek

OFFICE = {
    b"word/": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    b"xl/": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    b"ppt/": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
"""The folder that tells an Office Open XML file's type (ECMA-376, part 2)."""

_STREAM_PROPERTIES = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")
_ASF_VIDEO, _ASF_AUDIO = (bytes.fromhex(kind + "4d5bcf11a8fd00805f5c442b") for kind in ("c0ef19bc", "409e69f8"))
_OGG_VIDEO = re.compile(rb"\x80theora|BBCD\0|\x01video\0|OVP80\x01")
_SEGMENT, _TRACKS, _TRACK, _TRACK_TYPE, _CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0x1F43B675
_SOUND = 2
_ZIP_ENTRY = re.compile(rb"PK\x03\x04.{22}(..)(..)", re.DOTALL)
_OFFICE_PARTS = re.compile(rb"\n(?:\[Content_Types\]\.xml|_rels/\.rels|docProps/)")
"""What such a file has, in whatever order it was written, and a ZIP with a folder named "word" has not."""
_STATED_TYPE = re.compile(rb"application/(?:vnd\.oasis\.opendocument\.[a-z-]+|epub\+zip)")
_MOST_PARTS = 64
_LARGEST_PART = 8192


def judge_asf(peek: Peek) -> str:
    """Windows Media: a film, unless the header's streams are sound only (ASF specification, 3.3)."""
    offset, kinds = 30, set()
    for _ in range(_MOST_PARTS):
        part = peek.read(offset, 40)
        size = int.from_bytes(part[16:24], "little")
        if size < 24:
            break
        if part.startswith(_STREAM_PROPERTIES):
            kinds.add(part[24:])
        offset += size
    return "audio/x-ms-wma" if _ASF_AUDIO in kinds and _ASF_VIDEO not in kinds else "video/x-ms-wmv"


def judge_ogg(peek: Peek) -> str:
    """Ogg: sound, unless one of the streams that begin the file is a film's (RFC 3533, section 4)."""
    offset = 0
    for _ in range(_MOST_PARTS):
        page = peek.read(offset, 27 + 255 + 8)
        if not page.startswith(b"OggS") or len(page) < 27 or not page[5] & 2:
            break
        segments = page[27 : 27 + page[26]]
        if _OGG_VIDEO.match(page, 27 + len(segments)):
            return "video/ogg"
        offset += 27 + len(segments) + sum(segments)
    return "audio/ogg"


def judge_matroska(peek: Peek) -> str:
    """Matroska: a film, unless the tracks are sound only (RFC 9559)."""
    _, start, size = _element(peek, 0)
    segment, offset, _ = _element(peek, start + size)
    if segment != _SEGMENT:
        return "video/x-matroska"
    for _ in range(_MOST_PARTS):
        kind, start, size = _element(peek, offset)
        if kind == _TRACKS:
            return "audio/x-matroska" if _track_types(peek, start, start + size) == {_SOUND} else "video/x-matroska"
        if kind in (0, _CLUSTER):
            break
        offset = start + size
    return "video/x-matroska"


def _track_types(peek: Peek, offset: int, end: int) -> set[int]:
    """The types of the tracks between these places; 0 for one that could not be read."""
    types = set()
    for _ in range(_MOST_PARTS):
        if offset >= end:
            break
        kind, start, size = _element(peek, offset)
        if kind == 0:
            return {0}
        if kind == _TRACK:  # what is in it comes next
            offset = start
            continue
        if kind == _TRACK_TYPE:
            types.add(int.from_bytes(peek.read(start, min(size, 8)), "big"))
        offset = start + size
    return types


def _element(peek: Peek, offset: int) -> tuple[int, int, int]:
    """An EBML element's identity, where its content starts and how long that is (RFC 8794); identity 0 for none."""
    data = peek.read(offset, 12)
    width = 9 - data[0].bit_length() if data else 9
    if width > 4 or len(data) <= width:
        return 0, offset, 0
    length = 9 - data[width].bit_length()
    if length > 8:
        return 0, offset, 0
    size = int.from_bytes(data[width : width + length], "big") & ((1 << 7 * length) - 1)
    return int.from_bytes(data[:width], "big"), offset + width + length, size


def judge_zip(peek: Peek) -> str:
    """ZIP: a document's type by the names of the first entries, or by what the very first one states."""
    offset, names = 0, b""
    for _ in range(_MOST_PARTS):
        entry = peek.read(offset, 30 + 255)
        header = _ZIP_ENTRY.match(entry)
        if not header:
            break
        name_size, extra_size = (int.from_bytes(field, "little") for field in header.groups())
        name, start = entry[30 : 30 + name_size], 30 + name_size + extra_size
        if name == b"mimetype":
            stated = _STATED_TYPE.match(peek.read(offset + start, 100))
            return stated[0].decode() if stated else "application/zip"
        names += b"\n" + name
        for folder, mime_type in OFFICE.items():
            if b"\n" + folder in names and _OFFICE_PARTS.search(names):
                return mime_type
        offset = _next_entry(peek, offset + start, entry)
    return "application/zip"


def _next_entry(peek: Peek, offset: int, entry: bytes) -> int:
    """Where the entry behind these contents begins; an entry that was streamed does not say its size."""
    size = int.from_bytes(entry[18:22], "little")
    if size or not entry[6] & 8:
        return offset + size
    found = peek.read(offset, _LARGEST_PART).find(b"PK\x03\x04")
    return offset + found if found >= 0 else peek.size
