"""What a line of the log looks like, and to whom."""

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from damd import logs


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.setLevel(level)
    root.handlers[:] = handlers
    for name in ("alembic", "httpcore"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


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
@pytest.mark.parametrize("name", ["httpcore", "alembic.runtime.migration"])
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
    others = [handler for handler in logging.getLogger().handlers if not isinstance(handler, logs._Handler)]
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
