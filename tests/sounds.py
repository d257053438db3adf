"""Makers of real sound, for every test that needs some."""

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from pictures import photograph

CODECS = {
    ".mp3": "libmp3lame",
    ".m4a": "aac",
    ".flac": "flac",
    ".ogg": "vorbis",
    ".opus": "libopus",
    ".wav": "pcm_s16le",
    ".aiff": "pcm_s16be",
    ".aac": "aac",
    ".wma": "wmav2",
    ".wv": "wavpack",
    ".caf": "pcm_s16be",
    ".ac3": "ac3",
    ".mka": "flac",
    ".au": "pcm_s16be",
}
"""What `make_sound` codes a file with, by its suffix."""
_MUXERS = {".m4a": "mp4", ".aac": "adts", ".wma": "asf", ".mka": "matroska", ".opus": "ogg"}
_BLOCK = 1024


def make_sound(
    path: Path,
    *,
    seconds: float = 2.0,
    rate: int = 48_000,
    layout: str = "stereo",
    options: Mapping[str, str] | None = None,
    **tags: str,
) -> Path:
    """A rising tone in the format of the path's suffix; tags as FFmpeg names them, options of its muxer."""
    muxer = _MUXERS.get(path.suffix, path.suffix[1:])
    id3 = {"write_id3v2": "1"} if path.suffix in (".aiff", ".aac") else {}
    with av.open(path, "w", format=muxer, options=id3 | dict(options or {})) as container:
        container.metadata.update(tags)
        strict = {"strict": "experimental"} if path.suffix == ".ogg" else {}  # FFmpeg's own encoder of Vorbis
        stream = container.add_stream(CODECS[path.suffix], rate=rate, options=strict, layout=layout, bit_rate=128_000)
        assert isinstance(stream, av.AudioStream)
        channels = stream.codec_context.layout.nb_channels
        for start in range(0, int(seconds * rate), _BLOCK):
            container.mux(stream.encode(_tone(start, min(_BLOCK, int(seconds * rate) - start), rate, channels, layout)))
        container.mux(stream.encode(None))
    return path


def _tone(start: int, count: int, rate: int, channels: int, layout: str) -> av.AudioFrame:
    at = (start + np.arange(count)) / rate
    wave = (8_000 * np.sin(2 * np.pi * (220 + 110 * at) * at)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, channels)[None, :], "s16", layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
    return frame


def make_cover(kind: str = "JPEG", *, width: int = 120, height: int = 120) -> bytes:
    """A `photograph` in this format of Pillow's."""
    file = io.BytesIO()
    photograph(width, height).save(file, kind)
    return file.getvalue()
