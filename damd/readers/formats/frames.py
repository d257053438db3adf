"""How many pictures a file holds, counted within bounds and without decoding them."""

from __future__ import annotations

from typing import IO

from PIL import Image

from damd.readers.structure.tiff import count_directories

MAX_FRAMES = 10_000
"""Counting stops here, and a header that claims more is not believed."""

_MP_ENTRIES = 0xB002
_MAX_STEPS = 1_000_000
"""Steps through a GIF's blocks, some 0.2 s; it is at least 100 MB of what real encoders write."""


def count_frames(image: Image.Image, file: IO[bytes]) -> int:
    """Frames of an animation, pages of a TIFF, pictures of an MPO or HEIC; 1 for a plain picture.

    Moves the file's position.
    """
    if image.format == "GIF":
        return _count_gif_images(file)
    if image.format == "TIFF":
        return count_directories(file, MAX_FRAMES)
    if image.format == "MPO":
        return _count_mpo_pictures(image)
    return min(max(1, int(getattr(image, "n_frames", 1))), MAX_FRAMES)


def _count_mpo_pictures(image: Image.Image) -> int:
    """Pictures of their own: cameras put large previews of the first one behind it (CIPA DC-007, 5.2.3.3.1)."""
    try:
        entries = image.mpinfo[_MP_ENTRIES]  # type: ignore[attr-defined]  # of Pillow's MPO
        kinds = [str(entry["Attribute"]["MPType"]) for entry in entries[:MAX_FRAMES]]
    except Exception:  # noqa: BLE001 - an index that cannot be read tells of no further picture
        return 1
    return max(1, sum(not kind.startswith("Large Thumbnail") for kind in kinds))


def _count_gif_images(file: IO[bytes]) -> int:
    file.seek(6)
    _skip_palette(file, file.read(7)[4:5])
    images = steps = 0
    while images < MAX_FRAMES and steps < _MAX_STEPS:
        match file.read(1):
            case b"," if len(descriptor := file.read(9)) == 9:
                images += 1
                _skip_palette(file, descriptor[8:])
                file.read(1)  # the first code's size
                steps += _skip_blocks(file)
            case b"!":
                file.read(1)  # the extension's kind
                steps += _skip_blocks(file)
            case b";" | b"" | b",":
                break
        steps += 1
    return max(1, images)


def _skip_palette(file: IO[bytes], flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.read(3 << ((flags[0] & 7) + 1))


def _skip_blocks(file: IO[bytes]) -> int:
    """Skip data blocks up to their end mark; how many there were."""
    count = 0
    length = file.read(1)
    while length and length[0] and count < _MAX_STEPS:
        count += 1
        # A block and the length of the next one in one read.
        length = file.read(length[0] + 1)[length[0] :]
    return count
