"""A daemon that is put to an ordeal: its folders, its processes one after the other, and the final reckoning."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from torture.equality import (
    Expected,
    assert_sound,
    describe,
    differences,
    hash_trees,
    locations,
    query,
)

SCALE = float(os.environ.get("TORTURE_SCALE", "1"))
"""A share of each ordeal's size: ``TORTURE_SCALE=0.02`` tries the ordeals themselves in little time."""

_START_S = 120.0
_END_S = 120.0
_TAIL = 25
_LONGEST_LINE = 400


def scaled(number: int, *, at_least: int = 1) -> int:
    """So many, in an ordeal of full size."""
    return max(at_least, round(number * SCALE))


def until(condition: Callable[[], bool], what: str, deadline_s: float = 60.0, *, pause_s: float = 0.02) -> None:
    """Wait for a state of things."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {deadline_s:.0f} s in vain for {what}"
        time.sleep(pause_s)


class Ordeal:
    """The real daemon, on a root, with what it takes to start, to hurt and to judge it.

    Args:
        folder: An empty folder of its own, for the root, the state, the configuration and the log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.state = folder / "state"
        self.log = folder / "damd.log"
        self.roots = {"root": self.root}
        self.sections: dict[str, Any] = {}  # of the configuration, beside the roots
        self.wrapper: tuple[str, ...] = ()  # a program and its arguments that start the daemon in another setting
        self.figures: dict[str, float] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._mark = ("LC_DAMD_TORTURE", uuid.uuid4().hex)
        self._began = time.monotonic()
        self._started_at = 0
        self.root.mkdir()
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Write the configuration; the settings are each root's.

        Files need no decoding, and no timer finds what the events missed.
        """
        common = {"unsupported": "catalogue", "rescan": "1h"} | settings
        roots = [{"path": str(path), "name": name, **common} for name, path in self.roots.items()]
        self.config.write_text(yaml.safe_dump({"state": str(self.state), "watch": roots} | self.sections))

    @property
    def config(self) -> Path:
        return self.folder / "damd.yaml"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, *, ready: bool = True) -> None:
        """Start the daemon, and wait until it has compared everything once."""
        with self.log.open("ab") as log:
            self._started_at = log.tell()
            self.process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-m", "damd", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | dict([self._mark]),
                cwd=self.folder,
                start_new_session=True,
            )
        if ready:
            self.wait_for_log("ready", _START_S)

    def wait_for_log(self, event: str, deadline_s: float) -> None:
        """Until this daemon has logged it."""

        def is_there() -> bool:
            self.assert_alive()
            return any(line.get("event") == event for line in self.log_lines(self._started_at))

        until(is_there, f"{event!r} in the log\n{self.tail()}", deadline_s, pause_s=0.1)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """With SIGKILL, whatever it is at; none of its workers outlives it."""
        self.assert_alive()
        self._note_memory()
        self.signal(signal.SIGKILL)
        assert self._reap() == -signal.SIGKILL

    def stop(self) -> None:
        """With SIGTERM; it ends well, and leaves nothing running."""
        self.assert_alive()
        self._note_memory()
        self.signal(signal.SIGTERM)
        status = self._reap()
        assert status == 0, f"ended with {status}\n{self.tail()}"

    def clean_up(self) -> None:
        """After an ordeal, however it went."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(_END_S)

    def begin(self) -> None:
        """The load begins now: figures count from here."""
        self._began = time.monotonic()

    def await_equality(self, deadline_s: float = 120.0) -> Expected:
        """Until the catalogue equals the trees, which rest from now on; what they hold."""
        expected = hash_trees(self.roots)
        deadline = time.monotonic() + deadline_s
        while True:
            began = time.monotonic()
            is_last = began >= deadline
            # Reading all of it is not cheap, and in vain while there are too few.
            if is_last or self.count("location WHERE missing_since IS NULL") >= len(expected):
                found = self._differences(expected)
                if not found:
                    break
                assert not is_last, (
                    f"{deadline_s:.0f} s later the catalogue differs from {len(expected)} files\n"
                    f"{describe(found)}\n{self.tail()}"
                )
            self.assert_alive()
            time.sleep(max(0.1, min(3.0, 2 * (time.monotonic() - began))))
        seconds = time.monotonic() - self._began
        self.figures |= {"files": len(expected), "seconds": seconds, "files/s": len(expected) / seconds}
        self._note_memory()
        return expected

    def finish(self) -> None:
        """Stop the daemon, and judge what it leaves."""
        self.stop()
        found = self._differences(hash_trees(self.roots))
        assert not found, f"equal while it ran, but not once it had ended:\n{describe(found)}"
        assert_sound(self.state)
        self.figures |= {
            "assets": query(self.state, "SELECT count(*) FROM content_hash")[0][0],
            "marked missing": query(self.state, "SELECT count(*) FROM location WHERE missing_since IS NOT NULL")[0][0],
            "failures": query(self.state, "SELECT count(*) FROM failure")[0][0],
            "warnings": sum(line.get("level") not in ("info", "debug") for line in self.log_lines()),
        }

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        return query(self.state, statement)

    def count(self, rest: str) -> int:
        """``SELECT count(*) FROM …``; 0 while there is no catalogue."""
        try:
            return int(self.query(f"SELECT count(*) FROM {rest}")[0][0])  # noqa: S608 - a test's own words
        except sqlite3.OperationalError:
            return 0

    def assert_alive(self) -> None:
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"the daemon has ended with {status}\n{self.tail()}"

    def log_lines(self, offset: int = 0) -> Iterator[dict[str, Any]]:
        """The log's objects from an offset on; a line that is none is a warning by itself."""
        with self.log.open("rb") as log:
            log.seek(offset)
            for line in log:
                try:
                    yield json.loads(line)
                except ValueError:
                    yield {"event": line.decode(errors="replace").rstrip()}

    def tail(self) -> str:
        """The end of the log, without what merely tells of files."""
        kept = [line for line in self.log_lines() if not _is_routine(line)]
        return "\n".join(["the log ends with:", *(f"    {_shorten(line)}" for line in kept[-_TAIL:])])

    def processes(self) -> set[int]:
        """The daemon and all that it has started, by an environment variable that they inherit."""
        mark = "=".join(self._mark).encode()
        return {int(folder.name) for folder in Path("/proc").glob("[0-9]*") if mark in _environment(folder)}

    def _differences(self, expected: Expected) -> dict[str, list[str]]:
        return differences(expected, locations(self.state))

    def _note_memory(self) -> None:
        """The most that this daemon, without its workers, has ever held."""
        try:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        except OSError:
            found = None
        held = int(found[1]) / 1024 if found else 0.0
        self.figures["MB"] = max(held, self.figures.get("MB", 0.0))

    def _reap(self) -> int:
        assert self.process is not None
        status = self.process.wait(_END_S)
        until(lambda: not self.processes(), f"the end of what the daemon has started: {self.processes()}")
        return status


def _environment(folder: Path) -> bytes:
    try:
        return (folder / "environ").read_bytes()
    except OSError:
        return b""


def _is_routine(line: dict[str, Any]) -> bool:
    return str(line.get("event", "")).startswith("file.") and line.get("level") in ("info", "debug")


def _shorten(line: dict[str, Any]) -> str:
    text = json.dumps(line, ensure_ascii=True) if len(line) > 1 else str(line["event"])
    return text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]} …"
