import io
import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import CORNERS, corners, make_exif, near, photograph
from PIL import Image, ImageCms

from damd.readers.image import read
from damd.readers.pixels import flatten, make_resizable, to_srgb, without_empty_alpha


def shades(image: Image.Image) -> list[int]:
    """The grey at the left edge, in the middle and at the right edge."""
    grey = to_srgb(make_resizable(image), None).convert("L")
    return [int(np.asarray(grey)[0, column]) for column in (0, grey.width // 2, grey.width - 1)]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr"])
def test_colours_stay(mode: str) -> None:
    picture = photograph().quantize(16) if mode == "P" else photograph(mode=mode)
    result = to_srgb(make_resizable(picture), None)
    assert result.mode == ("RGBA" if mode == "RGBA" else "RGB")
    assert all(near(colour, CORNERS[name]) for name, colour in corners(result).items())


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_stays_grey(mode: str) -> None:
    result = to_srgb(make_resizable(photograph(mode=mode)), None)
    assert result.mode == ("RGBA" if mode == "LA" else "RGB")
    assert near(corners(result)["bottom right"], (230, 230, 230))


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bits_are_scaled_and_not_cut_to_white(mode: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype("<u2" if mode == "I;16" else ">u2")
    image = Image.frombytes(mode, (256, 1), ramp.tobytes())
    assert shades(image) == pytest.approx([0, 128, 255], abs=1)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5, 5), (0, 1e9)])
def test_floating_point_is_stretched_from_its_darkest_to_its_brightest(low: float, high: float) -> None:
    ramp = np.linspace(low, high, 256, dtype=np.float32)[None, :]
    assert shades(Image.fromarray(ramp)) == pytest.approx([0, 128, 255], abs=1)


def test_32_bit_integers_are_stretched_and_a_single_shade_is_no_error() -> None:
    assert shades(Image.fromarray(np.linspace(0, 10**6, 256).astype(np.int32)[None, :])) == pytest.approx(
        [0, 128, 255], abs=1
    )
    assert shades(Image.fromarray(np.full((1, 9), 7, dtype=np.int32))) == [0, 0, 0]


def test_what_is_not_a_number_is_no_error() -> None:
    values = np.array([[0.0, np.nan, 0.5, np.inf, -np.inf, 1.0]], dtype=np.float32)
    assert shades(Image.fromarray(values))[2] == 255
    assert shades(Image.fromarray(np.full((1, 9), np.nan, dtype=np.float32))) == [0, 0, 0]


def test_a_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    photograph().save(tmp_path / "rgb.png", transparency=CORNERS["top left"])
    photograph(mode="P").save(tmp_path / "p.png", transparency=bytes([0] * 255))
    for name in ("rgb.png", "p.png"):
        with Image.open(tmp_path / name) as image:
            result = to_srgb(make_resizable(image), None)
        assert result.mode == "RGBA"
        assert result.getchannel("A").getpixel((3, 3)) == 0


def test_a_profile_of_another_kind_of_image_is_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for mode in ("RGB", "L", "CMYK", "RGBA"):
        assert to_srgb(photograph(mode=mode), lab).size == (160, 120)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_the_colours_of_a_wide_profile_are_brought_to_srgb(tmp_path: Path, suffix: str) -> None:
    wide = ImageCms.ImageCmsProfile(io.BytesIO(make_wide_profile()))
    stored = ImageCms.profileToProfile(photograph(), ImageCms.createProfile("sRGB"), wide, outputMode="RGB")
    assert stored is not None
    assert not near(corners(stored)["top left"], CORNERS["top left"], 15)
    stored.save(tmp_path / f"a.{suffix}", icc_profile=wide.tobytes(), quality=97)
    previews = [{"size": 160, "path": str(tmp_path / "preview.png")}]
    read(str(tmp_path / f"a.{suffix}"), previews=previews, format="png", quality=80, max_pixels=10**6)
    with Image.open(tmp_path / "preview.png") as preview:
        assert all(near(colour, CORNERS[name], 10) for name, colour in corners(preview).items())


def test_cmyk_is_right_in_a_jpeg_which_adobe_inverts(tmp_path: Path) -> None:
    photograph(mode="CMYK").save(tmp_path / "a.jpg", quality=97)
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    previews = [{"size": 160, "path": str(tmp_path / "preview.png")}]
    facts = read(str(tmp_path / "a.jpg"), previews=previews, format="png", quality=80, max_pixels=10**6)
    assert facts["color_mode"] == "CMYK"
    with Image.open(tmp_path / "preview.png") as preview:
        assert all(near(colour, CORNERS[name], 10) for name, colour in corners(preview).items())


@pytest.mark.parametrize("mark", ["R03", "R98"])
def test_a_camera_that_names_adobe_rgb_and_brings_no_profile_is_believed(tmp_path: Path, mark: str) -> None:
    exif = make_exif()
    exif.get_ifd(0x8769)[0xA005] = {0x0001: mark}
    Image.new("RGB", (160, 120), (100, 200, 50)).save(tmp_path / "a.jpg", quality=97, exif=exif.tobytes())
    previews = [{"size": 160, "path": str(tmp_path / "preview.png")}]
    read(str(tmp_path / "a.jpg"), previews=previews, format="png", quality=80, max_pixels=10**6)
    with Image.open(tmp_path / "preview.png") as preview:
        red, _, blue = preview.getpixel((80, 60))  # type: ignore[misc]  # RGB
    assert (red < 20 and blue < 30) is (mark == "R03")


def make_wide_profile() -> bytes:
    """A matrix profile with the primaries of Display P3, at D50, and a gamma of 2.2 (ICC.1:2001-04)."""
    points = {b"wtpt": (0.9642, 1, 0.8249), b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.292, 0.6922, 0.0419)}
    points[b"bXYZ"] = (0.1571, 0.0666, 0.7841)
    tags = {
        name: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * one) for one in xyz))
        for name, xyz in points.items()
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv" + struct.pack(">4xIHxx", 1, round(2.2 * 256)))
    tags[b"desc"] = b"desc" + struct.pack(">4xI", 5) + b"wide\0" + bytes(79)
    tags[b"cprt"] = b"text" + bytes(4) + b"none\0\0\0\0"
    table, content = b"", b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    white = struct.pack(">3i", 63190, 65536, 54061)
    body = struct.pack(">I", len(tags)) + table + content
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x", 128 + len(body), 0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp", white
    )
    return head + body


def test_transparent_pixels_lie_on_white_when_flattened() -> None:
    assert flatten(Image.new("RGBA", (2, 2), (0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_alpha_that_is_zero_throughout_is_left_out_and_any_other_stays() -> None:
    empty, full = photograph(mode="RGBA"), photograph(mode="RGBA")
    empty.putalpha(0)
    assert without_empty_alpha(empty).mode == "RGB"
    assert without_empty_alpha(full) is full
