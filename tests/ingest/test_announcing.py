"""What is told of the journey of a file, by which events, in which order, and to whom it is not."""

import errno
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bench import Bench, open_bench
from sqlalchemy import update
from sqlmodel import col, select

from damd.catalogue.outbox import restore_event
from damd.catalogue.tables import Failure, StoredEvent
from damd.errors import UnreadableFileError
from damd.events import Event, FileDuplicateEvent, FileFailedEvent, FileNearDuplicateEvent
from damd.results import IngestStatus
from damd.world import BaseCommand

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """One of its own: in another's catalogue there are pictures that look like these."""
    async with open_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
async def heard(bench: Bench) -> AsyncIterator[list[Event]]:
    """What the World's systems hear; at the end it is what was stored, number for number."""
    events: list[Event] = []

    async def hear(event: Event) -> None:
        events.append(event)

    bench.world.register_system(hear, event_type=Event)
    yield events
    assert events == await stored(bench)


async def stored(bench: Bench) -> list[Event]:
    rows = await bench.catalogue.read(
        lambda session: session.exec(select(StoredEvent).order_by(col(StoredEvent.revision))).all()
    )
    return [restore_event(row) for row in rows]


def types(events: list[Event]) -> list[str]:
    return [event.event_type for event in events]


def fail(_: BaseCommand) -> None:
    raise UnreadableFileError(OSError(errno.EIO, ""))


async def make_due(bench: Bench) -> None:
    at_once = update(Failure).values(next_attempt_at=datetime.now(UTC))
    await bench.catalogue.write(lambda session: session.execute(at_once).close())


async def test_a_new_picture_is_one_event_and_looking_again_none(bench: Bench, heard: list[Event]) -> None:
    path = bench.picture("a.jpg")
    await bench.ingest(path)
    await bench.ingest(path)
    assert types(heard) == ["file.imported"]


@pytest.mark.parametrize("how", ["copy", "hard link"])
async def test_a_further_file_of_known_content_is_told_with_the_place_of_the_first(
    bench: Bench, heard: list[Event], how: str
) -> None:
    first, second = bench.picture("a.jpg"), bench.folder / "b.jpg"
    result = await bench.ingest(first)
    if how == "copy":
        shutil.copy(first, second)
    else:
        second.hardlink_to(first)
    assert (await bench.ingest(second)).reason == "Duplicate hash"
    assert types(heard) == ["file.imported", "file.duplicate"]
    [event] = [each for each in heard if isinstance(each, FileDuplicateEvent)]
    assert (event.path, event.root) == (str(second), "inbox")
    assert (event.other_path, event.other_root) == (str(first), "inbox")
    assert (event.asset_id, event.sha256, event.size_bytes) == (
        result.asset_id,
        result.sha256,
        second.stat().st_size,
    )
    await bench.ingest(second)
    await bench.ingest(first)
    assert len(heard) == 2


async def test_a_picture_that_looks_like_another_is_told_twice_and_says_which(bench: Bench, heard: list[Event]) -> None:
    first = await bench.ingest(bench.picture("a.jpg"))
    second = await bench.ingest(bench.picture("b.jpg", quality=40))
    assert types(heard) == ["file.imported", "file.imported", "file.near_duplicate"]
    event = heard[-1]
    assert isinstance(event, FileNearDuplicateEvent)
    assert event.asset_id == second.asset_id
    assert [each["asset_id"] for each in event.near_duplicates] == [first.asset_id]


async def test_new_content_in_place_of_known_content_is_a_change_with_a_higher_number(
    bench: Bench, heard: list[Event]
) -> None:
    path, other = bench.picture("a.jpg"), bench.picture("b.jpg")
    await bench.ingest(path)
    await bench.ingest(other)
    shutil.copy(other, path)
    await bench.ingest(path)
    assert types(heard)[-2:] == ["file.changed", "file.duplicate"]
    numbers = [event.revision or 0 for event in heard]
    assert numbers == sorted(set(numbers)), "the newer has the higher number"


async def test_a_bad_file_is_told_once_and_again_when_it_was_changed(bench: Bench, heard: list[Event]) -> None:
    path = bench.folder / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    for _ in range(3):
        await bench.ingest(path)
    assert types(heard) == ["file.failed"]
    [event] = heard
    assert isinstance(event, FileFailedEvent)
    assert (event.path, event.permanent, event.asset_id) == (str(path), True, None)
    assert event.reason == (await bench.ingest(path)).reason
    path.write_bytes(b"\xff\xd8\xff\xe0 still no picture")
    await bench.ingest(path)
    assert types(heard) == ["file.failed", "file.failed"]


async def test_a_failure_in_the_place_of_an_asset_names_it(bench: Bench, heard: list[Event]) -> None:
    path = bench.picture("a.jpg")
    before = await bench.ingest(path)
    path.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    await bench.ingest(path)
    event = heard[-1]
    assert isinstance(event, FileFailedEvent)
    assert (event.asset_id, event.sha256) == (before.asset_id, before.sha256)


async def test_what_may_pass_is_told_after_the_third_time_and_then_no_more(bench: Bench, heard: list[Event]) -> None:
    path = bench.picture("a.jpg")
    bench.after_hashing = fail
    told = []
    for _ in range(5):
        assert (await bench.ingest(path)).status is IngestStatus.FAILED
        told.append(len(heard))
        await make_due(bench)
    assert told == [0, 0, 1, 1, 1]
    [event] = heard
    assert isinstance(event, FileFailedEvent)
    assert (event.permanent, event.reason) == (False, "Cannot be read: Input/output error")
    bench.reset()
    assert (await bench.ingest(path)).status is IngestStatus.SUCCESS
    assert types(heard) == ["file.failed", "file.imported"]


async def test_a_root_that_announces_the_new_says_nothing_of_copies_and_bad_files_from_before(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("a.txt", "copy.txt"):
        (shelf / name).write_text("the same words")
    (shelf / "link.txt").hardlink_to(shelf / "a.txt")
    (shelf / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    roots = [{"path": tmp_path / "inbox"}, {"path": shelf, "unsupported": "catalogue", "announce": "new"}]
    async with open_bench(tmp_path, watch=roots) as bench:
        for path in sorted(shelf.iterdir()):
            await bench.ingest(path)
        assert await stored(bench) == []
        shutil.copy(shelf / "a.txt", shelf / "later.txt")
        await bench.ingest(shelf / "later.txt")
        assert types(await stored(bench)) == ["file.duplicate"]
