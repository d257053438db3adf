"""File systems that are taken away and brought back: out of reach is not deleted."""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torture.harness import Ordeal, scaled, until
from torture.volumes import Volume, memory_disk, volume
from torture.writers import small_content, write_many

_MEGABYTES = 256
_AWAY_S = 12.0
_RESCAN = "3s"  # so that the root is compared again and again while it is away
_ROUNDS = 3


def test_unmount_and_remount_of_a_root_under_load(ordeal: Ordeal) -> None:
    with volume(ordeal.folder / "image", _MEGABYTES) as disk:
        _take_away_and_bring_back(ordeal, disk, ordeal.root)


def test_unmount_and_remount_of_a_volume_nested_in_a_root_under_load(ordeal: Ordeal) -> None:
    nested = ordeal.root / "there" / "nested"
    nested.mkdir(parents=True)
    write_many(str(ordeal.root), "beside", range(scaled(500)))
    with volume(ordeal.folder / "image", _MEGABYTES) as disk:
        _take_away_and_bring_back(ordeal, disk, nested)


def test_unmount_of_a_root_that_another_volume_is_mounted_over(ordeal: Ordeal) -> None:
    write_many(str(ordeal.root), "there", range(scaled(500)))
    ordeal.configure(rescan=_RESCAN)
    ordeal.start()
    ordeal.await_equality()
    with _nothing_goes_missing(ordeal):
        for _ in range(2):
            with memory_disk(ordeal.root, "1m"):
                time.sleep(_AWAY_S / 2)
            write_many(str(ordeal.root), "back", range(scaled(100)))
            ordeal.begin()
            ordeal.await_equality()
    ordeal.finish()


def test_unmounted_root_is_absent_at_start(ordeal: Ordeal) -> None:
    with volume(ordeal.folder / "image", _MEGABYTES) as disk:
        ordeal.configure(rescan=_RESCAN)
        disk.mount(ordeal.root)
        write_many(str(ordeal.root), "before", range(scaled(500)))
        ordeal.start()
        ordeal.await_equality()
        ordeal.stop()
        with _nothing_goes_missing(ordeal):
            disk.take_away(ordeal.root)
            ordeal.start(ready=False)
            time.sleep(_AWAY_S / 2)
            ordeal.assert_alive()
            disk.mount(ordeal.root)
            write_many(str(ordeal.root), "after", range(scaled(200)))
            ordeal.begin()
            ordeal.await_equality()
        ordeal.finish()


def _take_away_and_bring_back(ordeal: Ordeal, disk: Volume, mountpoint: Path) -> None:
    ordeal.configure(rescan=_RESCAN)
    disk.mount(mountpoint)
    for number in range(10):
        (mountpoint / f"folder{number}").mkdir()
        write_many(str(mountpoint / f"folder{number}"), f"before{number}", range(scaled(100)))
    ordeal.start()
    ordeal.await_equality()
    elsewhere = ordeal.folder / "elsewhere"
    elsewhere.mkdir()
    with _nothing_goes_missing(ordeal):
        for number in range(_ROUNDS):
            with _load(mountpoint, f"load{number}"):
                time.sleep(2.0)
                disk.take_away(mountpoint)
                time.sleep(1.0)  # writers go on for a while with what they have open
            time.sleep(_AWAY_S)
            ordeal.assert_alive()
            assert ordeal.count("location WHERE missing_since IS NOT NULL") == 0, ordeal.tail()
            # Meanwhile it is in other hands.
            disk.mount(elsewhere)
            write_many(str(elsewhere / f"folder{number}"), f"away{number}", range(scaled(50)))
            (elsewhere / f"new{number}").mkdir()
            write_many(str(elsewhere / f"new{number}"), f"away{number}-", range(scaled(50)))
            disk.take_away(elsewhere)
            disk.mount(mountpoint)
            ordeal.begin()
            ordeal.await_equality()
    ordeal.finish()


@contextmanager
def _load(mountpoint: Path, name: str) -> Iterator[None]:
    """Someone writes small files, by way of the open folder: into the volume, wherever that is mounted."""
    folder = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    stop = threading.Event()
    writing = threading.Thread(target=_write_into, args=(folder, name, stop))
    writing.start()
    try:
        yield
    finally:
        stop.set()
        writing.join()
        os.close(folder)


def _write_into(folder: int, name: str, stop: threading.Event) -> None:
    rng = random.Random(name)  # noqa: S311 - no secret
    serial = 0
    while not stop.wait(0.005):
        serial += 1
        path = f"folder{rng.randrange(10)}/{name}-{serial}.bin"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder)
        os.write(descriptor, small_content(name, serial))
        os.close(descriptor)


@contextmanager
def _nothing_goes_missing(ordeal: Ordeal) -> Iterator[None]:
    """Look at the table all the time, and at the events in the end."""
    stop = threading.Event()
    found: list[object] = []
    looks = [0]

    def look() -> None:
        while not stop.wait(0.05):
            try:
                found.extend(ordeal.query("SELECT root, path FROM location WHERE missing_since IS NOT NULL LIMIT 3"))
                looks[0] += 1
            except sqlite3.OperationalError as error:
                found.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
        until(lambda: looks[0] > 0, "a look at the table")
    finally:
        stop.set()
        looking.join()
    assert found[:3] == [], f"taken for deleted, though only out of reach\n{ordeal.tail()}"
    assert ordeal.count("event WHERE event_type = 'file.missing'") == 0
    assert not [line for line in ordeal.log_lines() if line.get("event") == "file.missing"]
    ordeal.figures["looks at the table"] = looks[0]
