"""Reading a picture, and looking at the preview of it."""

import io
from pathlib import Path
from typing import Any

import pytest
from pictures import CORNERS, corners, near, photograph
from PIL import Image

from damd.readers.image import read as read_image


def read(path: Path, *, max_pixels: int = 10**8) -> dict[str, Any]:
    previews = [{"size": 200, "path": str(path.parent / "preview.png")}]
    return read_image(str(path), previews=previews, format="png", quality=80, max_pixels=max_pixels)


def is_shown(path: Path) -> bool:
    """Whether the preview beside a path is the upright photograph."""
    with Image.open(path.parent / "preview.png") as preview:
        return all(near(colour, CORNERS[name]) for name, colour in corners(preview).items())


def saved(format_name: str, image: Image.Image | None = None, **options: Any) -> bytearray:
    buffer = io.BytesIO()
    (image or photograph()).save(buffer, format_name, **options)
    return bytearray(buffer.getvalue())


def register_jxl() -> None:
    pytest.importorskip("pillow_jxl", reason="needs damd[jxl]")
