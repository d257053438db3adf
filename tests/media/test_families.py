"""What every family keeps, over all families, all readers and many formats; `samples` makes the files."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import re
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, open_bench
from bombs import SLOW
from pictures import CORNERS, corners, near
from PIL import Image
from samples import COLOURED, SAMPLES, TURNED, Sample, place
from talkative import IDENTIFIER, TALKATIVE

import damd
from damd.catalogue.describe import describe_assets
from damd.catalogue.roots import Roots
from damd.filetype.detect import get_mime_type
from damd.ingest.refresh_asset import RefreshAssetCommand
from damd.media import FAMILIES
from damd.media.base import Families
from damd.readers import READERS
from damd.readers.plain import MAX_CHARACTERS, MAX_DEPTH, MAX_ITEMS, MAX_VALUES, plain
from damd.results import IngestResult
from damd.sandbox import Sandbox

pytestmark = pytest.mark.anyio

SIZES = (50, 512)
THUMBNAILS = {"sizes": list(SIZES), "format": "png"}
ROOMY = 600_000
"""Pixels: more than any sample has, but for the slow ones."""


@pytest.fixture(scope="module")
async def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """The module's World, with two sizes of previews, and a timeout for samples that are not slow."""
    folder = tmp_path_factory.mktemp("bench")
    limits = {"workers": 2, "max_pixels": ROOMY, "timeout": "30s"}
    async with open_bench(folder, ingest=limits, thumbnails=THUMBNAILS) as bench:
        yield bench


async def describe(bench: Bench, asset_id: int | None) -> dict[str, Any]:
    roots, folder = bench.world.get_resource(Roots), bench.thumbnails.folder
    (described,) = await bench.catalogue.read(lambda session: describe_assets(session, [asset_id or 0], roots, folder))
    return described


async def succeed(bench: Bench, path: Path) -> IngestResult:
    """Import it, or find that another test has."""
    result = await bench.ingest(path)
    assert result.asset_id is not None, result.reason
    return result


async def call(bench: Bench, sample: Sample, path: Path) -> dict[str, Any]:
    """What the sample's reader returns to the daemon, of a World's own sandbox."""
    previews: Any = [{"size": size, "path": os.fspath(path.parent / f"{size}.preview")} for size in SIZES]
    options: Any = {"format": "png", "quality": 80, "max_pixels": ROOMY}
    return await bench.world.get_resource(Sandbox).call(sample.reader, os.fspath(path), previews=previews, **options)


# What is shown


SHOWN = {name: sample for name, sample in SAMPLES.items() if sample.size}
OTHERWISE = TURNED | {f"{name} with a strange profile": sample for name, sample in COLOURED.items()}


@pytest.mark.parametrize("name", [*SHOWN, "jpg turned as 6", "dng turned as 6", "mp4 turned as 6", "mp3 turned as 6"])
async def test_previews_are_upright_in_true_colours_and_say_nothing(bench: Bench, name: str) -> None:
    sample = (SHOWN | TURNED)[name]
    result = await succeed(bench, place(sample, bench.folder))
    described = await describe(bench, result.asset_id)
    assert described["family"] == sample.family
    previews = sorted((each["width"], each["height"], each["path"]) for each in described["previews"])
    assert len(previews) == len(SIZES)
    for (width, height, file), size in zip(previews, SIZES, strict=True):
        with Image.open(file) as preview:
            assert_true(preview, sample, size)
            assert preview.size == (width, height)
    assert_told_size(described["components"], sample)


@pytest.mark.parametrize("name", OTHERWISE)
async def test_so_they_are_however_the_picture_lies_in_the_file(bench: Bench, name: str) -> None:
    sample = OTHERWISE[name]
    facts = await call(bench, sample, place(sample, bench.folder))
    for written, size in zip(facts["previews"], SIZES, strict=True):
        with Image.open(bench.folder / f"{size}.preview") as preview:
            assert_true(preview, sample, size)
            assert written == {"size": size, "width": preview.width, "height": preview.height}
    told = facts if "width" in facts else facts["properties"]
    if "width" in told:
        assert (told["width"], told["height"]) == sample.size


def assert_true(preview: Image.Image, sample: Sample, size: int) -> None:
    assert sample.size is not None
    assert preview.mode in ("RGB", "RGBA")
    assert not preview.info, "metadata, or a profile, which would say that it is not sRGB"
    assert max(preview.size) <= size
    assert math.isclose(preview.width / preview.height, sample.size[0] / sample.size[1], rel_tol=0.05)
    found = corners(preview)
    assert {corner: colour for corner, colour in found.items() if not near(colour, CORNERS[corner], 60)} == {}


def assert_told_size(components: Mapping[str, Any], sample: Sample) -> None:
    for table in ("image_properties", "video_properties"):
        if table in components:
            told = components[table]
            assert (told["width"], told["height"]) == sample.size


async def test_a_page_is_drawn_as_large_as_was_asked_and_no_picture_is_enlarged(bench: Bench) -> None:
    for name, edges in (("pdf", [50, 512]), ("png", [50, 160]), ("flac", [50, 160]), ("mp4", [50, 160])):
        result = await succeed(bench, place(SAMPLES[name], bench.folder))
        previews = (await describe(bench, result.asset_id))["previews"]
        assert sorted(each["width"] for each in previews) == edges, name


# What is told


def values_in(value: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """Everything in plain data, each with its depth."""
    yield value, depth
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from values_in(inner, depth + 1)


def assert_plain(facts: dict[str, Any]) -> None:
    assert facts == json.loads(json.dumps(facts, allow_nan=False))
    values = list(values_in(facts))
    assert len(values) <= MAX_VALUES
    for value, depth in values:
        assert depth <= MAX_DEPTH + 1
        assert type(value) in (dict, list, str, int, float, bool, type(None))
        if isinstance(value, dict | list):
            assert len(value) <= MAX_ITEMS
        if isinstance(value, str):
            assert_clean(value)


def assert_clean(text: str) -> None:
    assert len(text) <= MAX_CHARACTERS
    assert text == text.strip()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202e\ufffe\uffff]", text)


SAYING = SAMPLES | {f"{name} that says too much": sample for name, sample in TALKATIVE.items()}


@pytest.mark.parametrize("name", SAYING)
async def test_what_comes_from_a_worker_is_plain_and_within_bounds(bench: Bench, name: str) -> None:
    sample = SAYING[name]
    assert_plain(await call(bench, sample, place(sample, bench.folder)))


@pytest.mark.parametrize("name", SAYING)
def test_readers_clean_what_they_return_themselves(tmp_path: Path, name: str) -> None:
    sample = SAYING[name]
    path = place(sample, tmp_path)
    read = importlib.import_module(READERS[sample.reader].module).read
    options: Any = {"previews": [], "format": "png", "quality": 80, "max_pixels": ROOMY}
    facts = read(str(path), **options)
    assert facts == plain(facts), "the sandbox had to cut or to clean"
    assert read(str(path), **options) == facts


@pytest.mark.parametrize("name", TALKATIVE)
async def test_rows_hold_no_word_that_a_catalogue_should_not_hear(bench: Bench, name: str) -> None:
    path = place(TALKATIVE[name], bench.folder)
    described = await describe(bench, (await succeed(bench, path)).asset_id)
    texts = [value for value, _ in values_in(described["components"]) if isinstance(value, str)]
    assert any(text.startswith(("A", "long and longer")) for text in texts), "what it says is lost"
    for text in texts:
        assert_clean(text)


# Again and again


BESIDE = ("near_duplicate", "related_to")
"""Components that tell of other assets."""


def rows_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """What does not depend on where it was found, and beside what."""
    names = ("sha256", "size_bytes", "mime_type", "family")
    components = {name: rows for name, rows in described["components"].items() if name not in BESIDE}
    sizes = sorted((each["width"], each["height"], Path(each["path"]).read_bytes()) for each in described["previews"])
    return {name: described[name] for name in names} | {"components": components, "previews": sizes}


@pytest.mark.parametrize("name", SAYING)
async def test_what_is_read_again_is_the_same(bench: Bench, name: str) -> None:
    result = await succeed(bench, place(SAYING[name], bench.folder))
    first = rows_of(await describe(bench, result.asset_id))
    assert result.asset_id is not None
    again = (await bench.world.dispatch_command(RefreshAssetCommand(asset_id=result.asset_id))).one()
    assert again.status == "REFRESHED", again.reason
    assert rows_of(await describe(bench, result.asset_id)) == first


async def test_another_catalogue_of_the_same_files_says_the_same(bench: Bench, tmp_path: Path) -> None:
    async with open_bench(tmp_path, thumbnails=THUMBNAILS) as other:
        for name in ("jpg", "jxl", "heic", "dng", "mp4", "mp3", "flac", "pdf", "xmp", "takeout"):
            sample = SAMPLES[name]
            if importlib.util.find_spec(sample.needs):
                data = place(sample, bench.folder).read_bytes()
                path = other.folder / f"a{sample.suffix}"
                path.write_bytes(data)
                here, there = [
                    await describe(each, (await succeed(each, each.folder / path.name)).asset_id)
                    for each in (bench, other)
                ]
                assert rows_of(here) == rows_of(there), name


# What a family says about itself


async def test_the_tables_of_a_family_are_those_of_the_rows_that_it_makes(bench: Bench) -> None:
    made: dict[str, set[str]] = {family.name: set() for family in FAMILIES}
    for number, sample in enumerate([*SAMPLES.values(), *TALKATIVE.values()]):
        pytest.importorskip(sample.needs)
        path = bench.folder / f"{number}{sample.suffix}"
        sample.make(path)
        # As the daemon does it: what its bytes look like decides, such as a film of nothing but sound.
        family = bench.world.get_resource(Families).of(mime_type := get_mime_type(path))
        assert family is not None
        reader = family.reader_of(mime_type)
        options: Any = {"previews": [], "format": "png", "quality": 80, "max_pixels": ROOMY}
        facts = await bench.world.get_resource(Sandbox).call(reader, os.fspath(path), **options)
        made[family.name] |= {type(row).__name__ for row in family.rows(facts)}
    assert made == {family.name: {table.__name__ for table in family.tables} for family in FAMILIES}


async def test_the_still_and_the_film_of_a_live_photo_say_that_they_are_one(bench: Bench) -> None:
    for name in ("jpg", "mov"):
        described = await describe(bench, (await succeed(bench, place(TALKATIVE[name], bench.folder))).asset_id)
        assert described["components"]["content_identifier"]["identifier"] == IDENTIFIER


def test_every_type_of_every_family_has_a_reader() -> None:
    for family in FAMILIES:
        assert {family.reader_of(each) for each in family.mime_types} <= set(READERS)
        assert set(family.readers) | set(family.extras) <= family.mime_types
    named = {family.reader_of(each) for family in FAMILIES for each in family.mime_types}
    assert named == set(READERS) == {sample.reader for sample in SAMPLES.values()} == set(SLOW)
    for reader in READERS.values():
        assert callable(importlib.import_module(reader.module).read)


def all_extras() -> set[tuple[str, frozenset[str]]]:
    return {(extra.name, frozenset(extra.packages)) for family in FAMILIES for extra in family.extras.values()}


def test_extras_and_their_packages_are_those_that_damd_can_be_installed_with() -> None:
    file = Path(damd.__file__).parent.parent / "pyproject.toml"
    optional = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    for name, packages in all_extras():
        assert {re.split(r"[<>=~!\[ ]", each)[0] for each in optional[name]} == packages
        assert f"{name}," in optional["all"][0] or f"{name}]" in optional["all"][0]
