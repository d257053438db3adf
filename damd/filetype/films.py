"""Films that begin with a few bits at most: MPEG streams."""

from __future__ import annotations

from damd.filetype.peek import Peek

_SYNC = 0x47
_PACKETS = 5
_FEWEST_PACKETS = 2


def judge_transport_stream(peek: Peek) -> str | None:
    """MPEG-2 transport stream, by the first byte of each of its packets of 188 bytes.

    A Blu-ray's or camcorder's packet has 4 bytes of time before it, a broadcast's 16 of error correction behind it.
    """
    sizes = ((188, 0), (192, 4), (204, 0))
    return "video/mp2t" if any(_has_packets(peek, size, start) for size, start in sizes) else None


def _has_packets(peek: Peek, size: int, start: int) -> bool:
    starts = range(start, min(start + size * _PACKETS, peek.size - 3), size)
    return len(starts) >= _FEWEST_PACKETS and all(_is_packet(peek.read(place, 4)) for place in starts)


def _is_packet(header: bytes) -> bool:
    """ISO/IEC 13818-1, 2.4.3.2: the sync byte, and something in the packet."""
    return len(header) == 4 and header[0] == _SYNC and header[3] & 0x30 != 0


def judge_mpeg_video(peek: Peek) -> str | None:
    """MPEG-1 or MPEG-2 video without a container, by a sequence header that makes sense.

    ISO/IEC 13818-2, 6.2.2.1: size, aspect ratio, frame rate, and a bit that is always set.
    """
    header = peek.read(4, 8)
    if len(header) < 8:
        return None
    width, height = header[0] << 4 | header[1] >> 4, (header[1] & 15) << 8 | header[2]
    aspect, rate = header[3] >> 4, header[3] & 15
    sensible = width and height and 1 <= aspect <= 14 and 1 <= rate <= 8 and header[6] & 0x20
    return "video/mpeg" if sensible else None
