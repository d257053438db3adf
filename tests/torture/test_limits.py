"""What the machine refuses: watches, room on the disk, permission."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from torture.harness import Ordeal, scaled, until
from torture.volumes import few_watches, memory_disk, require_foreign_user, run
from torture.writers import small_content, write_file, write_many

_NOBODY = 65534


def test_watch_limit_below_the_number_of_folders(ordeal: Ordeal) -> None:
    folders = [ordeal.root / f"branch{each % 20}" / f"folder{each}" for each in range(scaled(2000, at_least=100))]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        write_file(folder / "before.bin", small_content("before", number))
    ordeal.wrapper = few_watches(len(folders) // 3)
    ordeal.start()
    ordeal.await_equality(180)
    ordeal.figures |= {"folders": len(folders) + 20, "watches": _watches(ordeal.pid)}
    assert ordeal.figures["watches"] <= len(folders) // 3
    ordeal.begin()
    for number, folder in enumerate(folders):
        write_file(folder / "after.bin", small_content("after", number))
        if number % 50 == 0:
            (folder / "before.bin").unlink()
            (folder / "new" / "deeper").mkdir(parents=True)
            write_file(folder / "new" / "deeper" / "file.bin", small_content("new", number))
    # What cannot be watched is polled, once in a minute at the latest.
    ordeal.await_equality(240)
    ordeal.finish()


def _watches(pid: int) -> int:
    """How many inotify watches a process holds."""
    found = 0
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += path.read_text().count("inotify wd:")
    return found


def test_full_disk_under_the_state_folder(ordeal: Ordeal) -> None:
    ordeal.state.mkdir()
    ballast, free = ordeal.state / "ballast", 1_500_000
    files = scaled(3_000, at_least=1_000)  # some twenty kilobytes of the database's log for each
    with memory_disk(ordeal.state, "8m"):
        ordeal.start()
        ordeal.begin()
        write_many(str(ordeal.root), "first", range(50))
        ordeal.await_equality()
        status = os.statvfs(ordeal.state)
        write_file(ballast, bytes(max(0, status.f_bavail * status.f_frsize - free)))
        write_many(str(ordeal.root), "many", range(files))
        known = -1

        def comes_to_a_halt() -> bool:
            nonlocal known
            before, known = known, ordeal.count("location")
            ordeal.assert_alive()
            return known == before

        until(comes_to_a_halt, "the disk to be full", 120, pause_s=4.0)
        assert known < 50 + files, "the disk was large enough for all of it"
        ordeal.figures["known when it was full"] = known
        write_many(str(ordeal.root), "when-it-was-full", range(100))
        time.sleep(3)
        ordeal.assert_alive()
        assert ordeal.query("PRAGMA integrity_check") == [("ok",)]
        ballast.unlink()
        run("mount", "-o", "remount,size=512m", ordeal.state)
        assert len(ordeal.await_equality(300)) == 50 + files + 100
        ordeal.finish()


def test_permission_is_taken_away_and_given_back(ordeal: Ordeal) -> None:
    ordeal.wrapper = require_foreign_user()
    closed, beside = ordeal.root / "closed", ordeal.root / "beside"
    for folder in (closed / "below", beside, ordeal.state):
        folder.mkdir(parents=True)
    write_many(str(closed), "before", range(150))
    write_many(str(closed / "below"), "below", range(150))
    write_many(str(beside), "beside", range(10))
    if ordeal.wrapper:
        run("chown", "-R", f"{_NOBODY}:{_NOBODY}", ordeal.root, ordeal.state)
    ordeal.configure(rescan="2s")  # so that it is looked at again and again while it is closed
    ordeal.start()
    ordeal.await_equality()
    file = beside / "beside-3.bin"
    try:
        if ordeal.wrapper:  # root still writes into it
            closed.chmod(0o000)
            write_many(str(closed), "meanwhile", range(50))
            write_many(str(closed / "below"), "meanwhile-below", range(50))
        else:
            write_many(str(closed), "meanwhile", range(50))
            closed.chmod(0o000)
        write_file(file, b"changed, and closed")
        file.chmod(0o000)
        write_many(str(beside), "open", range(50))
        known = "location WHERE missing_since IS NULL AND CAST(path AS TEXT) LIKE 'beside/open%'"
        until(lambda: ordeal.count(known) == 50, f"what lies beside it\n{ordeal.tail()}")
        for _ in range(20):
            time.sleep(0.5)
            assert ordeal.count("location WHERE missing_since IS NOT NULL") == 0, "out of reach is not deleted"
    finally:
        closed.chmod(0o755)
        file.chmod(0o644)
    ordeal.begin()
    ordeal.await_equality(180)
    assert ordeal.count("event WHERE event_type = 'file.missing'") == 0
    ordeal.finish()
    shutil.rmtree(closed)
