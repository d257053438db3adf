"""More at once than any queue holds."""

import random
import shutil
import signal
import time
from pathlib import Path

from torture.harness import SCALE, Ordeal, scaled
from torture.writers import in_processes, small_content, write_file, write_many, write_nested

_QUEUED_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")
_LONGEST_S = 900.0


def test_burst_of_files_by_four_processes_into_new_nested_folders(ordeal: Ordeal) -> None:
    ordeal.start()
    ordeal.begin()
    folders, files = scaled(500) // 4, scaled(50_000) // 4
    in_processes(write_nested, [(str(ordeal.root), f"writer{each}", folders, files, each) for each in range(4)])
    assert len(ordeal.await_equality(_LONGEST_S)) == 4 * files
    ordeal.finish()


def test_overflow_of_the_kernel_s_queue_while_the_daemon_is_stopped(ordeal: Ordeal) -> None:
    files = scaled(40_000)
    folders = [ordeal.root / f"known{each}" for each in range(20)]
    for folder in folders:
        folder.mkdir()
        write_many(str(folder), "before", range(5))
    ordeal.start()
    ordeal.signal(signal.SIGSTOP)
    try:
        for folder in (new := [ordeal.root / "new" / str(each) / "below" for each in range(20)]):
            folder.mkdir(parents=True)
        for number, folder in enumerate([*folders, *new]):
            write_many(str(folder), f"stopped{number}", range(files // 40))
            if number % 4 == 0:  # what was known changes too, unheard of
                write_file(folder / "before-1.bin", b"another content")
                (folder / "before-2.bin").unlink(missing_ok=True)
        if SCALE >= 1:
            assert files > int(_QUEUED_EVENTS.read_text()), "this kernel's queue is too long for the ordeal"
    finally:
        ordeal.signal(signal.SIGCONT)
    ordeal.begin()
    ordeal.await_equality(_LONGEST_S)
    if SCALE >= 1:
        assert any("overflowed" in str(line.get("reason")) for line in ordeal.log_lines()), ordeal.tail()
    ordeal.finish()


def test_moved_in_directory_is_written_to_at_once(ordeal: Ordeal) -> None:
    rng = random.Random(4)  # noqa: S311 - no secret
    outside = ordeal.folder / "outside"
    ordeal.start()
    ordeal.begin()
    for number, pause_s in enumerate((0.0, 0.001, 0.01, 0.1, 0.7)):
        tree = outside / f"tree{number}"
        folders = [tree / str(each % 5) / str(each) for each in range(25)]
        for each, folder in enumerate(folders):
            folder.mkdir(parents=True)
            write_many(str(folder), f"tree{number}-{each}", range(scaled(1000, at_least=50) // 25))
        tree.rename(inside := ordeal.root / tree.name)
        time.sleep(pause_s)
        for serial in range(scaled(200)):
            folder = inside / rng.choice(folders).relative_to(tree)
            if serial % 3 == 0:
                (folder := folder / "deeper" / str(serial)).mkdir(parents=True)
            write_file(folder / f"more{serial}.bin", small_content(f"more{number}", serial))
    ordeal.await_equality()
    ordeal.finish()


def test_deep_tree_of_two_hundred_levels(ordeal: Ordeal) -> None:
    levels = scaled(200, at_least=20)
    # Made while the daemon runs, moved in complete, and there before it started.
    ordeal.configure(max_missing="100%")
    before, outside = ordeal.root / "before", ordeal.folder / "outside"
    _dig(before, levels)
    ordeal.start()
    ordeal.begin()
    _dig(ordeal.root / "live", levels)
    _dig(outside, levels)
    outside.rename(ordeal.root / "moved")
    assert len(ordeal.await_equality()) == 3 * 2 * levels
    deepest = ordeal.root / "live" / "/".join(f"level{each:03}" for each in range(levels))
    write_file(deepest / "later.bin", b"at the very bottom")
    shutil.rmtree(before)
    ordeal.await_equality()
    ordeal.finish()


def _dig(folder: Path, levels: int) -> None:
    top = folder.name
    for level in range(levels):
        folder /= f"level{level:03}"
        folder.mkdir(parents=True)
        write_many(str(folder), f"{top}{level}-", range(1, 3))


def test_wide_folder_of_a_hundred_thousand_files(ordeal: Ordeal) -> None:
    files, wide = scaled(100_000), ordeal.root / "wide"
    ordeal.start()
    ordeal.begin()
    wide.mkdir()
    in_processes(write_many, [(str(wide), f"writer{each}", range(files // 2)) for each in range(2)])
    assert len(ordeal.await_equality(_LONGEST_S)) == files // 2 * 2
    ordeal.finish()
