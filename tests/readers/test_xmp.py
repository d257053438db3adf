import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import make_xmp

from damd.readers.metadata.xmp import MAX_BYTES, read_moment, read_packet


def bag(name: str, *items: str, kind: str = "Bag") -> str:
    listed = "".join(f"<rdf:li>{item}</rdf:li>" for item in items)
    return f"<{name}><rdf:{kind}>{listed}</rdf:{kind}></{name}>"


def test_elements_say_what_people_wrote() -> None:
    packet = make_xmp(
        '<dc:title><rdf:Alt><rdf:li xml:lang="de">Titel</rdf:li><rdf:li xml:lang="x-default">Title</rdf:li></rdf:Alt>'
        "</dc:title>"
        + bag("dc:description", "One &amp; two", kind="Alt")
        + bag("dc:creator", "Ada", "Bea", kind="Seq")
        + bag("dc:rights", "© Ada", kind="Alt")
        + bag("dc:subject", "sea", "sky", "sea", " ")
        + "<xmp:Rating>4</xmp:Rating>"
    )
    assert read_packet(packet) == {
        "description": {
            "title": "Title",
            "description": "One & two",
            "creator": "Ada, Bea",
            "copyright": "© Ada",
            "rating": 4,
            "keywords": ["sea", "sky"],
        }
    }


def test_attributes_say_it_as_well() -> None:
    packet = make_xmp(
        xmp_Rating="-1",
        dc_title="Plain",
        tiff_Make="Canon",
        tiff_Model="EOS 5D",
        aux_Lens="EF50mm",
        exif_DateTimeOriginal="2012-05-04T10:11:12.50+02:00",
        exif_GPSLatitude="33,51.9S",
        exif_GPSLongitude="151,12,36E",
        exif_GPSAltitude="585/10",
        exif_GPSAltitudeRef="1",
    )
    found = read_packet(packet)
    assert found["description"] == {"title": "Plain", "rating": -1}
    capture = found["capture"]
    assert capture.pop("latitude") == pytest.approx(-33.865)
    assert capture.pop("longitude") == pytest.approx(151.21)
    assert capture == {
        "taken_at": "2012-05-04T10:11:12+02:00",
        "make": "Canon",
        "model": "EOS 5D",
        "lens": "EF50mm",
        "altitude_m": -58.5,
    }


def test_the_camera_s_time_comes_before_that_of_the_scan() -> None:
    both = make_xmp(photoshop_DateCreated="1975-06-01", xmp_CreateDate="2020-01-02T03:04:05Z")
    assert read_packet(both)["capture"] == {"taken_at": "1975-06-01"}
    assert read_packet(make_xmp(xmp_CreateDate="2020-01-02T03:04"))["capture"] == {"taken_at": "2020-01-02T03:04:00"}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2012-05-04T10:11:12Z", "2012-05-04T10:11:12+00:00"),
        ("2012-05-04T10:11:12-0330", "2012-05-04T10:11:12-03:30"),
        ("2012:05:04 10:11:12", "2012-05-04T10:11:12"),
        ("2012-05", None),
        ("2012-13-04", None),
        ("0000-00-00T00:00:00", None),
        ("2012-05-04T25:00:00", None),
        ("", None),
        (None, None),
    ],
)
def test_a_moment_is_iso_8601_or_nothing(text: str | None, moment: str | None) -> None:
    assert read_moment(text) == moment


def test_what_makes_no_sense_is_left_out() -> None:
    packet = make_xmp(
        xmp_Rating="500", exif_GPSLatitude="95,0N", exif_GPSLongitude="5,0N", exif_GPSAltitude="1/0", dc_title=" "
    )
    assert read_packet(packet) == {}


def test_half_a_position_is_none() -> None:
    assert read_packet(make_xmp(exif_GPSLatitude="33,51.9S")) == {}


def test_a_camera_s_default_is_no_description() -> None:
    assert read_packet(make_xmp(bag("dc:description", "OLYMPUS DIGITAL CAMERA         ", kind="Alt"))) == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_unicode_encoding_is_read(encoding: str) -> None:
    packet = make_xmp(bag("dc:title", "Zürich", kind="Alt")).decode()
    assert read_packet(packet.encode(encoding))["description"] == {"title": "Zürich"}


def test_padding_and_stray_control_characters_do_no_harm() -> None:
    packet = make_xmp(dc_title="Sea\x01side").partition(b"<?xpacket end")[0] + bytes(50)
    assert read_packet(b"\n\n" + packet)["description"] == {"title": "Seaside"}


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"<",
        b"words",
        make_xmp(dc_title="cut")[:-300],
        b'<!DOCTYPE a [<!ENTITY b "boom">]>' + make_xmp(dc_title="&b;"),
        make_xmp('<!DOCTYPE a [<!ENTITY b "boom">]>'),
        make_xmp(dc_title="x" * MAX_BYTES),
        b"<x:xmpmeta>" * 100_000,
        make_xmp("<a>" * 100_000 + "</a>" * 100_000),
        bytes(100),
    ],
)
def test_a_broken_or_hostile_packet_says_nothing(packet: bytes) -> None:
    assert read_packet(packet) == {}


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_damage_raises_nothing(data: st.DataObject) -> None:
    packet = bytearray(make_xmp(bag("dc:subject", "a", "b"), xmp_Rating="3", exif_GPSAltitude="5/2"))
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(packet) - 1), st.integers(0, 255)), max_size=9)
    ):
        packet[place] = value
    read_packet(bytes(packet))
