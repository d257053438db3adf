"""Films: what they say about themselves, a poster that shows something, and the hashes of sampled frames."""

from __future__ import annotations

from typing import Any

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from damd.errors import LimitExceededError, UnsupportedTypeError
from damd.readers.previews import edge_for, write_previews
from damd.readers.streams.container import (
    Source,
    boxes,
    codec_name,
    container_name,
    decoder_of,
    demuxed,
    explain,
    explaining,
    is_cut,
    rate,
    seconds,
    texts,
)
from damd.readers.streams.film_tags import read_capture, read_description, read_identifier
from damd.readers.streams.frames import Frames
from damd.readers.streams.pictures import Camera, square_size
from damd.readers.streams.samples import Samples

_MOST_FRAMES_A_SECOND = 100_000
_MOST_BITS_A_SECOND = 2**40
_MAX_INDEX_BYTES = 2**22
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def read(path: str, *, previews: list[dict[str, Any]], format: str, quality: int, max_pixels: int) -> dict[str, Any]:  # noqa: A002 - named as the configuration names it
    """Read one film and write previews of one of its frames.

    Its arguments are those of every reader, see `damd.readers.previews`.

    Returns:
        ``properties``: ``container``, ``video_codec``, ``audio_codec``, ``duration_s``, ``width`` and ``height``
        in pixels as displayed, ``rotation`` in degrees clockwise, ``frame_rate`` (the average), ``bit_rate`` in
        bits a second. ``capture``, ``description`` and ``content_identifier``, see `damd.readers.streams.film_tags`.
        ``frame_hashes``: ``at_s`` and ``phash`` of sampled frames that show something. ``previews``, each with its
        ``width`` and ``height``. What has no pictures but sound: what `damd.readers.audio` reads of it, and
        ``family``, "audio".

    Raises:
        BrokenFileError: It is empty, truncated or damaged.
        LimitExceededError: Its frames have too many pixels.
        UnsupportedTypeError: It is encrypted, or coded in a way that FFmpeg has no decoder for.
        UnreadableFileError: The system does not let it be read.
        OSError: A preview cannot be written.
        MemoryError: Decoding it takes more than the process may use.
    """
    with Source(path) as source, explaining(source):
        _refuse_encrypted(source)
        found = _read_film(source, edge_for(previews), max_pixels)
    if found is None:
        return _read_sound(path, previews, format, quality, max_pixels)
    facts, poster = found
    facts["previews"] = write_previews(poster, previews, format, quality)
    return facts


def _read_sound(path: str, previews: list[dict[str, Any]], kind: str, quality: int, max_pixels: int) -> dict[str, Any]:
    from damd.readers import audio  # only now: few films have no pictures

    facts = audio.read(path, previews=previews, format=kind, quality=quality, max_pixels=max_pixels)
    return {**facts, "family": "audio"}


def _refuse_encrypted(source: Source) -> None:
    """Nothing is shown of an encrypted MP4, whose tracks say so (ISO/IEC 14496-12, 8.12), instead of noise."""
    for name, start, end in boxes(source):
        if name == b"moov":
            source.seek(start)
            index = source.read(min(end - start, _MAX_INDEX_BYTES))
            if b"encv" in index and b"sinf" in index:
                raise UnsupportedTypeError("the film is encrypted")
            break
    source.seek(0)


def _find_film(container: InputContainer) -> VideoStream | None:
    """The stream of pictures that can be decoded, or else the one with the most pixels; a cover is none."""
    films = [stream for stream in container.streams.video if not stream.disposition & _NO_FILM]
    return max(films, key=_worth, default=None)


def _worth(stream: VideoStream) -> tuple[bool, int]:
    if decoder_of(stream) is None:
        return False, 0
    return True, stream.width * stream.height


def _read_film(source: Source, edge: int, max_pixels: int) -> tuple[dict[str, Any], Image.Image] | None:
    """The facts and the poster; None where there are no pictures."""
    with demuxed(source) as container:
        stream = _find_film(container)
        if stream is None:
            return None
        _refuse(source, stream, max_pixels)
        duration_s = seconds(container, stream)
        samples = Samples(Camera(stream.sample_aspect_ratio, edge))
        samples.take(Frames(source, container, stream, max_pixels), duration_s)
        facts = _facts(container, stream, duration_s, samples)
    if samples.is_poor:  # where seeking fails, or keyframes are not marked: once more, from the beginning
        source.allow()
        source.seek(0)
        with demuxed(source) as container:
            if (stream := _find_film(container)) is not None:
                samples.take_next(Frames(source, container, stream, max_pixels))
                facts = _facts(container, stream, duration_s, samples)
    if samples.poster is None:
        raise explain(source, "None of the film's pictures can be decoded: it is damaged or encrypted")
    return facts, samples.poster


def _refuse(source: Source, stream: VideoStream, max_pixels: int) -> None:
    if decoder_of(stream) is None:
        if is_cut(source):
            raise explain(source)
        raise UnsupportedTypeError("a film in a codec that FFmpeg does not know")
    if (pixels := stream.width * stream.height) > max_pixels:
        raise LimitExceededError(f"It has {pixels} pixels, and max_pixels allows {max_pixels}")


def _facts(
    container: InputContainer, stream: VideoStream, duration_s: float | None, samples: Samples
) -> dict[str, Any]:
    tags = texts(stream.metadata) | texts(container.metadata)
    width, height = square_size(stream.width, stream.height, stream.sample_aspect_ratio)
    return {
        "properties": {
            "container": container_name(container),
            "video_codec": codec_name(stream) or "unknown",
            "audio_codec": _sound_of(container),
            "duration_s": duration_s,
            "width": height if samples.rotation % 180 else width,
            "height": width if samples.rotation % 180 else height,
            "rotation": samples.rotation,
            "frame_rate": _frame_rate(stream),
            "bit_rate": container.bit_rate if 0 < container.bit_rate <= _MOST_BITS_A_SECOND else None,
        },
        "capture": read_capture(tags),
        "description": read_description(tags),
        "content_identifier": read_identifier(tags),
        "frame_hashes": samples.hashes,
    }


def _sound_of(container: InputContainer) -> str | None:
    names = (codec_name(stream) for stream in container.streams.audio)
    return next((name for name in names if name), None)


def _frame_rate(stream: VideoStream) -> float | None:
    """The average, unless it is more than the timestamps have room for: of a DV, FFmpeg says 60000."""
    average, base = stream.average_rate, stream.base_rate
    if average and base and average > 2 * base:
        average = None
    return rate(average or stream.guessed_rate, _MOST_FRAMES_A_SECOND)
