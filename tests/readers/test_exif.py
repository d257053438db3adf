import json
import struct
from typing import Any

import pytest
from pictures import make_exif, photograph
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from damd.readers.metadata.exif import read_capture, read_exif, read_fix, read_orientation

DETAILS, GPS = 0x8769, 0x8825
ASCII, UNDEFINED, SIGNED_RATIONAL, FLOAT = 2, 7, 10, 11
UNIT_BYTES = {ASCII: 1, UNDEFINED: 1, SIGNED_RATIONAL: 8, FLOAT: 4}
NOTHING = IFDRational(0, 0)


def raw_exif(tag: int, kind: int, value: bytes, *, directory: int | None = None) -> Image.Exif:
    """EXIF with a single field, in the first directory or in another, written byte by byte."""
    place = 26 if directory else 8
    stored = struct.pack("<L", place + 18) if len(value) > 4 else value.ljust(4, b"\0")
    field = struct.pack("<HHHL", 1, tag, kind, len(value) // UNIT_BYTES[kind]) + stored + bytes(4) + value
    pointer = struct.pack("<HHHLL", 1, directory, 4, 1, place) + bytes(4) if directory else b""
    exif = Image.Exif()
    exif.load(b"Exif\0\0II*\0\x08\0\0\0" + pointer + field)
    return exif


def capture(exif: Image.Exif) -> dict[str, Any]:
    """What is read after the EXIF went through bytes."""
    read = Image.Exif()
    read.load(exif.tobytes())
    found = read_capture(read)
    json.dumps(found, allow_nan=False)
    return found


def changed(directory: int | None, tag: int, value: Any) -> dict[str, Any]:
    exif = make_exif()
    (exif if directory is None else exif.get_ifd(directory))[tag] = value
    return capture(exif)


def test_a_good_camera_is_read_completely() -> None:
    assert capture(make_exif()) == {
        "taken_at": "2012-05-04T10:11:12+02:00",
        "make": "Canon",
        "model": "EOS 5D",
        "lens": "EF50mm f/1.8",
        "exposure_s": 0.004,
        "aperture": 2.8,
        "iso": 400,
        "focal_length_mm": 50.0,
        "latitude": pytest.approx(-33.865),
        "longitude": pytest.approx(151.21),
        "altitude_m": 58.5,
    }


def test_an_image_without_exif_has_no_capture() -> None:
    assert read_capture(read_exif(photograph())) == {}
    assert read_orientation(read_exif(photograph())) == 1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"Canon\0\0\0\0", "Canon"),
        (b"  NIKON CORPORATION   ", "NIKON CORPORATION"),
        (b"Ca\x01no\x1b[31mn\x7f", "Cano[31mn"),
        (b"two\nlines\tand\xc2\x85more", "two lines and more"),
        (b"x" * 1_000_000, "x" * 200),
        (b"Appareil num\xc3\xa9rique", "Appareil numérique"),
        (b"Appareil num\xe9rique", "Appareil numérique"),
        (b"\xe2\x80\xaeabcdef", "abcdef"),  # right to left, from here on
        (b"\xed\xa0\x80abcd", "í\u00a0abcd".replace("\u00a0", " ")),  # a lone surrogate is no UTF-8
        (b"      ", None),
        (b"\0Canon", None),
    ],
)
@pytest.mark.parametrize("kind", [ASCII, UNDEFINED])
def test_texts_are_cleaned(kind: int, written: bytes, read: str | None) -> None:
    assert read_capture(raw_exif(0x010F, kind, written)).get("make") == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2012:05:04 10:11:12", "2012-05-04T10:11:12+02:00"),
        ("2012-05-04 10:11:12.345", "2012-05-04T10:11:12+02:00"),
        ("2012: 5: 4 10: 1:12", "2012-05-04T10:01:12+02:00"),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("2012:13:04 10:11:12", None),
        ("2012:02:30 10:11:12", None),
        ("2012:05:04 24:11:12", None),
        ("yesterday", None),
    ],
)
def test_dates(written: str, read: str | None) -> None:
    assert changed(DETAILS, 0x9003, written).get("taken_at") == read


@pytest.mark.parametrize(
    ("offset", "suffix"), [("-05:30", "-05:30"), ("Z", "+00:00"), ("+2", ""), ("+99:00", ""), ("   :  ", "")]
)
def test_offsets_from_utc(offset: str, suffix: str) -> None:
    assert changed(DETAILS, 0x9011, offset)["taken_at"] == "2012-05-04T10:11:12" + suffix


def test_the_date_of_digitizing_stands_in_and_that_of_the_last_change_does_not() -> None:
    exif = make_exif()
    exif[0x0132] = "2020:01:01 00:00:00"
    del exif.get_ifd(DETAILS)[0x9003]
    assert "taken_at" not in capture(exif)
    exif.get_ifd(DETAILS)[0x9004] = "2013:06:07 08:09:10"
    assert capture(exif)["taken_at"] == "2013-06-07T08:09:10"


@pytest.mark.parametrize(
    ("date", "clock", "expected"),
    [
        ("2022:02:03", (14, 44, 9), "2022-02-03T14:44:09+00:00"),
        ("2022-02-03", (14, 44, 9.9), "2022-02-03T14:44:09+00:00"),
        ("1980:01:06", (0, 0, 0), None),
        ("2022:02:30", (14, 44, 9), None),
        ("2022:02:03", (24, 0, 0), None),
        ("2022:02:03", (14, 44, NOTHING), None),
        ("soon", (14, 44, 9), None),
    ],
)
def test_the_satellites_time_is_kept_apart(date: str, clock: tuple[Any, ...], expected: str | None) -> None:
    exif = make_exif()
    exif.get_ifd(GPS)[0x1D] = date
    exif.get_ifd(GPS)[7] = tuple(part if part is NOTHING else IFDRational(part) for part in clock)
    read = Image.Exif()
    read.load(exif.tobytes())
    assert read_fix(read) == ({"taken_at": expected} if expected else {})
    assert read_capture(read)["taken_at"] == "2012-05-04T10:11:12+02:00"


@pytest.mark.parametrize("value", [NOTHING, IFDRational(1, 0), IFDRational(0, 1)])
@pytest.mark.parametrize(("tag", "name"), [(0x829A, "exposure_s"), (0x829D, "aperture"), (0x920A, "focal_length_mm")])
def test_an_impossible_number_is_left_out_and_nothing_else(tag: int, name: str, value: IFDRational) -> None:
    assert set(changed(None, 0x0131, "x")) - set(changed(DETAILS, tag, value)) == {name}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (FLOAT, struct.pack("<f", float("inf"))),
        (FLOAT, struct.pack("<f", float("nan"))),
        (FLOAT, struct.pack("<2f", float("-inf"), 2.8)),
        (ASCII, b"f/2.8\0"),
        (UNDEFINED, b"\1\2\3\4\5"),
        (SIGNED_RATIONAL, struct.pack("<ll", -28, 10)),
    ],
)
def test_what_is_no_sound_number_is_left_out(kind: int, value: bytes) -> None:
    assert read_capture(raw_exif(0x829D, kind, value, directory=DETAILS)) == {}


def test_a_number_of_another_type_is_one() -> None:
    exif = raw_exif(0x829D, FLOAT, struct.pack("<2f", 4, 5.6), directory=DETAILS)
    assert read_capture(exif) == {"aperture": 4.0}


def test_iso_beyond_16_bits_is_the_recommended_index() -> None:
    exif = make_exif()
    exif.get_ifd(DETAILS)[0x8827] = 65535
    assert "iso" not in capture(exif)
    exif.get_ifd(DETAILS)[0x8832] = 102400
    assert capture(exif)["iso"] == 102400


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (2, (IFDRational(91), IFDRational(0), IFDRational(0))),
        (2, (IFDRational(33), NOTHING, IFDRational(0))),
        (2, (IFDRational(4_000_000_000), IFDRational(0), IFDRational(0))),
        (1, "Q"),
        (1, ""),
        (3, "N"),
        (4, (IFDRational(181), IFDRational(0), IFDRational(0))),
        (4, IFDRational(3, 0)),
    ],
)
def test_half_a_place_is_no_place(tag: int, value: Any) -> None:
    found = changed(GPS, tag, value)
    assert not {"latitude", "longitude"} & set(found)
    assert found["altitude_m"] == 58.5


def test_below_the_sea() -> None:
    assert changed(GPS, 5, b"\1")["altitude_m"] == -58.5


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_impossible_orientation_is_upright(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert read_orientation(exif) == 1


def test_directories_that_point_nowhere_cost_only_themselves() -> None:
    for pointer in (0, 1, 7, 2**31, 2**32 - 1):
        raw = make_exif().tobytes()
        place = raw.index(b"\x87\x69" if raw[6:8] == b"MM" else b"\x69\x87")
        exif = Image.Exif()
        exif.load(raw[: place + 8] + pointer.to_bytes(4, "big" if raw[6:8] == b"MM" else "little") + raw[place + 12 :])
        found = read_capture(exif)
        assert found["make"] == "Canon"
        assert "latitude" in found
