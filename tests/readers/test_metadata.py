import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import iptc_segment, make_exif, make_iptc, make_jpeg_with, make_picture, make_psd, make_xmp, photograph
from PIL import Image, PngImagePlugin, TiffImagePlugin

from damd.readers.image import read as read_image
from damd.readers.metadata.captions import clean_caption
from damd.readers.metadata.image import merge_capture, merge_description
from damd.readers.metadata.iptc import read_iptc
from damd.readers.metadata.makernote import read_content_identifier

IDENTIFIER = "570F1469-09C7-4E50-9875-05F21D5BD166"
TITLED = make_xmp(
    "<dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>", dc_title="Seaside", xmp_Rating="5"
)


def read(path: Path) -> dict[str, Any]:
    return read_image(str(path), previews=[], format="webp", quality=80, max_pixels=10**8)


def make_note(order: str = ">", text: bytes = IDENTIFIER.encode() + b"\0") -> bytes:
    mark = b"Apple iOS\0\0\1" + (b"MM" if order == ">" else b"II")
    directory = struct.pack(order + "HHHLLHHLL", 2, 1, 9, 1, 14, 0x11, 2, len(text), 44) + bytes(4)
    return (mark + directory).ljust(44, b"\0") + text


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff", "avif", "png", "heic"])
def test_xmp_is_found_in_every_format_that_holds_it(tmp_path: Path, suffix: str) -> None:
    options: dict[str, Any] = {"xmp": TITLED}
    if suffix == "heic":
        pytest.importorskip("pillow_heif", reason="needs damd[heic]").register_heif_opener()
    if suffix == "png":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", TITLED.decode())
        options = {"pnginfo": texts}
    elif suffix == "tiff":
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        directory[700] = TITLED
        directory.tagtype[700] = 1
        options = {"tiffinfo": directory}
    photograph().save(tmp_path / f"a.{suffix}", **options)
    assert read(tmp_path / f"a.{suffix}")["description"] == {"title": "Seaside", "rating": 5, "keywords": ["sea"]}


def test_an_image_about_which_nobody_wrote_has_no_description(tmp_path: Path) -> None:
    facts = read(make_picture(tmp_path / "a.jpg"))
    assert "description" not in facts
    assert "content_identifier" not in facts


def test_exif_has_fields_for_people_too(tmp_path: Path) -> None:
    exif = make_exif()
    exif[0x010E], exif[0x013B], exif[0x8298] = "Am Meer, früh".encode(), "Ada", "Ada 2012"
    exif[0x4746] = 4
    exif[0x9C9B], exif[0x9C9E] = "Möwe\0".encode("utf-16-le"), "sea; sky;sea;".encode("utf-16-le")
    assert read(make_picture(tmp_path / "a.jpg", exif=exif.tobytes()))["description"] == {
        "title": "Möwe",
        "description": "Am Meer, früh",
        "creator": "Ada",
        "copyright": "Ada 2012",
        "rating": 4,
        "keywords": ["sea", "sky"],
    }


@pytest.mark.parametrize(
    "text",
    [
        "OLYMPUS DIGITAL CAMERA         ",
        "SONY DSC",
        "   ",
        "Minolta DSC",
        "SAMSUNG",
        "Exif_JPEG_PICTURE",
        "DCIM\\100",
        "...",
    ],
)
def test_what_a_camera_writes_by_default_is_no_description(tmp_path: Path, text: str) -> None:
    exif = make_exif()
    exif[0x010E] = text
    assert "description" not in read(make_picture(tmp_path / "a.jpg", exif=exif.tobytes()))


@pytest.mark.parametrize("text", ["My digital camera", "Sony Center, Berlin", "海", "A sample of default settings"])
def test_what_only_resembles_a_default_stays(text: str) -> None:
    assert clean_caption(text) == text


def test_xmp_is_preferred_then_iptc_then_exif_and_keywords_are_merged(tmp_path: Path) -> None:
    exif = make_exif()
    exif[0x010E], exif[0x013B], exif[0x8298] = "EXIF's", "EXIF's Ada", "EXIF's ©".encode()
    iptc = make_iptc((2, 5, b"IPTC's"), (2, 80, b"IPTC's Ada"), (2, 25, b"sky"), (2, 25, b"sea"))
    path = make_jpeg_with(
        tmp_path / "a.jpg",
        b"\xe1Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0"),
        b"\xe1http://ns.adobe.com/xap/1.0/\0" + TITLED,
        iptc_segment(iptc),
    )
    assert read(path)["description"] == {
        "title": "Seaside",
        "rating": 5,
        "creator": "IPTC's Ada",
        "description": "EXIF's",
        "copyright": "EXIF's ©",
        "keywords": ["sea", "sky"],
    }


def test_iptc_is_found_in_a_tiff_and_a_psd(tmp_path: Path) -> None:
    iptc = make_iptc((2, 120, b"Caption"))
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[33723] = iptc
    directory.tagtype[33723] = 7
    photograph().save(tmp_path / "a.tiff", tiffinfo=directory)
    (tmp_path / "a.psd").write_bytes(make_psd(photograph(), resources={1028: iptc}))
    for name in ("a.tiff", "a.psd"):
        assert read(tmp_path / name)["description"] == {"description": "Caption"}


def test_iptc_s_texts_are_utf_8_or_windows_latin() -> None:
    marked = make_iptc((1, 90, b"\x1b%G"), (2, 5, "Möwe".encode()))
    assert read_iptc(marked)["description"] == {"title": "Möwe"}
    assert read_iptc(make_iptc((2, 5, "Möwe „früh“".encode("cp1252"))))["description"] == {"title": "Möwe „früh“"}


def test_iptc_s_date_and_time_make_a_moment() -> None:
    day = (2, 55, b"20120504")
    assert read_iptc(make_iptc(day, (2, 60, b"101112+0200")))["capture"] == {"taken_at": "2012-05-04T10:11:12+02:00"}
    assert read_iptc(make_iptc(day))["capture"] == {"taken_at": "2012-05-04"}
    assert read_iptc(make_iptc((2, 55, b"00000000"))) == {}


@given(st.binary(max_size=60))
def test_damaged_iptc_raises_nothing(data: bytes) -> None:
    read_iptc(make_iptc((2, 5, b"a")) + b"\x1c\2" + data)


def test_the_time_of_capture_falls_back_to_xmp_and_iptc_but_not_to_that_of_a_change(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0132] = "2020:01:01 00:00:00"
    changed = make_picture(tmp_path / "a.jpg", exif=exif.tobytes())
    assert read(changed)["capture"] == {}
    iptc = iptc_segment(make_iptc((2, 55, b"20120504")))
    assert read(make_jpeg_with(tmp_path / "b.jpg", iptc))["capture"] == {"taken_at": "2012-05-04"}
    xmp = b"\xe1http://ns.adobe.com/xap/1.0/\0" + make_xmp(exif_DateTimeOriginal="2011-01-02T03:04:05")
    assert read(make_jpeg_with(tmp_path / "c.jpg", iptc, xmp))["capture"] == {"taken_at": "2011-01-02T03:04:05"}


def test_the_satellites_time_is_taken_where_nothing_else_says_the_time(tmp_path: Path) -> None:
    exif = make_exif()
    del exif.get_ifd(0x8769)[0x9003]
    exif.get_ifd(0x8825)[0x1D], exif.get_ifd(0x8825)[7] = "2022:02:03", (14.0, 44.0, 9.0)
    plain = make_picture(tmp_path / "a.jpg", exif=exif.tobytes())
    assert read(plain)["capture"]["taken_at"] == "2022-02-03T14:44:09+00:00"
    told = make_picture(
        tmp_path / "b.jpg", exif=exif.tobytes(), xmp=make_xmp(exif_DateTimeOriginal="2011-01-02T03:04:05")
    )
    assert read(told)["capture"]["taken_at"] == "2011-01-02T03:04:05"


def test_a_position_comes_whole_from_one_place() -> None:
    exif, xmp = {"latitude": 1.0, "longitude": 2.0}, {"latitude": 3.0, "longitude": 4.0, "altitude_m": 5.0, "make": "X"}
    assert merge_capture([exif, xmp]) == {"latitude": 1.0, "longitude": 2.0, "make": "X"}
    assert merge_capture([{}, xmp]) == xmp


def test_keywords_are_merged_without_repeats() -> None:
    assert merge_description([{"keywords": ["a", "b"]}, {}, {"title": "t", "keywords": ["b", "c"]}]) == {
        "title": "t",
        "keywords": ["a", "b", "c"],
    }
    assert merge_description([{}, {}]) == {}


@pytest.mark.parametrize("suffix", ["jpg", "heic"])
def test_a_live_photo_says_its_content_identifier(tmp_path: Path, suffix: str) -> None:
    if suffix == "heic":
        pytest.importorskip("pillow_heif", reason="needs damd[heic]").register_heif_opener()
    exif = make_exif()
    exif.get_ifd(0x8769)[0x927C] = make_note()
    facts = read(make_picture(tmp_path / f"a.{suffix}", exif=exif.tobytes()))
    assert facts["content_identifier"] == IDENTIFIER
    assert facts["capture"]["model"] == "EOS 5D"


def test_only_a_sound_apple_note_has_an_identifier() -> None:
    assert read_content_identifier(make_note("<", IDENTIFIER.lower().encode())) == IDENTIFIER
    for note in (b"", b"Nikon\0", make_note()[:40], make_note(text=b"none"), b"Apple iOS\0"):
        assert read_content_identifier(note) is None


@pytest.mark.parametrize("size", [5 * 2**20, 50 * 2**20])
def test_metadata_without_end_is_cut_and_not_fatal(tmp_path: Path, size: int) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", " " * size)
    photograph().save(tmp_path / "a.png", pnginfo=texts)
    assert read(tmp_path / "a.png")["width"] == 160
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[270] = "long " * (size // 5)
    photograph().save(tmp_path / "a.tiff", tiffinfo=directory)
    assert 3_900 < len(read(tmp_path / "a.tiff")["description"]["description"]) <= 4_000
