"""Makers of real films, for every test that needs one; they need PyAV (damd[video])."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from pictures import photograph
from PIL import Image, ImageDraw

RATE = 10
"""Frames a second, where a test does not say."""


def scene(number: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A photograph with a bar that moves from frame to frame."""
    image = photograph(*size)
    left = 20 + number * 7 % (size[0] - 40)
    ImageDraw.Draw(image).rectangle((left, size[1] // 2, left + 8, size[1] - 20), fill=(20, 20, 20))
    return image


def black(number: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Nothing."""
    return Image.new("RGB", size)


def black_until(end: int) -> Callable[[int, tuple[int, int]], Image.Image]:
    """Black up to this frame, and then a scene."""
    return lambda number, size: black(number, size) if number < end else scene(number, size)


def make_film(
    path: Path,
    *,
    frames: int = 3 * RATE,
    size: tuple[int, int] = (160, 120),
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    paint: Callable[[int, tuple[int, int]], Image.Image] = scene,
    rotation: int = 0,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    metadata: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    keyframe_every: int = 12,
    rate: int = RATE,
    sound: bool = False,
) -> Path:
    """A film in the container of the path's suffix.

    Args:
        path: Where.
        frames: How many.
        rate: So many of them a second.
        size: Of the coded frames.
        codec: FFmpeg's name of an encoder.
        pixels: FFmpeg's name of a pixel format.
        paint: What a frame shows.
        rotation: Degrees clockwise in the display matrix.
        mirrored: Whether the display matrix mirrors, too.
        aspect: Of a pixel.
        metadata: Of the container.
        times: Of each frame, in parts of the rate, for a variable rate.
        keyframe_every: So many frames.
        sound: Whether there is a track of silence.
    """
    options = {"movflags": "use_metadata_tags"} if path.suffix in (".mov", ".mp4") else {}
    with av.open(str(path), "w", container_options=options) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = keyframe_every
        if codec == "mpeg4":
            stream.codec_context.bit_rate = 2_000_000
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation or mirrored:
            stream.set_display_rotation(-rotation, hflip=mirrored)
        silence = container.add_stream("aac", 8_000) if sound else None
        for number in range(frames):
            frame = _frame(paint(number, size))
            frame.pts = times[number] if times else number
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if silence is not None:
            assert isinstance(silence, av.AudioStream)
            container.mux(_silence(silence))
    return path


def make_cover_only(path: Path) -> Path:
    """Sound, and a picture that is attached to it."""
    with av.open(str(path), "w") as container:
        silence = container.add_stream("aac", 8_000)
        cover = container.add_stream("mjpeg", 1)
        assert isinstance(silence, av.AudioStream)
        assert isinstance(cover, av.VideoStream)
        cover.width, cover.height, cover.pix_fmt = 160, 120, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = _frame(photograph())
        frame.pts = 0
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        container.mux(_silence(silence))
    return path


def _frame(image: Image.Image) -> av.VideoFrame:
    return av.VideoFrame.from_bytes(image.convert("RGBA").tobytes(), *image.size)


def _silence(stream: av.AudioStream) -> list[av.Packet[Any]]:
    packets: list[av.Packet[Any]] = []
    for number in range(16):
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 8_000, number * 1024
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]
