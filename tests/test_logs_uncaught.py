"""What nobody caught, and what libraries warn of, is in the log's own words: a line each."""

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

PRELUDE = """
import asyncio, gc, sys, threading, time, warnings
from damd import logs
logs.configure("info", "json")

def fail():
    raise ValueError("no good\\nat all")
"""


def said_by(program: str) -> list[dict[str, Any]]:
    """The lines that a process of its own writes to standard error, which has nothing else on it."""
    seen = subprocess.run([sys.executable, "-c", PRELUDE + textwrap.dedent(program)], capture_output=True, text=True)
    return [json.loads(line) for line in seen.stderr.splitlines()]


@pytest.mark.parametrize(
    ("program", "level", "event"),
    [
        ("fail()", "critical", "ended by an unexpected error"),
        (
            """
            thread = threading.Thread(target=fail, name="watch")
            thread.start()
            thread.join()
            """,
            "error",
            "thread ended by an unexpected error",
        ),
        (
            """
            class Bad:
                def __del__(self):
                    fail()
            Bad()
            """,
            "error",
            "an error that could not be raised",
        ),
        (
            """
            async def main():
                async def failing():
                    fail()
                task = asyncio.create_task(failing())
                await asyncio.wait([task])
            asyncio.run(main())
            gc.collect()
            """,
            "error",
            "Task exception was never retrieved",
        ),
    ],
)
def test_an_exception_that_nobody_caught_is_one_line(program: str, level: str, event: str) -> None:
    (line,) = said_by(program)
    assert (line["level"], line["event"].splitlines()[0]) == (level, event)
    (exception,) = line["exception"]
    assert (exception["exc_type"], exception["exc_value"]) == ("ValueError", "no good\nat all")
    assert exception["frames"][-1]["name"] == "fail"


def test_a_thread_says_its_name_and_may_end_itself() -> None:
    (line,) = said_by(
        """
        for what in (sys.exit, fail):
            thread = threading.Thread(target=what, name="watch")
            thread.start()
            thread.join()
        """
    )
    assert line["thread"] == "watch"


def test_a_group_of_errors_is_one_line_too() -> None:
    (line,) = said_by("raise ExceptionGroup('several', [ValueError('one'), OSError('two')])")
    (exception,) = line["exception"]
    assert [each[0]["exc_value"] for each in exception["exceptions"]] == ["one", "two"]


def test_who_interrupts_it_is_no_error_of_its_own() -> None:
    seen = subprocess.run([sys.executable, "-c", PRELUDE + "raise KeyboardInterrupt"], capture_output=True, text=True)
    assert seen.stderr.splitlines()[-1] == "KeyboardInterrupt"


def test_a_warning_is_one_line_that_says_where() -> None:
    (line,) = said_by("warnings.warn('that is old', FutureWarning)")
    assert (line["level"], line["logger"], line["event"]) == ("warning", "py.warnings", "that is old")
    assert (line["category"], line["where"].split(":")[0]) == ("FutureWarning", "<string>")


def test_a_warning_for_another_stream_goes_there() -> None:
    assert said_by("warnings.showwarning('that is old', FutureWarning, 'a.py', 1, file=sys.stdout, line='')") == []


def test_somebody_elses_hook_is_left_to_them() -> None:
    program = """
    import logging
    said = []
    threading.excepthook = lambda args: said.append(str(args.exc_value))
    logs.configure("info", "json")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    logging.getLogger("test").warning(repr(said))
    """
    assert [line["event"] for line in said_by(program)] == ["['no good\\nat all']"]
