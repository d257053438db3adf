"""Frames of a film, decoded where they are asked for at a bounded cost.

A frame is found by seeking to the keyframe before it and decoding on from there, as far as the bounds allow; so the
length of a film costs nothing. Everything is counted in packets and pixels, nothing in time, so that reading a film
again finds the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av.error
from av.container import InputContainer
from av.frame import Frame as AnyFrame
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from damd.readers.streams.container import Source

_MAX_PACKETS = 3_000
"""Of the film, looked at for one moment: 50 s at 60 frames a second, further than any keyframe is from the next."""
_MAX_PIXELS = 100_000_000
"""Decoded for one moment once there is a frame: 2 s of Full HD at 24 frames a second, half a second of 4K."""
_LEAST_PACKETS = 16
"""Fed before the bound of pixels counts: frames may come out as many packets late as a codec reorders."""
_EARLIER_S, _NEAR_S = (0.0, 2.0, 10.0), 0.25
"""How far before a moment it is sought for, one after the other until what is found is no later than so much."""
_BORDER = 256
_INT_MAX = 2**31 - 1


class Frame(NamedTuple):
    """One frame: ``at_s`` seconds after the film's beginning."""

    at_s: float
    coded: VideoFrame


class Frames:
    """The frames of a film's stream, whose decoder is set up here: one thread, and no frame above ``max_pixels``."""

    def __init__(self, source: Source, container: InputContainer, stream: VideoStream, max_pixels: int) -> None:
        self._source, self._container, self._stream = source, container, stream
        self._base = stream.time_base or Fraction(1, 90_000)
        self._start = stream.start_time or 0
        stream.thread_count = 1
        # Decoders round up to whole blocks, and some add a border.
        largest = max(max_pixels, (stream.width + _BORDER) * (stream.height + _BORDER))
        stream.codec_context.options = {"max_pixels": str(min(largest, _INT_MAX)), "threads": "1"}
        stream.codec_context.skip_frame = "NONREF"

    def at(self, moment_s: float) -> Frame | None:
        """The frame at this moment, or the last one before it within the bounds; None where none can be decoded.

        Where keyframes are not indexed, a seek may lead to the one after the moment: then from further before.
        """
        wanted = self._start + int(moment_s / self._base)
        nearest: Frame | None = None
        for earlier_s in _EARLIER_S:
            found = self._seek(wanted - int(earlier_s / self._base), wanted)
            if nearest is None or (found is not None and abs(found.at_s - moment_s) < abs(nearest.at_s - moment_s)):
                nearest = found
            if self._source.exhausted or (nearest is not None and nearest.at_s <= moment_s + _NEAR_S):
                break
        return nearest

    def next(self) -> Frame | None:
        """The first frame that can be decoded from here on, keyframe or not; a damaged one if there is no other."""
        self._source.allow()
        damaged, pixels = None, 0
        for count, packet in enumerate(self._packets(from_keyframe=False)):
            for frame in self._decoded(packet):
                pixels += frame.width * frame.height
                if not frame.is_corrupt:
                    return self._frame(frame)
                damaged = damaged or frame
            if count >= _LEAST_PACKETS and pixels >= _MAX_PIXELS:
                break
        return None if damaged is None else self._frame(damaged)

    def _seek(self, position: int, wanted: int) -> Frame | None:
        try:
            self._source.allow()
            self._container.seek(position, stream=self._stream)
            return self._decode(wanted, from_keyframe=True)
        except av.error.MemoryError:
            raise
        except (av.error.FFmpegError, ValueError, OverflowError):
            return None

    def _decode(self, wanted: int, *, from_keyframe: bool) -> Frame | None:
        found, pixels = None, 0
        for count, packet in enumerate(self._packets(from_keyframe=from_keyframe)):
            for frame in self._decoded(packet):
                pixels += frame.width * frame.height
                if frame.is_corrupt:
                    continue
                found = frame
                if frame.pts is None or frame.pts >= wanted:
                    return self._frame(frame)
            if count >= _LEAST_PACKETS and pixels >= _MAX_PIXELS:
                break
        return None if found is None else self._frame(found)

    def _packets(self, *, from_keyframe: bool) -> Iterator[Packet[Any]]:
        """Packets of the stream, with the empty one last that makes the decoder give all that it has."""
        begun = not from_keyframe
        for count, packet in enumerate(self._container.demux(self._stream)):
            begun = begun or packet.is_keyframe
            if begun and packet.size:
                yield packet
            if count >= _MAX_PACKETS:
                break
        last = Packet()
        last.stream = self._stream
        yield last

    def _decoded(self, packet: Packet[Any]) -> Iterator[VideoFrame]:
        frames: list[AnyFrame] = []
        try:
            frames = list(self._stream.decode(packet if packet.size else None))
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            pass  # a broken packet; the next may be whole
        return (frame for frame in frames if isinstance(frame, VideoFrame))

    def _frame(self, frame: VideoFrame) -> Frame:
        at_s = 0.0 if frame.pts is None else float((frame.pts - self._start) * self._base)
        return Frame(round(max(0.0, at_s), 3), frame)
