"""Between the roots of an intake: whatever hangs in one, the others have room, looks and commands."""

from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from intake.ingesting import SUCCESS, Gate, Ingester, files, hanging_looks, running

from damd.results import IngestResult

pytestmark = pytest.mark.anyio


async def test_a_look_that_hangs_stops_neither_the_other_roots_nor_the_drain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revived = hanging_looks(lambda path: b"/dead/" in path, monkeypatch)
    ingester = Ingester()
    dead, alive = files(tmp_path / "dead", 3), files(tmp_path / "alive", 3)
    try:
        async with running(ingester) as intake:
            for path in dead:
                intake.sight(path, root="dead", settle_s=0)
            for path in alive:
                intake.sight(path, root="alive", settle_s=0)
            await ingester.until(lambda: sorted(ingester.ended) == alive)
            with anyio.fail_after(10):
                assert await intake.caught_up("alive") == frozenset()
            assert (
                intake.lanes.waiting_in("dead"),
                intake.lanes.waiting_in("alive"),
                intake.lanes.waiting_in("?"),
            ) == (3, 0, 0)
            assert intake.explain(dead[0]) is not None
    finally:
        revived.set()


async def test_a_root_that_comes_back_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revived = hanging_looks(lambda path: b"/dead/" in path, monkeypatch)
    ingester = Ingester()
    (path,) = files(tmp_path / "dead", 1)
    try:
        async with running(ingester) as intake:
            intake.sight(path, root="dead", settle_s=0)
            await checkpoint()
            intake.sight(path, root="dead", settle_s=0, closed=True)
            revived.set()
            await ingester.until(lambda: ingester.ended == [path])
    finally:
        revived.set()


async def test_roots_whose_files_hang_in_work_leave_a_command_and_room_to_the_others(tmp_path: Path) -> None:
    gate = Gate()

    async def ingest(path: bytes) -> IngestResult:
        return SUCCESS if b"/alive/" in path else await gate.pass_through(path)

    ingester = Ingester(ingest)
    dead = {root: files(tmp_path / root, 400) for root in ("first", "second")}
    alive = files(tmp_path / "alive", 20)
    async with running(ingester, concurrency=3, capacity=400) as intake:
        turned_away = 0
        for root, paths in dead.items():
            for path in paths:
                turned_away += not intake.sight(path, root=root, settle_s=0)
        assert turned_away > 0
        await ingester.until(lambda: len(ingester.started) >= 3)
        with anyio.fail_after(10):
            for path in alive:
                await intake.offer(path, root="alive", settle_s=0)
        await ingester.until(lambda: sorted(ingester.ended) == sorted(alive))
        # The three that all share, and one each for the roots that came too late for them.
        assert ingester.most_of_all <= 5
        assert 390 < intake.lanes.waiting + intake.lanes.in_work <= 400
        gate.opened.set()


async def test_however_many_roots_hang_there_is_room_for_a_path_of_another(tmp_path: Path) -> None:
    gate = Gate()

    async def ingest(path: bytes) -> IngestResult:
        return SUCCESS if b"/alive/" in path else await gate.pass_through(path)

    ingester = Ingester(ingest)
    alive = files(tmp_path / "alive", 5)
    async with running(ingester, concurrency=2, capacity=10) as intake:
        for root in map(str, range(8)):
            for path in files(tmp_path / root, 10):
                intake.sight(path, root=root, settle_s=0)
        assert not intake.sight(b"/another", root="0", settle_s=0)
        with anyio.fail_after(10):
            for path in alive:
                await intake.offer(path, root="alive", settle_s=0)
        await ingester.until(lambda: sorted(ingester.ended) == sorted(alive))
        assert intake.lanes.waiting + intake.lanes.in_work <= 10 + 8
        gate.opened.set()


async def test_commands_are_shared_out_evenly_between_roots(tmp_path: Path) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    many, few = files(tmp_path / "many", 40), files(tmp_path / "few", 4)
    async with running(ingester, concurrency=4) as intake:
        for path in many:
            intake.sight(path, root="many", settle_s=0)
        await ingester.until(lambda: len(ingester.started) == 4)
        for path in few:
            intake.sight(path, root="few", settle_s=0)
        await ingester.until(lambda: len(ingester.started) == 5)
        assert ingester.started[4] in few
        with anyio.fail_after(10):
            while any((intake.explain(path) or {}).get("state") == "waiting" for path in few):
                await checkpoint()
        gate.opened.set()
        await ingester.until(lambda: len(ingester.ended) == 44)
        assert max(map(ingester.started.index, few)) < 20
