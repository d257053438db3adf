"""What a line of the log looks like, and to whom."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from logged import lines, restored_logging

from damd import logs
from damd.logs.configuring import _Handler


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with restored_logging():
        yield


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_off_a_terminal_each_record_is_one_json_object(stream: io.StringIO) -> None:
    logs.configure("info", "auto", stream=stream)

    structlog.get_logger("damd.events").info("file.imported", path=Path("/in/a.jpg"), size_bytes=7)

    (line,) = lines(stream)
    assert list(line)[:4] == ["timestamp", "level", "event", "logger"]
    assert line["timestamp"].endswith("Z")
    assert (line["level"], line["event"], line["logger"]) == ("info", "file.imported", "damd.events")
    assert (line["path"], line["size_bytes"]) == ("/in/a.jpg", 7)


def test_the_standard_librarys_records_go_the_same_way(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream=stream)

    logging.getLogger("watchdog.observers").warning("lost %d of %s", 3, "many", extra={"root": "inbox"})

    (line,) = lines(stream)
    assert (line["level"], line["logger"], line["event"]) == ("warning", "watchdog.observers", "lost 3 of many")
    assert line["root"] == "inbox"


def test_context_variables_are_on_every_line(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream=stream)

    with structlog.contextvars.bound_contextvars(root="inbox"):
        structlog.get_logger("damd").info("ours")
        logging.getLogger("other").info("theirs")

    assert [line["root"] for line in lines(stream)] == ["inbox", "inbox"]


def test_what_is_below_the_level_is_dropped(stream: io.StringIO) -> None:
    logs.configure("warning", "json", stream=stream)

    structlog.get_logger("damd").info("unheard")
    logging.getLogger("other").info("unheard")
    structlog.get_logger("damd").error("heard")

    assert [line["event"] for line in lines(stream)] == ["heard"]


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
@pytest.mark.parametrize("name", ["httpcore", "alembic.runtime.migration", "uvicorn.access"])
def test_libraries_chatter_only_when_debugging(stream: io.StringIO, level: str, heard: list[str], name: str) -> None:
    logs.configure(level, "json", stream=stream)

    for method in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), method)(method)

    assert [line["event"] for line in lines(stream)] == heard


def fail(message: str = "no good") -> None:
    secret = "hunter2"
    raise ValueError(f"{message}: {len(secret)}")


def test_an_exception_is_structured_on_one_line_without_local_variables(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream=stream)

    try:
        fail()
    except ValueError:
        structlog.get_logger("damd").exception("failed")
        logging.getLogger("other").exception("failed there")

    for line in lines(stream):
        (exception,) = line["exception"]
        assert (exception["exc_type"], exception["exc_value"]) == ("ValueError", "no good: 7")
        assert exception["frames"][-1]["name"] == "fail"
    assert len(lines(stream)) == 2
    assert "hunter2" not in stream.getvalue()


def test_on_a_terminal_people_can_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as terminal:  # noqa: PTH123 - a file descriptor
        logs.configure("info", "auto", stream=terminal)
        structlog.get_logger("damd").info("hello", path="/in/a\x1b[2Jb\n")
        terminal.flush()
        seen = os.read(master, 65536).decode()
        monkeypatch.setenv("NO_COLOR", "1")
        logs.configure("info", "auto", stream=terminal)
        structlog.get_logger("damd").info("again")
        terminal.flush()
        plain = os.read(master, 65536).decode()
    os.close(master)

    assert "hello" in seen
    assert "\x1b[" in seen
    assert "\x1b[2J" not in seen
    assert seen.count("\n") == 1
    assert "again" in plain
    assert "\x1b" not in plain


def test_a_console_line_cannot_be_forged_by_a_name_or_a_message(stream: io.StringIO) -> None:
    logs.configure("info", "console", stream=stream)

    structlog.get_logger("damd").info("seen", path="a\n2030-01-01 [info] all is well\x1b[31m")
    try:
        fail("bad name: \x1b]0;title\x07\n2030-01-01 [info] forged")
    except ValueError:
        structlog.get_logger("damd").exception("failed")

    assert "\x1b" not in stream.getvalue()
    assert "ValueError: bad name: \\x1b]0;title" in stream.getvalue()
    assert "\n2030" not in stream.getvalue()


@pytest.mark.parametrize(
    ("method", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_the_journal_is_told_the_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, priority: int
) -> None:
    with (tmp_path / "journal").open("w+", encoding="utf-8") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.configure("debug", "auto", stream=journal)
        getattr(structlog.get_logger("damd"), method)("hello")
        logs.configure("debug", "json", stream=journal)
        getattr(structlog.get_logger("damd"), method)("asked for plain JSON")
        journal.seek(0)
        first, second = journal.readlines()

    assert first.startswith(f"<{priority}>{{")
    assert json.loads(first[3:])["event"] == "hello"
    assert json.loads(second)["event"] == "asked for plain JSON"


def test_another_stream_than_the_journals_has_no_priorities(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    logs.configure("info", "auto", stream=stream)

    structlog.get_logger("damd").info("hello")

    assert lines(stream)[0]["event"] == "hello"


@pytest.mark.parametrize("format_", ["json", "console"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@given(text=st.text())
def test_any_text_can_be_logged_to_any_stream(format_: str, encoding: str, text: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, errors="strict", newline="") as stream:
        logs.configure("info", format_, stream=stream)
        structlog.get_logger("damd").info(text, path=text + "\udcff")
        logging.getLogger("other").warning("%s", text)
        stream.flush()
        written = raw.getvalue()

    assert written.count(b"\n") == 2
    if format_ == "json":
        first, second = written.decode(encoding).split("\n")[:2]
        assert json.loads(first)["event"] == json.loads(second)["event"] == text
        assert json.loads(first)["path"] == text + "\udcff"


def test_configured_again_it_writes_once_to_the_new_place_and_leaves_other_handlers(stream: io.StringIO) -> None:
    others = [handler for handler in logging.getLogger().handlers if not isinstance(handler, _Handler)]
    log = structlog.get_logger("damd")
    logs.configure("info", "json", stream=stream)
    log.info("first")
    second = io.StringIO()
    logs.configure("debug", "console", stream=second)
    log.debug("second")

    assert [line["event"] for line in lines(stream)] == ["first"]
    assert second.getvalue().count("\n") == 1
    assert all(handler in logging.getLogger().handlers for handler in others)


def test_without_a_stream_it_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    structlog.get_logger("damd").info("hello")

    seen = capsys.readouterr()
    assert json.loads(seen.err)["event"] == "hello"
    assert seen.out == ""


def test_a_terminal_is_told_what_a_person_wants_to_know(stream: io.StringIO) -> None:
    logs.configure("info", "console", stream=stream)

    structlog.get_logger("damd.events").info(
        "file.imported",
        event_id="evt_1",
        revision=3,
        asset_id=7,
        path="/in/a.jpg",
        path_base64="L2lu",
        root="inbox",
        sha256="ab",
        size_bytes=9,
        duration_s=0.3,
        near_duplicates=[{"asset_id": 1, "distance": 0}],
        hash_s=0.1,
        total_s=0.4,
    )
    logging.getLogger("watchdog").warning("lost")

    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[info +\] file.imported +path=/in/a.jpg "
        r"asset_id=7 size_bytes=9 near_duplicates=1 total_s=0.4",
        first,
    )
    assert "[watchdog]" in second


def test_whoever_debugs_at_a_terminal_is_told_everything(stream: io.StringIO) -> None:
    logs.configure("debug", "console", stream=stream)

    structlog.get_logger("damd.events").info("file.imported", sha256="ab", path="/in/a.jpg", root="inbox", hash_s=0.1)

    assert "path=/in/a.jpg sha256=ab root=inbox hash_s=0.1" in stream.getvalue()
    assert "[damd.events]" in stream.getvalue()


@pytest.mark.parametrize("event", ["root.held", "watching"])
def test_of_a_root_a_terminal_is_told_the_name(stream: io.StringIO, event: str) -> None:
    logs.configure("info", "console", stream=stream)

    structlog.get_logger("damd.events").warning(event, root="inbox", path="/in")

    assert "root=inbox" in stream.getvalue()


def test_uvicorns_colours_are_no_field(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream=stream)

    logging.getLogger("uvicorn.error").info("Uvicorn running", extra={"color_message": "\x1b[1mUvicorn"})

    assert "color_message" not in lines(stream)[0]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_nothing_is_imported_for_tracebacks_that_are_written_otherwise(format_: str) -> None:
    program = f"""
import sys
from damd import logs
logs.configure("info", {format_!r})
print(sorted({{"rich", "pygments"}} & set(sys.modules)))
import rich
"""
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (seen.stdout, seen.stderr) == ("[]\n", "")
