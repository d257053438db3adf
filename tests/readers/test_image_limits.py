import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import chunk, make_exif, make_icns, make_png, make_psd, photograph
from PIL import Image
from shown import read, register_jxl, saved

from damd.errors import BrokenFileError, LimitExceededError, PermanentFileError


def _patched(format_name: str, layout: str, place: int | bytes, beyond: int = 0, **options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        data = saved(format_name, **options)
        start = place if isinstance(place, int) else data.index(place)
        struct.pack_into(layout, data, start + beyond, 60_000, 60_000)
        return bytes(data)

    return make


def _ico(content: bytes) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(content), 22) + content


HUGE: dict[str, Callable[[], bytes]] = {
    "gif": _patched("GIF", "<HH", 6),
    "bmp": _patched("BMP", "<ii", 18),
    "webp": lambda: bytes(saved("WEBP", exif=make_exif().tobytes())).replace(b"\x9f\0\0\x77\0\0", b"\xff\xff\0" * 2),
    "jp2": _patched("JPEG2000", ">II", b"ihdr", 4),
    "jp2 whose codestream is larger than it says": _patched("JPEG2000", ">II", b"\xff\x4f\xff\x51", 8),
    "j2k": _patched("JPEG2000", ">II", 8, no_jp2=True),
    "tga": _patched("TGA", "<HH", 12),
    "dds": _patched("DDS", "<II", 12),
    "qoi": _patched("QOI", ">II", 4),
    "sgi": _patched("SGI", ">HH", 6),
    "pcx": _patched("PCX", "<HH", 8),
    "jpeg": _patched("JPEG", ">HH", b"\xff\xc0", 5),
    "ppm": lambda: b"P6\n60000 60000\n255\n" + bytes(90),
    "pam": lambda: b"P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
    "psd": lambda: b"8BPS\0\1" + struct.pack(">6xHIIHH", 3, 60_000, 60_000, 8, 3) + bytes(14),
    "psb": lambda: b"8BPS\0\2" + struct.pack(">6xHIIHH", 3, 60_000, 60_000, 16, 3) + bytes(18),
    "ico of png": lambda: _ico(make_png(60_000, 60_000)),
    "ico of dib": lambda: _ico(struct.pack("<IiiHH24x", 40, 60_000, 60_000, 1, 32) + bytes(100)),
    "icns of png": lambda: make_icns(make_png(60_000, 60_000)),
    "icns of j2k": lambda: make_icns(_patched("JPEG2000", ">II", 8, no_jp2=True)()),
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_declared_dimensions_name_the_limit_before_anything_is_decoded(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(HUGE[name]())
    with pytest.raises(LimitExceededError, match=r"It has \d{10} pixels, and max_pixels allows 100000000"):
        read(tmp_path / "a")


def test_zipped_metadata_in_an_icon_s_png_is_a_bomb_as_well(tmp_path: Path) -> None:
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(8 * 2**20), 9))
    for wrap in (_ico, make_icns):
        (tmp_path / "a").write_bytes(wrap(make_png(1, 1, before=bomb, rows=b"\0\0")))
        with pytest.raises(LimitExceededError, match="decompression bomb"):
            read(tmp_path / "a")


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_very_many_frames_cost_no_more_than_the_first_and_a_count(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in range(2, 250)]
    path = tmp_path / f"a.{suffix}"
    Image.new("L", (8, 8), 1).save(path, save_all=True, append_images=frames, duration=20, loop=0)
    whole = path.read_bytes()
    if suffix == "gif":
        start = whole.index(b"!\xf9")
        path.write_bytes(whole[:start] + whole[start:-1] * 60 + b";")
        assert read(path)["frames"] == 10_000
    else:
        place = whole.index(b"acTL") + 4
        path.write_bytes(whole[:place] + struct.pack(">I", 2**31 - 1) + whole[place + 4 :])
        with suppress(BrokenFileError):  # its checksum is wrong now
            assert read(path)["frames"] <= 10_000


@settings(deadline=None, max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize(
    "name", ["TGA", "ICO", "ICNS", "PCX", "PPM", "SGI", "DDS", "QOI", "JPEG2000", "PSD", "PSB", "JXL"]
)
def test_damaged_bytes_give_a_result_or_a_permanent_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(_small(name))
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=12)
    ):
        content[place] = value
    path = tmp_path_factory.getbasetemp() / f"damaged.{name}"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with suppress(PermanentFileError):
        read(path, max_pixels=10**6)


def _small(name: str) -> bytes:
    if name in ("PSD", "PSB"):
        return make_psd(photograph(24, 16), large=name == "PSB", runs=True)
    if name == "JXL":
        register_jxl()
    if name == "ICNS":
        return make_icns(bytes(saved("JPEG2000", photograph(24, 16))))
    return bytes(saved(name, photograph(24, 16)))
