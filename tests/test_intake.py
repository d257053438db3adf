"""Intake: bounded, each path once at a time, nothing sighted is lost, and a stop that drains."""

import gc
import os
import random
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint
from structlog.testing import capture_logs

from damd import intake as intake_module
from damd.fingerprint import Signature
from damd.ingest.ingest_file import IngestFileCommand
from damd.intake import Intake
from damd.results import IngestResult, IngestStatus
from damd.world import World

pytestmark = pytest.mark.anyio

Ingest = Callable[[bytes], Awaitable[IngestResult]]

SUCCESS = IngestResult(status=IngestStatus.SUCCESS)


class Ingester:
    """A system that notes what is asked of it, and how much at a time."""

    def __init__(self, ingest: Ingest | None = None) -> None:
        self.started: list[bytes] = []
        self.ended: list[bytes] = []
        self.running: Counter[bytes] = Counter()
        self.most_of_one = self.most_of_all = 0
        self.changed = anyio.Event()
        self._ingest = ingest

    async def handle(self, cmd: IngestFileCommand) -> IngestResult:
        path = os.fsencode(cmd.file_path)
        self.started.append(path)
        self.running[path] += 1
        self.most_of_one = max(self.most_of_one, self.running[path])
        self.most_of_all = max(self.most_of_all, self.running.total())
        self._tell()
        try:
            return await self._ingest(path) if self._ingest else SUCCESS
        finally:
            self.running[path] -= 1
            self.ended.append(path)
            self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(10):
            while not condition():
                await self.changed.wait()


@asynccontextmanager
async def running(ingester: Ingester, *, concurrency: int = 4, capacity: int = 1000) -> AsyncIterator[Intake]:
    """An intake at work; left, it has stopped."""
    async with World() as world:
        world.register_system(ingester.handle, command_type=IngestFileCommand)
        intake = Intake(world, concurrency=concurrency, capacity=capacity)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(intake.run)
            yield intake
            intake.stop()


async def idle(intake: Intake) -> None:
    with anyio.fail_after(10):
        while intake.waiting or intake.in_work:  # noqa: ASYNC110 - which it tells nobody
            await anyio.sleep(0.001)


def files(folder: Path, count: int) -> list[bytes]:
    paths = [folder / str(number) for number in range(count)]
    for path in paths:
        path.touch()
    return [os.fsencode(path) for path in paths]


class Gate:
    """Holds every ingest until it is opened."""

    def __init__(self) -> None:
        self.opened = anyio.Event()

    async def pass_through(self, path: bytes) -> IngestResult:
        await self.opened.wait()
        return SUCCESS


async def test_a_settled_file_is_ingested(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        assert intake.sight(path, settle_s=0, closed=False)
        await ingester.until(lambda: ingester.ended == [path])
        await idle(intake)
        assert intake.outcomes == {"imported": 1, "skipped": 0, "failed": 0}


async def test_a_file_waits_until_it_has_been_quiet(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    seen_at = anyio.current_time()
    async with running(ingester) as intake:
        intake.sight(path, settle_s=0.2, closed=False)
        assert (intake.waiting, intake.in_work) == (1, 0)
        await ingester.until(lambda: bool(ingester.started))
        assert anyio.current_time() - seen_at >= 0.15


async def test_names_that_are_no_text_are_ingested(tmp_path: Path) -> None:
    ingester = Ingester()
    path = os.fsencode(tmp_path) + b"/\xff\xfe\n.jpg"
    os.close(os.open(path, os.O_CREAT))
    async with running(ingester) as intake:
        intake.sight(path, settle_s=0, closed=True)
        await ingester.until(lambda: ingester.ended == [path])


async def test_a_sighting_is_turned_away_when_there_is_no_room_and_a_known_path_never_is(tmp_path: Path) -> None:
    gate = Gate()
    paths = files(tmp_path, 5)
    ingester = Ingester(gate.pass_through)
    async with running(ingester, concurrency=1, capacity=3) as intake:
        assert [intake.sight(path, settle_s=0, closed=False) for path in paths] == [True] * 3 + [False] * 2
        await ingester.until(lambda: ingester.started == paths[:1])
        assert intake.waiting + intake.in_work == 3
        assert not intake.sight(paths[3], settle_s=0, closed=False)
        # In work, ready or settling: those have their place.
        assert all(intake.sight(path, settle_s=0, closed=False) for path in paths[:3])
        gate.opened.set()
        await ingester.until(lambda: len(ingester.ended) == 4)
        await idle(intake)
        assert Counter(ingester.ended) == {paths[0]: 2, paths[1]: 1, paths[2]: 1}


async def test_offering_awaits_room(tmp_path: Path) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    paths = files(tmp_path, 12)
    offered: list[bytes] = []

    async def offer_all(intake: Intake) -> None:
        for path in paths:
            await intake.offer(path, settle_s=0)
            offered.append(path)

    async with running(ingester, concurrency=2, capacity=4) as intake, anyio.create_task_group() as tasks:
        tasks.start_soon(offer_all, intake)
        await ingester.until(lambda: len(ingester.started) == 2)
        for _ in range(20):
            await checkpoint()
        assert offered == paths[:4]
        gate.opened.set()
        await ingester.until(lambda: len(ingester.ended) == len(paths))
        assert offered == paths
        assert (ingester.most_of_one, ingester.most_of_all) == (1, 2)


async def test_a_path_that_is_sighted_while_it_is_in_work_is_ingested_once_more_afterwards(tmp_path: Path) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, settle_s=0, closed=False)
        await ingester.until(lambda: len(ingester.started) == 1)
        for _ in range(5):
            assert intake.sight(path, settle_s=0, closed=True)
        assert (intake.waiting, intake.in_work) == (0, 1)
        gate.opened.set()
        await ingester.until(lambda: len(ingester.ended) == 2)
        await idle(intake)
        assert ingester.started == [path, path]
        assert ingester.most_of_one == 1


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_sighted_is_ingested_afterwards_and_never_twice_at_a_time(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    concurrency, capacity = chance.choice([(1, 3), (2, 10), (4, 40)])
    paths = files(tmp_path, 25)
    moments = iter(range(10**6))
    last_sighted: dict[bytes, int] = {}
    last_started: dict[bytes, int] = {}

    async def ingest(path: bytes) -> IngestResult:
        last_started[path] = next(moments)
        for _ in range(chance.randrange(4)):
            await checkpoint()
        if chance.random() < 0.02:
            raise RuntimeError("a plugin's handler failed")
        return SUCCESS

    ingester = Ingester(ingest)
    async with running(ingester, concurrency=concurrency, capacity=capacity) as intake:
        for _ in range(600):
            path = chance.choice(paths)
            if chance.random() < 0.5:
                await intake.offer(path, settle_s=0)
                last_sighted[path] = next(moments)
            elif intake.sight(path, settle_s=0, closed=chance.random() < 0.5):
                last_sighted[path] = next(moments)
            assert intake.waiting + intake.in_work <= capacity
            if chance.random() < 0.3:
                await checkpoint()
        await idle(intake)
    assert ingester.most_of_one == 1
    assert ingester.most_of_all <= concurrency
    assert {path for path in last_sighted if last_started[path] < last_sighted[path]} == set()


async def test_a_transient_failure_is_tried_again_when_it_is_due(tmp_path: Path) -> None:
    times: list[datetime] = []
    retry_at: list[datetime] = []

    async def fail_twice(path: bytes) -> IngestResult:
        times.append(datetime.now(UTC))
        if len(times) == 3:
            return SUCCESS
        retry_at.append(times[-1] + timedelta(milliseconds=80))
        return IngestResult(status=IngestStatus.FAILED, reason="busy", retry_at=retry_at[-1])

    ingester = Ingester(fail_twice)
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, settle_s=0, closed=False)
        await ingester.until(lambda: len(ingester.ended) == 3)
        await idle(intake)
        assert intake.outcomes == {"imported": 1, "skipped": 0, "failed": 2}
    assert [due <= at for due, at in zip(retry_at, times[1:], strict=True)] == [True, True]


async def test_a_failure_that_waits_for_its_retry_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def fail(path: bytes) -> IngestResult:
        return IngestResult(status=IngestStatus.FAILED, retry_at=datetime.now(UTC) + timedelta(days=1))

    paths = files(tmp_path, 20)
    ingester = Ingester(fail)
    async with running(ingester, capacity=2) as intake:
        with anyio.fail_after(10):
            for path in paths:
                await intake.offer(path, settle_s=0)
        await ingester.until(lambda: len(ingester.ended) == 20)
        await idle(intake)


async def test_files_that_are_gone_are_dropped(tmp_path: Path) -> None:
    ingester = Ingester()
    here, gone = files(tmp_path, 2)
    os.unlink(gone)  # noqa: PTH108 - pathlib has no paths of bytes
    async with running(ingester) as intake:
        intake.sight(gone, settle_s=0, closed=False)
        intake.sight(gone + b"/below", settle_s=0, closed=False)
        intake.sight(here + b"/below", settle_s=0, closed=False)
        intake.sight(here, settle_s=0, closed=False)
        await ingester.until(lambda: ingester.ended == [here])
        await idle(intake)
    assert ingester.started == [here]


async def test_a_file_that_vanishes_while_it_settles_is_dropped(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, settle_s=0.05, closed=False)
        os.unlink(path)  # noqa: PTH108 - pathlib has no paths of bytes
        await idle(intake)
    assert ingester.started == []


async def test_a_file_that_comes_back_while_it_is_looked_for_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingester = Ingester()
    path = os.fsencode(tmp_path / "a")
    take_signatures = intake_module._take_signatures

    async with running(ingester) as intake:

        def look_too_early(paths: Sequence[bytes]) -> list[Signature | None]:
            signatures = take_signatures(paths)
            if signatures == [None]:
                (tmp_path / "a").touch()
                anyio.from_thread.run_sync(lambda: intake.sight(path, settle_s=0, closed=True))
            return signatures

        monkeypatch.setattr(intake_module, "_take_signatures", look_too_early)
        intake.sight(path, settle_s=0, closed=False)
        await ingester.until(lambda: ingester.ended == [path])


async def test_a_path_that_cannot_be_looked_at_is_ingested_so_that_it_fails(tmp_path: Path) -> None:
    ingester = Ingester()
    path = os.fsencode(tmp_path) + b"/" + b"a" * 300
    async with running(ingester) as intake:
        intake.sight(path, settle_s=0, closed=False)
        await ingester.until(lambda: ingester.ended == [path])


async def test_a_handler_that_raises_ends_nothing(tmp_path: Path) -> None:
    async def fail(path: bytes) -> IngestResult:
        if path.endswith(b"/0"):
            raise RuntimeError("a plugin's handler failed")
        return SUCCESS

    paths = files(tmp_path, 3)
    ingester = Ingester(fail)
    async with running(ingester, concurrency=1) as intake:
        for path in paths:
            intake.sight(path, settle_s=0, closed=False)
        await ingester.until(lambda: len(ingester.ended) == 3)
        await idle(intake)
        # Not even for the same path.
        intake.sight(paths[0], settle_s=0, closed=False)
        await ingester.until(lambda: len(ingester.ended) == 4)


async def test_stopping_ends_what_is_in_work_and_starts_no_more(tmp_path: Path) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    paths = files(tmp_path, 10)
    async with running(ingester, concurrency=3) as intake:
        for path in paths:
            intake.sight(path, settle_s=0, closed=False)
        await ingester.until(lambda: len(ingester.started) == 3)
        intake.sight(paths[0], settle_s=0, closed=False)
        intake.stop()
        for _ in range(20):
            await checkpoint()
        assert intake.in_work == 3
        gate.opened.set()
    assert sorted(ingester.ended) == sorted(ingester.started) == paths[:3]


async def test_stopping_during_a_look_starts_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    take_signatures = intake_module._take_signatures
    stopped = anyio.Event()

    async with running(ingester) as intake:

        def stop_meanwhile(paths: Sequence[bytes]) -> list[Signature | None]:
            anyio.from_thread.run_sync(intake.stop)
            anyio.from_thread.run_sync(stopped.set)
            return take_signatures(paths)

        monkeypatch.setattr(intake_module, "_take_signatures", stop_meanwhile)
        intake.sight(path, settle_s=0, closed=False)
        await stopped.wait()
    assert ingester.started == []


async def test_memory_is_flat_whatever_is_dropped_in(tmp_path: Path) -> None:
    """100,000 sightings through room for 100; most are of files that are gone, so that this is quick."""
    ingester = Ingester()
    real = files(tmp_path, 500)
    most = 0
    tracemalloc.start()
    try:
        async with running(ingester, capacity=100) as intake:
            with anyio.fail_after(60):
                for number in range(100_000):
                    path = real[number // 200] if number % 200 == 0 else b"/nowhere/%d" % number
                    await intake.offer(path, settle_s=0)
                    most = max(most, intake.waiting + intake.in_work)
                    if number == 10_000:
                        gc.collect()
                        tracemalloc.reset_peak()
                        early = tracemalloc.get_traced_memory()[0]
            await idle(intake)
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most <= 100
    assert sorted(ingester.ended) == sorted(real)
    assert peak - early < 2**20


async def test_while_the_catalogue_takes_nothing_files_wait_instead_of_being_read(tmp_path: Path) -> None:
    """One file at a time finds out whether it takes writes again; then all of them get in."""
    out = IngestResult(status=IngestStatus.FAILED, reason="The disk is full", catalogue_failed=True)
    is_out = True

    async def answer(path: bytes) -> IngestResult:
        return out if is_out else SUCCESS

    ingester = Ingester(answer)
    paths = files(tmp_path, 20)
    with capture_logs() as logs:
        async with running(ingester, concurrency=2) as intake:
            for path in paths:
                assert intake.sight(path, settle_s=0, closed=False)
            await ingester.until(lambda: len(ingester.ended) >= 3)
            is_out = False
            await ingester.until(lambda: len(set(ingester.ended)) == len(paths))
            await idle(intake)
            assert intake.outcomes == {"imported": 20, "skipped": 0, "failed": 0}
    assert len(ingester.started) < 2 * len(paths)
    assert [line["event"] for line in logs] == [
        "the catalogue takes nothing: waiting for it",
        "the catalogue takes writes again",
    ]
