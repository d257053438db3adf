"""The same trouble again and again: ten times a minute it is told, then it is counted."""

import io
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from logged import lines, restored_logging
from structlog.contextvars import bound_contextvars

from damd import logs
from damd.logs.repeated import MOST, WINDOW_S

log = structlog.get_logger("damd.somewhere")


class Clock:
    """It stands still until somebody moves it on."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(clock: Clock) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with restored_logging():
        logs.configure("info", "json", stream=stream, clock=clock)
        yield stream


def events(stream: io.StringIO) -> list[str]:
    return [line["event"] for line in lines(stream)]


def say(event: str, times: int, **fields: Any) -> None:
    for number in range(times):
        log.warning(event, number=number, **fields)


def test_after_ten_within_a_minute_the_rest_is_counted(stream: io.StringIO, clock: Clock) -> None:
    say("disk fails", MOST + 7)
    assert events(stream) == ["disk fails"] * MOST
    clock.now += WINDOW_S
    log.info("anything")

    assert events(stream)[MOST:] == ["repeated", "anything"]
    summary = lines(stream)[MOST]
    assert (summary["what"], summary["suppressed"], summary["level"]) == ("disk fails", 7, "warning")
    assert summary["logger"] == "damd.somewhere"


def test_as_long_as_it_lasts_it_is_one_line_a_minute(stream: io.StringIO, clock: Clock) -> None:
    say("disk fails", MOST + 1)
    for _ in range(3):
        clock.now += WINDOW_S
        say("disk fails", 2 * MOST)

    assert [line["suppressed"] for line in lines(stream)[MOST:]] == [1, 20, 20]


def test_once_it_has_become_rare_it_is_told_in_full_again(stream: io.StringIO, clock: Clock) -> None:
    say("disk fails", MOST + 1)
    clock.now += WINDOW_S
    say("disk fails", 2)
    clock.now += WINDOW_S
    say("disk fails", 1)

    assert events(stream)[MOST:] == ["repeated", "repeated", "disk fails"]


def test_after_a_long_silence_it_is_news(stream: io.StringIO, clock: Clock) -> None:
    say("disk fails", MOST + 1)
    clock.now += 10 * WINDOW_S
    say("disk fails", 1)

    assert events(stream)[MOST:] == ["repeated", "disk fails"]


def test_ten_in_each_minute_are_all_told(stream: io.StringIO, clock: Clock) -> None:
    for _ in range(3):
        say("disk fails", MOST)
        clock.now += WINDOW_S

    assert events(stream) == ["disk fails"] * 3 * MOST


def test_another_event_logger_level_or_root_is_another_trouble(stream: io.StringIO) -> None:
    say("disk fails", MOST + 1)
    log.warning("disk burns")
    log.error("disk fails")
    structlog.get_logger("damd.elsewhere").warning("disk fails")
    with bound_contextvars(root="inbox"):
        log.warning("disk fails")

    assert len(lines(stream)) == MOST + 4


def test_the_standard_librarys_are_counted_by_what_they_say_before_values_are_filled_in(
    stream: io.StringIO, clock: Clock
) -> None:
    for number in range(MOST + 3):
        logging.getLogger("watchdog").error("lost %d", number)
    clock.now += WINDOW_S
    logging.getLogger("watchdog").info("anything")

    assert events(stream)[-3:] == [f"lost {MOST - 1}", "repeated", "anything"]
    assert (lines(stream)[-2]["what"], lines(stream)[-2]["suppressed"]) == ("lost %d", 3)


@pytest.mark.parametrize("name", ["damd.events", "damd.files"])
def test_the_end_of_a_file_is_always_told(stream: io.StringIO, name: str) -> None:
    for _ in range(3 * MOST):
        structlog.get_logger(name).warning("file.failed")

    assert len(lines(stream)) == 3 * MOST


def test_what_is_no_trouble_is_always_told(stream: io.StringIO) -> None:
    for _ in range(3 * MOST):
        log.info("watching")

    assert len(lines(stream)) == 3 * MOST


def test_a_summary_says_its_own_root_and_nothing_of_whoever_came_by(stream: io.StringIO, clock: Clock) -> None:
    with bound_contextvars(root="inbox"):
        say("disk fails", MOST + 1)
    say("no root", MOST + 1)
    clock.now += WINDOW_S
    with bound_contextvars(root="other", asset_id=7):
        log.info("anything")

    first, second, _ = lines(stream)[-3:]
    assert (first["what"], first["root"]) == ("disk fails", "inbox")
    assert "asset_id" not in first
    assert "root" not in second


def test_what_was_counted_is_told_when_the_log_is_configured_again(stream: io.StringIO) -> None:
    say("disk fails", MOST + 2)
    second = io.StringIO()
    logs.configure("info", "json", stream=second)
    log.warning("disk fails")

    assert lines(stream)[-1]["suppressed"] == 2
    assert events(second) == ["disk fails"]


def test_a_great_many_kinds_are_not_all_remembered(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("damd.logs.repeated._MOST_KINDS", 3)
    say("disk fails", MOST + 1)
    for number in range(4):
        say(f"value {number}", 1)
    say("disk fails", 1)

    assert events(stream)[MOST:].count("disk fails") == 1
    assert [line["suppressed"] for line in lines(stream) if line["event"] == "repeated"] == [1]


def test_threads_do_not_lose_count(stream: io.StringIO, clock: Clock) -> None:
    threads = [threading.Thread(target=say, args=("disk fails", 200)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clock.now += WINDOW_S
    log.info("anything")

    assert events(stream) == [*["disk fails"] * MOST, "repeated", "anything"]
    assert lines(stream)[-2]["suppressed"] == 800 - MOST
