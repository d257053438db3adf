"""Real daemons for tests: ``damd run`` in a process of its own, and the lines of its log."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image

DEADLINE_S = 30.0


def _take_terminal() -> None:
    os.close(os.open(os.ttyname(0), os.O_RDWR))


class Daemon:
    """A ``damd run``, and the lines of its log."""

    terminal: int | None = None

    def __init__(self, *arguments: str | Path, **environment: str | Path) -> None:
        self.mark = f"LC_DAMD_TEST={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "damd", "run", *map(str, arguments)],
            stdin=subprocess.DEVNULL if self.terminal is None else self.terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **{key: str(each) for key, each in environment.items()}, name: value},
            start_new_session=True,
            # The first terminal that the leader of a session opens is its own from then on (tty(4)).
            preexec_fn=None if self.terminal is None else _take_terminal,  # noqa: PLW1509 - it only opens a file
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(json.loads(line) if line.startswith(b"{") else {"event": line.decode()})
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in list(self.lines) if line["event"] == event]

    def forget(self) -> None:
        """What was logged before; for tests that share it."""
        with self._changed:
            self.lines.clear()

    def imported(self) -> dict[str, dict[str, Any]]:
        return {line["path"]: line for line in self.logged("file.imported")}

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """Until it was logged so often."""
        self.wait_until(lambda: len(self.logged(event)) >= count, what=f"{count} times {event}")
        return self.logged(event)[count - 1]

    def wait_for_import(self, path: Path) -> dict[str, Any]:
        self.wait_until(lambda: str(path) in self.imported(), what=f"the import of {path}")
        return self.imported()[str(path)]

    def wait_until(self, condition: Callable[[], bool], *, what: str) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: condition() or not self._reading.is_alive(), DEADLINE_S)
        assert done, f"waited in vain for {what}: {self.lines}"
        assert condition(), f"ended before {what}: {self.lines}"

    def end(self) -> int:
        """Wait for its own end; nothing of it is left then."""
        status = self.process.wait(DEADLINE_S)
        self._reading.join(DEADLINE_S)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        until(lambda: not self.processes(), "the end of its workers")
        return status

    def stop(self) -> int:
        self.process.terminate()
        return self.end()

    def processes(self) -> set[int]:
        """All that it has started, and itself: by an environment variable that they inherit."""
        return {int(folder.name) for folder in Path("/proc").glob("[0-9]*") if self.mark in _environment(folder)}


def _environment(folder: Path) -> str:
    try:
        return (folder / "environ").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


@contextmanager
def running(*arguments: str | Path, **environment: str | Path) -> Iterator[Daemon]:
    """A daemon, with nothing left of it at the end."""
    with _ending(Daemon(*arguments, **environment)) as daemon:
        yield daemon


@contextmanager
def running_on(terminal: int, *arguments: str | Path) -> Iterator[Daemon]:
    """The same, of which this is the terminal."""

    class OnTerminal(Daemon):
        pass

    OnTerminal.terminal = terminal
    with _ending(OnTerminal(*arguments)) as daemon:
        yield daemon


@contextmanager
def _ending(daemon: Daemon) -> Iterator[Daemon]:
    try:
        yield daemon
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.end()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline, pause_s = time.monotonic() + DEADLINE_S, 0.01
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.1)  # what takes long does so no longer for being asked less often


def run_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "damd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def query(state: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(state / "catalogue.sqlite3", timeout=DEADLINE_S)) as connection:
        return connection.execute(statement).fetchall()


def locations(state: Path) -> dict[tuple[str, str], int]:
    """The asset at each location, by root and path."""
    rows = query(state, "SELECT root, path, entity_id FROM location")
    assert len({row[:2] for row in rows}) == len(rows)
    return {(root, os.fsdecode(path)): asset_id for root, path, asset_id in rows}


def assert_is_whole(state: Path) -> None:
    """The database is sound, each content is one asset, and each asset has its preview."""
    assert query(state, "PRAGMA integrity_check") == [("ok",)]
    assert query(state, "PRAGMA foreign_key_check") == []
    hashes = [sha256 for (sha256,) in query(state, "SELECT sha256 FROM content_hash")]
    assert len(set(hashes)) == len(hashes) == query(state, "SELECT count(*) FROM entity")[0][0]
    previews = [state / "previews" / path for (path,) in query(state, "SELECT path FROM preview")]
    assert len(previews) == len(hashes)
    for preview in previews:
        with Image.open(preview) as image:
            image.load()
    assert list((state / "previews" / ".drafts").iterdir()) == []


_colours = count(0x100000)


def make_pngs(folder: Path, number: int) -> list[Path]:
    """Small pictures, each of its own content, in nested folders."""
    paths = [folder / str(each % 7) / str(each % 3) / f"{each}.png" for each in range(number)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        make_png(path)
    return paths


def make_png(path: Path) -> Path:
    """A small picture, of a content that no other has which was made so."""
    Image.new("RGB", (8, 8), f"#{next(_colours):06x}").save(path)
    return path
