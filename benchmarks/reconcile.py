"""Comparing a root of unchanged files with the catalogue, against ``find -printf`` over the same tree, in turn.

``find`` does what any comparison must: it lists every folder and looks at every file. It compares nothing.

    python benchmarks/reconcile.py --files 100000 --folders 1000 --rounds 5

Each round is a process of its own, and tells how much more memory it held at most while it compared than
before. Machines drift, so only the ratio of a round counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import sqlalchemy

from damd.catalogue.engine import WRITES, CatalogueSettings, make_engine
from damd.catalogue.roots import Roots
from damd.catalogue.schema import upgrade
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Entity, Location, Root, Table, now
from damd.events import Event
from damd.mounts import Mounts
from damd.watch.base import RootSettings
from damd.watch.ignore import IgnoreRules
from damd.watch.presence import look_for, recognise
from damd.watch.scan import Scanner, Surroundings
from damd.watch.tree import Tree

ROOT = "benchmark"


class Nobody:
    """A sink to which nothing should come."""

    def sight(self, path: bytes, **_: object) -> bool:
        """Nothing is sighted here."""
        raise AssertionError(path)

    async def offer(self, path: bytes, **_: object) -> None:
        """A file that did not change was taken for a difference."""
        raise AssertionError(path)

    async def caught_up(self, root: str) -> frozenset[int]:
        """Nothing waits."""
        raise AssertionError(root)


def make_tree(folder: Path, files: int, folders: int) -> None:
    """Empty files, evenly in folders two levels deep."""
    for number in range(folders):
        below = folder / f"{number % 40:02}" / f"{number:06}"
        below.mkdir(parents=True)
        for name in range(files // folders):
            os.close(os.open(below / f"IMG_{name:05}.jpg", os.O_CREAT))


def tree_of(folder: Path) -> Tree:
    """The root over this folder."""
    path = os.fsencode(folder)
    rules = IgnoreRules(folder=path)
    return Tree(root=ROOT, folder=path, recursive=True, rules=rules, excluded=b"/nowhere")


async def catalogue_all(folder: Path, state: Path) -> None:
    """Make every file known, as locations of one asset."""
    engine = make_engine(CatalogueSettings(), state)
    upgrade(engine, Table.metadata)
    tree = tree_of(folder)
    await recognise(Catalogue(engine), ROOT, tree.folder, look_for(tree.folder, Mounts()))
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        connection.execute(sqlalchemy.insert(Root).values(name=ROOT, path=tree.folder, claimed_at=now()))
        connection.execute(sqlalchemy.insert(Entity).values(id=1, created_at=now()))
        common = {"root": ROOT, "entity_id": 1, "volume_id": 1, "first_seen_at": now()}
        names = ("size_bytes", "mtime_ns", "ctime_ns", "inode")
        for files in tree.walk():
            rows = [{**common, "path": path, **dict(zip(names, numbers, strict=True))} for path, numbers in files]
            connection.execute(sqlalchemy.insert(Location), rows)


def resident_mb(which: str) -> float:
    """``VmRSS``, what is resident now, or ``VmHWM``, the most that ever was, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(which))


async def compare(folder: Path, state: Path) -> None:
    """Scan the root once, and print the seconds and the MB that it took."""

    async def announce(event: Event) -> None:
        raise AssertionError(event)

    async def demand() -> None:
        pass

    catalogue = Catalogue(make_engine(CatalogueSettings(), state))
    around = Surroundings(catalogue=catalogue, roots=Roots([]), mounts=Mounts(), announce=announce)
    tree = tree_of(folder)
    scanner = Scanner(RootSettings(path=folder), tree, around, anyio.CapacityLimiter(2))
    presence = look_for(tree.folder, around.mounts)
    before_mb = resident_mb("VmRSS")
    begun = time.perf_counter()
    await scanner.scan({b"": None}, whole=True, presence=presence, demand=demand, sink=Nobody())
    print(time.perf_counter() - begun, resident_mb("VmHWM") - before_mb)


def timed_find(folder: Path) -> float:
    """Seconds that the yardstick takes."""
    begun = time.perf_counter()
    command = ["find", str(folder), "-printf", "%p %s %T@ %C@ %i\n"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Time both in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", nargs=2, type=Path, metavar=("FOLDER", "STATE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        anyio.run(compare, *arguments.once)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, state = Path(scratch, "root"), Path(scratch, "state")
        folder.mkdir()
        state.mkdir()
        make_tree(folder, arguments.files, arguments.folders)
        anyio.run(catalogue_all, folder, state)
        ratios = []
        for _ in range(arguments.rounds):
            command = [sys.executable, __file__, "--once", str(folder), str(state)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, more_mb = map(float, told.split())
            find = timed_find(folder)
            ratios.append(seconds / find)
            print(f"damd {seconds:.2f} s, {more_mb:.0f} MB more; find {find:.2f} s; ratio {ratios[-1]:.2f}", flush=True)
        print(f"median ratio {statistics.median(ratios):.2f}, highest {max(ratios):.2f}")


if __name__ == "__main__":
    main()
