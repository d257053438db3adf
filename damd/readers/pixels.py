"""Pixels of any kind to what screens show: 8-bit sRGB, with alpha where there was some.

In two steps, since most of the work is cheaper on the small image: `make_resizable` turns only what
cannot be shrunk as it is, and `to_srgb` does the rest afterwards.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_DEEP_MODES = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535}
_OPEN_ENDED_MODES = {"I", "F"}
_BITS_PER_SAMPLE = 258
_SRGB_NAMES = ("sRGB", "sRGB built-in", "c2")
"""Descriptions of profiles that are sRGB; ``c2`` is the tiny one that web services write."""


def make_resizable(image: Image.Image) -> Image.Image:
    """The image in a mode that shrinks smoothly: no palette, no single bits, no transparent colour."""
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in ("1", "L", "RGB") and "transparency" in image.info:
        try:
            return image.convert("RGBA")
        except (TypeError, ValueError):
            return image.convert("RGB")
    return image


def to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """A new image in mode RGB or RGBA, its colours brought to sRGB; a profile that is broken is ignored."""
    if image.mode in _DEEP_MODES or image.mode in _OPEN_ENDED_MODES:
        return _to_grey(image).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    elif image.mode == "RGBa":
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if alpha is not None:
        image = image.convert(image.mode.removesuffix("A"))
    elif image.mode not in ("L", "RGB", "CMYK", "LAB"):
        image = image.convert("RGB")
    colours = _apply_profile(image, icc_profile)
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def flatten(image: Image.Image) -> Image.Image:
    """The image as it looks on white paper; itself when it has no alpha."""
    if image.mode != "RGBA":
        return image
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def without_empty_alpha(image: Image.Image) -> Image.Image:
    """The image without an alpha channel that is zero throughout: such programs meant no alpha at all."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")
    return image


def _to_grey(image: Image.Image) -> Image.Image:
    """More than eight bits to eight, by their range and not by cutting them off.

    16 bits have a known range, unless the file says that it uses 12 of them. 32-bit and floating-point
    values have none, so the darkest becomes black and the brightest white.
    """
    values = np.asarray(image, dtype=np.float64)
    low, high = 0.0, float(_DEEP_MODES.get(image.mode, 0))
    if not high:
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    elif _uses_12_bits(image):
        high = 4095.0
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255.0 / ((high - low) or 1.0))
    return Image.fromarray(np.clip(scaled + 0.5, 0, 255).astype(np.uint8))


def _uses_12_bits(image: Image.Image) -> bool:
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE)
    return bits in (12, (12,))


def _apply_profile(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    transform = _transform(icc_profile, image.mode) if icc_profile or image.mode == "LAB" else None
    if transform is not None:
        try:
            return transform.apply(image)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # the profile is for another kind of image
    return (image.getchannel("L") if image.mode == "LAB" else image).convert("RGB")


@lru_cache(maxsize=16)
def _transform(icc_profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """How to get from a profile to sRGB; None when it is sRGB, broken, or for another mode.

    Kept, since the photographs of one camera share their profile.
    """
    try:
        if icc_profile:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        else:
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        name = ImageCms.getProfileDescription(profile).strip()
        if mode == "RGB" and (name in _SRGB_NAMES or name.startswith("sRGB IEC61966")):
            return None
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(profile, srgb, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
