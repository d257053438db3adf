"""The limit of pixels, for what does not pass through Pillow's own check."""

from __future__ import annotations

from damd.errors import LimitExceededError


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse what is too large to be decoded.

    Raises:
        LimitExceededError: Width times height is more than ``max_pixels``.
    """
    if width * height > max_pixels:
        raise LimitExceededError(f"It has {width * height} pixels, and max_pixels allows {max_pixels}")
