import io
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import imagehash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import (
    CORNERS,
    chunk,
    corners,
    make_animation,
    make_exif,
    make_picture,
    make_png,
    make_tiff_header,
    near,
    photograph,
)
from PIL import Image, ImageCms

from damd.errors import (
    BrokenFileError,
    LimitExceededError,
    PermanentFileError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.readers.image import read as read_image

SUFFIXES = ("jpg", "png", "gif", "webp", "tiff", "bmp", "avif")


def read(path: Path, *sizes: int, kind: str = "webp", max_pixels: int = 10**8) -> dict[str, Any]:
    previews = [{"size": size, "path": str(path.parent / f"{size}.tmp")} for size in sizes]
    result = read_image(str(path), previews=previews, format=kind, quality=80, max_pixels=max_pixels)
    for asked, written in zip(previews, result["previews"], strict=True):
        written["path"] = asked["path"]
    return result


def open_preview(result: dict[str, Any], index: int = 0) -> Image.Image:
    image = Image.open(result["previews"][index]["path"])
    image.load()
    return image


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    photograph(900, 600).save(tmp_path / f"a.{suffix}")
    result = read(tmp_path / f"a.{suffix}", 512, 128)
    assert result["format"] == {"jpg": "JPEG"}.get(suffix, suffix.upper())
    assert (result["width"], result["height"], result["orientation"], result["frames"]) == (900, 600, 1, 1)
    assert result["color_mode"] == ("P" if suffix == "gif" else "RGB")
    assert len(bytes.fromhex(result["phash"])) == 8
    assert [(one["size"], one["width"], one["height"]) for one in result["previews"]] == [
        (512, 512, 341),
        (128, 128, 85),
    ]
    preview = open_preview(result)
    assert preview.format == "WEBP"
    assert preview.size == (512, 341)
    assert all(near(colour, CORNERS[name]) for name, colour in corners(preview).items())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
def test_previews_are_upright_and_dimensions_as_displayed(tmp_path: Path, suffix: str, orientation: int) -> None:
    result = read(make_picture(tmp_path / f"a.{suffix}", size=(600, 400), orientation=orientation), 300)
    assert (result["width"], result["height"]) == (600, 400)
    assert result["orientation"] == orientation
    preview = open_preview(result)
    assert preview.size == (300, 200)
    assert all(near(colour, CORNERS[name]) for name, colour in corners(preview).items())


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heic_is_upright_and_says_its_orientation(tmp_path: Path, orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    result = read(make_picture(tmp_path / "a.heic", size=(600, 400), orientation=orientation), 300)
    assert (result["format"], result["width"], result["height"]) == ("HEIF", 600, 400)
    assert result["orientation"] == orientation
    assert result["capture"]["model"] == "EOS 5D"
    preview = open_preview(result)
    assert all(near(colour, CORNERS[name]) for name, colour in corners(preview).items())


def test_without_its_package_heic_is_unsupported_and_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    program = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from damd.readers.image import read\n"
        "read(sys.argv[1], previews=[], format='webp', quality=80, max_pixels=100)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.heic"], capture_output=True, text=True, check=False
    )
    assert "HEIC needs the package pillow-heif: install damd[heic]" in done.stderr


@pytest.mark.parametrize("kind", ["webp", "jpeg", "png"])
def test_previews_have_the_format_asked_for_and_no_metadata(tmp_path: Path, kind: str) -> None:
    path = make_picture(tmp_path / "a.jpg", comment=b"private", icc_profile=_profile("sRGB"), dpi=(300, 300))
    preview = open_preview(read(path, 100, kind=kind))
    assert preview.format == kind.upper()
    assert not preview.getexif()
    assert not {"icc_profile", "exif", "xmp", "comment"} & set(preview.info)
    assert b"Canon" not in (tmp_path / "100.tmp").read_bytes()


def test_a_preview_is_never_larger_than_the_image_and_replaces_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "512.tmp").write_bytes(b"x" * 100_000)
    result = read(make_picture(tmp_path / "a.jpg"), 512)
    assert open_preview(result).size == (160, 120)
    assert (tmp_path / "512.tmp").stat().st_size < 10_000


def test_alpha_stays_in_webp_and_png_and_lies_on_white_in_jpeg(tmp_path: Path) -> None:
    picture = photograph(mode="RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 60, 60))
    picture.save(tmp_path / "a.png")
    for kind, corner in (("webp", None), ("png", None), ("jpeg", (255, 255, 255))):
        preview = open_preview(read(tmp_path / "a.png", 100, kind=kind))
        assert preview.mode == ("RGB" if corner else "RGBA")
        assert near(corners(preview)["top left"], corner) if corner else preview.getchannel("A").getpixel((3, 3)) == 0


def test_the_hash_does_not_depend_on_previews_orientation_or_format(tmp_path: Path) -> None:
    upright = make_picture(tmp_path / "a.jpg", size=(1600, 1200), quality=95)
    turned = make_picture(tmp_path / "b.jpg", size=(1600, 1200), quality=95, orientation=6)
    photograph(1600, 1200).save(tmp_path / "c.png")
    results = [read(upright), read(upright, 64), read(upright, 512, 1024), read(turned), read(tmp_path / "c.png")]
    hashes = [imagehash.hex_to_hash(result["phash"]) for result in results]
    assert results[0]["phash"] == results[1]["phash"]
    assert all(one - another <= 4 for one in hashes for another in hashes)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff", "avif"])
def test_frames_are_counted_and_the_first_one_is_shown(tmp_path: Path, suffix: str) -> None:
    result = read(make_animation(tmp_path / f"a.{suffix}", 5), 100)
    assert result["frames"] == 5
    assert all(near(colour, CORNERS[name]) for name, colour in corners(open_preview(result)).items())


def test_an_mpo_is_a_photograph_with_several_pictures(tmp_path: Path) -> None:
    photograph().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[photograph(80, 60)])
    result = read(tmp_path / "a.jpg", 100)
    assert (result["format"], result["frames"], result["width"]) == ("MPO", 2, 160)


def test_a_colour_profile_is_applied(tmp_path: Path) -> None:
    lab = ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    transform.apply(photograph()).save(tmp_path / "a.tiff")
    result = read(tmp_path / "a.tiff", 100)
    assert result["color_mode"] == "LAB"
    assert all(near(colour, CORNERS[name], 12) for name, colour in corners(open_preview(result)).items())


def test_a_broken_colour_profile_is_ignored(tmp_path: Path) -> None:
    for profile in (b"no profile", _profile("sRGB")[:200], _profile("LAB"), b"\0" * 5000):
        result = read(make_picture(tmp_path / "a.jpg", icc_profile=profile), 100)
        assert all(near(colour, CORNERS[name]) for name, colour in corners(open_preview(result)).items())


def _profile(name: Any) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_cut_short_is_broken_and_says_so_in_plain_words(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.effect_noise((300, 200), 90).convert("RGB").save(path)
    whole = path.read_bytes()
    for part in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: max(34, int(len(whole) * part))])
        with pytest.raises(BrokenFileError, match=r"^(The image is truncated: |Not a readable [A-Z]+: )") as caught:
            read(path, 100)
        assert "Error" not in str(caught.value)


def test_an_empty_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(BrokenFileError, match=r"^The file is empty$"):
        read(tmp_path / "a.jpg")


def test_what_is_no_image_that_damd_reads_reaches_no_decoder(tmp_path: Path) -> None:
    for content in (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"8BPS\0\3" + bytes(50),
        b"words",
        b"\xd7\xcd\xc6\x9a" + bytes(50),  # a WMF
        bytes(50),
    ):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(UnsupportedTypeError):
            read(tmp_path / "a.jpg")


def test_what_the_system_refuses_is_unreadable_and_not_broken(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(UnreadableFileError):
            read(path)


def test_a_preview_that_cannot_be_written_is_no_fault_of_the_file(tmp_path: Path) -> None:
    path = make_picture(tmp_path / "a.jpg")
    previews = [{"size": 100, "path": str(tmp_path / "absent" / "x.tmp")}]
    with pytest.raises(FileNotFoundError):
        read_image(str(path), previews=previews, format="webp", quality=80, max_pixels=10**8)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_too_many_pixels_name_both_numbers(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    photograph(101, 99).save(path)
    assert read(path, max_pixels=9999)["width"] == 101
    with pytest.raises(LimitExceededError, match=r"9999 pixels.* 9998"):
        read(path, max_pixels=9998)


def test_a_size_beyond_the_limit_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(make_png(60_000, 60_000))
    with pytest.raises(LimitExceededError, match="3600000000"):
        read(tmp_path / "a.png")


def test_a_bomb_in_a_text_chunk_is_a_limit_exceeded(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(8 * 2**20), 9)
    for before in (
        chunk(b"zTXt", b"a\0\0" + bomb),
        chunk(b"iTXt", b"a\0\1\0\0\0" + bomb),
        chunk(b"iCCP", b"a\0\0" + bomb),
    ):
        (tmp_path / "a.png").write_bytes(make_png(1, 1, before=before, rows=b"\0\0"))
        with pytest.raises(LimitExceededError, match="decompression bomb"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize(
    "fields",
    [
        ((254, 4, 1), (330, 4, 120), (256, 4, 160), (257, 4, 120)),  # NEF, ARW: a preview that points on
        ((254, 4, 1), (330, 4, 120), (50706, 1, 0x401)),  # DNG
        ((254, 4, 0), (50706, 1, 0x401)),
        ((262, 3, 32803),),  # a colour filter array
        ((259, 3, 65535), (271, 2, 0)),  # PEF
    ],
)
def test_camera_raw_is_unsupported_and_not_a_tiny_tiff(
    tmp_path: Path, fields: tuple[tuple[int, int, int], ...]
) -> None:
    (tmp_path / "a.nef").write_bytes(make_tiff_header(*fields))
    with pytest.raises(UnsupportedTypeError, match="camera RAW"):
        read(tmp_path / "a.nef")


def test_a_cr2_is_camera_raw(tmp_path: Path) -> None:
    (tmp_path / "a.cr2").write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes(64))
    with pytest.raises(UnsupportedTypeError, match="camera RAW"):
        read(tmp_path / "a.cr2")


def test_a_picture_whose_metadata_breaks_the_decoder_is_read_without_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    broken = bytearray(chunk(b"eXIf", b"II*\0 not at all"))
    broken[-1] ^= 1
    path.write_bytes(make_png(8, 8, before=bytes(broken), rows=b"\0" * 72))
    assert read(path)["width"] == 8
    path = make_picture(tmp_path / "a.avif")
    path.write_bytes(path.read_bytes().replace(b"MM\0*", b"????").replace(b"II*\0", b"????"))
    assert read(path)["width"] == 160


@settings(deadline=None, max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_no_fault_of_the_metadata_fails_the_image(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    exif = bytearray(make_exif(6).tobytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(6, len(exif) - 1), st.integers(0, 255)), max_size=12)):
        exif[place] = value
    path = tmp_path_factory.getbasetemp() / f"mutated.{suffix}"
    photograph(48, 32).save(path, exif=bytes(exif[: data.draw(st.integers(6, len(exif)))]))
    result = read(path)
    assert {result["width"], result["height"]} == {48, 32}


@settings(deadline=None, max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_bytes_give_a_result_or_a_permanent_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    whole = _small(suffix)
    content = bytearray(whole)
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=20)
    ):
        content[place] = value
    path = tmp_path_factory.getbasetemp() / f"damaged.{suffix}"
    path.write_bytes(content)
    with suppress(PermanentFileError):
        read(path, max_pixels=10**6)


def _small(suffix: str) -> bytes:
    buffer = io.BytesIO()
    photograph(24, 16).save(buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    return buffer.getvalue()


def test_a_gif_without_end_and_a_tiff_that_bites_its_tail_are_counted_in_bounded_time(tmp_path: Path) -> None:
    photograph(16, 16).save(tmp_path / "a.gif")
    whole = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(whole[:-1] + b"!\xfe" + b"\1x" * 3_000_000)
    assert read(tmp_path / "a.gif")["frames"] == 1
    photograph(16, 16).save(tmp_path / "a.tiff")
    content = bytearray((tmp_path / "a.tiff").read_bytes())
    start = struct.unpack_from("<L", content, 4)[0]
    struct.pack_into("<L", content, start + 2 + 12 * struct.unpack_from("<H", content, start)[0], start)
    (tmp_path / "a.tiff").write_bytes(content)
    assert read(tmp_path / "a.tiff")["frames"] == 1
