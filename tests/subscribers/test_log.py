import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs
from subscribers.receiver import imported

from damd.errors import ConfigurationError
from damd.events import FileFailedEvent, body_of, readable_path
from damd.subscribers.log import LogSettings, LogSubscriber
from damd.subscribers.rotation import RotatedFile

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "events.jsonl"


@pytest.fixture(autouse=True)
def _folder(file: Path) -> None:
    file.parent.mkdir()


def log_to(file: Path, **others: Any) -> LogSubscriber:
    return LogSubscriber(LogSettings.model_validate({"file": str(file)} | others))


def lines_of(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()


def size_of(file: Path) -> int:
    return file.stat().st_size


def take_away(file: Path, to: Path | None) -> None:
    if to is None:
        file.unlink()
    else:
        file.rename(to)


def assets(file: Path) -> list[int]:
    return [json.loads(line)["data"]["asset_id"] for line in lines_of(file)]


@contextmanager
def room_for(size_bytes: int) -> Iterator[None]:
    """The system lets no file of this process become longer than that, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_without_a_file_an_event_is_a_line_of_the_daemons_log() -> None:
    event = FileFailedEvent(
        path="/in/a.jpg",
        root="in",
        asset_id=None,
        sha256=None,
        reason="broken",
        permanent=True,
        mime_type=None,
        size_bytes=5,
        revision=8,
    )
    with capture_logs() as logs:
        async with LogSubscriber(LogSettings()) as log:
            await log.receive(event)
    assert logs == [
        {
            "event": "file.failed",
            "log_level": "warning",
            "event_id": event.event_id,
            "revision": 8,
            "path": "/in/a.jpg",
            "root": "in",
            "reason": "broken",
            "permanent": True,
            "size_bytes": 5,
        }
    ]


async def test_with_a_file_it_is_a_json_line_of_what_a_webhook_is_sent_led_by_its_id(file: Path) -> None:
    path, path_base64 = readable_path(b"/in/\xff\n.jpg")
    event = imported(path=path, path_base64=path_base64, revision=4)
    with capture_logs() as logs:
        async with log_to(file) as log:
            await log.receive(event)
    assert logs == []
    (line,) = lines_of(file)
    assert list(json.loads(line)) == ["id", "type", "timestamp", "data"]
    assert json.loads(line) == {"id": event.event_id} | json.loads(body_of(event))


def test_each_file_has_a_log_of_its_own(file: Path) -> None:
    assert LogSubscriber(LogSettings()).name == "log"
    assert log_to(file).name == f"log:{file}"


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"keep": 1001}, {"max_size": "0B"}, {"max_size": 5}])
def test_settings_that_mean_nothing_are_refused(file: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        log_to(file, **wrong)


async def test_events_are_added_to_a_file_that_exists(file: Path) -> None:
    for number in range(2):
        async with log_to(file) as log:
            await log.receive(imported(number))
    assert assets(file) == [0, 1]


async def test_only_its_owner_and_its_group_may_read_the_file(file: Path) -> None:
    former = os.umask(0)
    try:
        async with log_to(file):
            pass
    finally:
        os.umask(former)
    assert stat.S_IMODE((await anyio.Path(file).stat()).st_mode) == 0o640


async def test_a_file_that_would_be_too_long_is_rotated_and_so_many_are_kept(file: Path) -> None:
    line = len(body_of(imported(1))) + 100
    async with log_to(file, max_size=f"{2 * line}B", keep=2) as log:
        for number in range(1, 10):
            await log.receive(imported(number))
    rotated = [file, file.with_name("events.jsonl.1"), file.with_name("events.jsonl.2")]
    assert [assets(each) for each in rotated] == [[9], [7, 8], [5, 6]]
    assert sorted(each.name for each in file.parent.iterdir()) == sorted(each.name for each in rotated)


async def test_a_line_longer_than_the_file_may_be_has_a_file_to_itself(file: Path) -> None:
    async with log_to(file, max_size="1B") as log:
        for number in range(3):
            await log.receive(imported(number))
    assert assets(file) == [2]
    assert assets(file.with_name("events.jsonl.2")) == [0]


async def test_twenty_at_the_same_time_are_rotated_as_well(file: Path) -> None:
    async with log_to(file, max_size="1KiB", keep=100) as log, anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(log.receive, imported(number))
    assert sorted(number for each in file.parent.iterdir() for number in assets(each)) == list(range(20))


async def test_a_file_that_somebody_moved_or_removed_is_made_again(file: Path, tmp_path: Path) -> None:
    async with log_to(file) as log:
        await log.receive(imported(1))
        take_away(file, tmp_path / "moved")
        await log.receive(imported(2))
        take_away(file, None)
        await log.receive(imported(3))
    assert assets(tmp_path / "moved") == [1]
    assert assets(file) == [3]


async def test_a_folder_that_is_gone_costs_lines_and_one_warning_until_it_is_back(file: Path, tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with log_to(file) as log:
            await log.receive(imported(1))
            file.parent.rename(tmp_path / "elsewhere")
            await log.receive(imported(2))
            await log.receive(imported(3))
            (tmp_path / "elsewhere").rename(file.parent)
            await log.receive(imported(4))
            await log.receive(imported(5))
    assert assets(file) == [1, 4, 5]
    assert logs == [
        {
            "event": "events are lost to the log file",
            "log_level": "warning",
            "file": str(file),
            "error": "No such file or directory",
        },
        {"event": "events are written to the log file again", "log_level": "info", "file": str(file)},
    ]


async def test_a_line_for_which_there_is_no_room_is_lost_as_a_whole(file: Path) -> None:
    with capture_logs() as logs:
        async with log_to(file) as log:
            await log.receive(imported(1))
            full = size_of(file)
            for room in (full, full + 10):
                with room_for(room):
                    await log.receive(imported(2))
            assert size_of(file) == full
            await log.receive(imported(3))
    assert assets(file) == [1, 3]
    assert [entry["log_level"] for entry in logs] == ["warning", "info"]


async def test_a_file_that_cannot_be_written_is_a_configuration_error(file: Path) -> None:
    os.mkfifo(file.parent / "fifo")
    for wrong, why in (
        (file.parent / "no" / "such.jsonl", "No such file or directory"),
        (file.parent, "Is a directory"),
        (file.parent / "fifo", "No such device or address"),
        (Path("/dev/null"), "it is not a regular file"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            async with log_to(wrong):
                pass
        assert str(caught.value).startswith(f"subscribers: the log file {wrong} cannot be written ({why}): name a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="to root, no folder is closed")
def test_a_file_in_a_folder_in_which_it_could_not_be_rotated_is_refused(file: Path) -> None:
    file.touch()
    file.parent.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="could not be rotated"):
            RotatedFile(file, max_bytes=100, keep=5).open()
    finally:
        file.parent.chmod(0o700)
