"""Samples of a film: a poster that shows something, and the perceptual hashes of frames here and there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av.error
from PIL import Image

from damd.readers.previews import perceptual_hash
from damd.readers.streams.frames import Frame, Frames
from damd.readers.streams.pictures import Camera, contrast, turn_of

_MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where frames are sampled, as parts of the duration."""
_FURTHER_MOMENTS = (0.2, 0.4, 0.6, 0.8, 0.02, 0.98)
"""Where a poster is looked for if none of those shows anything."""
_SHORT_S, _SHORT_MOMENTS = 1.0, (0.1, 0.5)
_FIRST_MOMENTS = (0.0, 2.0, 5.0, 15.0)
"""In seconds, where nobody knows the duration, as of what browsers record."""
_MOST_FRAMES = 50
"""Decoded one after the other, where nobody can seek, until one shows something."""


class Samples:
    """What is kept of a film's frames, of which at most one picture.

    Attributes:
        poster: The first that shows something, or else the first; None where nothing could be decoded.
        rotation: In degrees clockwise, as `damd.readers.streams.pictures.turn_of` finds it.
        hashes: ``at_s`` and ``phash`` of sampled frames that show something; of the others, it would be noise.
    """

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._contrast = 0.0
        self._seen: set[float] = set()
        self.poster: Image.Image | None = None
        self.rotation = 0
        self.hashes: list[dict[str, Any]] = []

    @property
    def is_poor(self) -> bool:
        """Whether seeking has found nothing, or one frame that shows nothing."""
        return self.poster is None or (not self._contrast and len(self._seen) < 2)

    def take(self, frames: Frames, duration_s: float | None) -> None:
        """Sample a film of this duration, or of one that nobody knows."""
        for frame in self._distinct(frames, _moments(duration_s), duration_s or 1.0):
            self._keep(frame, hashed=True)
        if self.poster is not None and not self._contrast and duration_s:
            for frame in self._distinct(frames, _FURTHER_MOMENTS, duration_s):
                self._keep(frame, hashed=False)
                if self._contrast:
                    break

    def take_next(self, frames: Frames) -> None:
        """Sample what can be decoded next, up to the first frame that shows something."""
        for _ in range(_MOST_FRAMES):
            frame = frames.next()
            if frame is None:
                return
            self._keep(frame, hashed=True)
            if self._contrast:
                return

    def _distinct(self, frames: Frames, moments: Sequence[float], duration_s: float) -> Iterator[Frame]:
        for moment in moments:
            frame = frames.at(moment * duration_s)
            if frame is not None and frame.at_s not in self._seen:
                self._seen.add(frame.at_s)
                yield frame

    def _keep(self, frame: Frame, *, hashed: bool) -> None:
        try:
            image = self._camera.take(frame.coded)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            return  # of a format or of colours that cannot be converted
        found = contrast(image)
        if hashed and found:
            self.hashes.append({"at_s": frame.at_s, "phash": perceptual_hash(image)})
        if self.poster is None:
            self.rotation, _ = turn_of(frame.coded)
        if self.poster is None or (found and not self._contrast):
            self.poster, self._contrast = image, found


def _moments(duration_s: float | None) -> Sequence[float]:
    if not duration_s:
        return _FIRST_MOMENTS if duration_s is None else (0.0,)
    return _SHORT_MOMENTS if duration_s < _SHORT_S else _MOMENTS
