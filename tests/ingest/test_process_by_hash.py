"""What is previewed and recorded is what was hashed, however the file changes meanwhile."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from bench import Bench, open_bench
from pictures import make_picture
from PIL import Image

from damd.errors import FileChangedError, NoHandlerError, UnreadableFileError, UnsupportedTypeError
from damd.fingerprint import calculate_hash, take_signature
from damd.ingest.ingest_file import ROUNDS
from damd.ingest.process_by_hash import ProcessFileByHashCommand
from damd.media.base import Families, Family, ProcessMediaCommand, Reading, begin, conclude
from damd.results import IngestResult
from damd.sandbox import Sandbox
from damd.thumbnails import Thumbnails
from damd.world import World

pytestmark = pytest.mark.anyio

COLOURS = ["red", "lime", "blue", "black", "white"]


def paint(path: Path, colour: str) -> None:
    """Write the picture in place: same name, same inode, same size in bytes."""
    with path.open("r+b" if path.exists() else "wb") as file:
        Image.new("RGB", (64, 64), colour).save(file, "BMP")


def colour_of(path: Path | str | None) -> tuple[int, ...]:
    with Image.open(path or "") as image:
        colour = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert isinstance(colour, tuple)
    return tuple(round(part / 64) * 64 for part in colour)


@pytest.mark.parametrize("moment", ["after_hashing", "before_reading"])
async def test_a_file_that_keeps_changing_is_left_for_later(bench: Bench, moment: str) -> None:
    path = bench.folder / "a.bmp"
    paint(path, "white")
    hashes = [await calculate_hash(path)]
    shades = iter(range(1, 100))

    async def repaint(command: object) -> None:
        paint(path, f"#{next(shades):02x}{len(moment):02x}00")
        hashes.append(await calculate_hash(path))

    setattr(bench, moment, repaint)
    result = await bench.ingest(path)
    assert (result.status, result.reason) == ("FAILED", str(FileChangedError()))
    assert [command.file_hash for command in bench.hashed] == hashes[:ROUNDS]
    row = await bench.failure(path)
    assert row is not None
    assert (row.permanent, row.attempts, row.next_attempt_at) == (False, 1, result.retry_at)
    assert result.retry_at is not None
    assert [bench.previews(sha256) for sha256 in hashes] == [[]] * len(hashes)
    assert bench.told == []

    bench.reset()
    rested = await bench.ingest(path)
    assert (rested.status, rested.sha256) == ("SUCCESS", hashes[-1])
    assert await bench.failure(path) is None


@pytest.mark.parametrize("moment", ["after_hashing", "before_reading"])
@pytest.mark.parametrize("renamed", [False, True])
async def test_a_file_that_changes_once_is_ingested_as_it_is_in_the_end(
    bench: Bench, moment: str, renamed: bool
) -> None:
    path, other = bench.folder / "a.bmp", bench.folder / "b.bmp"
    shade = 0xA0 + 2 * len(moment) + renamed
    for file, colour in ((path, "#ff4000"), (other, f"#0040{shade:02x}")):
        paint(file, colour)
    first, final = await calculate_hash(path), await calculate_hash(other)
    signature = path.stat()

    def change(command: object) -> None:
        setattr(bench, moment, lambda command: None)
        if renamed:
            os.utime(other, ns=(signature.st_atime_ns, signature.st_mtime_ns))
            other.replace(path)
        else:
            path.write_bytes(other.read_bytes())
            os.utime(path, ns=(signature.st_atime_ns, signature.st_mtime_ns))

    setattr(bench, moment, change)
    result = await bench.ingest(path)
    assert (result.status, result.sha256) == ("SUCCESS", final)
    assert colour_of(result.thumbnail_path) == (0, 64, 192)
    assert bench.previews(first) == []
    known = await bench.known(path)
    assert known.location is not None
    assert known.location[1:3] == (final, take_signature(path))
    (event,) = bench.told
    assert (event.sha256, event.size_bytes) == (final, path.stat().st_size)


async def test_a_duplicate_that_changes_once_is_no_duplicate(bench: Bench) -> None:
    original = bench.picture("original.jpg")
    copy = Path(shutil.copy(original, bench.folder / "copy.jpg"))
    first = await bench.ingest(original)

    def change(command: object) -> None:
        bench.after_hashing = lambda command: None
        bench.picture("copy.jpg")

    bench.after_hashing = change
    result = await bench.ingest(copy)
    assert (result.status, result.sha256) == ("SUCCESS", await calculate_hash(copy))
    assert await bench.locations(first.asset_id) == {b"original.jpg"}


async def test_a_file_that_is_replaced_by_something_else_is_noted_as_that(bench: Bench) -> None:
    path = bench.picture("a.jpg")

    def change(command: object) -> None:
        path.unlink()
        os.mkfifo(path)

    bench.before_reading = change
    with anyio.fail_after(20):
        result = await bench.ingest(path)
    assert result.status == "FAILED"
    bench.reset()
    with anyio.fail_after(20):
        assert (await bench.ingest(path)).reason == "Not a regular file: a FIFO"


@dataclass(frozen=True, kw_only=True)
class ProcessSwappedCommand(ProcessMediaCommand):
    """A picture that is exchanged for another one, just while it is read."""


async def read_while_swapped(
    cmd: ProcessSwappedCommand, world: World, sandbox: Sandbox, thumbnails: Thumbnails
) -> IngestResult:
    signature = await begin(cmd)
    other, aside = cmd.file_path.with_name("other"), cmd.file_path.with_name("aside")
    async with thumbnails.drafts(cmd.file_hash) as drafts:
        if other.exists():
            cmd.file_path.rename(aside)
            other.rename(cmd.file_path)
        read = await sandbox.call("image", str(cmd.file_path), max_pixels=10**6, **drafts.options)
        if aside.exists():
            aside.rename(cmd.file_path)
        return await conclude(world, cmd, signature, "swapped", Reading((), drafts, read["previews"]))


SWAPPED = Family(
    name="swapped",
    mime_types=frozenset({"image/bmp"}),
    command=ProcessSwappedCommand,
    handler=read_while_swapped,
)


async def test_another_file_in_its_place_just_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.world.get_resource(Families).add(SWAPPED)
        bench.world.register_system(SWAPPED.handler, command_type=SWAPPED.command)
        path = bench.folder / "a.bmp"
        paint(path, "#ff4000")
        paint(path.with_name("other"), "#0000c8")
        result = await bench.ingest(path)
        assert (result.status, result.family) == ("SUCCESS", "swapped")
        assert len(bench.hashed) == 2
        assert colour_of(result.thumbnail_path) == (256, 64, 0)
        await bench.check()


async def process(bench: Bench, path: Path, **fields: Any) -> list[Any]:
    command = ProcessFileByHashCommand(file_path=path, file_hash=await calculate_hash(path))
    return (await bench.world.dispatch_command(replace(command, **fields))).results


async def test_the_command_works_without_the_one_before_it(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    (first,) = await process(bench, path)
    assert (first.status, len(bench.told)) == ("SUCCESS", 1)
    copy = Path(shutil.copy(path, bench.folder / "b.jpg"))
    (second,) = await process(bench, copy)
    assert (second.status, second.reason, second.asset_id) == ("SKIPPED", "Duplicate hash", first.asset_id)


async def test_it_tells_nobody_where_it_is_asked_not_to(bench: Bench) -> None:
    (result,) = await process(bench, bench.picture("a.jpg"), announce=False)
    assert (result.status, bench.told) == ("SUCCESS", [])


async def test_alone_it_raises_what_is_wrong_with_the_file(bench: Bench) -> None:
    path = bench.folder / "a.txt"
    path.write_text("alone")
    with pytest.raises(UnsupportedTypeError) as unsupported:
        await process(bench, path)
    assert unsupported.value.mime_type == "text/plain"
    with pytest.raises(FileChangedError):
        await process(bench, bench.picture("a.jpg"), signature=take_signature(path))
    command = ProcessFileByHashCommand(file_path=bench.folder / "nothing", file_hash="0" * 64)
    with pytest.raises(UnreadableFileError):
        await bench.world.dispatch_command(command)
    assert await bench.failure(path) is None


async def test_a_family_whose_handler_nobody_registered_fails_the_file(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.world.get_resource(Families).add(SWAPPED)
        path = make_picture(bench.folder / "a.bmp")
        with pytest.raises(NoHandlerError):
            await process(bench, path)
        result = await bench.ingest(path)
        assert result.status == "FAILED"
        assert "No system handles ProcessSwappedCommand" in (result.reason or "")
