"""HEIC and HEIF, through pillow-heif."""

from __future__ import annotations

from functools import cache
from typing import IO

from PIL import Image

from damd.readers.formats.opening import Picture, without_package


def open_heif(file: IO[bytes], max_pixels: int) -> Picture:  # noqa: ARG001 - Pillow has been told the limit
    """The file's primary image.

    It is turned by the container's own word, and EXIF's is set to 1.

    Raises:
        ReaderUnavailableError: pillow-heif is not installed.
        Exception: Whatever pillow-heif raises.
    """
    if not _has_heif():
        raise without_package("HEIC", "pillow-heif", "heic")
    image = Image.open(file, formats=["HEIF"])
    said = image.info.get("original_orientation")
    return Picture(image, said if said in range(1, 9) else 1, is_upright=True)


@cache
def _has_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    # An embedded thumbnail may be older than the picture, so none is taken for it.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return True
