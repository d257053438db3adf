"""Sound that begins with a few bits at most: streams of frames, each of which must be followed by another."""

from __future__ import annotations

import re
from collections.abc import Callable

from damd.filetype.peek import Peek

_MPEG_1_RATES = (
    (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
_MPEG_2_RATES = (
    (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""Kilobits a second by layer and index: ISO/IEC 11172-3 and 13818-3."""
_MPEG_SAMPLE_RATES = (44100, 48000, 32000)
_AC3_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AC3_SAMPLE_RATES = (48000, 44100, 32000)
"""ATSC A/52, table 5.18."""

_AFTER_ID3 = (
    (re.compile(rb"fLaC"), "audio/flac"),
    (re.compile(rb"OggS\0"), "audio/ogg"),
    (re.compile(rb"MAC "), "audio/x-ape"),
    (re.compile(rb"wvpk"), "audio/x-wavpack"),
    (re.compile(rb"MP\+|MPCK"), "audio/x-musepack"),
)
_MOST_TAGS = 4


def judge_id3(peek: Peek) -> str:
    """What follows the ID3 tag, be that as long as it will; MP3 where nothing else does."""
    offset = 0
    for _ in range(_MOST_TAGS):
        tag = peek.read(offset, 10)
        if not re.match(rb"ID3[\x02-\x04].{2}[\x00-\x7f]{4}", tag, re.DOTALL):
            break
        size = sum(byte << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=True))
        offset += 10 + size + (10 if tag[5] & 0x10 else 0)
    start = peek.read(offset, 8)
    for pattern, mime_type in _AFTER_ID3:
        if pattern.match(start):
            return mime_type
    return "audio/aac" if _is_adts(start) and _follows(peek, offset, _adts_size) else "audio/mpeg"


def judge_mpeg_audio(peek: Peek) -> str | None:
    """MPEG audio of any layer without a tag, by two frames of the same kind."""
    return "audio/mpeg" if _follows(peek, 0, _mpeg_size) else None


def judge_aac(peek: Peek) -> str | None:
    """AAC in ADTS frames, by two of them."""
    return "audio/aac" if _follows(peek, 0, _adts_size) else None


def judge_ac3(peek: Peek) -> str | None:
    """AC-3, or its successor E-AC-3, by two frames."""
    return "audio/ac3" if _follows(peek, 0, _ac3_size) else None


def _follows(peek: Peek, offset: int, measure: Callable[[bytes], int]) -> bool:
    """Whether a frame begins here and another of its kind behind it, or the file ends with the first."""
    first = peek.read(offset, 8)
    size = measure(first)
    if not size:
        return False
    second = peek.read(offset + size, 8)
    return (measure(second) > 0 and second[:2] == first[:2]) or offset + size == peek.size


def _mpeg_size(header: bytes) -> int:
    """The bytes of the frame with this header; 0 when there is none, or it does not say."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, sampling, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or rate in (0, 15) or sampling == 3 or header[3] & 3 == 2:
        return 0
    newest = version == 3
    bits = 1000 * (_MPEG_1_RATES if newest else _MPEG_2_RATES)[layer - 1][rate]
    hertz = _MPEG_SAMPLE_RATES[sampling] >> {3: 0, 2: 1, 0: 2}[version]
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (144 if newest or layer == 2 else 72) * bits // hertz + padding


def _is_adts(header: bytes) -> bool:
    return len(header) >= 6 and header[0] == 0xFF and header[1] & 0xF6 == 0xF0


def _adts_size(header: bytes) -> int:
    if not _is_adts(header) or header[2] >> 2 & 15 > 12:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size > 7 else 0


def _ac3_size(header: bytes) -> int:
    if len(header) < 6 or header[:2] != b"\x0b\x77":
        return 0
    identity, sampling, code = header[5] >> 3, header[4] >> 6, header[4] & 63
    if 10 < identity <= 16:
        return 2 * ((header[2] & 7) << 8 | header[3]) + 2
    if identity > 10 or sampling == 3 or code >= 2 * len(_AC3_RATES):
        return 0
    words = _AC3_RATES[code // 2] * 96000 // _AC3_SAMPLE_RATES[sampling]
    return 2 * (words + (code % 2 if sampling == 1 else 0))
