"""Sidecars from file to catalogue."""

import json
from typing import Any

import pytest
from bench import Bench

from damd.catalogue.describe import describe_assets
from damd.catalogue.roots import Roots
from damd.results import IngestResult

pytestmark = pytest.mark.anyio

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="2"
 xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:RawFileName="a.NEF"/></rdf:RDF></x:xmpmeta>"""


async def components(bench: Bench, result: IngestResult) -> dict[str, Any]:
    roots, folder, number = bench.world.get_resource(Roots), bench.thumbnails.folder, result.asset_id or 0
    (described,) = await bench.catalogue.read(lambda session: describe_assets(session, [number], roots, folder))
    found: dict[str, Any] = described["components"]
    return found


async def test_xmp_becomes_an_asset_with_its_words(bench: Bench) -> None:
    path = bench.folder / "a.xmp"
    path.write_text(XMP)
    result = await bench.ingest(path)
    assert (result.status, result.family, result.mime_type) == ("SUCCESS", "sidecar", "application/rdf+xml")
    assert result.thumbnail_path is None
    found = await components(bench, result)
    assert found["sidecar_properties"] == {"kind": "xmp", "names": "a.NEF"}
    assert found["description"]["rating"] == 2
    assert found["description"]["keywords"] == []
    assert "capture" not in found


async def test_the_json_of_takeout_becomes_an_asset_with_time_and_place(bench: Bench) -> None:
    said = {
        "title": "a.jpg",
        "photoTakenTime": {"timestamp": "1568462400"},
        "geoData": {"latitude": 53.9, "longitude": 10.7, "altitude": 0.0},
        "people": [{"name": "Ada"}],
    }
    path = bench.folder / "a.jpg.json"
    path.write_text(json.dumps(said, indent=2))
    result = await bench.ingest(path)
    assert (result.status, result.family, result.mime_type) == ("SUCCESS", "sidecar", "application/json")
    found = await components(bench, result)
    assert found["sidecar_properties"] == {"kind": "takeout", "names": "a.jpg"}
    assert found["description"]["keywords"] == ["Ada"]
    assert found["capture"]["taken_at"] == "2019-09-14T12:00:00+00:00"
    assert (found["capture"]["latitude"], found["capture"]["longitude"]) == (53.9, 10.7)


async def test_json_of_any_other_kind_is_unsupported_or_catalogued_as_its_root_says(bench: Bench) -> None:
    for folder in (bench.folder, bench.shelf):
        (folder / "package.json").write_text(json.dumps({"name": folder.parent.name}))
    failed = await bench.ingest(bench.folder / "package.json")
    assert (failed.status, failed.reason) == ("FAILED", "Unsupported file type")
    again = await bench.ingest(bench.folder / "package.json")
    assert (again.status, again.reason) == ("FAILED", "Unsupported file type")
    kept = await bench.ingest(bench.shelf / "package.json")
    assert (kept.status, kept.family, kept.mime_type) == ("SUCCESS", None, "application/json")


async def test_broken_xmp_fails_and_says_why(bench: Bench) -> None:
    path = bench.folder / "a.xmp"
    path.write_text(XMP[:200])
    result = await bench.ingest(path)
    assert (result.status, result.reason) == ("FAILED", "The sidecar is damaged: its XMP cannot be parsed")
