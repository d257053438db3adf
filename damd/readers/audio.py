"""Sound: how it is stored, what it says of the music in it, and its cover.

FFmpeg tells the sound and mutagen the tags, and each what the other does not know.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import mutagen
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from damd.errors import BrokenFileError
from damd.readers.previews import edge_for, write_previews
from damd.readers.streams.container import (
    Source,
    codec_name,
    container_name,
    decoder_of,
    demuxed,
    explaining,
    seconds,
    texts,
)
from damd.readers.streams.covers import MAX_COVER_PIXELS, find_attached, find_cover, open_cover
from damd.readers.streams.ending import ends_early
from damd.readers.streams.music_tags import open_tagged, read_tags

_MAX_PACKETS = 100
"""Of which one must be sound: some encoders begin with what decodes to nothing, and a stream may begin anywhere."""
_LONGEST_S = 366 * 86_400


def read(path: str, *, previews: list[dict[str, Any]], format: str, quality: int, max_pixels: int) -> dict[str, Any]:  # noqa: A002 - named as the configuration names it
    """Read one recording and write the previews of its cover.

    Its arguments are those of every reader, see `damd.readers.previews`.

    Returns:
        ``properties``: ``codec`` and ``container`` as FFmpeg calls them, ``duration_s``, ``sample_rate`` in hertz,
        ``channels``, ``bit_rate`` in bits a second. ``tags``, see `damd.readers.streams.music_tags.read_tags`. And
        ``previews``, none where there is no cover that can be shown.

    Raises:
        BrokenFileError: It is empty, cut off, damaged or without sound.
        UnreadableFileError: The system does not let it be read.
        OSError: A preview cannot be written.
        MemoryError: It takes more than the process may use.
    """
    tagged = open_tagged(path)
    # FFmpeg decodes a cover to know what it is, and a huge one must not cost the recording.
    most = str(min(max_pixels, MAX_COVER_PIXELS))
    with Source(path) as source, explaining(source), demuxed(source, max_pixels=most) as container:
        properties, words = _read_sound(source, container, tagged)
        cover = find_cover(tagged) or find_attached(container)
    image = open_cover(cover, edge_for(previews), max_pixels) if cover and previews else None
    written = write_previews(image, previews, format, quality) if image is not None else []
    return {"properties": properties, "tags": read_tags(tagged, words), "previews": written}


def _read_sound(
    source: Source, container: InputContainer, tagged: mutagen.FileType | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The properties of the container's sound, and its tags as FFmpeg names them."""
    streams = container.streams.audio
    stream = next((one for one in streams if decoder_of(one) is not None), next(iter(streams), None))
    if stream is None:
        raise BrokenFileError("There is no sound in the file")
    decoder = stream.codec_context if decoder_of(stream) is not None else None
    info = getattr(tagged, "info", None)
    properties = {
        "codec": codec_name(stream) or "unknown",
        "container": container_name(container),
        "duration_s": seconds(container, stream) or _told(info, "length", _LONGEST_S),
        "sample_rate": _told(decoder, "sample_rate", 2**31) or _told(info, "sample_rate", 2**31),
        "channels": _told(decoder, "channels", 2**15) or _told(info, "channels", 2**15),
        "bit_rate": _told(stream, "bit_rate") or _told(container, "bit_rate") or _told(info, "bitrate"),
    }
    if decoder is not None and not _sounds(container, stream):
        raise BrokenFileError("Not a readable recording: nothing in it can be decoded")
    if ends_early(source, container, stream, seconds(container, stream), tagged):
        raise BrokenFileError("The recording is truncated: it ends before its sound is complete")
    return properties, texts(stream.metadata) | texts(container.metadata)


def _told(source: Any, name: str, most: float = 2**40) -> Any:
    """A number that FFmpeg or mutagen knows; None where they do not, or one that cannot be."""
    value = getattr(source, name, None) or 0
    return value if 0 < value < most else None


def _sounds(container: InputContainer, stream: AudioStream) -> bool:
    """Whether one of the first packets can be decoded."""
    for packet in islice(container.demux(stream), _MAX_PACKETS):
        try:
            if any(frame.samples for frame in stream.codec_context.decode(packet)):
                return True
        except FFmpegError:
            continue
    return False
