"""Whether a recording ends before it should, as one does whose copying was broken off.

A container says how long it is, and its last second is looked for. Ogg does not, but its pages do; raw MP3 and AAC
say nothing at all, so that what is left of them is a whole recording.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import mutagen
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from mutagen.mp3 import BitrateMode

from damd.readers.streams.container import Source, container_name

_SAYING_THEIR_LENGTH = frozenset(
    ("3gp", "aiff", "ape", "asf", "au", "caf", "dsf", "flac", "m4a", "matroska", "mov", "mp4", "mpc", "mpc8", "tta")
) | {"w64", "wav", "webm", "wv"}
_TOLERANCE_S, _TOLERANCE = 1.0, 0.05
"""Rounded lengths, edit lists and a last packet without a duration make files that are whole look shorter."""
_LAST_S = 1.0
_MAX_PACKETS = 100_000
_OPEN_ENDED = 2**31 - 2**20
"""Bytes of sound that a WAV claims at most; what is written to a pipe claims about 2 or 4 GiB, not knowing better."""
_OGG_PAGE = 27 + 255 + 255 * 255
"""In bytes, its header included (RFC 3533, 6)."""


def ends_early(
    source: Source,
    container: InputContainer,
    stream: AudioStream,
    said_s: float | None,
    tagged: mutagen.FileType | None,
) -> bool:
    """Whether sound is missing at the end; False too where nobody can say.

    Args:
        source: The file.
        container: Its container.
        stream: The container's sound.
        said_s: Its duration as FFmpeg tells it.
        tagged: The file as mutagen sees it.
    """
    name = container_name(container)
    if name == "ogg":
        return _ends_within_page(source)
    info = getattr(tagged, "info", None)
    if name == "mp3":
        # Without a header of Xing's its duration is a guess.
        if getattr(info, "bitrate_mode", BitrateMode.UNKNOWN) == BitrateMode.UNKNOWN:
            return False
    elif name not in _SAYING_THEIR_LENGTH:
        return False
    if said_s is None:
        return False
    tolerance_s = max(_TOLERANCE_S, _TOLERANCE * said_s)
    if name == "wav" and info is not None and info.length * info.bitrate / 8 < _OPEN_ENDED:
        return bool(info.length - said_s > tolerance_s)  # FFmpeg goes by what is there
    end_s = _find_end(source, container, stream, said_s)
    return end_s is not None and said_s - end_s > tolerance_s


def _find_end(source: Source, container: InputContainer, stream: AudioStream, said_s: float) -> float | None:
    """Where the last packet ends, in seconds from the start; None where the file's end was not reached."""
    start = (container.start_time or 0) / 1_000_000
    end_s = 0.0
    source.allow()
    try:
        container.seek(int((start + max(0.0, said_s - _LAST_S)) * 1_000_000))
        end_s = max((_end(packet) - start for packet in _timed(container.demux(stream))), default=0.0)
    except FFmpegError:
        pass
    return end_s if source.tell() >= source.size_bytes else None


def _timed(packets: Iterable[Packet[AudioStream]]) -> Iterable[Packet[AudioStream]]:
    return (packet for packet in islice(packets, _MAX_PACKETS) if packet.pts is not None and packet.time_base)


def _end(packet: Packet[AudioStream]) -> float:
    return float(((packet.pts or 0) + (packet.duration or 0)) * (packet.time_base or 0))


def _ends_within_page(source: Source) -> bool:
    source.allow()
    source.seek(max(0, source.size_bytes - _OGG_PAGE))
    tail = source.read(_OGG_PAGE)
    while (start := tail.rfind(b"OggS")) >= 0 and tail[start + 4 : start + 5] != b"\0":
        tail = tail[:start]  # these letters within a page
    if start < 0:
        return False
    lengths = tail[start + 27 : start + 27 + tail[start + 26]] if start + 26 < len(tail) else b""
    return len(tail) - start < 27 + len(lengths) + sum(lengths) or start + 26 >= len(tail)
