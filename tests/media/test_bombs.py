"""Bombs of every kind through the whole of it: each fails by the limit that it broke, or has only its fuse cut off."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import bombs
import pytest
from bench import Bench, open_bench
from bombs import HUGE, LARGE, claiming, png_of, talkative_png, zeros
from papers import paper, picture_paper, stream
from pictures import CORNERS, chunk, corners, make_picture, make_png, near
from PIL import Image
from samples import SAMPLES, add_cover

from damd.catalogue.tables import FileProperties
from damd.media.image import ImageProperties
from damd.readers.formats.frames import MAX_FRAMES
from damd.results import IngestResult
from damd.sandbox import Sandbox

pytestmark = pytest.mark.anyio
MAX_PIXELS = 200_000_000


@pytest.fixture(scope="module")
async def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """The module's World, of modest limits, whose workers must all be gone at its end."""
    limits = {"workers": 2, "memory": "512MiB", "timeout": "20s", "max_pixels": MAX_PIXELS}
    async with open_bench(tmp_path_factory.mktemp("bench"), ingest=limits) as bench:
        sandbox = bench.world.get_resource(Sandbox)
        yield bench
        assert len(sandbox._workers) <= 2
        pids = {worker.process.pid for worker in sandbox._workers}
    assert not sandbox._workers
    assert not list(filter(is_there, pids))


def is_there(pid: int) -> bool:
    """Running, or a zombie that nobody has reaped."""
    return Path(f"/proc/{pid}").exists()


async def explode(bench: Bench, bomb: bytes) -> IngestResult:
    path = bench.folder / "bomb"
    path.write_bytes(bomb)
    return await bench.ingest(path)


async def assert_failed(bench: Bench, bomb: bytes, reason: str) -> None:
    before = await bench.count(FileProperties)
    result = await explode(bench, bomb)
    assert (result.status, result.reason, result.asset_id) == ("FAILED", reason, None)
    failure = await bench.failure(bench.folder / "bomb")
    assert failure is not None
    assert (failure.permanent, failure.reason, failure.attempts) == (True, reason, 1)
    assert await bench.count(FileProperties) == before
    assert len(bench.world.get_resource(Sandbox)._workers) <= 2


def boxed(folder: Path, name: str, edge: int) -> bytes:
    """An AVIF or HEIC whose container claims a square."""
    data = bytearray(sample(name, folder))
    struct.pack_into(">II", data, data.index(b"ispe") + 8, edge, edge)
    return bytes(data)


def huge_dng(folder: Path) -> bytes:
    data = sample("dng", folder)
    for tag, value in ((256, 640), (257, 480)):
        data = data.replace(struct.pack("<HHLL", tag, 4, 1, value), struct.pack("<HHLL", tag, 4, 1, HUGE))
    return data


def huge_film(folder: Path) -> bytes:
    pytest.importorskip("av", reason="needs damd[video]")
    from films import make_film

    data = make_film(folder / "a.avi", codec="ffv1", frames=3).read_bytes()
    return data.replace(struct.pack("<ii", 160, 120), struct.pack("<ii", 16_000, 16_000))


def sample(name: str, folder: Path) -> bytes:
    pytest.importorskip(SAMPLES[name].needs)
    path = folder / f"a{SAMPLES[name].suffix}"
    SAMPLES[name].make(path)
    return path.read_bytes()


CLAIMING: dict[str, Callable[[Path], bytes]] = {
    "png": lambda _: make_png(HUGE, HUGE),
    "gif": lambda _: claiming("GIF", "<HH", 6),
    "gif whose first frame is larger than its screen": lambda _: bombs.huge_gif_frame(),
    "tiff": lambda _: bombs.tiff_of(HUGE, 8, zeros(1)),
    "webp": lambda _: bombs.huge_webp(),
    "bmp": lambda _: claiming("BMP", "<ii", 18),
    "jpeg": lambda _: claiming("JPEG", ">HH", b"\xff\xc0", 5),
    "jpeg xl": lambda _: bombs.huge_jpeg_xl(),
    "jp2": lambda _: claiming("JPEG2000", ">II", b"ihdr", 4),
    "jp2 whose codestream is larger than it says": lambda _: claiming("JPEG2000", ">II", b"\xff\x4f\xff\x51", 8),
    "psd": lambda _: b"8BPS\0\1" + struct.pack(">6xHIIHH", 3, HUGE, HUGE, 8, 3) + bytes(14),
    "psb": lambda _: b"8BPS\0\2" + struct.pack(">6xHIIHH", 3, HUGE, HUGE, 16, 3) + bytes(18),
    "heic": lambda folder: boxed(folder, "heic", HUGE),
    "dng": huge_dng,
}
SMALLER: dict[str, Callable[[Path], bytes]] = {
    "avif": lambda folder: boxed(folder, "avif", 16_000),
    "film": huge_film,
}
"""Squares of 16,000: of more than that their decoders themselves want nothing to know."""


@pytest.mark.parametrize("name", CLAIMING | SMALLER)
async def test_what_claims_to_be_huge_breaks_the_limit_of_pixels(bench: Bench, name: str) -> None:
    if name == "jpeg xl":
        pytest.importorskip("pillow_jxl", reason="needs damd[jxl]")
    make, pixels = (CLAIMING[name], HUGE**2) if name in CLAIMING else (SMALLER[name], 16_000**2)
    await assert_failed(bench, make(bench.outside), f"It has {pixels} pixels, and max_pixels allows {MAX_PIXELS}")


OUT_OF_MEMORY = "Reading it needs more than 512MiB of memory (ingest.memory)"
UNPACKED: dict[str, Callable[[], bytes]] = {
    "png": lambda: png_of(LARGE),
    "tiff": lambda: bombs.tiff_of(LARGE, 8, zeros(600)),
    "tiff of less than it says": lambda: bombs.tiff_of(LARGE, 8, zeros(1)),
}


@pytest.mark.parametrize("name", UNPACKED)
async def test_what_is_as_large_as_is_allowed_breaks_the_limit_of_memory(bench: Bench, name: str) -> None:
    await assert_failed(bench, UNPACKED[name](), OUT_OF_MEMORY)


async def test_so_do_an_index_and_a_comment_that_are_zipped(bench: Bench) -> None:
    pytest.importorskip("av", reason="needs damd[video]")
    await assert_failed(bench, bombs.zipped_index(2_000), OUT_OF_MEMORY)
    await assert_failed(bench, bombs.zipped_id3(sample("mp3", bench.outside), 2_000), OUT_OF_MEMORY)


ONE_TEXT = "A text or colour profile in it unpacks to more than 1 MiB: a decompression bomb"
CHUNKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zTXt": (lambda: talkative_png(chunk(b"zTXt", b"a\0\0" + zeros(2_000))), ONE_TEXT),
    "iTXt": (lambda: talkative_png(chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(2_000))), ONE_TEXT),
    "iCCP": (lambda: talkative_png(chunk(b"iCCP", b"a\0\0" + zeros(2_000))), ONE_TEXT),
    "many zTXt": (
        lambda: talkative_png(*[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20 - 10)))] * 80),
        "Its texts unpack to more than 64 MiB: a decompression bomb",
    ),
}


@pytest.mark.parametrize("name", CHUNKS)
async def test_what_is_zipped_beside_a_picture_breaks_a_limit_of_its_own(bench: Bench, name: str) -> None:
    make, reason = CHUNKS[name]
    await assert_failed(bench, make(), reason)


def zipped_thrice() -> bytes:
    data = zlib.compress(zlib.compress(zeros(2_000), 9), 9)
    return paper(content=stream(data, b"/Filter [/FlateDecode /FlateDecode /FlateDecode]"))


async def test_a_document_breaks_the_limit_of_a_stream_or_of_pixels(bench: Bench) -> None:
    pytest.importorskip("pypdfium2", reason="needs damd[documents]")
    await assert_failed(bench, zipped_thrice(), "A stream in it unpacks to more than 256 MiB: a decompression bomb")
    reason = f"A picture on its first page has {HUGE**2} pixels, and max_pixels allows {MAX_PIXELS}"
    await assert_failed(bench, picture_paper(HUGE, HUGE), reason)


WORDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "xmp": (
        bombs.laughing_xmp,
        "The sidecar is damaged: it declares entities of its own, which no XMP does, and none of them is expanded",
    ),
    "svg": (bombs.laughing_svg, "Unsupported file type"),
    "json": (bombs.nested_json, "Unsupported file type"),
    "nothing but brackets": (lambda: b"[" * 100_000 + b"]" * 100_000, "Unsupported file type"),
    "runs that do not fill a bitmap": (
        lambda: bombs.run_length_bmp(LARGE),
        "The image is truncated: its data end before the picture is complete",
    ),
}


@pytest.mark.parametrize("name", WORDS)
async def test_what_need_not_be_unpacked_is_not(bench: Bench, name: str) -> None:
    make, reason = WORDS[name]
    await assert_failed(bench, make(), reason)


# What is sound but for a bomb beside it


def is_photograph(result: IngestResult) -> bool:
    with Image.open(result.thumbnail_path or "") as preview:
        return all(near(colour, CORNERS[name], 60) for name, colour in corners(preview).items())


async def test_a_billion_laughs_in_a_jpeg_cost_it_nothing(bench: Bench) -> None:
    result = await explode(bench, bombs.laughing_jpeg(bench.folder / "a.jpg"))
    assert (result.status, result.family) == ("SUCCESS", "image")
    assert is_photograph(result)


def with_cover(path: Path, cover: bytes) -> bytes:
    from sounds import make_sound

    add_cover(make_sound(path, seconds=1.0), cover)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".flac", ".mp3"])
@pytest.mark.parametrize("kind", ["large", "talkative"])
async def test_a_cover_that_is_a_bomb_is_not_shown_and_costs_the_recording_nothing(
    bench: Bench, suffix: str, kind: str
) -> None:
    pytest.importorskip("av", reason="needs damd[audio]")
    cover = png_of(LARGE) if kind == "large" else talkative_png(chunk(b"zTXt", b"a\0\0" + zeros(2_000)))
    result = await explode(bench, with_cover(bench.folder / f"a{suffix}", cover))
    assert (result.status, result.family, result.thumbnail_path) == ("SUCCESS", "audio", None)


@pytest.mark.parametrize("make", [bombs.many_frames_gif, bombs.many_frames_webp])
async def test_a_hundred_thousand_frames_are_counted_no_further_than_is_believed(
    bench: Bench, make: Callable[[int], bytes]
) -> None:
    result = await explode(bench, make(100_000))
    assert (result.status, result.family) == ("SUCCESS", "image")
    assert await frames_of(bench, result) == MAX_FRAMES


async def frames_of(bench: Bench, result: IngestResult) -> int:
    def look(session: Any) -> int:
        found = session.get(ImageProperties, result.asset_id)
        assert found is not None
        return int(found.frames)

    return await bench.catalogue.read(look)


async def test_a_strip_that_unpacks_to_more_than_its_picture_has_is_cut(bench: Bench) -> None:
    result = await explode(bench, bombs.tiff_of(100, 8, zeros(2_000)))
    assert (result.status, result.family) == ("SUCCESS", "image")


async def test_after_all_bombs_a_sound_file_is_read(bench: Bench) -> None:
    assert (await bench.ingest(make_picture(bench.folder / "a.jpg"))).status == "SUCCESS"
