"""Folders that a scan cannot read: no absence of what is in them, and told of once."""

import errno
import os
from typing import Any

import pytest
from structlog.testing import capture_logs
from watch.scanning import Bench

pytestmark = pytest.mark.anyio


async def test_a_folder_that_cannot_be_read_is_told_once_for_each_reason_and_while_it_lasts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write("a/1", "a/b/2", "c/3")
    folder = os.fsencode(bench.folder / "a" / "b")
    why: int | None = None
    scandir = os.scandir

    def fail(path: bytes) -> Any:
        if path == folder and why is not None:
            raise OSError(why, os.strerror(why), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    told: list[list[str]] = []
    steps = [errno.EIO, errno.EIO, errno.EACCES, errno.EACCES, None, None, errno.EIO, errno.EIO]
    for why in steps:  # noqa: B007 - `fail` looks at it
        with capture_logs() as lines:
            for part in ((), ("a",), ("c",), ("a/1", "c"), ("a/b",)):
                await bench.scan(*part)
        assert {(line["event"], line["folder"]) for line in lines} <= {("folder cannot be read", os.fsdecode(folder))}
        told.append([line["error"] for line in lines])
    assert told == [["Input/output error"], [], ["Permission denied"], [], [], [], ["Input/output error"], []]


async def test_a_folder_too_deep_to_be_read_is_told_again_after_it_was_not(bench: Bench) -> None:
    outer, inner = "o" * 200, "i" * 150
    (bench.folder / outer).mkdir()
    at, below = os.open(bench.folder / outer, os.O_RDONLY), bench.folder / outer
    while len(os.fsencode(below)) < os.pathconf("/", "PC_PATH_MAX"):
        os.mkdir(inner, dir_fd=at)
        deeper = os.open(inner, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at, below = deeper, below / inner
    os.close(at)
    told = []
    for name in (outer, outer, "o", outer):
        next(bench.folder.iterdir()).rename(bench.folder / name)
        with capture_logs() as lines:
            await bench.scan()
        told.append([(line["folder"], line["error"]) for line in lines])
    assert told == [[(os.fspath(below), "File name too long")], [], [], [(os.fspath(below), "File name too long")]]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every folder")
async def test_a_folder_that_may_not_be_read_is_no_absence(bench: Bench) -> None:
    await bench.imported("closed/a", "listed/b", "c")
    for name, mode in (("closed", 0o000), ("listed", 0o400)):
        (bench.folder / name).chmod(mode)
    try:
        await bench.scan()
        await bench.scan("closed")
        await bench.scan("closed/a")
        assert await bench.missing() == []
    finally:
        for name in ("closed", "listed"):
            (bench.folder / name).chmod(0o700)
