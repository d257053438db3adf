"""Files that are not what they claim to be: thousands of them, through the daemon."""

import os
import re
import time
from collections import Counter
from pathlib import Path

from pictures import make_animation
from samples import SAMPLES
from torture.harness import SCALE, Ordeal, scaled
from torture.variants import make_variants

MEDIA = "TORTURE_MEDIA"
"""A folder of real files to make variants of; without it, one of each kind that the tests make."""

_SEED = 20_261_122
_TIMEOUT_S = 20
_LARGEST = 12_000_000
_MOST_GROWTH_MB = 64


def _real_files(folder: Path) -> list[bytes]:
    if MEDIA in os.environ:
        paths = sorted(path for path in Path(os.environ[MEDIA]).rglob("*") if path.is_file())
        return [data for path in paths if 0 < len(data := path.read_bytes()) <= _LARGEST]
    makings = folder / "makings"
    makings.mkdir()
    for name, sample in SAMPLES.items():
        sample.make(makings / f"{name}{sample.suffix}")
    make_animation(makings / "animation.gif", 5)
    return [path.read_bytes() for path in sorted(makings.iterdir())]


def test_malformed_files_cost_one_row_each(ordeal: Ordeal) -> None:
    ordeal.sections = {"ingest": {"timeout": f"{_TIMEOUT_S}s", "memory": "1GiB"}}
    ordeal.configure(unsupported="fail")
    wanted = scaled(5000, at_least=70)
    names = set()
    ordeal.start()
    ordeal.begin()
    for number, (change, data) in enumerate(make_variants(_real_files(ordeal.folder), wanted, _SEED)):
        name = f"{number:05}-{change}"
        (ordeal.root / name).write_bytes(data)
        names.add(name.encode())
    held, pause = _await_rows(ordeal, wanted)
    found = Counter(path for (path,) in ordeal.query("SELECT path FROM location UNION ALL SELECT path FROM failure"))
    assert found == Counter(names)
    transient = ordeal.query("SELECT path, reason FROM failure WHERE NOT permanent")
    assert not transient, transient[:10]
    strange = [
        row for row in ordeal.query("SELECT path, reason FROM failure") if re.search(r"Unexpected|fit the", row[1])
    ]
    assert not strange, strange[:10]
    # A file that hangs is stopped at the deadline, and once more when it is tried alone.
    assert pause <= 2 * _TIMEOUT_S + 10, f"nothing ended for {pause:.0f} s"
    if SCALE >= 1:
        half = held[len(held) // 2 :]
        assert max(half) - half[0] < _MOST_GROWTH_MB, f"the daemon grew: {held[:: max(1, len(held) // 20)]} MB"
    ordeal.assert_alive()
    ordeal.stop()
    reasons = Counter(reason for (reason,) in ordeal.query("SELECT reason FROM failure"))
    ordeal.figures |= {
        "variants": len(names),
        "assets": ordeal.count("content_hash"),
        "failures": ordeal.count("failure"),
        "longest pause, s": pause,
        "crashes": sum(count for reason, count in reasons.items() if "crashed" in reason),
        "timeouts": sum(count for reason, count in reasons.items() if "longer than" in reason),
    }


def _await_rows(ordeal: Ordeal, wanted: int) -> tuple[list[float], float]:
    """Until every file has its row; the daemon's memory meanwhile, in MB, and the longest time without a new row."""
    held: list[float] = []
    pause, quiet_since, last = 0.0, time.monotonic(), -1
    while (rows := ordeal.count("location") + ordeal.count("failure")) < wanted:
        ordeal.assert_alive()
        pause = max(pause, time.monotonic() - quiet_since)
        if rows != last:
            quiet_since, last = time.monotonic(), rows
        assert time.monotonic() - quiet_since < 5 * _TIMEOUT_S, f"{rows} of {wanted} rows, and no further one"
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{ordeal.pid}/status").read_text())
        held.append(int(found[1]) / 1024 if found else 0.0)
        time.sleep(1)
    return held or [0.0], pause
