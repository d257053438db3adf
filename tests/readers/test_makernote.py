import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import make_exif, make_picture

from damd.readers.image import read as read_image
from damd.readers.metadata.makernote import read_iso

SHORT, TEXT = 3, 2
AUTOMATIC, UNKNOWN = 15, 0x7FFF


def make_nikon_note(iso: int, order: str = ">") -> bytes:
    mark = b"MM\0*" if order == ">" else b"II*\0"
    tiff = mark + struct.pack(order + "LHHHL4sHHLHH", 8, 2, 1, 7, 4, b"0210", 2, SHORT, 2, 0, iso)
    return b"Nikon\0\2\x10\0\0" + tiff + bytes(4)


def make_canon_note(
    code: int, *, auto: int = 0, base: int = 0, moved: int = 700, order: str = "<", gap: int = 4
) -> bytes:
    """Settings with a sensitivity, and what the shot came to; its offsets count from `moved` bytes before it."""
    settings = [2 * 20, *[0] * 15, code, *[0] * 3]
    shot = [2 * 8, auto, base, *[0] * 5]
    before = b"IMG:JPEG\0\0"
    start = 2 + 3 * 12 + gap
    entries = [(6, TEXT, len(before)), (1, SHORT, len(settings)), (4, SHORT, len(shot))]
    values = [before, struct.pack(f"{order}20H", *settings), struct.pack(f"{order}8H", *shot)]
    note, offset = struct.pack(order + "H", len(entries)), moved + start
    for (tag, kind, count), value in zip(entries, values, strict=True):
        note += struct.pack(order + "HHLL", tag, kind, count, offset)
        offset += len(value)
    return note + bytes(gap) + b"".join(values)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_nikon_says_its_sensitivity(order: str) -> None:
    assert read_iso(make_nikon_note(200, order), "NIKON CORPORATION") == 200
    assert read_iso(make_nikon_note(0, order), "NIKON CORPORATION") is None


@pytest.mark.parametrize(
    ("code", "auto", "base", "iso"),
    [
        (16, 0, 0, 50),
        (19, 0, 160, 400),
        (0x4000 + 640, 0, 0, 640),
        (AUTOMATIC, 0, 128, 50),
        (AUTOMATIC, 32, 160, 200),
        (UNKNOWN, 0, 140, 65),
        (0xFFFF, 0, 0, None),
        (AUTOMATIC, 0, 0, None),
        (AUTOMATIC, 65535, 65535, None),
    ],
)
def test_a_canon_says_what_was_set_or_what_it_came_to(code: int, auto: int, base: int, iso: int | None) -> None:
    assert read_iso(make_canon_note(code, auto=auto, base=base), "Canon") == iso


@pytest.mark.parametrize("moved", [0, 54, 2**31])
@pytest.mark.parametrize("gap", [0, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_note_that_an_editor_moved_says_the_same(moved: int, gap: int, order: str) -> None:
    assert read_iso(make_canon_note(17, moved=moved, gap=gap, order=order), "Canon") == 100


def test_a_note_of_another_maker_or_one_cut_short_says_nothing() -> None:
    note = make_canon_note(17)
    assert read_iso(note, "Casio") is None
    assert read_iso(note, None) is None
    for length in range(len(note) - 30):
        assert read_iso(note[:length], "Canon") is None


def test_exif_comes_first_and_the_note_fills_in(tmp_path: Path) -> None:
    exif = make_exif()
    details = exif.get_ifd(0x8769)
    details[0x927C] = make_canon_note(17)
    path = make_picture(tmp_path / "a.jpg", exif=exif.tobytes())
    assert read_image(str(path), previews=[], format="webp", quality=80, max_pixels=10**8)["capture"]["iso"] == 400
    del details[0x8827]
    path = make_picture(tmp_path / "b.jpg", exif=exif.tobytes())
    assert read_image(str(path), previews=[], format="webp", quality=80, max_pixels=10**8)["capture"]["iso"] == 100


@given(st.binary(max_size=200), st.sampled_from([b"", make_canon_note(17), make_nikon_note(100)[:30]]))
def test_no_note_raises(data: bytes, begin: bytes) -> None:
    iso = read_iso(begin[: len(data)] + data, "Canon")
    assert iso is None or 0 < iso < 2**40
