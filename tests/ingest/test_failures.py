"""A bad file costs one row: what cannot be ingested, what is said of it, and when it is tried again."""

import errno
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from bench import Bench, open_bench
from pictures import make_png
from sqlalchemy import update
from sqlmodel import col

from damd.catalogue.tables import Failure
from damd.errors import FileChangedError, UnreadableFileError
from damd.fingerprint import Signature
from damd.results import IngestResult

pytestmark = pytest.mark.anyio


def truncated(bench: Bench) -> Path:
    path = bench.picture("truncated.jpg", size=(300, 200), quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def text_named_as_a_picture(bench: Bench) -> Path:
    path = bench.folder / "text.jpg"
    path.write_text("Dear diary")
    return path


def empty(bench: Bench) -> Path:
    path = bench.folder / "empty.jpg"
    path.touch()
    return path


def bomb(bench: Bench) -> Path:
    path = bench.folder / "bomb.png"
    path.write_bytes(make_png(30_000, 20_000, rows=bytes(100)))
    return path


def fifo(bench: Bench) -> Path:
    path = bench.folder / "fifo.jpg"
    os.mkfifo(path)
    return path


def listening_socket(bench: Bench) -> Path:
    path = bench.folder / "socket"
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # a socket's address is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)
    return path


def link_to_itself(bench: Bench) -> Path:
    path = bench.folder / "loop"
    path.symlink_to(path)
    return path


def dangling_link(bench: Bench) -> Path:
    path = bench.folder / "dangling"
    path.symlink_to("nowhere")
    return path


def folder(bench: Bench) -> Path:
    path = bench.folder / "folder.jpg"
    path.mkdir()
    return path


def raw(bench: Bench) -> Path:
    path = bench.folder / "raw.tif"
    # A little-endian TIFF with one tag, DNGVersion.
    path.write_bytes(b"II*\0\x08\0\0\0\x01\0\x12\xc6\x01\0\x04\0\0\0\x01\x04\0\0" + bytes(64))
    return path


BAD_FILES: dict[Callable[[Bench], Path], str] = {
    truncated: "The image is truncated",
    text_named_as_a_picture: "Unsupported file type",
    empty: "Unsupported file type: the file is empty",
    bomb: "It has 600000000 pixels, and max_pixels allows 100000",
    fifo: "Not a regular file: a FIFO",
    listening_socket: "Not a regular file: a socket",
    link_to_itself: "Not a regular file: a symbolic link that leads nowhere (Too many levels of symbolic links)",
    dangling_link: "Not a regular file: a symbolic link that leads nowhere (No such file or directory)",
    folder: "Not a regular file: a folder",
    raw: "Unsupported file type: camera RAW",
}


@pytest.mark.parametrize("make", BAD_FILES, ids=lambda make: make.__name__)
async def test_a_bad_file_costs_one_row_and_is_not_read_again_until_it_changes(
    bench: Bench, make: Callable[[Bench], Path]
) -> None:
    path = make(bench)
    began = datetime.now(UTC)
    with anyio.fail_after(20):
        result = await bench.ingest(path)
    assert (result.status, result.retry_at, result.is_news, result.asset_id) == ("FAILED", None, True, None)
    assert (result.reason or "").startswith(BAD_FILES[make])
    row = await bench.failure(path)
    assert row is not None
    assert (row.reason, row.permanent, row.attempts, row.next_attempt_at) == (result.reason, True, 1, None)
    assert signature_in(row) == Signature.of(path.lstat())
    assert began <= row.first_failed_at == row.last_failed_at <= datetime.now(UTC)

    bench.reset()
    again = await bench.ingest(path)
    assert again == IngestResult(status=result.status, reason=result.reason, is_news=False)
    assert bench.hashed == []
    os.utime(path, (7, 7), follow_symlinks=False)
    assert (await bench.ingest(path)).is_news
    row = await bench.failure(path)
    assert row is not None
    assert (row.attempts, signature_in(row)) == (1, Signature.of(path.lstat()))
    assert bench.told == []
    assert await bench.asset_at(path) is None


def signature_in(row: Failure) -> Signature:
    return Signature(row.size_bytes, row.mtime_ns, row.ctime_ns, row.inode)


@pytest.mark.parametrize("target", ["a.jpg", "."])
async def test_a_link_that_leads_somewhere_is_not_followed_and_no_failure(bench: Bench, target: str) -> None:
    bench.picture("a.jpg")
    (bench.folder / "link").symlink_to(target)
    result = await bench.ingest(bench.folder / "link")
    assert (result.status, result.reason) == ("SKIPPED", "Symbolic link: not followed")
    assert await bench.known(bench.folder / "link") == (None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="asks for a file that opens and cannot be read, even by root")
async def test_a_file_that_the_system_does_not_read_is_tried_again_later(bench: Bench) -> None:
    path = Path("/proc/self/mem")
    result = await bench.ingest(path)
    assert (result.status, result.reason) == ("FAILED", "Cannot be read: Input/output error")
    row = await bench.failure(path)
    assert row is not None
    assert row.next_attempt_at == result.retry_at
    assert not row.permanent


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_may_not_be_read_is_ingested_once_it_may(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    path.chmod(0)
    assert (await bench.ingest(path)).reason == "Cannot be read: Permission denied"
    path.chmod(0o600)
    assert (await bench.ingest(path)).status == "SUCCESS"


async def test_a_transient_failure_waits_longer_each_time_and_is_not_read_meanwhile(bench: Bench) -> None:
    path = bench.picture("a.jpg")

    def fail(command: object) -> None:
        raise UnreadableFileError(OSError(errno.EIO, ""))

    bench.after_hashing = fail
    for attempt, wait_s in enumerate((10, 20, 40), start=1):
        began = datetime.now(UTC)
        result = await bench.ingest(path)
        assert result.reason == "Cannot be read: Input/output error"
        assert result.retry_at is not None
        assert timedelta(seconds=wait_s) <= result.retry_at - began < timedelta(seconds=wait_s + 9)
        hashed = len(bench.hashed)
        again = await bench.ingest(path)
        assert (again.reason, again.retry_at, again.is_news) == (result.reason, result.retry_at, False)
        assert len(bench.hashed) == hashed == attempt
        row = await bench.failure(path)
        assert row is not None
        assert (row.attempts, row.permanent, row.next_attempt_at) == (attempt, False, result.retry_at)
        await make_due(bench, path)
    bench.reset()
    assert (await bench.ingest(path)).status == "SUCCESS"
    assert await bench.failure(path) is None


async def make_due(bench: Bench, path: Path) -> None:
    row = await bench.failure(path)
    assert row is not None
    past = update(Failure).where(col(Failure.id) == row.id).values(next_attempt_at=datetime.now(UTC))
    await bench.catalogue.write(lambda session: session.execute(past).close())


async def test_a_waiting_file_that_changes_is_tried_at_once(bench: Bench) -> None:
    path = bench.picture("a.jpg")

    def fail(command: object) -> None:
        raise FileChangedError

    bench.after_hashing = fail
    assert (await bench.ingest(path)).retry_at is not None
    bench.reset()
    assert not (await bench.ingest(path)).is_news
    bench.picture("a.jpg")
    assert (await bench.ingest(path)).status == "SUCCESS"


async def test_a_file_system_that_cannot_be_asked_is_a_failure_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: bytes) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    async with open_bench(tmp_path) as bench:
        path = bench.picture("a.jpg")
        with monkeypatch.context() as patch:
            patch.setattr("damd.mounts.filesystem_id", refuse)
            result = await bench.ingest(path)
        assert (result.status, result.reason) == ("FAILED", f"Input/output error: {bench.folder}")
        assert result.retry_at is not None
        row = await bench.failure(path)
        assert row is not None
        assert not row.permanent
        path.touch()
        assert (await bench.ingest(path)).status == "SUCCESS"
