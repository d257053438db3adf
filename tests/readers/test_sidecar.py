"""The reader of sidecars: XMP and JSON as programs write them, and everything else as none."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damd.errors import BrokenFileError, UnreadableFileError, UnsupportedTypeError
from damd.readers.sidecar import MAX_BYTES, read

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmp:Rating="4" MORE>
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Harbour &amp; sea</rdf:li></rdf:Alt></dc:title>
   <dc:subject><rdf:Bag><rdf:li>boat</rdf:li><rdf:li>Lübeck</rdf:li></rdf:Bag></dc:subject>
   ELEMENTS
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""

TAKEOUT: dict[str, Any] = {
    "title": "IMG_0001.jpg",
    "description": "At the pier",
    "imageViews": "3",
    "creationTime": {"timestamp": "1568500000", "formatted": "14.09.2019, 22:26:40 UTC"},
    "photoTakenTime": {"timestamp": "1568462400", "formatted": "14.09.2019, 12:00:00 UTC"},
    "geoData": {"latitude": 53.9, "longitude": -10.7, "altitude": 12.5, "latitudeSpan": 0.0, "longitudeSpan": 0.0},
    "people": [{"name": "Ada"}, {"name": "Grace"}, {"name": "Ada"}],
    "favorited": True,
    "url": "https://photos.google.com/photo/abc",
}


def read_bytes(folder: Path, data: bytes) -> dict[str, Any]:
    path = folder / "sidecar"
    path.write_bytes(data)
    return read(os.fspath(path), previews=[], format="webp", quality=80, max_pixels=1)


def read_json(folder: Path, said: Any) -> dict[str, Any]:
    return read_bytes(folder, json.dumps(said).encode())


def xmp(*, more: str = "", elements: str = "") -> str:
    return XMP.replace("MORE", more).replace("ELEMENTS", elements)


def test_xmp_says_what_people_wrote(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, xmp().encode()) == {
        "properties": {"kind": "xmp", "names": None},
        "description": {"title": "Harbour & sea", "rating": 4, "keywords": ["boat", "Lübeck"]},
        "capture": {},
        "previews": [],
    }


@pytest.mark.parametrize(
    "spelling",
    [
        {"more": 'crs:RawFileName="DSC_0001.NEF"'},
        {"elements": "<crs:RawFileName>DSC_0001.NEF</crs:RawFileName>"},
        {"more": 'xmpMM:DerivedFrom="C:\\photos\\DSC_0001.NEF"'},
        {"elements": "<xmpMM:DerivedFrom>/photos/DSC_0001.NEF</xmpMM:DerivedFrom>"},
    ],
)
def test_xmp_names_the_file_that_it_is_for(tmp_path: Path, spelling: dict[str, str]) -> None:
    assert read_bytes(tmp_path, xmp(**spelling).encode())["properties"]["names"] == "DSC_0001.NEF"


def test_a_structure_where_a_name_could_be_names_nothing(tmp_path: Path) -> None:
    elements = '<xmpMM:DerivedFrom rdf:parseType="Resource"><xmpMM:Note>a</xmpMM:Note></xmpMM:DerivedFrom>'
    assert read_bytes(tmp_path, xmp(elements=elements).encode())["properties"]["names"] is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_xmp_is_read_in_every_encoding_and_with_padding(tmp_path: Path, encoding: str) -> None:
    padded = "\n" + xmp() + " " * 100 if encoding == "utf-8" else xmp()
    assert read_bytes(tmp_path, padded.encode(encoding))["description"]["rating"] == 4


def test_xmp_of_no_words_is_still_a_sidecar(tmp_path: Path) -> None:
    empty = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    assert read_bytes(tmp_path, empty)["properties"] == {"kind": "xmp", "names": None}


@pytest.mark.parametrize(
    "data",
    [
        xmp().encode()[:600],
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>',
        b'<!DOCTYPE a [<!ENTITY b "c">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&b;</x:xmpmeta>',
    ],
)
def test_broken_xmp_says_so(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BrokenFileError, match="damaged"):
        read_bytes(tmp_path, data)


def test_an_empty_file_is_broken(tmp_path: Path) -> None:
    with pytest.raises(BrokenFileError, match="empty"):
        read_bytes(tmp_path, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>nothing</body></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
        b"<a>" * 250_000,
        b"plain text",
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_xmp_is_no_sidecar(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnsupportedTypeError, match=r"^Unsupported file type$"):
        read_bytes(tmp_path, data)


def test_takeout_says_when_where_and_who(tmp_path: Path) -> None:
    assert read_json(tmp_path, TAKEOUT) == {
        "properties": {"kind": "takeout", "names": "IMG_0001.jpg"},
        "description": {"description": "At the pier", "rating": 5, "keywords": ["Ada", "Grace"]},
        "capture": {
            "taken_at": "2019-09-14T12:00:00+00:00",
            "latitude": 53.9,
            "longitude": -10.7,
            "altitude_m": 12.5,
        },
        "previews": [],
    }


def test_takeout_writes_zeros_where_it_knows_no_place(tmp_path: Path) -> None:
    nowhere = {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0}
    assert read_json(tmp_path, TAKEOUT | {"geoData": nowhere})["capture"] == {"taken_at": "2019-09-14T12:00:00+00:00"}
    from_file = {"latitude": 1.5, "longitude": 2.5, "altitude": 0.0}
    capture = read_json(tmp_path, TAKEOUT | {"geoData": nowhere, "geoDataExif": from_file})["capture"]
    assert capture == {"taken_at": "2019-09-14T12:00:00+00:00", "latitude": 1.5, "longitude": 2.5}


@pytest.mark.parametrize(
    ("timestamp", "moment"),
    [
        ("-86400", "1969-12-31T00:00:00+00:00"),
        (0, "1970-01-01T00:00:00+00:00"),
        ("99999999999999", None),
        ("999999999999", None),
        ("yesterday", None),
        (10**400, None),
        (True, None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_times_beyond_the_calendar_are_left_out(tmp_path: Path, timestamp: Any, moment: str | None) -> None:
    found = read_json(tmp_path, TAKEOUT | {"photoTakenTime": {"timestamp": timestamp}, "geoData": None})
    assert found["capture"] == ({"taken_at": moment} if moment else {})


def test_nonsense_in_takeouts_fields_is_left_out(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "title": ["a"],
            "description": 7,
            "photoTakenTime": {},
            "people": [{"name": 3}, "x", None, {}],
            "favorited": "yes",
            "geoData": {"latitude": "PUT", "longitude": 10**400},
        }
    ).replace('"PUT"', "NaN")
    found = read_bytes(tmp_path, text.encode())
    assert found["properties"] == {"kind": "takeout", "names": None}
    assert found["description"] == {"keywords": ["3"]}
    assert found["capture"] == {}


def test_a_key_that_comes_twice_counts_once(tmp_path: Path) -> None:
    found = read_bytes(tmp_path, b'{"title": "a.jpg", "photoTakenTime": {"timestamp": "0"}, "title": "b.jpg"}')
    assert found["properties"]["names"] == "b.jpg"


def test_the_json_of_exiftool_is_read_with_and_without_groups(tmp_path: Path) -> None:
    bare = {
        "SourceFile": "/photos/2019/IMG_0002.jpg",
        "Title": "Pier",
        "Caption-Abstract": "At the pier",
        "Artist": ["Ada", "Grace"],
        "Copyright": 2019,
        "Rating": 3,
        "Keywords": "boat",
        "Subject": ["boat", "sea", 7],
        "DateTimeOriginal": "2019:09:14 14:00:00.25+02:00",
        "Make": "Apple",
        "GPSLatitude": 53.9,
        "GPSLongitude": 10.7,
    }
    expected = {
        "properties": {"kind": "exiftool", "names": "IMG_0002.jpg"},
        "description": {
            "title": "Pier",
            "description": "At the pier",
            "creator": "Ada, Grace",
            "copyright": "2019",
            "rating": 3,
            "keywords": ["boat", "sea", "7"],
        },
        "capture": {
            "taken_at": "2019-09-14T14:00:00+02:00",
            "make": "Apple",
            "latitude": 53.9,
            "longitude": 10.7,
        },
        "previews": [],
    }
    assert read_json(tmp_path, [bare]) == expected
    grouped = {("XMP:" if name != "SourceFile" else "") + name: value for name, value in bare.items()}
    assert read_json(tmp_path, grouped) == expected


def test_other_json_is_no_sidecar(tmp_path: Path) -> None:
    for said in (
        {},
        [],
        {"name": "package", "version": "1.0"},
        {"title": "An album", "description": "", "access": "protected"},
        {"photoTakenTime": "noon"},
        {"SourceFile": None},
        [{"SourceFile": "a.jpg"}, {"SourceFile": "b.jpg"}],
        ["SourceFile"],
    ):
        with pytest.raises(UnsupportedTypeError, match=r"^Unsupported file type$"):
            read_json(tmp_path, said)


@pytest.mark.parametrize(
    "data",
    [
        b'{"photoTakenTime": ',
        b'{"SourceFile": "a", "b": ' + b"[" * 200_000,
        b'{"SourceFile": "a", "b": ' + b"9" * 5_000 + b"}",
        b'{"photoTakenTime": {}, "title": "\xff"}',
    ],
)
def test_json_that_cannot_be_parsed_is_no_sidecar(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnsupportedTypeError, match=r"^Unsupported file type$"):
        read_bytes(tmp_path, data)


def test_what_cannot_be_read_is_not_the_files_fault(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError):
        read(os.fspath(tmp_path / "gone.xmp"), previews=[], format="webp", quality=80, max_pixels=1)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
keys = st.sampled_from(
    ["title", "description", "photoTakenTime", "geoData", "people", "SourceFile", "Rating", "Keywords"]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.dictionaries(keys, values | st.dictionaries(st.sampled_from(["timestamp", "latitude"]), values)))
def test_whatever_stands_in_the_fields_ends_as_facts_or_as_no_sidecar(tmp_path: Path, said: dict[str, Any]) -> None:
    try:
        found = read_json(tmp_path, said)
    except UnsupportedTypeError:
        return
    json.dumps(found, allow_nan=False)
    assert found["properties"]["kind"] in {"takeout", "exiftool"}
