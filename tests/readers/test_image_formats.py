import struct
from pathlib import Path
from typing import Any

import pytest
from pictures import make_exif, make_icns, make_xmp, photograph
from PIL import Image
from shown import is_shown, read, saved

from damd.errors import BrokenFileError, UnsupportedTypeError

SUFFIXES = {"tga": "TGA", "pcx": "PCX", "ppm": "PPM", "sgi": "SGI", "dds": "DDS", "qoi": "QOI"}
JPEG_2000 = {"jp2": "JPEG2000", "j2k": "JPEG2000"}


@pytest.mark.parametrize("suffix", [*SUFFIXES, *JPEG_2000])
def test_rarer_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    photograph(300, 200).save(path)
    facts = read(path)
    assert facts["format"] == (SUFFIXES | JPEG_2000)[suffix]
    assert (facts["width"], facts["height"], facts["orientation"], facts["frames"]) == (300, 200, 1, 1)
    assert len(facts["phash"]) == 16
    assert is_shown(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("pixel_format", [None, "DXT1", "DXT5"])
def test_textures_are_read_packed_or_not(tmp_path: Path, mode: str, pixel_format: str | None) -> None:
    photograph(mode=mode).save(tmp_path / "a.dds", **({"pixel_format": pixel_format} if pixel_format else {}))
    assert read(tmp_path / "a.dds")["format"] == "DDS"
    assert is_shown(tmp_path / "a.dds")


def test_a_texture_with_an_unusual_order_of_channels_is_read_as_well(tmp_path: Path) -> None:
    content = saved("DDS", photograph(40, 30))
    masks = content[92:104]
    content[92:104] = masks[8:] + masks[4:8] + masks[:4]
    (tmp_path / "a.dds").write_bytes(content)
    assert read(tmp_path / "a.dds")["color_mode"] == "RGB"
    assert not is_shown(tmp_path / "a.dds")  # red and blue have changed places


@pytest.mark.parametrize("mode", ["1", "L", "F"])
def test_every_kind_of_portable_anymap_is_read(tmp_path: Path, mode: str) -> None:
    photograph(mode=mode).save(tmp_path / "a.ppm")
    assert read(tmp_path / "a.ppm")["color_mode"] == mode


@pytest.mark.parametrize(("highest", "value"), [(65535, 32768), (4095, 2048), (255, 128)])
def test_a_pgm_s_shades_count_by_its_highest_and_not_by_its_brightest(tmp_path: Path, highest: int, value: int) -> None:
    width = 1 + (highest > 255)
    shades = (value // 2, value) * 2048
    header = f"P5 64 64 {highest}\n".encode()
    (tmp_path / "a.pgm").write_bytes(header + b"".join(shade.to_bytes(width, "big") for shade in shades))
    assert read(tmp_path / "a.pgm")["color_mode"] == ("L" if highest == 255 else "I;16")
    with Image.open(tmp_path / "preview.png") as preview:
        assert preview.convert("L").getextrema() == pytest.approx((64, 128), abs=1)


@pytest.mark.parametrize(("mode", "highest"), [("L", 255), ("LA", 255), ("RGB", 255), ("RGBA", 255), ("RGB", 65535)])
def test_a_pam_is_read_too(tmp_path: Path, mode: str, highest: int) -> None:
    image = photograph(mode=mode)
    data = image.tobytes() if highest == 255 else b"".join(bytes((value, value)) for value in image.tobytes())
    header = f"P7\n# by hand\nWIDTH 160\nHEIGHT 120\nDEPTH {len(image.getbands())}\nMAXVAL {highest}\nENDHDR\n"
    (tmp_path / "a.pam").write_bytes(header.encode() + data)
    facts = read(tmp_path / "a.pam")
    assert (facts["format"], facts["width"], facts["height"], facts["color_mode"]) == ("PAM", 160, 120, mode)
    assert mode in ("L", "LA") or is_shown(tmp_path / "a.pam")
    (tmp_path / "a.pam").write_bytes(header.encode() + data[:-9])
    with pytest.raises(BrokenFileError, match="truncated"):
        read(tmp_path / "a.pam")


@pytest.mark.parametrize("options", [{}, {"compression": "tga_rle"}, {"id_section": b"by hand"}, {"orientation": 1}])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_every_kind_of_tga_is_recognised(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    photograph(mode=mode).save(tmp_path / "a.tga", **options)
    facts = read(tmp_path / "a.tga")
    assert (facts["format"], facts["width"]) == ("TGA", 160)


@pytest.mark.parametrize("content", [bytes(100), b"\0\0\2" + bytes(97), b"\1" * 100, bytes(range(100)), b"\xff" * 100])
def test_what_only_resembles_a_tga_is_unsupported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tga").write_bytes(content)
    with pytest.raises(UnsupportedTypeError):
        read(tmp_path / "a.tga")


def test_an_alpha_channel_that_is_zero_throughout_means_none(tmp_path: Path) -> None:
    picture = photograph()
    picture.putalpha(0)
    picture.save(tmp_path / "a.tga")
    read(tmp_path / "a.tga")
    assert is_shown(tmp_path / "a.tga")


def test_the_largest_picture_of_an_icon_with_the_most_colours_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.ico"
    grey = Image.new("L", (64, 64), 90).convert("P")
    photograph(64, 64).save(path, sizes=[(16, 16), (64, 64)], append_images=[grey], bitmap_format="bmp")
    facts = read(path)
    assert (facts["format"], facts["width"], facts["height"], facts["frames"]) == ("ICO", 64, 64, 1)
    assert is_shown(path)
    few, many = (saved("BMP", photograph(32, 32, mode))[14:] for mode in ("1", "RGB"))
    for dib in (few, many):
        struct.pack_into("<i", dib, 8, 64)  # both masks
    mask = bytes(128)
    sizes = [len(few) + 128, len(many) + 128]
    entries = [struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, bits, size, 38 + at) for bits, size, at in _entries(sizes)]
    path.write_bytes(struct.pack("<HHH", 0, 1, 2) + b"".join(entries) + few + mask + many + mask)
    assert read(path)["width"] == 32
    assert is_shown(path)


def _entries(sizes: list[int]) -> list[tuple[int, int, int]]:
    return [(1, sizes[0], 0), (24, sizes[1], sizes[0])]


@pytest.mark.parametrize("nested", ["PNG", "JPEG2000"])
def test_an_icns_holds_other_formats(tmp_path: Path, nested: str) -> None:
    (tmp_path / "a.icns").write_bytes(make_icns(bytes(saved(nested, photograph(256, 256)))))
    facts = read(tmp_path / "a.icns")
    assert (facts["format"], facts["width"], facts["height"]) == ("ICNS", 256, 256)
    assert is_shown(tmp_path / "a.icns")


def test_jpeg_2000_is_decoded_no_larger_than_needed_and_says_its_whole_size(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"num_resolutions": 1},
        {"tile_size": (500, 300)},
        {"tile_size": (512, 256)},
        {"no_jp2": True},
    ]
    for number, options in enumerate(kinds):
        path = tmp_path / f"{number}.jp2"
        photograph(1100, 900).save(path, **options)
        facts = read(path)
        assert (facts["width"], facts["height"]) == (1100, 900)
        assert is_shown(path)


def test_metadata_and_colours_of_jpeg_2000_are_read(tmp_path: Path) -> None:
    whole = bytes(saved("JPEG2000"))
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + make_xmp(dc_title="Seaside")
    exif = b"JpgTiffExif->JP2" + make_exif().tobytes().removeprefix(b"Exif\0\0")
    extra = b"".join(struct.pack(">I", 8 + len(content)) + b"uuid" + content for content in (xmp, exif))
    (tmp_path / "a.jp2").write_bytes(whole[:32] + extra + whole[32:])
    facts = read(tmp_path / "a.jp2")
    assert facts["description"] == {"title": "Seaside"}
    assert facts["capture"]["model"] == "EOS 5D"
    assert is_shown(tmp_path / "a.jp2")


def test_the_default_image_of_an_apng_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    others = [Image.new("RGB", (160, 120), (shade,) * 3) for shade in (40, 80)]
    photograph().save(path, save_all=True, append_images=others, default_image=True, duration=50)
    read(path)
    assert is_shown(path)
