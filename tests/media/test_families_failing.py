"""How every family fails: at the deadline, without its package, and of files that are broken; `samples` makes them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from bench import Bench, open_bench
from bombs import SLOW
from samples import SAMPLES, place

from damd.catalogue.tables import FileProperties
from damd.config import Config
from damd.doctor import examine
from damd.media import FAMILIES, base
from damd.media.base import Extra
from damd.readers import READERS
from damd.results import IngestResult
from damd.sandbox import Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """The module's World, which knows none of the samples."""
    async with open_bench(tmp_path_factory.mktemp("bench"), ingest={"workers": 2, "max_pixels": 600_000}) as bench:
        yield bench


# How long it takes


@asynccontextmanager
async def open_hasty_bench(folder: Path, reader: str) -> AsyncIterator[Bench]:
    """A bench whose only worker may take a second for a file.

    No sidecar takes a second by its nature: there the worker is stopped once it has taken the request, before it has
    so much as loaded its reader.
    """
    async with open_bench(folder, ingest={"workers": 1, "timeout": "1s"}) as bench:
        sandbox = bench.world.get_resource(Sandbox)
        give = sandbox._give

        async def give_and_stop(*arguments: Any, **options: Any) -> Any:
            worker = await give(*arguments, **options)
            os.kill(worker.process.pid, signal.SIGSTOP)
            return worker

        if reader == "sidecar":
            sandbox._give = give_and_stop  # type: ignore[method-assign]  # a stopwatch
        yield bench
        assert not sandbox._workers, "the worker is gone"


@pytest.fixture(scope="module")
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, IngestResult]:
    """How each reader's slow file ended where a second was allowed; all of them at the same time."""
    results: dict[str, IngestResult] = {}

    async def ingest(bench: Bench, reader: str) -> None:
        path = bench.folder / f"a{SLOW[reader].suffix}"
        SLOW[reader].make(path)
        results[reader] = await bench.ingest(path)
        failure = await bench.failure(path)
        assert failure is not None
        assert failure.permanent
        assert await bench.count(FileProperties) == 0
        await bench.check()

    with anyio.fail_after(60):
        async with AsyncExitStack() as stack:
            readers = [reader for reader, sample in SLOW.items() if importlib.util.find_spec(sample.needs)]
            # One after another: Alembic migrates one catalogue at a time in a process.
            benches = [
                await stack.enter_async_context(open_hasty_bench(tmp_path_factory.mktemp(each), each))
                for each in readers
            ]
            async with anyio.create_task_group() as tasks:
                for bench, reader in zip(benches, readers, strict=True):
                    tasks.start_soon(ingest, bench, reader)
    return results


@pytest.mark.parametrize("reader", READERS)
async def test_what_takes_too_long_ends_at_the_deadline(hasty: dict[str, IngestResult], reader: str) -> None:
    pytest.importorskip(SLOW[reader].needs)
    result = hasty[reader]
    assert (result.status, result.reason) == ("FAILED", "Reading it took longer than 1s (ingest.timeout)")


# Without an optional package


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """As if these modules were not installed."""
    find = importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name, *rest: None if name in modules else find(name, *rest))
        base._is_installed.cache_clear()
        try:
            yield
        finally:
            base._is_installed.cache_clear()


LACKS = {
    "heic": "pillow-heif",
    "jxl": "pillow-jxl-plugin",
    "dng": "rawpy",
    "mp4": "av",
    "mp3": "av",
    "flac": "mutagen",
    "pdf": "pypdfium2",
}
"""Samples, and a package without which each is not read."""


def extra_of(name: str) -> Extra:
    mime_type = MIME_TYPES[name]
    return next(family.extras[mime_type] for family in FAMILIES if mime_type in family.extras)


MIME_TYPES = {
    "heic": "image/heic",
    "jxl": "image/jxl",
    "dng": "image/x-adobe-dng",
    "mp4": "video/mp4",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "pdf": "application/pdf",
}


@pytest.mark.parametrize("name", LACKS)
async def test_a_missing_package_is_named_and_the_file_tried_again_once_it_is_there(bench: Bench, name: str) -> None:
    extra = extra_of(name)
    path = place(SAMPLES[name], bench.folder)
    reason = f"Unsupported file type: it needs the package {LACKS[name]}: install damd[{extra.name}]"
    with without(extra.packages[LACKS[name]]):
        for _ in range(2):
            result = await bench.ingest(path)
            assert (result.status, result.reason, result.asset_id) == ("FAILED", reason, None)
        failure = await bench.failure(path)
        assert failure is not None
        assert (failure.permanent, failure.reason, failure.attempts) == (True, reason, 1)
    assert (await bench.ingest(path)).status == "SUCCESS"
    assert await bench.failure(path) is None


async def test_the_doctor_names_every_extra_that_is_missing(tmp_path: Path) -> None:
    extras = {extra for family in FAMILIES for extra in map(Lack.of, family.extras.values())}
    modules = [module for family in FAMILIES for extra in family.extras.values() for module in extra.packages.values()]
    with without(*modules):
        config = Config.model_validate({"state": tmp_path / "state"})
        found = {each.check: each async for each in examine(config, tmp_path)}
    assert {lack.extra for lack in extras} == {"audio", "documents", "heic", "jxl", "raw", "video"}
    for extra, package in extras:
        finding = found[f"damd[{extra}]"]
        assert finding.health == "warning"
        assert finding.says.startswith(f"{package} is not installed: ")
        assert finding.advice == f"install damd[{extra}]"


class Lack(NamedTuple):
    """An extra, and the first of its packages."""

    extra: str
    package: str

    @classmethod
    def of(cls, extra: Extra) -> Lack:
        return cls(extra.name, next(iter(extra.packages)))


# What is broken


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def noise_after_its_head(data: bytes) -> bytes:
    return data[:16] + bytes(number * 73 % 251 for number in range(len(data) - 16))


@pytest.mark.parametrize("harm", [cut, noise_after_its_head])
@pytest.mark.parametrize("name", SAMPLES)
async def test_a_broken_file_costs_one_row_that_says_why(
    bench: Bench, name: str, harm: Callable[[bytes], bytes]
) -> None:
    path = place(SAMPLES[name], bench.folder)
    path.write_bytes(harm(path.read_bytes()))
    before = await bench.count(FileProperties)
    result = await bench.ingest(path)
    assert (result.status, result.asset_id, result.thumbnail_path) == ("FAILED", None, None)
    assert_sentence(result.reason, path)
    failure = await bench.failure(path)
    assert failure is not None
    assert (failure.reason, failure.permanent, failure.attempts) == (result.reason, True, 1)
    assert await bench.count(FileProperties) == before


def assert_sentence(reason: str | None, path: Path) -> None:
    """Fit for a photographer: no name of a class, no number of an error, no path."""
    assert reason is not None
    assert re.fullmatch(r"[A-Z][\w ,:'().-]+", reason), reason
    assert not re.search(r"Error|Exception|Traceback|errno|0x|\bNone\b(?! of)|[a-z]_(?!pixels)", reason), reason
    assert str(path.parent) not in reason
