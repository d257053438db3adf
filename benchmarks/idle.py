"""What a daemon costs that has nothing to do, and how soon it is there.

A real `damd run` with default settings, in a process of its own, on many folders with a line of text in some of them
and a few small pictures, so that whatever pictures need is loaded and workers have been started. Once all of it is
catalogued or refused, a minute of idling is measured by what the kernel counts for the process, every thread of it
included; the workers are only counted. Linux only.

    python benchmarks/idle.py --folders 10000 --files 2000 --pictures 100 --seconds 60

The exit code is 1 where a limit is exceeded. The times to start are the best of a few: on a busy machine, others' work
is in all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

DAMD = [sys.executable, "-m", "damd"]
PATIENCE_S = 600
CALM_S = 5.0
"""So long nothing is under way before it counts as idle."""


class Line(NamedTuple):
    """A line of the table; what has no limit is only told."""

    what: str
    measured: float
    unit: str
    limit: float | None = None

    @property
    def is_exceeded(self) -> bool:
        """Whether it is more than it may be."""
        return self.limit is not None and self.measured > self.limit

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"at most {self.limit:g} {self.unit}"
        return f"{self.what:<44} {self.measured:>8.3f} {self.unit:<6} {limit:<18} {'OVER' if self.is_exceeded else ''}"


class Daemon:
    """A daemon on a folder, from before it is started until it has ended."""

    def __init__(self, process: subprocess.Popen[bytes], state: Path, ready_s: float) -> None:
        self.pid = process.pid
        self.ready_s = ready_s
        self._process = process
        self._state = state

    def is_idle(self) -> bool:
        """Whether every root is compared and nothing waits."""
        command = [*DAMD, "status", "--json", "--state", str(self._state)]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[0])
        compared = all(root["backend"] and not root["scanning"] for root in answer["roots"])
        return compared and not answer["waiting"] and not answer["in_work"]

    def wait_until_idle(self) -> None:
        """Return once it has been idle for a while."""
        give_up_at, idle_since = time.monotonic() + PATIENCE_S, None
        while idle_since is None or time.monotonic() - idle_since < CALM_S:
            if time.monotonic() > give_up_at:
                raise TimeoutError("the daemon does not come to rest")
            time.sleep(2.0)
            idle_since = (idle_since or time.monotonic()) if self.is_idle() else None

    def cpu_s(self) -> float:
        """The processor time that it has used, all of its threads together; proc_pid_stat(5)."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self, kind: str) -> float:
        """``VmRSS``, or ``VmHWM``, the most that it ever was; proc_pid_status(5)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return float(dict(line.split(":", 1) for line in lines)[kind].split()[0]) / 1000

    def workers(self) -> int:
        """How many processes it has started that live."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(len((thread / "children").read_text().split()) for thread in threads)


@contextmanager
def running(folder: Path, state: Path) -> Iterator[Daemon]:
    """A daemon that has said READY to its notify socket; ended at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = state.with_suffix(".notify")
        address.unlink(missing_ok=True)
        manager.bind(str(address))
        manager.settimeout(1.0)
        environment = os.environ | {"NOTIFY_SOCKET": str(address)}
        began = time.monotonic()
        with (state.parent / "log").open("wb") as log:
            command = [*DAMD, "run", "--watch", str(folder), "--state", str(state)]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            wait_until_ready(manager, process)
            yield Daemon(process, state, time.monotonic() - began)
        finally:
            process.terminate()
            process.wait()


def wait_until_ready(manager: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """Return once READY is heard."""
    while process.poll() is None:
        with suppress(TimeoutError):
            if b"READY=1" in manager.recv(4096).splitlines():
                return
    raise ChildProcessError(f"the daemon ended before it was ready, with {process.returncode}")


def make_tree(folder: Path, folders: int, files: int, pictures: int) -> None:
    """Folders two levels deep; in the first of them a line of text each, or a picture."""
    for number in range(folders):
        # Those above count, too: it is as many folders as were asked for.
        below = folder / f"{number % 100:02}"
        if number >= 100:
            below /= f"{number:06}"
        below.mkdir(parents=True)
        if number < pictures:
            (below / "noise.png").write_bytes(picture(number))
        if number < files:
            (below / "note.txt").write_text(f"note {number}\n")


def picture(number: int) -> bytes:
    """A PNG of noise, 64 by 48, of which no two are alike."""
    noise = random.Random(number)  # noqa: S311 - no secret
    rows = b"".join(b"\0" + noise.randbytes(3 * 64) for _ in range(48))
    header = struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def until_version_s() -> float:
    """How long ``damd --version`` takes."""
    began = time.monotonic()
    subprocess.run([*DAMD, "--version"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def until_ready_s(number: int, scratch: Path) -> float:
    """How long a daemon takes until it is ready, on an empty folder and without a catalogue."""
    folder = scratch / f"empty-{number}"
    folder.mkdir()
    with running(folder, scratch / f"state-{number}") as daemon:
        return daemon.ready_s


def idling(folder: Path, state: Path, seconds: float) -> Iterator[Line]:
    """Lines about a daemon on a large tree in which nothing happens."""
    with running(folder, state) as daemon:
        yield Line("until ready, with all of the folders", daemon.ready_s, "s")
        daemon.wait_until_idle()
        used_s, began = daemon.cpu_s(), time.monotonic()
        time.sleep(seconds)
        used_s, elapsed_s = daemon.cpu_s() - used_s, time.monotonic() - began
        yield Line(f"idle over {elapsed_s:.0f} s, of one core", 100 * used_s / elapsed_s, "%", 0.2)
        yield Line("resident", daemon.memory_mb("VmRSS"), "MB", 150)
        yield Line("resident at most since the start", daemon.memory_mb("VmHWM"), "MB")
        yield Line("workers", daemon.workers(), "")


def main() -> int:
    """Print a table, and tell by the exit code whether a limit is exceeded."""
    parser = argparse.ArgumentParser(description="What damd costs while it has nothing to do.")
    parser.add_argument("--folders", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=2_000, help="in as many folders, one each")
    parser.add_argument("--pictures", type=int, default=100, help="likewise")
    parser.add_argument("--seconds", type=float, default=60.0, help="to idle")
    parser.add_argument("--rounds", type=int, default=3, help="of the times to start")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="damd-idle-") as scratch:
        rounds = range(asked.rounds)
        lines = [Line("damd --version", min(until_version_s() for _ in rounds), "s", 0.2)]
        ready_s = min(until_ready_s(number, Path(scratch)) for number in rounds)
        lines.append(Line("until ready, nothing there yet", ready_s, "s", 2))
        make_tree(Path(scratch, "tree"), asked.folders, asked.files, asked.pictures)
        lines += idling(Path(scratch, "tree"), Path(scratch, "state"), asked.seconds)
    print(*lines, sep="\n")
    return int(any(line.is_exceeded for line in lines))


if __name__ == "__main__":
    sys.exit(main())
