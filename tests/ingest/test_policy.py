"""What a root says about ingesting: types that nobody reads, and files that were there before it."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, open_bench
from hypothesis import given
from hypothesis import strategies as st
from pictures import make_tiff_header

from damd.catalogue.describe import describe_assets
from damd.catalogue.roots import Roots
from damd.fingerprint import Signature
from damd.ingest.policy import RootPolicies, RootPolicy

pytestmark = pytest.mark.anyio

DNG_VERSION = (0xC612, 4, 0x401)


def changed_at(ctime_ns: int) -> Signature:
    return Signature(1, 2**62, ctime_ns, 3)


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))
def test_a_file_is_announced_if_it_changed_since_the_moment_that_counts(moment: datetime) -> None:
    policy = RootPolicy(silent_before=moment)
    moment_ns = int(moment.timestamp() * 1e9)
    assert policy.announces(changed_at(moment_ns + 10_000))
    assert not policy.announces(changed_at(moment_ns - 10_000))
    assert RootPolicy().announces(changed_at(moment_ns - 10_000))


def test_outside_every_configured_root_the_default_holds() -> None:
    policies = RootPolicies({"shelf": RootPolicy(catalogue_unsupported=True)})
    assert policies.of("shelf").catalogue_unsupported
    assert policies.of("") == policies.of("another") == RootPolicy()


async def describe(bench: Bench, asset_id: int | None) -> dict[str, Any]:
    roots, folder = bench.world.get_resource(Roots), bench.thumbnails.folder
    (described,) = await bench.catalogue.read(lambda session: describe_assets(session, [asset_id or 0], roots, folder))
    return described


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (b"a few words", "text/plain"),
        (b"", None),
        (b"\0\1\2\3", None),
        (make_tiff_header(DNG_VERSION), "image/tiff"),
    ],
    ids=["text", "empty", "unknown", "a camera's RAW"],
)
async def test_an_unsupported_type_is_catalogued_where_its_root_says_so(
    bench: Bench, content: bytes, mime_type: str | None
) -> None:
    for path in (bench.folder / "a.bin", bench.shelf / "a.bin"):
        path.write_bytes(content)
    assert ((await bench.ingest(bench.folder / "a.bin")).reason or "").startswith("Unsupported file type")
    result = await bench.ingest(bench.shelf / "a.bin")
    assert (result.status, result.mime_type, result.family) == ("SUCCESS", mime_type, None)
    assert result.thumbnail_path is None
    described = await describe(bench, result.asset_id)
    assert (described["mime_type"], described["family"], described["previews"]) == (mime_type, None, [])
    assert (described["size_bytes"], described["first_name"]) == (len(content), "a.bin")
    assert described["components"].keys() == {"reader_version"}
    refused_by = described["components"]["reader_version"]["reader"]
    assert refused_by == ("image" if mime_type == "image/tiff" else "filetype")
    (event,) = bench.told
    assert (event.family, event.mime_type, event.root) == (None, mime_type, "shelf")
    # What is known is a duplicate wherever it lies, and a failure no longer.
    os.utime(bench.folder / "a.bin")
    assert (await bench.ingest(bench.folder / "a.bin")).reason == "Duplicate hash"
    assert await bench.failure(bench.folder / "a.bin") is None


async def test_a_broken_picture_fails_even_where_unsupported_types_do_not(bench: Bench) -> None:
    path = bench.picture("a.jpg").rename(bench.shelf / "a.jpg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert ((await bench.ingest(path)).reason or "").startswith("The image is truncated")


def write_later(path: Path, text: str) -> None:
    """A file that is younger than now by its file system's clock, which may lag behind."""
    now_ns = time.time_ns()
    path.write_text(text)
    while path.stat().st_ctime_ns <= now_ns:
        path.touch()


def fields(folder: Path, **root: str) -> dict[str, Any]:
    shelf = {"path": folder / "shelf", "unsupported": "catalogue"}
    return {"watch": [{"path": folder / "inbox"}, shelf | root]}


async def test_a_root_that_announces_the_new_is_silent_about_what_was_there_before_it(tmp_path: Path) -> None:
    old = tmp_path / "shelf" / "old.txt"
    old.parent.mkdir()
    old.write_text("old")
    async with open_bench(tmp_path, **fields(tmp_path, announce="new")) as bench:
        assert (await bench.ingest(old)).status == "SUCCESS"
        assert bench.told == []
        write_later(bench.shelf / "new.txt", "new")
        os.utime(bench.shelf / "new.txt", (1, 1))
        assert (await bench.ingest(bench.shelf / "new.txt")).status == "SUCCESS"
        assert [Path(event.path).name for event in bench.told] == ["new.txt"]


async def test_a_first_scan_that_was_interrupted_stays_silent_after_the_restart(tmp_path: Path) -> None:
    old = tmp_path / "shelf" / "old.txt"
    old.parent.mkdir()
    old.write_text("old")
    async with open_bench(tmp_path, **fields(tmp_path, announce="new")) as bench:
        write_later(bench.shelf / "between.txt", "between")
    async with open_bench(tmp_path, **fields(tmp_path, announce="new")) as bench:
        for name in ("old.txt", "between.txt"):
            assert (await bench.ingest(bench.shelf / name)).status == "SUCCESS"
        assert [Path(event.path).name for event in bench.told] == ["between.txt"]


async def test_a_root_that_begins_to_catalogue_unsupported_types_forgets_that_they_failed(tmp_path: Path) -> None:
    async with open_bench(tmp_path, **fields(tmp_path, unsupported="fail")) as bench:
        path, other = bench.shelf / "a.txt", bench.folder / "a.txt"
        for each in (path, other):
            each.write_text("a few words")
            assert (await bench.ingest(each)).status == "FAILED"
    async with open_bench(tmp_path) as bench:
        assert await bench.failure(other) is not None
        assert not (await bench.ingest(other)).is_news
        assert (await bench.ingest(path)).status == "SUCCESS"


async def test_a_file_that_changes_while_it_is_read_is_new_and_announced(tmp_path: Path) -> None:
    old = tmp_path / "shelf" / "old.txt"
    old.parent.mkdir()
    old.write_text("old")
    async with open_bench(tmp_path, **fields(tmp_path, announce="new")) as bench:

        def change(command: object) -> None:
            bench.after_hashing = lambda command: None
            write_later(old, "new")

        bench.after_hashing = change
        assert (await bench.ingest(old)).status == "SUCCESS"
        assert [event.size_bytes for event in bench.told] == [3]
