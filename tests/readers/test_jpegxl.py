from pathlib import Path
from typing import Any

import pytest
from pictures import make_exif, make_picture, make_xmp, photograph
from PIL import Image
from shown import is_shown, read, register_jxl

from damd.errors import BrokenFileError, LimitExceededError


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"use_container": False}])
def test_jpeg_xl_is_read(tmp_path: Path, options: dict[str, Any]) -> None:
    register_jxl()
    photograph(900, 600).save(tmp_path / "a.jxl", **options)
    facts = read(tmp_path / "a.jxl")
    assert (facts["format"], facts["width"], facts["height"], facts["color_mode"]) == ("JXL", 900, 600, "RGB")
    assert is_shown(tmp_path / "a.jxl")


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16"])
def test_jpeg_xl_has_many_modes(tmp_path: Path, mode: str) -> None:
    register_jxl()
    image = photograph(mode=mode) if mode != "I;16" else Image.new("I;16", (160, 120), 30_000)
    image.save(tmp_path / "a.jxl")
    assert read(tmp_path / "a.jxl")["color_mode"] == mode


def test_jpeg_xl_says_what_the_camera_and_people_wrote(tmp_path: Path) -> None:
    register_jxl()
    facts = read(make_picture(tmp_path / "a.jxl", xmp=make_xmp(dc_title="Seaside")))
    assert facts["capture"]["taken_at"] == "2012-05-04T10:11:12+02:00"
    assert facts["description"] == {"title": "Seaside"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_that_became_jpeg_xl_is_upright(tmp_path: Path, orientation: int) -> None:
    register_jxl()
    make_picture(tmp_path / "a.jpg", orientation=orientation)
    with Image.open(tmp_path / "a.jpg") as jpeg:
        jpeg.save(tmp_path / "a.jxl", lossless_jpeg=True)
    facts = read(tmp_path / "a.jxl")
    assert (facts["width"], facts["height"], facts["orientation"]) == (160, 120, orientation)
    assert facts["capture"]["model"] == "EOS 5D"
    assert is_shown(tmp_path / "a.jxl")


def test_the_orientation_of_jpeg_xl_is_the_codestream_s_and_not_exif_s(tmp_path: Path) -> None:
    register_jxl()
    photograph().save(tmp_path / "a.jxl", exif=make_exif(6).tobytes())
    facts = read(tmp_path / "a.jxl")
    assert (facts["width"], facts["height"], facts["orientation"]) == (160, 120, 1)
    assert is_shown(tmp_path / "a.jxl")


def _jxl_header(width: int, height: int) -> bytes:
    """A codestream's first bits: no small size, 30 bits of height, no ratio, 30 bits of width, all else as usual."""
    fields = ((0, 1), (3, 2), (height - 1, 30), (0, 3), (3, 2), (width - 1, 30), (1, 1))
    bits = position = 0
    for value, length in fields:
        bits |= value << position
        position += length
    return b"\xff\x0a" + bits.to_bytes(40, "little")


def test_a_huge_jpeg_xl_names_the_limit_before_anything_is_decoded(tmp_path: Path) -> None:
    register_jxl()
    (tmp_path / "a.jxl").write_bytes(_jxl_header(60_000, 50_000))
    with pytest.raises(LimitExceededError, match="It has 3000000000 pixels"):
        read(tmp_path / "a.jxl")
    (tmp_path / "a.jxl").write_bytes(_jxl_header(60, 50))
    with pytest.raises(BrokenFileError):
        read(tmp_path / "a.jxl")
