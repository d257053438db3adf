"""Looks: signatures, and writers that are seen, with real files and real writers."""

import fcntl
import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from damd.fingerprint import Signature, take_signature
from damd.intake.look import Look, look_at
from damd.mounts import Mount, Mounts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes a file")


def look(path: Path) -> Look:
    (seen,) = look_at([os.fsencode(path)])
    return seen


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def child(program: str, *arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """A Python program that has said "ready", ended after the test if it has not ended before."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    return path


def test_a_file_that_nobody_writes_is_seen_with_its_signature(file: Path) -> None:
    status = file.stat()
    newest_ns = max(status.st_mtime_ns, status.st_ctime_ns)
    assert look(file) == Look(take_signature(file), newest_ns, is_written=False)


def test_each_path_gets_its_answer_in_order(file: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "b", os.O_CREAT | os.O_WRONLY):
        names = ["b", "gone", "a", "a/below"]
        seen = look_at([os.fsencode(tmp_path / name) for name in names])
    assert [(entry.signature is not None, entry.is_written) for entry in seen] == [
        (True, True),
        (False, False),
        (True, False),
        (False, False),
    ]


def test_what_cannot_be_looked_at_is_no_absence(tmp_path: Path) -> None:
    assert look(tmp_path / ("a" * 300)) == Look(Signature(0, 0, 0, 0), 0, is_written=False)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND])
def test_an_open_descriptor_is_a_writer_until_it_is_closed(file: Path, flags: int) -> None:
    with opened(file, flags):
        assert look(file).is_written
        assert look(file).is_written
    assert not look(file).is_written


def test_a_reader_is_no_writer(file: Path) -> None:
    with opened(file, os.O_RDONLY) as descriptor, mmap.mmap(descriptor, 0, prot=mmap.PROT_READ):
        assert not look(file).is_written


def test_a_mapping_is_a_writer_though_its_descriptor_is_closed(file: Path) -> None:
    with opened(file, os.O_RDWR) as descriptor:
        mapping = mmap.mmap(descriptor, 0)
    with mapping:
        assert look(file).is_written
    assert not look(file).is_written


def test_a_second_writer_is_seen_after_the_first_has_closed(file: Path) -> None:
    with opened(file, os.O_WRONLY):
        with opened(file, os.O_WRONLY):
            pass
        assert look(file).is_written


def test_who_preallocates_is_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "download"
    with opened(path, os.O_CREAT | os.O_WRONLY) as descriptor:
        os.posix_fallocate(descriptor, 0, 2**16)
        seen = look(path)
        assert seen.is_written
        assert seen.signature is not None
        assert seen.signature.size_bytes == 2**16


def test_a_writer_in_another_process_is_seen_by_any_of_the_names(file: Path) -> None:
    link = file.with_name("b")
    link.hardlink_to(file)
    with child("import sys; f = open(sys.argv[1], 'ab'); print('ready', flush=True); sys.stdin.read()", file) as writer:
        assert look(file).is_written
        assert look(link).is_written
        writer.communicate()
    assert not look(file).is_written


def test_a_file_whose_lease_somebody_has_is_asked_back_and_waited_for(file: Path) -> None:
    """As a file server does for its client."""
    program = """
import fcntl, signal, sys
signal.signal(signal.SIGIO, lambda *_: None)
file = open(sys.argv[1], 'rb')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('ready', flush=True)
sys.stdin.read()
"""
    with child(program, file) as holder:
        assert look(file).is_written
        holder.communicate()
    assert not look(file).is_written


def test_looking_changes_nothing(file: Path) -> None:
    os.utime(file, (1, 1))
    before = file.stat()
    look(file)
    assert file.stat() == before


def test_no_lease_and_no_descriptor_is_left_behind(file: Path) -> None:
    descriptors = os.listdir("/proc/self/fd")  # noqa: PTH208 - a count
    look_at([os.fsencode(file)] * 10)
    with opened(file, os.O_WRONLY):
        look_at([os.fsencode(file)] * 10)
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)  # noqa: PTH208 - a count
    with opened(file, os.O_RDONLY) as descriptor:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    fifo, link, folder = tmp_path / "fifo", tmp_path / "link", tmp_path / "folder"
    os.mkfifo(fifo)
    folder.mkdir()
    (tmp_path / "written").touch()
    link.symlink_to("written")
    with opened(tmp_path / "written", os.O_WRONLY), opened(fifo, os.O_RDWR):
        seen = look_at([os.fsencode(path) for path in (fifo, link, folder)])
    assert [entry.is_written for entry in seen] == [False] * 3
    assert [entry.signature and entry.signature.inode for entry in seen] == [
        path.lstat().st_ino for path in (fifo, link, folder)
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="to root nothing is unreadable")
def test_a_file_that_may_not_be_opened_is_seen_without_its_writer(file: Path) -> None:
    with opened(file, os.O_WRONLY):
        file.chmod(0)
        seen = look(file)
    assert (seen.signature, seen.is_written) == (take_signature(file), False)


def test_a_refusal_on_a_network_mount_says_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of NFS 4 or CIFS refuses whenever the server has promised nothing: such files would never settle."""
    asked: list[bytes] = []

    def on_nfs(self: Mounts, path: bytes) -> Mount:
        asked.append(path)
        return Mount(b"/", "nfs4")

    monkeypatch.setattr(Mounts, "holding", on_nfs)
    file.with_name("folder").symlink_to(".")
    with opened(file, os.O_WRONLY):
        assert not look(file.with_name("folder") / "a").is_written
    assert asked == [os.fsencode(file.resolve())]


LOOKER = """
import sys, time
from damd.intake.look import look_at
counted = []
if sys.argv[2] == "count":
    import signal
    signal.signal(signal.SIGURG, lambda *_: counted.append(1))
print("ready", flush=True)
deadline = time.monotonic() + float(sys.argv[3])
while time.monotonic() < deadline and not counted:
    look_at([sys.argv[1].encode()] * 100)
print(len(counted) > 0)
"""


@pytest.mark.parametrize("handles", ["count", "default"])
def test_a_writer_who_opens_the_file_while_it_is_looked_at_ends_nobody(file: Path, handles: str) -> None:
    """Counted, to be sure that the signal comes; and as it is, to be sure that it does nothing."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with file.open("ab"):
                pass

    # A thread of another process than the looker's.
    writer = threading.Thread(target=write)
    seconds = "10" if handles == "count" else "0.7"
    with child(LOOKER, file, handles, seconds) as looker:
        writer.start()
        try:
            said, _ = looker.communicate(timeout=30)
        finally:
            stop.set()
            writer.join()
        assert looker.returncode == 0, signal.Signals(-looker.returncode)
    assert said == ("True\n" if handles == "count" else "False\n")
