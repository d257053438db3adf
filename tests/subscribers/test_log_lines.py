"""The one line of the log that tells of each file's end, and what its journey adds to it."""

import errno
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, open_bench
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from damd.errors import UnreadableFileError
from damd.events import Event, RootHeldEvent
from damd.intake.told import tell_of_end
from damd.results import IngestResult, IngestStatus
from damd.stages import Durations, journey
from damd.subscribers.log import LogSettings, LogSubscriber, with_failures
from damd.world import BaseCommand

pytestmark = pytest.mark.anyio

Travel = Callable[[Path], Awaitable[list[dict[str, Any]]]]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """One of its own, whose World has a log; in another's catalogue there are pictures that look like these."""
    async with open_bench(tmp_path) as bench:
        bench.world.register_system(LogSubscriber(LogSettings()).receive, event_type=Event)
        yield bench


@pytest.fixture
def durations() -> Durations:
    return Durations()


@pytest.fixture
def travel(bench: Bench, durations: Durations) -> Travel:
    """Ingest a file as the intake does; returns the lines of that."""

    async def ingest(path: Path, moved_from: Path | None = None) -> list[dict[str, Any]]:
        seconds = itertools.count()
        on_its_way = journey(durations, clock=lambda: float(next(seconds)), root="inbox")
        with capture_logs(processors=[merge_contextvars]) as lines, on_its_way as way:
            way.note("settle", 0.5)
            way.note("queue", 0.25)
            tell_of_end(bytes(path), await bench.ingest(path, moved_from=moved_from))
        return [dict(line) for line in lines]

    return ingest


def told(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["event"], line["log_level"]) for line in lines]


def stages(line: dict[str, Any]) -> set[str]:
    known = {"settle", "queue", "look_up", "hash", "read", "record", "total"}
    return {name.removesuffix("_s") for name in line if name.endswith("_s")} & known


READ = {"settle", "queue", "look_up", "hash", "read", "record", "total"}


async def test_an_import_is_one_line_with_each_stage(bench: Bench, travel: Travel, durations: Durations) -> None:
    (line,) = await travel(bench.picture("a.jpg"))
    assert told([line]) == [("file.imported", "info")]
    assert stages(line) == READ
    assert (line["settle_s"], line["queue_s"], line["record_s"]) == (1.5, 0.25, 1)  # it rested a little more
    assert (line["root"], line["event_id"][:4]) == ("inbox", "evt_")
    assert durations.numbers().keys() == READ - {"total"}
    assert {stage.count for stage in durations.numbers().values()} == {1}


async def test_so_is_a_copy_which_is_not_read(bench: Bench, travel: Travel) -> None:
    path = bench.picture("a.jpg")
    await travel(path)
    (line,) = await travel(Path(shutil.copy(path, path.with_name("b.jpg"))))
    assert told([line]) == [("file.duplicate", "info")]
    assert stages(line) == READ - {"read"}


async def test_so_is_a_move(bench: Bench, travel: Travel) -> None:
    path = bench.picture("a.jpg")
    await travel(path)
    (line,) = await travel(path.rename(path.with_name("b.jpg")))
    assert told([line]) == [("file.moved", "info")]
    assert {"look_up", "record", "total"} <= stages(line)


async def test_of_a_change_the_first_line_has_the_stages_and_the_second_has_none(bench: Bench, travel: Travel) -> None:
    path = bench.picture("a.jpg")
    await travel(path)
    first, second = await travel(bench.picture("a.jpg"))
    assert told([first, second]) == [("file.imported", "info"), ("file.changed", "info")]
    assert stages(first) == READ
    assert stages(second) == set()
    assert second["event_id"] != first["event_id"]


async def test_a_failure_for_good_is_one_warning_with_its_reason_and_the_stages(bench: Bench, travel: Travel) -> None:
    path = bench.folder / "a.jpg"
    path.write_bytes(bench.picture("b.jpg").read_bytes()[:300])
    (line,) = await travel(path)
    assert told([line]) == [("file.failed", "warning")]
    assert line["reason"]
    assert stages(line) == READ


async def test_a_type_that_nobody_reads_is_told_with_advice(bench: Bench, travel: Travel) -> None:
    path = bench.folder / "a.bin"
    path.write_bytes(b"\1\2\3 nothing known")
    (line,) = await travel(path)
    assert told([line]) == [("file.failed", "warning")]
    assert line["reason"] == "Unsupported file type"
    assert "ignore" in line["advice"]


async def test_what_is_tried_again_is_told_once_by_the_intake_which_says_when(bench: Bench, travel: Travel) -> None:
    def fail(_: BaseCommand) -> None:
        raise UnreadableFileError(OSError(errno.EIO, ""))

    bench.after_hashing = fail
    (line,) = await travel(bench.picture("a.jpg"))
    assert told([line]) == [("not imported", "warning")]
    assert line["reason"] == "Cannot be read: Input/output error"
    assert line["retry_at"][:2] == "20"
    assert (line["root"], stages(line)) == ("inbox", {"settle", "queue", "look_up", "hash", "record", "total"})


async def test_what_was_skipped_is_told_to_whoever_debugs(bench: Bench, travel: Travel) -> None:
    path = bench.picture("a.jpg")
    await travel(path)
    (line,) = await travel(path)
    assert told([line]) == [("skipped", "debug")]
    assert line["reason"] == "Path already imported"


def test_an_import_that_no_event_tells_of_is_told_all_the_same() -> None:
    result = IngestResult(status=IngestStatus.SUCCESS, asset_id=7, mime_type="image/jpeg")
    with capture_logs() as lines:
        tell_of_end(b"/in/\xff.jpg", result)
    (line,) = lines
    assert told([dict(line)]) == [("imported", "info")]
    assert (line["path"], line["asset_id"]) == ("/in/\ufffd.jpg", 7)


def test_a_failure_that_is_said_again_is_no_news() -> None:
    with capture_logs() as lines:
        tell_of_end(b"/in/a.jpg", IngestResult(status=IngestStatus.FAILED, reason="broken", is_news=False))
    assert told([dict(line) for line in lines]) == [("skipped", "debug")]


async def test_a_file_of_json_lines_has_what_webhooks_are_sent_and_no_stages(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    async with LogSubscriber(LogSettings(file=file)) as log:
        bench.world.register_system(log.receive, event_type=Event)
        with journey(Durations(), root="inbox"):
            await bench.ingest(bench.picture("a.jpg"))
    data = json.loads(file.read_bytes())["data"]
    assert stages(data) == set()
    assert "duration_s" in data


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        (50, "bring back what is not there, or let it pass: damd roots accept photos"),
        (None, "mount it, or correct its path: it is waited for"),
    ],
)
async def test_a_held_root_is_a_warning_that_says_what_to_do(missing: int | None, advice: str) -> None:
    with capture_logs() as lines:
        held = RootHeldEvent(root="photos", path="/photos", reason="why", missing_files=missing)
        await LogSubscriber(LogSettings()).receive(held)
    (line,) = lines
    assert (line["event"], line["log_level"], line["reason"]) == ("root.held", "warning", "why")
    assert line["advice"] == advice


@pytest.mark.parametrize(
    ("events", "added"),
    [
        ([], []),
        ([("file.failed", "root.held")], []),
        ([("file.failed",), ("root.held", "file.moved")], []),
        ([("file.imported",)], [("file.failed", "root.held")]),
        ([("file.failed",)], [("root.held",)]),
        (None, [("file.failed", "root.held")]),
    ],
)
def test_failures_are_told_even_where_nobody_asks_for_them(
    tmp_path: Path, events: list[tuple[str, ...]] | None, added: list[tuple[str, ...]]
) -> None:
    asked = [] if events is None else [LogSettings(events=each) for each in events or [()]]
    entries = [LogSettings(file=tmp_path / "events.jsonl"), *asked]  # the file is nothing that anybody looks at
    assert with_failures(entries) == (*entries, *(LogSettings(events=each) for each in added))
