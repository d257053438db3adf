"""Signatures and hashes of real files, and of what only looks like one."""

import errno
import hashlib
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damd.errors import FileError, NotAFileError, UnreadableFileError
from damd.fingerprint import Signature, born_ns, calculate_hash, regular_file_status, take_signature, young_s

pytestmark = pytest.mark.anyio


@given(content=st.binary(max_size=300))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_hash_is_what_any_other_tool_says(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert await calculate_hash(path) == hashlib.sha256(content).hexdigest()


async def test_a_file_larger_than_any_buffer_is_hashed_whole(tmp_path: Path) -> None:
    path = tmp_path / "large"
    content = os.urandom(1_000_003) * 4
    path.write_bytes(content)
    assert await calculate_hash(str(path)) == hashlib.sha256(content).hexdigest()


async def test_any_name_can_be_hashed(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\n\xe9")
    path.write_bytes(b"")
    assert await calculate_hash(path) == hashlib.sha256(b"").hexdigest()


async def test_many_files_can_be_hashed_at_once(tmp_path: Path) -> None:
    hashes: dict[int, str] = {}

    async def hash_one(number: int) -> None:
        hashes[number] = await calculate_hash(tmp_path / str(number))

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            (tmp_path / str(number)).write_text(str(number))
            tasks.start_soon(hash_one, number)
    assert hashes == {number: hashlib.sha256(str(number).encode()).hexdigest() for number in range(40)}


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # a socket's address is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    path.with_name("target").touch()
    path.symlink_to("target")


def make_loop(path: Path) -> None:
    path.symlink_to(path)


NO_FILES: list[tuple[Callable[[Path], None], str]] = [
    (make_fifo, "a FIFO"),
    (make_socket, "a socket"),
    (make_folder, "a folder"),
    (make_link, "a symbolic link"),
    (make_loop, "a symbolic link"),
]


def open_descriptors() -> set[str]:
    return {descriptor.name for descriptor in Path("/dev/fd").iterdir()}


@pytest.mark.parametrize(("make", "what"), NO_FILES)
async def test_what_is_no_file_is_named_and_never_waited_for(
    tmp_path: Path, make: Callable[[Path], None], what: str
) -> None:
    path = tmp_path / "no file"
    make(path)
    before = open_descriptors()
    with anyio.fail_after(10):
        for attempt in (calculate_hash(path), anyio.to_thread.run_sync(take_signature, path)):
            with pytest.raises(NotAFileError) as error:
                await attempt
            assert str(error.value) == f"Not a regular file: {what}"
    assert open_descriptors() == before


async def test_a_device_is_no_file() -> None:
    with pytest.raises(NotAFileError, match="a device"):
        await calculate_hash("/dev/null")


@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "a symbolic link or a socket"])
async def test_what_takes_a_files_place_after_the_first_look_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "place"
    path.touch()
    status = regular_file_status(path)
    monkeypatch.setattr("damd.fingerprint.regular_file_status", lambda path, **_: status)
    path.unlink()
    {"a FIFO": make_fifo, "a folder": make_folder}.get(kind, make_link)(path)
    before = open_descriptors()
    with anyio.fail_after(10), pytest.raises(NotAFileError, match=kind):
        await calculate_hash(path)
    assert open_descriptors() == before


@pytest.mark.parametrize("name", ["nothing", "file/below", "n" * 300])
async def test_what_cannot_be_looked_at_says_what_the_system_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    for attempt in (calculate_hash(path), anyio.to_thread.run_sync(take_signature, path)):
        with pytest.raises(UnreadableFileError) as error:
            await attempt
        assert error.value.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
        assert not error.value.permanent


@pytest.mark.skipif(sys.platform != "linux", reason="asks for a file that opens and cannot be read, even by root")
async def test_a_file_that_opens_and_cannot_be_read_is_unreadable() -> None:
    before = open_descriptors()
    with pytest.raises(UnreadableFileError) as error:
        await calculate_hash("/proc/self/mem")
    assert error.value.errno == errno.EIO
    assert open_descriptors() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0)
    with pytest.raises(UnreadableFileError):
        await calculate_hash(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def touch(path: Path) -> None:
    os.utime(path, (5, 5))


def change_mode(path: Path) -> None:
    path.chmod(0o640)


def replace(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (append, {"size_bytes", "mtime_ns", "ctime_ns"}),
        (touch, {"mtime_ns", "ctime_ns"}),
        (change_mode, {"ctime_ns"}),
        (replace, {"ctime_ns", "inode"}),
    ],
)
def test_a_signature_tells_of_every_change(tmp_path: Path, change: Callable[[Path], None], differs: set[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    before = take_signature(path)
    assert take_signature(path) == before
    while take_signature(path)[2] == before[2]:  # the clock of some file systems has coarse ticks
        change(path)
    after = take_signature(path)._asdict()
    assert {name for name, value in before._asdict().items() if after[name] != value} == differs


def test_reading_leaves_the_signature_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    before = take_signature(path)
    assert path.read_bytes() == b"content"
    assert take_signature(path) == before


SIXTY_FOUR_BITS = st.integers(-(2**63), 2**64 - 1)


@given(st.tuples(SIXTY_FOUR_BITS, SIXTY_FOUR_BITS))
def test_numbers_of_any_size_fit_a_database_and_stay_apart(numbers: tuple[int, int]) -> None:
    one, other = (signature_of(size=5, mtime_ns=-1, ctime_ns=0, inode=number) for number in numbers)
    assert all(-(2**63) <= value < 2**63 for value in one)
    assert (one.size_bytes, one.mtime_ns, one.ctime_ns) == (5, -1, 0)
    assert (one == other) == ((numbers[0] - numbers[1]) % 2**64 == 0)


def signature_of(*, size: int, mtime_ns: int, ctime_ns: int, inode: int) -> Signature:
    fields = {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns}
    return Signature.of(os.stat_result((0, inode, 9, 1, 0, 0, size, 0, 0, 0), fields))


@pytest.mark.parametrize("seconds", [-(10**9), 0, 4 * 10**9, 10**10])
def test_times_of_other_centuries_are_taken(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "file"
    path.touch()
    os.utime(path, (seconds, seconds))
    assert take_signature(path) == Signature.of(regular_file_status(path))


async def test_every_failure_is_about_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        await calculate_hash(tmp_path)


async def test_a_hash_that_is_not_wanted_any_more_ends(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)  # minutes of reading
    with anyio.fail_after(10), anyio.move_on_after(0.1) as scope:
        await calculate_hash(tmp_path / "sparse")
    assert scope.cancelled_caught


def test_a_file_keeps_its_birth_time_whatever_is_done_to_it(tmp_path: Path) -> None:
    path, link = tmp_path / os.fsdecode(b"\xff"), tmp_path / "link"
    before_ns = time.time_ns()
    path.touch()
    after_ns = time.time_ns()
    born = born_ns(path)
    if born is None:
        pytest.skip("this file system keeps no birth times")
    assert before_ns - 10**9 < born <= after_ns + 10**9
    os.utime(path, (5, 5))
    path.write_text("content")
    path.chmod(0o600)
    link.hardlink_to(path)
    moved = path.rename(tmp_path / "moved")
    assert born_ns(moved) == born_ns(os.fsencode(moved)) == born_ns(link) == born


def test_the_birth_time_of_a_link_is_not_that_of_what_it_leads_to(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.touch()
    if born_ns(path) is None:
        pytest.skip("this file system keeps no birth times")
    while not os.path.lexists(link) or born_ns(link) == born_ns(path):  # the clock has coarse ticks
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    assert born_ns(link, follow_symlinks=True) == born_ns(path)


@pytest.mark.skipif(sys.platform != "linux", reason="asks a file system that keeps no birth times")
def test_where_nobody_knows_the_birth_time_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert born_ns("/proc/self/stat") is None
    assert born_ns(tmp_path / "nothing") is None
    assert born_ns(b"a\0b") is None
    monkeypatch.setattr("damd.fingerprint._statx", None)
    assert born_ns(tmp_path) is None


async def test_a_link_is_hashed_only_where_it_is_to_be_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"content")
    link.symlink_to(path)
    assert await calculate_hash(link, follow_symlinks=True) == await calculate_hash(path)
    assert take_signature(link, follow_symlinks=True) == take_signature(path)
    with pytest.raises(NotAFileError):
        await calculate_hash(link)
    with pytest.raises(NotAFileError):
        take_signature(link)


@pytest.mark.parametrize(
    ("mtime_ns", "ctime_ns", "young"),
    [
        (1_000_000_001, 1_000_000_001, 0.015),
        (1_000_000_001, 1_004_000_001, 0.019),
        (1, 2, 0.0),
        (1_000_000_000, 1_000_000_000, 1.995),  # whole seconds: FAT counts in twos
        (9_000_000_001, 1, 0.0),  # in the future: clocks disagree
    ],
)
def test_a_signature_is_young_while_a_further_change_could_leave_it_as_it_is(
    mtime_ns: int, ctime_ns: int, young: float
) -> None:
    assert young_s(Signature(1, mtime_ns, ctime_ns, 2), 1_005_000_001) == pytest.approx(young, abs=1e-6)
