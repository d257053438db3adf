"""What every test may ask for."""

import gc
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bench import Bench, open_bench
from hypothesis import HealthCheck, settings

import damd.media  # noqa: F401 - its tables belong to the schema
from damd.assembly import open_world, register_systems
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.schema import upgrade
from damd.catalogue.tables import Table
from damd.config import Config
from damd.world import World

_serials = count()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a shell starts in the background ignores Ctrl-C, and so would all that the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Some hundred processes of damd are started: where Python may not keep what it compiles, each would compile all of it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples each time; and a machine that is busy is no fault of what is tested.
settings.register_profile(
    "suite", max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

OpenWorld = Callable[..., Awaitable[World]]


gc.disable()  # until all tests are there: most of what is made meanwhile stays


def pytest_collection_finish() -> None:
    """Search for garbage only in what tests leave behind, and not so often: that took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """For the whole session, so that a fixture of any scope can be asynchronous."""
    return "asyncio"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a catalogue of this version's schema, to be copied: quicker than to migrate another."""
    folder = tmp_path_factory.mktemp("migrated")
    engine = make_engine(CatalogueSettings(), folder)
    upgrade(engine, Table.metadata)
    engine.dispose()
    return folder


@pytest.fixture
async def opened(tmp_path: Path, migrated: Path) -> AsyncIterator[OpenWorld]:
    """Open worlds with damd's systems, left after the test: ``await opened(plugins=…)`` takes a Config's fields.

    Each lies in ``tmp_path / "state"``, unless it is told otherwise.
    """
    shutil.copytree(migrated, tmp_path / "state", dirs_exist_ok=True)
    async with AsyncExitStack() as stack:

        async def open_one(**fields: Any) -> World:
            world = await stack.enter_async_context(open_world(Config(**{"state": tmp_path / "state"} | fields)))
            register_systems(world)
            return world

        yield open_one


@pytest.fixture(scope="module")
async def shared_bench(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(migrated, folder / "state")
    async with open_bench(folder, ingest={"workers": 2, "max_pixels": 100_000}) as bench:
        yield bench


@pytest.fixture
async def bench(shared_bench: Bench) -> AsyncIterator[Bench]:
    """The module's World, whose workers are warm, with folders of the test's own; whole again after each test."""
    shared_bench.reset()
    shared_bench.move_to(f"test {next(_serials)}")
    yield shared_bench
    await shared_bench.check()
