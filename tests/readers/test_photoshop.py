import struct
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import make_exif, make_psd, make_xmp, photograph
from PIL import Image, ImageCms
from shown import is_shown, read

from damd.errors import BrokenFileError, UnsupportedTypeError


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize(("depth", "large"), [(8, False), (16, False), (8, True), (16, True)])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_usual_kind_of_psd_is_read(tmp_path: Path, mode: str, depth: int, large: bool, runs: bool) -> None:
    path = tmp_path / "a.psd"
    path.write_bytes(make_psd(photograph(mode=mode), depth=depth, large=large, runs=runs))
    facts = read(path)
    assert (facts["format"], facts["color_mode"], facts["width"], facts["height"]) == ("PSD", mode, 160, 120)
    assert facts["frames"] == 1
    assert mode == "L" or is_shown(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BrokenFileError, match="truncated"):
        read(path)


def test_a_psd_in_lab_shows_its_colours(tmp_path: Path) -> None:
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = transform.apply(photograph())
    for depth in (8, 16):
        (tmp_path / "a.psd").write_bytes(make_psd(lab, depth=depth))
        read(tmp_path / "a.psd")
        assert is_shown(tmp_path / "a.psd")


def test_a_psd_that_nothing_here_decodes_is_unsupported_and_says_why(tmp_path: Path) -> None:
    whole = bytearray(make_psd(photograph(), depth=16))
    whole[-160 * 120 * 6 - 1] = 3  # zipped
    (tmp_path / "zipped.psd").write_bytes(whole)
    whole[22:24] = struct.pack(">H", 32)
    (tmp_path / "deep.psd").write_bytes(whole)
    for name, why in (("zipped.psd", "packed in a rare way"), ("deep.psd", "colours are of a rare kind")):
        with pytest.raises(UnsupportedTypeError, match=f"Unsupported file type: a Photoshop file whose .*{why}"):
            read(tmp_path / name)


def test_a_psd_is_transparent_only_where_its_layers_say_so(tmp_path: Path) -> None:
    picture = photograph(mode="RGBA")
    picture.putalpha(Image.new("L", picture.size, 7))
    for layers, mode in ((b"", "RGB"), (b"\0\1" + bytes(40), "RGB"), (b"\xff\xff" + bytes(40), "RGBA")):
        (tmp_path / "a.psd").write_bytes(make_psd(picture, layers=layers))
        read(tmp_path / "a.psd")
        with Image.open(tmp_path / "preview.png") as preview:
            assert preview.mode == mode


def test_a_psd_says_what_its_resources_say(tmp_path: Path) -> None:
    resources = {1058: make_exif(6).tobytes().removeprefix(b"Exif\0\0"), 1060: make_xmp(dc_title="Seaside")}
    turned = photograph().transpose(Image.Transpose.ROTATE_90)
    (tmp_path / "a.psd").write_bytes(make_psd(turned, resources=resources))
    facts = read(tmp_path / "a.psd")
    assert facts["capture"]["model"] == "EOS 5D"
    assert facts["description"] == {"title": "Seaside"}
    assert (facts["orientation"], facts["width"], facts["height"]) == (6, 160, 120)
    assert is_shown(tmp_path / "a.psd")


def test_a_header_that_promises_gigabytes_takes_none(tmp_path: Path) -> None:
    """More than a worker may use is a MemoryError, and would be tried again."""
    program = (
        "import resource, sys\n"
        "from damd.readers.image import read\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "read(sys.argv[1], previews=[], format='webp', quality=80, max_pixels=5 * 10**8)"
    )
    header = b"8BPS\0\1" + struct.pack(">6xHIIHH", 3, 20_000, 20_000, 16, 3)
    for content in (header + struct.pack(">III", 0, 2**32 - 1, 0), header + bytes(12) + b"\0\1" + b"\xff" * 120_000):
        (tmp_path / "b.psd").write_bytes(content)
        command = [sys.executable, "-c", program, str(tmp_path / "b.psd")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "BrokenFileError: " in done.stderr
