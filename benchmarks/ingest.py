"""damd's whole path against the bare loop, over the same photographs, in turn.

The bare loop is what any program must do for a photograph: read it, hash it, read its EXIF, decode it at a
fraction of its size, turn it upright, shrink it to 512 pixels, write it as WebP, hash what it looks like. It
runs in as many processes as damd has workers, and has no catalogue, no watcher, no event and no sandbox.

    python benchmarks/ingest.py ~/Pictures --copies 10 --rounds 5

Both are whole processes, timed from outside; machines drift, so only the ratio of a round counts.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg"}


def bare(path: Path, previews: Path) -> None:
    """What the yardstick does for one photograph."""
    import imagehash
    from PIL import Image, ImageOps

    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    with Image.open(io.BytesIO(content)) as image:
        image.getexif().get_ifd(0x8769)
        image.draft("RGB", (512, 512))
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail((512, 512))
        preview = upright.convert("RGB")
    encoded = io.BytesIO()
    preview.save(encoded, "WEBP", quality=80, method=0)
    (previews / f"{sha256}.webp").write_bytes(encoded.getvalue())
    str(imagehash.phash(preview))


def run_bare(folder: Path, previews: Path, processes: int) -> None:
    """The yardstick over a folder."""
    with multiprocessing.Pool(processes) as pool:
        pool.starmap(bare, [(path, previews) for path in sorted(folder.iterdir())], chunksize=1)


def make_copies(photographs: Path, into: Path, copies: int) -> int:
    """Different files of the same pictures: what follows a JPEG's end changes its hash, and no pixel."""
    originals = [path for path in sorted(photographs.rglob("*")) if path.suffix.lower() in SUFFIXES]
    for number, original in enumerate(originals):
        for copy in range(copies):
            content = original.read_bytes() + b"\0" * (copy + 1)
            (into / f"{number:05}-{copy:03}.jpg").write_bytes(content)
    return len(originals) * copies


def seconds(command: list[str]) -> float:
    """How long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Compare, and print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--copies", type=int, default=10, help="of each photograph")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--bare", type=Path, metavar="PREVIEWS", help="run the bare loop alone, into this folder")
    arguments = parser.parse_args()
    if arguments.bare:
        run_bare(arguments.photographs, arguments.bare, arguments.processes)
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch), arguments)


def compare(scratch: Path, arguments: argparse.Namespace) -> None:
    """Run the two in turn, each round into empty folders."""
    folder, processes = scratch / "photographs", str(arguments.processes)
    folder.mkdir()
    count = make_copies(arguments.photographs, folder, arguments.copies)
    config = scratch / "damd.yaml"
    config.write_text(f"ingest: {{workers: {processes}}}\n")
    print(f"{count} photographs, {processes} processes")
    ratios = []
    for number in range(-1, arguments.rounds):
        previews, state = scratch / f"bare{number}", scratch / f"state{number}"
        previews.mkdir()
        yardstick = seconds([sys.executable, __file__, str(folder), "--bare", str(previews), "--processes", processes])
        ours = [sys.executable, "-m", "damd", "ingest", str(folder), "--config", str(config), "--state", str(state)]
        took = seconds(ours)
        if number < 0:
            continue  # a warm-up, for the caches
        ratios.append(yardstick / took)
        print(f"bare {count / yardstick:6.1f}/s   damd {count / took:6.1f}/s   ratio {ratios[-1]:.3f}", flush=True)
    print(f"ratio of the rates, median {statistics.median(ratios):.3f}, lowest {min(ratios):.3f}")


if __name__ == "__main__":
    main()
