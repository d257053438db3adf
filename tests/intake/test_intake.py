"""Intake: bounded, each path once at a time, nothing sighted is lost, and a stop that drains."""

import gc
import mmap
import os
import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from anyio.lowlevel import checkpoint
from intake.ingesting import SUCCESS, Gate, Ingester, files, idle, running
from structlog.testing import capture_logs

from damd.events import readable
from damd.intake import Intake, outage, waiting
from damd.intake.look import Look, look_at
from damd.results import IngestResult, IngestStatus

pytestmark = pytest.mark.anyio


async def test_a_settled_file_is_ingested(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        assert intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: ingester.ended == [path])
        await idle(intake)
        assert intake.outcomes == {"imported": 1, "skipped": 0, "failed": 0}


async def test_a_file_waits_until_it_has_been_quiet(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    seen_at = anyio.current_time()
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0.2)
        assert (intake.lanes.waiting, intake.lanes.in_work) == (1, 0)
        await ingester.until(lambda: bool(ingester.started))
        assert anyio.current_time() - seen_at >= 0.15


async def test_names_that_are_no_text_are_ingested(tmp_path: Path) -> None:
    ingester = Ingester()
    path = os.fsencode(tmp_path) + b"/\xff\xfe\n.jpg"
    os.close(os.open(path, os.O_CREAT))
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0, closed=True)
        await ingester.until(lambda: ingester.ended == [path])


async def test_a_sighting_is_turned_away_when_there_is_no_room_and_a_known_path_never_is(tmp_path: Path) -> None:
    gate = Gate()
    paths = files(tmp_path, 5)
    ingester = Ingester(gate.pass_through)
    async with running(ingester, concurrency=1, capacity=3) as intake:
        assert [intake.sight(path, root="a", settle_s=0) for path in paths] == [True] * 3 + [False] * 2
        await ingester.until(lambda: ingester.started == paths[:1])
        assert intake.lanes.waiting + intake.lanes.in_work == 3
        assert not intake.sight(paths[3], root="a", settle_s=0)
        # In work, ready or settling: those have their place.
        assert all(intake.sight(path, root="a", settle_s=0) for path in paths[:3])
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
            await intake.offer(path, root="a", settle_s=0)
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
        intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.started) == 1)
        for _ in range(5):
            assert intake.sight(path, root="a", settle_s=0, closed=True)
        assert (intake.lanes.waiting, intake.lanes.in_work) == (0, 1)
        gate.opened.set()
        await ingester.until(lambda: len(ingester.ended) == 2)
        await idle(intake)
        assert ingester.started == [path, path]
        assert ingester.most_of_one == 1


@pytest.mark.parametrize("seed", range(4))
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
        for _ in range(400):
            path = chance.choice(paths)
            if chance.random() < 0.5:
                await intake.offer(path, root="a", settle_s=0)
                last_sighted[path] = next(moments)
            elif intake.sight(path, root="a", settle_s=0, closed=chance.random() < 0.5):
                last_sighted[path] = next(moments)
            assert intake.lanes.waiting + intake.lanes.in_work <= capacity
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
        intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.ended) == 3)
        await idle(intake)
        assert intake.outcomes == {"imported": 1, "skipped": 0, "failed": 2}
        assert intake.retrying == 0
    assert [due <= at for due, at in zip(retry_at, times[1:], strict=True)] == [True, True]


async def test_a_failure_that_waits_for_its_retry_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def fail(path: bytes) -> IngestResult:
        return IngestResult(status=IngestStatus.FAILED, retry_at=datetime.now(UTC) + timedelta(days=1))

    paths = files(tmp_path, 20)
    ingester = Ingester(fail)
    async with running(ingester, capacity=2) as intake:
        with anyio.fail_after(10):
            for path in paths:
                await intake.offer(path, root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.ended) == 20)
        await idle(intake)
        assert intake.retrying == 2  # as many as there is room for; reconciling knows the others


async def test_files_that_are_gone_are_dropped(tmp_path: Path) -> None:
    ingester = Ingester()
    here, gone = files(tmp_path, 2)
    os.unlink(gone)  # noqa: PTH108 - pathlib has no paths of bytes
    async with running(ingester) as intake:
        intake.sight(gone, root="a", settle_s=0)
        intake.sight(gone + b"/below", root="a", settle_s=0)
        intake.sight(here + b"/below", root="a", settle_s=0)
        intake.sight(here, root="a", settle_s=0)
        await ingester.until(lambda: ingester.ended == [here])
        await idle(intake)
    assert ingester.started == [here]


async def test_a_file_that_vanishes_while_it_settles_is_dropped(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0.05)
        os.unlink(path)  # noqa: PTH108 - pathlib has no paths of bytes
        await idle(intake)
    assert ingester.started == []


async def test_a_file_that_comes_back_while_it_is_looked_for_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingester = Ingester()
    path = os.fsencode(tmp_path / "a")

    async with running(ingester) as intake:

        def look_too_early(paths: Sequence[bytes]) -> list[Look]:
            looks = look_at(paths)
            if looks[0].signature is None:
                (tmp_path / "a").touch()
                anyio.from_thread.run_sync(lambda: intake.sight(path, root="a", settle_s=0, closed=True))
            return looks

        monkeypatch.setattr(waiting, "look_at", look_too_early)
        intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: ingester.ended == [path])


async def test_a_path_that_cannot_be_looked_at_is_ingested_so_that_it_fails(tmp_path: Path) -> None:
    ingester = Ingester()
    path = os.fsencode(tmp_path) + b"/" + b"a" * 300
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0)
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
            intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.ended) == 3)
        await idle(intake)
        # Not even for the same path.
        intake.sight(paths[0], root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.ended) == 4)


async def test_stopping_ends_what_is_in_work_and_starts_no_more(tmp_path: Path) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    paths = files(tmp_path, 10)
    async with running(ingester, concurrency=3) as intake:
        for path in paths:
            intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.started) == 3)
        intake.sight(paths[0], root="a", settle_s=0)
        intake.stop()
        for _ in range(20):
            await checkpoint()
        assert intake.lanes.in_work == 3
        gate.opened.set()
    assert sorted(ingester.ended) == sorted(ingester.started) == paths[:3]


async def test_stopping_during_a_look_starts_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    stopped = anyio.Event()

    async with running(ingester) as intake:

        def stop_meanwhile(paths: Sequence[bytes]) -> list[Look]:
            anyio.from_thread.run_sync(intake.stop)
            anyio.from_thread.run_sync(stopped.set)
            return look_at(paths)

        monkeypatch.setattr(waiting, "look_at", stop_meanwhile)
        intake.sight(path, root="a", settle_s=0)
        await stopped.wait()
    assert ingester.started == []


async def test_memory_is_flat_whatever_is_dropped_in(tmp_path: Path) -> None:
    """40,000 sightings through room for 100; most are of files that are gone, so that this is quick."""
    ingester = Ingester()
    real = files(tmp_path, 200)
    most = 0
    tracemalloc.start()
    try:
        async with running(ingester, capacity=100) as intake:
            with anyio.fail_after(60):
                for number in range(20_000):
                    path = real[number // 100] if number % 100 == 0 else b"/nowhere/%d" % number
                    await intake.offer(path, root="a", settle_s=0)
                    most = max(most, intake.lanes.waiting + intake.lanes.in_work)
                    if number == 8_000:
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


async def test_while_the_catalogue_takes_nothing_files_wait_instead_of_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file at a time finds out whether it takes writes again; then all of them get in."""
    monkeypatch.setattr(outage, "_FIRST_WAIT_S", 0.1)
    out = IngestResult(status=IngestStatus.FAILED, reason="The disk is full", catalogue_failed=True)
    is_out = True

    async def answer(path: bytes) -> IngestResult:
        return out if is_out else SUCCESS

    ingester = Ingester(answer)
    paths = files(tmp_path, 20)
    with capture_logs() as logs:
        async with running(ingester, concurrency=2) as intake:
            for path in paths:
                assert intake.sight(path, root="a", settle_s=0)
            await ingester.until(lambda: len(ingester.ended) >= 3)
            is_out = False
            await ingester.until(lambda: len(set(ingester.ended)) == len(paths))
            await idle(intake)
            assert intake.outcomes == {"imported": 20, "skipped": 0, "failed": 0}
    assert len(ingester.started) < 2 * len(paths)
    assert [line["event"] for line in logs if line["event"] != "imported"] == [
        "the catalogue takes nothing: waiting for it",
        "the catalogue takes writes again",
    ]


async def test_where_a_file_was_moved_from_is_for_its_next_command_only(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0, moved_from=b"/old/\xff")
        assert intake.explain(path)["moved_from"] == readable(b"/old/\xff")  # type: ignore[index]  # it is known
        await ingester.until(lambda: ingester.ended == [path])
        await idle(intake)
        intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.ended) == 2)
        await idle(intake)
        await intake.offer(path, root="a", settle_s=0, moved_from=b"/older")
        await ingester.until(lambda: len(ingester.ended) == 3)
    assert ingester.moved_from == [Path(os.fsdecode(b"/old/\xff")), None, Path("/older")]


async def test_a_later_sighting_drops_where_a_file_was_moved_from_or_replaces_it(tmp_path: Path) -> None:
    ingester = Ingester()
    dropped, replaced, told = files(tmp_path, 3)
    async with running(ingester) as intake:
        intake.sight(dropped, root="a", settle_s=0, moved_from=b"/old")
        intake.sight(dropped, root="a", settle_s=0)
        assert "moved_from" not in (intake.explain(dropped) or {"moved_from": "not even queued"})
        intake.sight(replaced, root="a", settle_s=0, moved_from=b"/old")
        intake.sight(replaced, root="a", settle_s=0, moved_from=b"/older")
        intake.sight(told, root="a", settle_s=0)
        intake.sight(told, root="a", settle_s=0, moved_from=b"/oldest")
        await ingester.until(lambda: len(ingester.ended) == 3)
    moved_from = dict(zip(ingester.started, ingester.moved_from, strict=True))
    assert moved_from == {dropped: None, replaced: Path("/older"), told: Path("/oldest")}


async def test_a_file_that_moves_on_before_it_is_looked_at_comes_from_where_it_was_first(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(b"/second", root="a", settle_s=0, moved_from=b"/first")
        intake.sight(path, root="a", settle_s=0, moved_from=b"/second")
        await ingester.until(lambda: ingester.ended == [path])
    assert ingester.moved_from == [Path("/first")]


async def test_a_move_to_a_path_in_work_is_for_its_next_command(tmp_path: Path) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0, moved_from=b"/one")
        await ingester.until(lambda: len(ingester.started) == 1)
        intake.sight(path, root="a", settle_s=0, moved_from=b"/two")
        gate.opened.set()
        await ingester.until(lambda: len(ingester.ended) == 2)
    assert ingester.moved_from == [Path("/one"), Path("/two")]


async def test_a_move_survives_an_outage_and_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_FIRST_WAIT_S", 0.05)
    answers = [
        IngestResult(status=IngestStatus.FAILED, reason="The disk is full", catalogue_failed=True),
        IngestResult(status=IngestStatus.FAILED, reason="busy", retry_at=datetime.now(UTC)),
        SUCCESS,
    ]

    async def answer(path: bytes) -> IngestResult:
        return answers[len(ingester.ended)]

    ingester = Ingester(answer)
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0, moved_from=b"/old")
        await ingester.until(lambda: len(ingester.ended) == 3)
    assert ingester.moved_from == [Path("/old")] * 3


async def test_what_is_known_of_a_path_is_explained_at_every_stage(tmp_path: Path) -> None:
    gate = Gate()

    async def fail(path: bytes) -> IngestResult:
        await gate.opened.wait()
        return IngestResult(status=IngestStatus.FAILED, retry_at=datetime.now(UTC) + timedelta(hours=1))

    ingester = Ingester(fail)
    first, second = files(tmp_path, 2)

    def told(path: bytes) -> dict[str, object]:
        explanation = intake.explain(path)
        assert explanation is not None
        assert 0 <= explanation.pop("since_s") < 10
        return explanation

    async with running(ingester, concurrency=1) as intake:
        assert intake.explain(first) is None
        intake.sight(first, root="a", settle_s=0)
        assert told(first) == {"state": "waiting", "for": "its first look"}
        await ingester.until(lambda: ingester.started == [first])
        intake.sight(second, root="a", settle_s=0)
        with anyio.fail_after(10):
            while told(second)["state"] == "waiting":
                await checkpoint()
        assert told(second) == {"state": "ready", "for": "a free command"}
        assert told(first) == {"state": "in work", "for": "its command to end"}
        intake.sight(first, root="a", settle_s=3600)
        assert told(first) == {"state": "in work", "for": "its command to end", "sighted_again": True}
        gate.opened.set()
        await ingester.until(lambda: len(ingester.ended) == 2)
        with anyio.fail_after(10):
            while intake.lanes.in_work:
                await checkpoint()
        retried = told(second)
        assert 3500 < float(str(retried.pop("retry_in_s"))) <= 3600
        assert retried == {"state": "tried again", "for": "its next attempt"}
        assert told(first)["state"] == "waiting"


async def test_how_long_the_oldest_has_waited_does_not_forget_what_is_sighted_again(tmp_path: Path) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    first, second = files(tmp_path, 2)
    async with running(ingester, concurrency=1) as intake:
        assert intake.lanes.oldest_s == 0.0
        intake.sight(first, root="a", settle_s=0)
        await ingester.until(lambda: ingester.started == [first])
        assert intake.lanes.oldest_s == 0.0  # it is in work
        sighted_at = time.monotonic()
        intake.sight(second, root="a", settle_s=0)
        before = 0.0
        with anyio.fail_after(10):
            while time.monotonic() < sighted_at + 0.2:
                intake.sight(second, root="a", settle_s=0)
                assert intake.lanes.oldest_s >= before
                assert (intake.lanes.oldest_in("a") >= before, intake.lanes.oldest_in("b")) == (True, 0.0)
                before = intake.lanes.oldest_s
                await checkpoint()
        assert before >= 0.15
        gate.opened.set()
        await idle(intake)
        assert intake.lanes.oldest_s == 0.0


async def test_slow_writers_are_waited_for_and_each_file_is_ingested_once(tmp_path: Path) -> None:
    """Chunks with pauses longer than the settle time, a mapping, and a preallocated file."""
    ingester = Ingester()
    chunked, mapped, preallocated = (tmp_path / name for name in ("chunked", "mapped", "preallocated"))
    mapped.write_bytes(bytes(4096))
    settle_s = 0.02
    async with running(ingester) as intake:
        with chunked.open("wb", buffering=0) as chunks, mapped.open("r+b") as file, preallocated.open("wb") as room:
            os.posix_fallocate(room.fileno(), 0, 4096)
            mapping = mmap.mmap(file.fileno(), 0)
            paths = [os.fsencode(path) for path in (chunked, mapped, preallocated)]
            for number in range(4):
                chunks.write(b"%d" % number)
                mapping[number] = number
                for path in paths:
                    intake.sight(path, root="a", settle_s=settle_s)
                await anyio.sleep(5 * settle_s)  # the writers' own pause
        mapping.close()
        assert ingester.started == []
        for path in paths:
            intake.sight(path, root="a", settle_s=settle_s, closed=True)
        await ingester.until(lambda: sorted(ingester.ended) == sorted(paths))
