"""Previews: their names, their drafts, and `generate`."""

import hashlib
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from bench import Bench
from pictures import CORNERS, corners, make_picture, near
from PIL import Image
from pydantic import ValidationError

from damd.errors import (
    BrokenFileError,
    DamdError,
    FileChangedError,
    LimitExceededError,
    NotAFileError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.sandbox import Sandbox, SandboxSettings
from damd.thumbnails import Drafts, Thumbnails, ThumbnailSettings, WrittenPreview, generate, in_use
from damd.world import World

pytestmark = pytest.mark.anyio
OpenWorld = Callable[..., Awaitable[World]]


def make_thumbnails(folder: Path, **settings: Any) -> Thumbnails:
    thumbnails = Thumbnails(ThumbnailSettings(**settings), folder / "previews", Sandbox(SandboxSettings()))
    thumbnails.prepare()
    return thumbnails


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "settings", [{"sizes": ()}, {"sizes": (8,)}, {"sizes": (10_000,)}, {"format": "gif"}, {"quality": 0}, {"size": 5}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ThumbnailSettings(**settings)


@pytest.mark.parametrize("format_", ["webp", "jpeg", "png"])
def test_a_preview_is_named_by_hash_and_size_two_folders_down(tmp_path: Path, format_: str) -> None:
    thumbnails = make_thumbnails(tmp_path, format=format_)
    sha256 = hashlib.sha256(b"").hexdigest()
    assert thumbnails.path(sha256, 512) == tmp_path / f"previews/e3/b0/{sha256}-512.{format_}"


def write_half(drafts: Drafts, text: str = "half") -> None:
    for preview in drafts.options["previews"]:
        Path(preview["path"]).write_text(text)


async def fail_over(thumbnails: Thumbnails) -> None:
    async with thumbnails.drafts("ab" * 32) as drafts:
        write_half(drafts)
        raise ZeroDivisionError


async def test_drafts_that_are_not_published_are_deleted_whatever_happens(tmp_path: Path) -> None:
    thumbnails = make_thumbnails(tmp_path, sizes=(64, 128))
    with pytest.raises(ZeroDivisionError):
        await fail_over(thumbnails)
    with anyio.CancelScope() as scope:
        async with thumbnails.drafts("ab" * 32) as drafts:
            write_half(drafts)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert files_below(thumbnails.folder) == []


async def test_what_is_published_replaces_what_was_there(tmp_path: Path) -> None:
    thumbnails = make_thumbnails(tmp_path, sizes=(64, 128))
    sha256 = "ab" * 32
    for text in ("old", "new"):
        async with thumbnails.drafts(sha256) as drafts:
            write_half(drafts, text)
            written = [{"size": 64, "width": 64, "height": 30}]
            (published,) = await anyio.to_thread.run_sync(drafts.publish, written)
    assert published == WrittenPreview(64, f"ab/ab/{sha256}-64.webp", 64, 30)
    assert files_below(thumbnails.folder) == [published.path]
    assert (tmp_path / "previews" / published.path).read_bytes() == b"new"


async def test_two_at_the_same_content_have_drafts_of_their_own(tmp_path: Path) -> None:
    one, other = make_thumbnails(tmp_path), make_thumbnails(tmp_path)
    async with one.drafts("ab" * 32) as first, one.drafts("ab" * 32) as second, other.drafts("cd" * 32) as third:
        paths = [drafts.options["previews"][0]["path"] for drafts in (first, second, third)]
    assert len(set(paths)) == 3


def test_only_drafts_that_a_crash_left_behind_are_removed_at_the_start(tmp_path: Path) -> None:
    drafts = make_thumbnails(tmp_path).folder / ".drafts"
    crashed = subprocess.Popen(["true"])
    crashed.wait()
    old, young, orphan = (f"aa-{pid}-1-512.tmp" for pid in (os.getpid(), os.getppid(), crashed.pid))
    for name, age_s in ((old, 25 * 3600), (young, 60), (orphan, 60)):
        (drafts / name).touch()
        os.utime(drafts / name, (time.time() - age_s,) * 2)
    make_thumbnails(tmp_path)
    assert files_below(drafts) == [young]


async def test_without_an_open_world_there_is_nowhere_to_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("damd.thumbnails._in_use", [])
    with pytest.raises(DamdError, match="open_world"):
        await generate(make_picture(tmp_path / "a.jpg"))


async def test_the_path_of_the_largest_preview_is_returned(opened: OpenWorld, tmp_path: Path) -> None:
    await opened(thumbnails={"sizes": (64, 300, 128), "format": "png"})
    picture = make_picture(tmp_path / "a.jpg", size=(400, 200), orientation=6)
    path = await generate(str(picture))
    sha256 = hashlib.sha256(picture.read_bytes()).hexdigest()
    assert path == tmp_path / f"state/previews/{sha256[:2]}/{sha256[2:4]}/{sha256}-300.png"
    with Image.open(path) as image:
        assert image.size == (300, 150)
        assert all(near(colour, CORNERS[name]) for name, colour in corners(image).items())
    sizes = []
    for name in files_below(tmp_path / "state" / "previews"):
        with Image.open(tmp_path / "state" / "previews" / name) as image:
            sizes.append(image.size)
    assert sorted(sizes) == [(64, 32), (128, 64), (300, 150)]


async def test_the_world_that_was_opened_last_is_meant_unless_one_is_named(bench: Bench, tmp_path: Path) -> None:
    picture = bench.picture("a.jpg")
    last = Thumbnails(ThumbnailSettings(), tmp_path / "last", bench.thumbnails.sandbox)
    last.prepare()
    with in_use(last):
        assert (await generate(picture)).is_relative_to(last.folder)
        assert (await generate(picture, thumbnails=bench.thumbnails)).is_relative_to(bench.thumbnails.folder)
    (tmp_path / "last").rename(tmp_path / "gone")
    assert (await generate(picture)).is_relative_to(bench.thumbnails.folder)


async def test_many_at_once_of_one_picture_leave_one_whole_preview(bench: Bench) -> None:
    picture = bench.picture("a.jpg")
    paths = []

    async def generate_one() -> None:
        paths.append(await generate(picture))
        with Image.open(paths[-1]) as image:
            image.load()

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(generate_one)
    assert len(set(paths)) == 1


async def test_it_says_what_is_wrong_with_the_file(bench: Bench) -> None:
    broken, text, large = bench.picture("broken.jpg"), bench.folder / "text.jpg", bench.folder / "large.png"
    broken.write_bytes(broken.read_bytes()[:-400])
    text.write_text("no picture")
    Image.new("L", (1000, 1000)).save(large)
    link = bench.folder / "link.jpg"
    link.symlink_to(broken)
    for path, error in (
        (broken, BrokenFileError),
        (text, UnsupportedTypeError),
        (large, LimitExceededError),
        (link, NotAFileError),
        (bench.folder, NotAFileError),
        (bench.folder / "nothing", UnreadableFileError),
    ):
        with pytest.raises(error):
            await generate(path)


async def test_a_picture_that_changes_meanwhile_gets_no_preview(bench: Bench) -> None:
    picture = bench.picture("a.jpg", size=(380, 260))
    before = set(files_below(bench.thumbnails.folder))
    done = anyio.Event()

    async def keep_touching() -> None:
        while not done.is_set():
            os.utime(picture)
            await anyio.sleep(0.001)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_touching)
            with pytest.raises(FileChangedError):
                await generate(picture)
            done.set()
    assert set(files_below(bench.thumbnails.folder)) == before
