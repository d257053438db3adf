import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pictures import CORNERS, corners, make_exif, near, photograph
from PIL import Image

pytest.importorskip("rawpy", reason="needs damd[raw]")

from raws import (
    EXIF_FIELDS,
    Directory,
    Fields,
    TiffWriter,
    jpeg,
    make_cr3,
    make_dng,
    make_maker_raw,
    make_mrw,
    make_raf,
    make_rw2,
    stored_as,
)

from damd.errors import (
    BrokenFileError,
    LimitExceededError,
    NotAFileError,
    PermanentFileError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.readers.camera.metadata import read_metadata
from damd.readers.raw import read as read_raw

EVERY_ORIENTATION = range(1, 9)
CAPTURE = {
    "taken_at": "2012-05-04T10:11:12+02:00",
    "lens": "EF50mm f/1.8",
    "exposure_s": 1 / 250,
    "aperture": 2.8,
    "iso": 400,
    "focal_length_mm": 50,
}
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'
)


def read(path: Path, size: int = 256, max_pixels: int = 10**8) -> dict[str, Any]:
    previews = [{"size": size, "path": str(path.parent / "preview.tmp")}]
    return read_raw(str(path), previews=previews, format="webp", quality=80, max_pixels=max_pixels)


def preview_of(path: Path) -> Image.Image:
    with Image.open(path.parent / "preview.tmp") as image:
        image.load()
    return image


def is_upright(image: Image.Image) -> bool:
    return all(near(colour, CORNERS[name], 40) for name, colour in corners(image).items())


def dark(size: tuple[int, int]) -> Image.Image:
    """The photograph, so dark that it is no other picture of the same file."""
    return photograph(*size).point(lambda value: value // 4)


def is_dark(image: Image.Image) -> bool:
    return all(
        near(colour, tuple(value // 4 for value in CORNERS[name]), 25) for name, colour in corners(image).items()
    )


def test_a_dng_without_a_preview_is_developed(tmp_path: Path) -> None:
    result = read(make_dng(tmp_path / "a.dng"))
    assert (result["format"], result["width"], result["height"]) == ("DNG", 640, 480)
    assert (result["orientation"], result["color_mode"], result["frames"]) == (1, "RGB", 1)
    assert result["capture"] == {**CAPTURE, "make": "Canon", "model": "EOS 5D"}
    assert len(bytes.fromhex(result["phash"])) == 8
    assert result["previews"] == [{"size": 256, "width": 256, "height": 192}]
    assert is_upright(preview_of(tmp_path / "a.dng"))


@pytest.mark.parametrize("orientation", EVERY_ORIENTATION)
def test_what_is_developed_is_upright(tmp_path: Path, orientation: int) -> None:
    result = read(make_dng(tmp_path / "a.dng", orientation=orientation))
    assert (result["width"], result["height"], result["orientation"]) == (640, 480, orientation)
    assert preview_of(tmp_path / "a.dng").size == (256, 192)
    assert is_upright(preview_of(tmp_path / "a.dng"))


@pytest.mark.parametrize("orientation", EVERY_ORIENTATION)
@pytest.mark.parametrize("says", [False, True])
def test_an_embedded_picture_that_lies_like_the_sensor_is_turned(tmp_path: Path, orientation: int, says: bool) -> None:
    exif = {"exif": make_exif(orientation).tobytes()} if says else {}
    preview = jpeg(stored_as(dark((320, 240)), orientation), **exif)
    result = read(make_dng(tmp_path / "a.dng", orientation=orientation, preview=preview))
    assert (result["width"], result["height"], result["orientation"]) == (640, 480, orientation)
    assert is_dark(preview_of(tmp_path / "a.dng"))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_an_embedded_picture_that_was_turned_already_is_not_turned_again(tmp_path: Path, orientation: int) -> None:
    read(make_dng(tmp_path / "a.dng", orientation=orientation, preview=jpeg(dark((320, 240)))))
    assert is_dark(preview_of(tmp_path / "a.dng"))


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
def test_an_embedded_picture_that_says_it_is_upright_is_believed(tmp_path: Path, orientation: int) -> None:
    preview = jpeg(dark((320, 240)), exif=make_exif(1).tobytes())
    read(make_dng(tmp_path / "a.dng", orientation=orientation, preview=preview))
    assert is_dark(preview_of(tmp_path / "a.dng"))


@pytest.mark.parametrize(
    ("size", "wanted", "shown"),
    [((320, 240), 1024, True), ((160, 120), 1024, False), ((576, 432), 512, True), ((426, 240), 256, False)],
)
def test_the_embedded_picture_counts_where_it_is_good_enough(
    tmp_path: Path, size: tuple[int, int], wanted: int, shown: bool
) -> None:
    read(make_dng(tmp_path / "a.dng", preview=jpeg(dark(size))), wanted)
    assert is_dark(preview_of(tmp_path / "a.dng")) is shown
    assert is_upright(preview_of(tmp_path / "a.dng")) is not shown


@pytest.mark.parametrize("damage", [lambda data: data[:2000], lambda data: b"\xff\xd8" + bytes(5000)])
def test_a_damaged_embedded_picture_gives_way_to_the_developed_one(tmp_path: Path, damage: Any) -> None:
    whole = jpeg(dark((320, 240)))
    path = make_dng(tmp_path / "a.dng", preview=whole)
    path.write_bytes(path.read_bytes().replace(whole, damage(whole).ljust(len(whole), b"\0")[: len(whole)]))
    read(path)
    assert is_upright(preview_of(path))


def test_what_cannot_be_developed_is_shown_as_small_as_it_is_embedded(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng", preview=jpeg(dark((160, 120))), compression=52546)  # JPEG XL
    result = read(path)
    assert (result["width"], result["height"], result["previews"][0]["width"]) == (640, 480, 160)
    assert is_dark(preview_of(path))
    with pytest.raises(UnsupportedTypeError, match="camera RAW of a kind"):
        read(make_dng(tmp_path / "b.dng", compression=52546))


def test_the_margin_that_the_camera_crops_counts_for_nothing(tmp_path: Path) -> None:
    result = read(make_dng(tmp_path / "a.dng", orientation=6, crop=(120, 4, 350, 620)), 512)
    assert (result["width"], result["height"]) == (620, 350)
    picture = preview_of(tmp_path / "a.dng")
    assert picture.size == (310, 175)
    assert is_upright(picture)
    # The camera was held upright: the sensor's left edge, where the most is cropped, is the picture's upper one.
    upper, lower = picture.getpixel((10, 50)), picture.getpixel((10, 70))
    assert near(upper, CORNERS["top left"], 40)  # type: ignore[arg-type]  # RGB
    assert near(lower, CORNERS["bottom left"], 40)  # type: ignore[arg-type]  # RGB


def test_a_whole_picture_of_the_cameras_tells_what_it_crops(tmp_path: Path) -> None:
    for size in ((632, 472), (640, 480)):
        result = read(make_dng(tmp_path / "a.dng", orientation=8, preview=jpeg(stored_as(dark(size), 8))))
        assert (result["width"], result["height"]) == size
    result = read(make_dng(tmp_path / "a.dng", preview=jpeg(dark((600, 450)))))
    assert (result["width"], result["height"]) == (640, 480)


def test_a_sensor_without_colours_makes_a_grey_picture(tmp_path: Path) -> None:
    assert read(make_dng(tmp_path / "a.dng", linear=True))["color_mode"] == "RGB"
    assert read(make_dng(tmp_path / "a.dng", linear=True, grey=True))["color_mode"] == "L"
    red, green, blue = preview_of(tmp_path / "a.dng").getpixel((100, 100))  # type: ignore[misc]  # RGB
    assert max(red, green, blue) - min(red, green, blue) <= 2


def test_a_preview_that_is_marked_as_adobe_rgb_is_shown_in_srgb(tmp_path: Path) -> None:
    exif = make_exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    grey, green = (128, 128, 128), (100, 200, 50)
    image = Image.new("RGB", (320, 240), grey)
    image.paste(green, (0, 0, 160, 240))
    for options in ({"exif": exif.tobytes()}, {}):
        read(make_dng(tmp_path / "a.dng", preview=jpeg(image, **options)))
        picture = preview_of(tmp_path / "a.dng")
        assert near(picture.getpixel((200, 50)), grey, 4)  # type: ignore[arg-type]  # RGB
        red, _, blue = picture.getpixel((50, 50))  # type: ignore[misc]  # RGB
        assert (red < 20 and blue < 30) is bool(options)


def test_what_a_camera_was_told_about_adobe_rgb_counts_for_its_previews(tmp_path: Path) -> None:
    details = Directory({**EXIF_FIELDS, 0xA005: (4, Directory({1: (2, b"R03\0")}))})
    preview = jpeg(Image.new("RGB", (320, 240), (100, 200, 50)))
    read(
        make_maker_raw(
            tmp_path / "a.nef", "NIKON CORPORATION", "NIKON D70", preview=preview, fields={0x8769: (4, details)}
        )
    )
    red, _, blue = preview_of(tmp_path / "a.nef").getpixel((50, 50))  # type: ignore[misc]  # RGB
    assert red < 20
    assert blue < 30


@pytest.mark.parametrize(
    ("suffix", "make", "model", "head"),
    [
        ("nef", "NIKON CORPORATION", "NIKON D70", b"II*\0"),
        ("arw", "SONY", "ILCE-7", b"II*\0"),
        ("pef", "PENTAX", "PENTAX K-5", b"II*\0"),
        ("srw", "SAMSUNG", "NX1", b"II*\0"),
        ("orf", "OLYMPUS CORPORATION", "E-M10", b"IIRO"),
        ("orf", "OLYMPUS CORPORATION", "E-M10", b"IIRS"),
    ],
)
def test_cameras_whose_files_are_tiffs_are_read(
    tmp_path: Path, suffix: str, make: str, model: str, head: bytes
) -> None:
    preview = jpeg(stored_as(dark((320, 240)), 6))
    path = make_maker_raw(tmp_path / f"a.{suffix}", make, model, head=head, preview=preview, orientation=6)
    result = read(path)
    assert (result["format"], result["orientation"]) == (suffix.upper(), 6)
    assert result["capture"] == {**CAPTURE, "make": make, "model": model}
    assert is_dark(preview_of(path))


def test_a_raf_says_what_its_jpeg_says(tmp_path: Path) -> None:
    path = make_raf(tmp_path / "a.raf", jpeg(dark((320, 240)), exif=make_exif(1).tobytes()))
    result = read(path)
    assert (result["format"], result["width"], result["height"], result["orientation"]) == ("RAF", 640, 480, 1)
    assert result["capture"]["taken_at"] == CAPTURE["taken_at"]
    assert round(result["capture"]["latitude"], 3) == -33.865
    assert is_dark(preview_of(path))


def test_what_panasonic_leaves_unsaid_its_jpeg_says(tmp_path: Path) -> None:
    preview = jpeg(dark((320, 240)), exif=make_exif(1).tobytes())
    path = make_rw2(tmp_path / "a.rw2", fields={0x002E: (7, preview)})
    result = read(path)
    assert (result["format"], result["width"], result["height"]) == ("RW2", 640, 480)
    assert result["capture"]["make"] == "Panasonic"
    assert round(result["capture"]["longitude"], 3) == 151.21
    assert is_dark(preview_of(path))


def test_a_cr3_says_what_its_directories_say(tmp_path: Path) -> None:
    with make_cr3(tmp_path / "a.cr3", xmp=XMP).open("rb") as file:
        metadata = read_metadata(file)
        assert (metadata.format, metadata.end) == ("CR3", file.seek(0, 2))
    capture = metadata.facts["capture"]
    assert {name: capture[name] for name in (*CAPTURE, "make")} == {**CAPTURE, "make": "Canon"}
    assert round(capture["latitude"], 3) == -33.865
    assert metadata.facts["description"] == {"rating": 4}


def test_an_mrw_says_what_its_tiff_says(tmp_path: Path) -> None:
    with make_mrw(tmp_path / "a.mrw").open("rb") as file:
        metadata = read_metadata(file)
    assert metadata.format == "MRW"
    assert metadata.facts["capture"] == {**CAPTURE, "make": "Canon", "model": "EOS 5D"}


def test_what_people_wrote_is_read(tmp_path: Path) -> None:
    fields: Fields = {700: (1, XMP), 0x010E: (2, b"A lake\0"), 0x013B: (2, b"Ada\0")}
    result = read(make_dng(tmp_path / "a.dng", fields=fields))
    assert result["description"] == {"rating": 4, "description": "A lake", "creator": "Ada"}


@pytest.mark.parametrize("damage", [bytes(200), b"\xff" * 200, b"II*\0\x08\0\0\0\xff\xff" + b"\x69\x87" * 95])
def test_broken_metadata_is_no_fault_of_the_picture(tmp_path: Path, damage: bytes) -> None:
    path = make_dng(tmp_path / "a.dng", fields={700: (1, damage), 0x8769: (4, Directory({0x927C: (7, damage)}))})
    result = read(path)
    assert result["capture"] == {"make": "Canon", "model": "EOS 5D"}
    assert is_upright(preview_of(path))


@pytest.mark.parametrize("left", [3, 60, 200, 5_000, 300_000, 540_000])
def test_a_truncated_file_is_broken(tmp_path: Path, left: int) -> None:
    preview = jpeg(photograph(320, 240), exif=make_exif(1).tobytes())
    for path in (
        make_raf(tmp_path / "a.raf", preview),
        make_rw2(tmp_path / "a.rw2", preview=preview),
        make_maker_raw(tmp_path / "a.nef", "NIKON CORPORATION", "NIKON D70", preview=preview),
        make_dng(tmp_path / "a.dng", preview=preview),
    ):
        os.truncate(path, left)
        with pytest.raises(PermanentFileError):
            read(path)


def test_a_copy_that_broke_off_says_so_even_where_its_preview_is_whole(tmp_path: Path) -> None:
    path = make_raf(tmp_path / "a.raf", jpeg(photograph(320, 240)))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BrokenFileError, match="truncated"):
        read(path)
    path = make_maker_raw(tmp_path / "a.nef", "NIKON CORPORATION", "NIKON D70", preview=jpeg(photograph(320, 240)))
    # As if the sensor's picture lay behind the directories, where cameras put it, and went on.
    length, longer = struct.pack("<HHLL", 279, 4, 1, 640 * 480 * 2), struct.pack("<HHLL", 279, 4, 1, 640 * 480 * 4)
    path.write_bytes(path.read_bytes().replace(length, longer))
    with pytest.raises(BrokenFileError, match="truncated"):
        read(path)


def test_an_empty_file_and_other_bytes_are_no_raw(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(b"")
    with pytest.raises(BrokenFileError, match="empty"):
        read(path)
    for data in (b"x" * 1000, jpeg(photograph()), TiffWriter().write({}), b"FOVb" + bytes(500), b"\0MRM" + bytes(500)):
        path.write_bytes(data)
        with pytest.raises(PermanentFileError):
            read(path)


def test_a_file_with_too_many_pixels_is_refused_before_it_is_developed(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng", preview=jpeg(photograph(320, 240)))
    with pytest.raises(LimitExceededError, match="307200 pixels"):
        read(path, max_pixels=640 * 480 - 1)
    read(path, max_pixels=640 * 480)


def test_an_embedded_picture_with_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    read(make_dng(tmp_path / "a.dng", preview=jpeg(dark((1280, 960)))), max_pixels=640 * 480)
    assert is_upright(preview_of(tmp_path / "a.dng"))


def test_a_name_that_is_no_text_is_no_obstacle(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.dng"))
    make_dng(path)
    assert read(path)["width"] == 640


def test_what_is_no_file_is_told_from_what_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dng")
    with pytest.raises(NotAFileError):
        read(tmp_path / "a.dng")
    with pytest.raises(UnreadableFileError):
        read(tmp_path / "none.dng")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere address space has no limit")
def test_too_little_memory_is_neither_the_files_fault_nor_a_crash(tmp_path: Path) -> None:
    """LibRaw takes some 20 bytes for each pixel of a picture that has all its colours already."""
    path = make_dng(tmp_path / "a.dng", size=(2400, 1800), linear=True)
    limit = 2**20
    program = (
        "import resource, sys; from damd.readers.raw import read\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (used + 40 * {limit},) * 2)\n"
        "try: read(sys.argv[1], previews=[], format='webp', quality=80, max_pixels=10**8)\n"
        "except MemoryError: print('too little')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("too little", 0)


def test_a_directory_that_lies_beyond_any_file_is_none(tmp_path: Path) -> None:
    path = make_dng(tmp_path / "a.dng")
    data = bytearray(path.read_bytes())
    data[2], data[8:16] = 43, b"\xff" * 7 + b"\x7f"  # a BigTIFF, whose first directory is 2 to the 63rd away
    path.write_bytes(data)
    read(path)
    assert is_upright(preview_of(path))
