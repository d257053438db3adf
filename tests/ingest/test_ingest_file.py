"""Ingesting a path: new, known, changed, moved, met twice at once, given up in the middle."""

import json
import os
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from bench import Bench, open_bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import make_picture, photograph
from sqlalchemy import update
from sqlmodel import col

from damd.catalogue.queries import family_and_preview
from damd.catalogue.tables import Location, now
from damd.fingerprint import calculate_hash, take_signature
from damd.results import IngestStatus

pytestmark = pytest.mark.anyio

DUPLICATE = (IngestStatus.SKIPPED, "Duplicate hash")
KNOWN = (IngestStatus.SKIPPED, "Path already imported")


async def test_a_new_picture_becomes_an_asset_with_a_location_and_a_preview_and_is_announced(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    result = await bench.ingest(path)
    assert (result.status, result.reason, result.family, result.mime_type) == ("SUCCESS", None, "image", "image/jpeg")
    assert result.sha256 == await calculate_hash(path)
    assert [str(preview) for preview in bench.previews(result.sha256)] == [result.thumbnail_path]
    known = await bench.known(path)
    assert known.failure is None
    assert known.location is not None
    assert known.location[:3] == (result.asset_id, result.sha256, take_signature(path))
    (event,) = bench.told
    assert (event.asset_id, event.path, event.root, event.sha256) == (
        result.asset_id,
        str(path),
        "inbox",
        result.sha256,
    )
    assert (event.family, event.mime_type, event.size_bytes) == ("image", "image/jpeg", path.stat().st_size)
    assert 0 < event.duration_s < 30


async def test_a_known_path_is_skipped_without_being_hashed(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    bench.reset()
    again = await bench.ingest(path)
    assert (again.status, again.reason) == KNOWN
    assert (again.asset_id, again.sha256) == (first.asset_id, first.sha256)
    assert (bench.hashed, bench.told) == ([], [])


async def test_a_copy_elsewhere_becomes_a_second_location(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    copy = Path(shutil.copy(path, bench.shelf / "copy.jpg"))
    second = await bench.ingest(copy)
    assert (second.status, second.reason) == DUPLICATE
    assert second.asset_id == first.asset_id
    assert await bench.locations(first.asset_id) == {b"a.jpg", b"copy.jpg"}
    assert len(bench.read) == len(bench.told) == 1
    assert (await bench.ingest(copy)).reason == "Path already imported"


def change_mode(path: Path) -> None:
    path.chmod(0o640)


def touch(path: Path) -> None:
    os.utime(path, (1, 1))


def link(path: Path) -> None:
    path.with_suffix(".link").hardlink_to(path)


def replace_by_the_same(path: Path) -> None:
    """Another inode with the same bytes and times."""
    shutil.copy2(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("change", [change_mode, touch, link, replace_by_the_same])
async def test_a_change_that_leaves_the_bytes_alone_costs_a_hash_and_no_decoding(
    bench: Bench, change: Callable[[Path], None]
) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    (preview,) = bench.previews(first.sha256 or "")
    os.utime(preview, (5, 5))
    bench.reset()
    change(path)
    again = await bench.ingest(path)
    assert (again.status, again.reason, again.asset_id, again.sha256) == (*KNOWN, first.asset_id, first.sha256)
    assert (len(bench.hashed), bench.read, bench.told) == (1, [], [])
    assert preview.stat().st_mtime == 5
    assert (await bench.ingest(path)).reason == "Path already imported"
    assert len(bench.hashed) == 1, "the new signature is remembered"


async def test_a_path_with_new_content_moves_to_its_new_asset(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    first = await bench.ingest(path)
    bench.picture("a.jpg", size=(90, 60))
    second = await bench.ingest(path)
    assert second.status == "SUCCESS"
    assert second.asset_id != first.asset_id
    assert await bench.asset_at(path) == second.asset_id
    assert await bench.locations(first.asset_id) == set()
    assert len(bench.previews(first.sha256 or "")) == 1, "the old asset stays what it was"
    assert [event.asset_id for event in bench.told] == [first.asset_id, second.asset_id]


async def test_content_of_the_same_size_and_time_is_told_apart_by_the_rest_of_the_signature(bench: Bench) -> None:
    path = bench.shelf / "a.txt"
    path.write_text("one")
    first = await bench.ingest(path)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text("two")
    os.utime(path, ns=times)
    second = await bench.ingest(path)
    assert second.status == "SUCCESS"
    assert second.asset_id != first.asset_id


async def test_a_path_that_takes_another_assets_content_becomes_that_ones_location(bench: Bench) -> None:
    one, other = bench.picture("one.jpg"), bench.picture("other.jpg")
    first, second = await bench.ingest(one), await bench.ingest(other)
    shutil.copy(other, one)
    result = await bench.ingest(one)
    assert (result.status, result.reason, result.asset_id) == (*DUPLICATE, second.asset_id)
    assert await bench.locations(first.asset_id) == set()
    assert await bench.locations(second.asset_id) == {b"one.jpg", b"other.jpg"}


async def test_a_location_that_was_missing_is_found_again(bench: Bench) -> None:
    path = bench.shelf / "a.txt"
    path.write_text("found again")
    first = await bench.ingest(path)
    missing = update(Location).where(col(Location.entity_id) == first.asset_id).values(missing_since=now())
    await bench.catalogue.write(lambda session: session.execute(missing).close())
    assert (await bench.known(path)).location == (first.asset_id, first.sha256, take_signature(path), True)
    again = await bench.ingest(path)
    assert (again.status, again.reason) == KNOWN
    location = (await bench.known(path)).location
    assert location is not None
    assert not location.missing


async def test_a_file_is_known_however_its_path_is_spelt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bench.shelf / "a.txt"
    path.write_text("spelt")
    assert (await bench.ingest(path)).status == "SUCCESS"
    (bench.shelf / "way").symlink_to(bench.shelf)
    monkeypatch.chdir(bench.shelf)
    for spelt in (bench.shelf / "way" / "a.txt", Path("a.txt"), Path("..") / path.parent.name / "a.txt"):
        assert (await bench.ingest(spelt)).reason == "Path already imported"


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"two\nlines\t.jpg", b"\xf0\x9f\x93\xb7 .jpg", b"-\xff\xfe"])
async def test_any_name_that_a_file_can_have_works(bench: Bench, name: bytes) -> None:
    path = bench.picture("a.jpg").rename(bench.folder / os.fsdecode(name))
    assert (await bench.ingest(path)).status == "SUCCESS"
    assert (await bench.ingest(path)).reason == "Path already imported"
    (event,) = bench.told
    raw = os.fsencode(path)
    assert (b64decode(event.path_base64) if event.path_base64 else event.path.encode()) == raw
    assert json.loads(json.dumps(event.data()))["path"] == raw.decode("utf-8", "replace")


async def test_identical_files_at_the_same_moment_become_one_asset(bench: Bench) -> None:
    one = bench.picture("0.jpg")
    paths = [one, *(Path(shutil.copy(one, bench.folder / f"{number}.jpg")) for number in range(1, 6))]
    results = []

    async def ingest(path: Path) -> None:
        results.append(await bench.ingest(path))

    async with anyio.create_task_group() as tasks:
        for path in paths:
            tasks.start_soon(ingest, path)
    assert sorted((result.status.value, result.reason) for result in results if result.reason) == [DUPLICATE] * 5
    assert [result.status for result in results].count(IngestStatus.SUCCESS) == 1
    (asset_id,) = {result.asset_id for result in results}
    assert await bench.locations(asset_id) == {os.fsencode(path.name) for path in paths}
    assert len(bench.told) == 1


async def test_one_path_at_the_same_moment_becomes_one_location(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(bench.ingest, path)
    assert await bench.locations(await bench.asset_at(path)) == {b"a.jpg"}
    assert len(bench.told) == 1
    assert await bench.failure(path) is None


def test_identical_files_in_two_processes_become_one_asset(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    names = [f"{number}.jpg" for number in range(6)]
    for name in names:
        photograph().save(copies / name)
    command = [sys.executable, "-m", "damd", "ingest", "--json", "--state", str(tmp_path / "state")]
    processes = [
        subprocess.Popen([*command, *(str(copies / name) for name in half)], stdout=subprocess.PIPE, text=True)
        for half in (names[:3], names[3:])
    ]
    results = []
    for process in processes:
        with process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        results += [json.loads(line) for line in output.splitlines()]
    assert sorted(result["status"] for result in results) == ["SKIPPED"] * 5 + ["SUCCESS"]
    assert len({result["asset_id"] for result in results}) == 1
    assert len(list((tmp_path / "state" / "previews").glob("*/*/*"))) == 1
    assert list((tmp_path / "state" / "previews" / ".drafts").iterdir()) == []


async def test_a_commands_path_need_not_exist_for_an_answer(bench: Bench) -> None:
    (bench.folder / "file").write_text("")
    for path in (bench.folder / "nothing", bench.folder / "no" / "thing", bench.folder / "file" / "below"):
        result = await bench.ingest(path)
        assert (result.status, result.retry_at, result.is_news) == ("FAILED", None, False)
        assert result.reason in {"Cannot be read: No such file or directory", "Cannot be read: Not a directory"}
        assert await bench.failure(path) is None


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["write", "copy aside and back", "chmod", "ingest"]),
        st.sampled_from("ABC"),
        st.sampled_from(["red", "green", "blue"]),
    ),
    max_size=12,
)


@given(operations=OPERATIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_after_whatever_happened_every_path_leads_to_the_asset_of_its_bytes(
    bench: Bench, operations: list[tuple[str, str, str]]
) -> None:
    for path in bench.shelf.iterdir():
        path.unlink()
    for what, name, content in operations:
        path = bench.shelf / name
        if what == "write":
            path.write_text(content)
        elif path.exists() and what == "chmod":
            path.chmod(0o600 + len(content))
        elif path.exists() and what == "ingest":
            assert (await bench.ingest(path)).status != "FAILED"
        elif path.exists():
            replace_by_the_same(path)
    for path in bench.shelf.iterdir():
        await bench.ingest(path)
        location = (await bench.known(path)).location
        assert location is not None
        assert location[1:] == (await calculate_hash(path), take_signature(path), False)


async def test_previews_are_found_by_the_asset_after_a_restart(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as first:
        path = first.picture("a.jpg")
        result = await first.ingest(path)
    async with open_bench(tmp_path) as second:
        assert (await second.ingest(path)).reason == "Path already imported"
        assert second.hashed == []
        asset_id = result.asset_id or 0
        family, preview = await second.catalogue.read(lambda session: family_and_preview(session, asset_id))
        assert (family, str(second.thumbnails.folder / (preview or ""))) == ("image", result.thumbnail_path)


async def test_success_forgets_the_failure(bench: Bench) -> None:
    path = bench.folder / "a.jpg"
    path.write_text("no picture")
    assert (await bench.ingest(path)).status == "FAILED"
    make_picture(path, comment="a success")
    assert (await bench.ingest(path)).status == "SUCCESS"
    assert await bench.failure(path) is None
