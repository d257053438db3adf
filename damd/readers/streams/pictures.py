"""Pictures of a film's frames: upright, with square pixels and right colours, and whether they show anything."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from PIL import Image, ImageStat

from damd.readers.previews import fit

_SANE_ASPECT = (Fraction(1, 8), Fraction(8))
_HD_LINES = 720
"""Without a word about it, films of so many lines are coded by BT.709, smaller ones by BT.601."""
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_MATRIX = struct.Struct("=9i")
_UPRIGHT: tuple[int, Image.Transpose | None] = (0, None)
_TURNS: dict[tuple[int, int, int, int], tuple[int, Image.Transpose | None]] = {
    (1, 0, 0, 1): _UPRIGHT,
    (0, 1, -1, 0): (90, Image.Transpose.ROTATE_270),
    (-1, 0, 0, -1): (180, Image.Transpose.ROTATE_180),
    (0, -1, 1, 0): (270, Image.Transpose.ROTATE_90),
    (-1, 0, 0, 1): (0, Image.Transpose.FLIP_LEFT_RIGHT),
    (1, 0, 0, -1): (180, Image.Transpose.FLIP_TOP_BOTTOM),
    (0, 1, 1, 0): (90, Image.Transpose.TRANSPOSE),
    (0, -1, -1, 0): (270, Image.Transpose.TRANSVERSE),
}
"""A display matrix's signs, and what they do: degrees clockwise, and Pillow's word for all of it."""


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels: as high as before, and as wide as the aspect of a pixel makes it."""
    if not aspect or not _SANE_ASPECT[0] <= aspect <= _SANE_ASPECT[1]:
        return width, height
    return max(1, round(width * aspect)), height


def turn_of(frame: VideoFrame) -> tuple[int, Image.Transpose | None]:
    """The display matrix as degrees clockwise, and as what makes the picture upright; skewed ones count as none.

    A mirrored one has the degrees that are left when it is mirrored back, from left to right.
    """
    try:
        sides: Any = frame.side_data  # whose type knows only motion vectors
        a, b, _, c, d, *_ = _MATRIX.unpack(bytes(sides["DISPLAYMATRIX"]))
    except KeyError:
        return _UPRIGHT
    except Exception:  # noqa: BLE001 - PyAV knows no name for some other side data
        degrees = -frame.rotation % 360
        return next((turn for turn in _TURNS.values() if turn[0] == degrees), _UPRIGHT)
    largest = max(abs(a), abs(b), abs(c), abs(d), 1)
    # 0.7: whatever is nearer to a right angle than to 45°.
    a, b, c, d = (0 if abs(value) < 0.7 * largest else 1 if value > 0 else -1 for value in (a, b, c, d))
    return _TURNS.get((a, b, c, d), _UPRIGHT)


class Camera:
    """Takes pictures of a film's frames: upright, with square pixels, in sRGB, no larger than ``edge``.

    Args:
        aspect: Of a pixel, width by height.
        edge: In pixels.
    """

    def __init__(self, aspect: Fraction | None, edge: int) -> None:
        self._aspect, self._edge = aspect, edge
        # Each keeps what it has computed: for HDR a table that takes a second.
        self._scaler, self._dimmer = VideoReformatter(), VideoReformatter()

    def take(self, frame: VideoFrame) -> Image.Image:
        """The picture of a frame.

        Raises:
            FFmpegError: It is of a format, or of colours, that cannot be converted.
        """
        width, height = fit(square_size(frame.width, frame.height, self._aspect), self._edge)
        matrix = frame.colorspace
        if matrix not in set(Colorspace):
            matrix = Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601
        bright = frame.color_trc in _HDR
        shown = self._scaler.reformat(
            frame,
            width,
            height,
            "gbrp16le" if bright else "rgb24",
            src_colorspace=matrix,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            threads=1,
        )
        if bright:
            # Apart from scaling: done at once, the colours come out wrong.
            trc, primaries = ColorTrc.IEC61966_2_1, ColorPrimaries.BT709
            shown = self._dimmer.reformat(
                shown, format="rgb24", dst_color_trc=trc, dst_color_primaries=primaries, threads=1
            )
        plane = shown.planes[0]
        image = Image.frombuffer("RGB", (width, height), bytes(plane), "raw", "RGB", plane.line_size, 1)
        turn = turn_of(frame)[1]
        return image.copy() if turn is None else image.transpose(turn)


def contrast(image: Image.Image) -> float:
    """The standard deviation of the brightness, 0 to 128; 0 for what shows nothing: nearly black, white or flat.

    Nearly black: 95 of 100 pixels are darker than 36 of 255; nearly white: as many are brighter than 219. Flat:
    a deviation below 5, which fog and a clear sky still have.
    """
    small = image.convert("L").resize((64, 64), Image.Resampling.BOX)
    values = sorted(small.tobytes())
    if values[len(values) * 95 // 100] < 36 or values[len(values) * 5 // 100] > 219:
        return 0.0
    deviation = ImageStat.Stat(small).stddev[0]
    return deviation if deviation >= 5 else 0.0
