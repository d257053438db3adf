"""What being told costs an import: the daemon without an endpoint, with a healthy one, and with one that misbehaves.

The same photographs, in turn: each time, a daemon with an empty catalogue imports them all. Its rate is that between
the first import and the last, by the catalogue's own events. The receiver is a process of its own that takes what
processor time is left, since it stands for another machine; it is the one of the ordeals, which fails, hangs, resets,
redirects, asks to wait, trickles, talks garbage and answers with gigabytes.

    python benchmarks/notified.py ~/Pictures --copies 10 --rounds 5

Machines drift, so the ratios within a round count. Where others keep the machine busy, the ratio of the best rates
tells more, and that of the processor time that the daemon and its workers took, start included.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

RECEIVER = Path(__file__).parent.parent / "tests" / "torture" / "misbehaving.py"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the standard's own example
NOBODY, HEALTHY, MISBEHAVING = "nobody", "healthy", "misbehaving"
MOODS = {HEALTHY: "well", MISBEHAVING: "badly"}
PATIENCE_S = 600.0
SUFFIXES = {".jpg", ".jpeg"}


class Import(NamedTuple):
    """One import of everything: the rate, the processor's seconds, and the deliveries that arrived during it."""

    rate: float
    processor_s: float
    delivered: int


def make_copies(photographs: Path, into: Path, copies: int) -> int:
    """Different files of the same pictures: what follows a JPEG's end changes its hash, and no pixel."""
    originals = [path for path in sorted(photographs.rglob("*")) if path.suffix.lower() in SUFFIXES]
    for number, original in enumerate(originals):
        for copy in range(copies):
            (into / f"{number:05}-{copy:03}.jpg").write_bytes(original.read_bytes() + b"\0" * (copy + 1))
    return len(originals) * copies


@contextmanager
def receiver(scratch: Path, kind: str) -> Iterator[list[dict[str, Any]]]:
    """The entries under ``subscribers:`` for a receiver that runs meanwhile; none for nobody."""
    if kind == NOBODY:
        yield []
        return
    secret = scratch / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    program = [sys.executable, str(RECEIVER), os.devnull, str(secret), "1", MOODS[kind]]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, 19)
        assert process.stdout is not None  # noqa: S101 - for the types
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/hooks/damd"
        entry = {"kind": "webhook", "name": kind, "url": url, "secret": {"file": str(secret)}}
        yield [entry | {"timeout": "1s", "retry": ["200ms", "500ms", "1s"]}]
        process.communicate()


def import_all(scratch: Path, photographs: Path, count: int, subscribers: list[dict[str, Any]]) -> Import:
    """Have a new daemon import everything, and end it."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        state, config = Path(folder) / "state", Path(folder) / "damd.yaml"
        root = {"path": str(photographs), "rescan": "1h"}
        config.write_text(yaml.safe_dump({"state": str(state), "watch": [root], "subscribers": subscribers}))
        command = [sys.executable, "-m", "damd", "run", "--config", str(config)]
        before = os.times()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
            deadline = time.monotonic() + PATIENCE_S
            while ask(state, "SELECT count(*) FROM event WHERE event_type = 'file.imported'") < count:
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the daemon ended early, or does not end")
                time.sleep(0.2)
            delivered = ask(state, "SELECT count(*) FROM delivery WHERE delivered_at IS NOT NULL")
            daemon.send_signal(signal.SIGTERM)
        after = os.times()
        processor_s = after.children_user + after.children_system - before.children_user - before.children_system
        imported = "FROM event WHERE event_type = 'file.imported'"
        first, last = (
            datetime.fromisoformat(ask(state, f"SELECT {which}(occurred_at) {imported}")) for which in ("min", "max")
        )
        return Import((count - 1) / (last - first).total_seconds(), processor_s, delivered)


def ask(state: Path, question: str) -> Any:
    """What the catalogue answers; 0 while there is none."""
    try:
        with closing(sqlite3.connect(f"file:{state}/catalogue.sqlite3?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(question).fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def main() -> None:
    """Compare, and print a line for each import."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--copies", type=int, default=10, help="of each photograph")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch), arguments)


def compare(scratch: Path, arguments: argparse.Namespace) -> None:
    """Run the three in turn, in another order in each round."""
    photographs = scratch / "photographs"
    photographs.mkdir()
    count = make_copies(arguments.photographs, photographs, arguments.copies)
    print(f"{count} photographs, load {os.getloadavg()[0]:.1f}")
    rounds: list[dict[str, Import]] = []
    for number in range(-1, arguments.rounds):
        kinds = [NOBODY, HEALTHY, MISBEHAVING]
        kinds = [*kinds[number % 3 :], *kinds[: number % 3]]
        took = {}
        for kind in kinds:
            with receiver(scratch, kind) as subscribers:
                took[kind] = import_all(scratch, photographs, count, subscribers)
            if number < 0:
                break  # a warm-up, for the caches
            rate, processor_s, delivered = took[kind]
            print(f"{kind:>12} {rate:6.1f}/s   processor {processor_s:5.1f} s   delivered {delivered}", flush=True)
        rounds += [took] if number >= 0 else []
    for kind in (HEALTHY, MISBEHAVING):
        rates = [each[kind].rate / each[NOBODY].rate for each in rounds]
        costs = [each[kind].processor_s / each[NOBODY].processor_s for each in rounds]
        best = max(each[kind].rate for each in rounds) / max(each[NOBODY].rate for each in rounds)
        median = f"rate, median {statistics.median(rates):.3f}, lowest {min(rates):.3f}, of the best {best:.3f}"
        print(f"{kind} / {NOBODY}: {median}; processor time, median {statistics.median(costs):.3f}")


if __name__ == "__main__":
    main()
