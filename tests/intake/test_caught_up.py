"""Catching up: what is waited for, for how long at most, and which inodes are told."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from intake.ingesting import SUCCESS, Gate, Ingester, files, hanging_looks, inode, running

from damd.intake import Intake, outage, waiting
from damd.intake import intake as intake_module
from damd.results import IngestResult, IngestStatus

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def catching_up(intake: Intake, root: str = "a") -> AsyncIterator[list[frozenset[int]]]:
    """The answer is in the list once there is one; left, there must be one."""
    answers: list[frozenset[int]] = []

    async def catch_up() -> None:
        answers.append(await intake.caught_up(root))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(catch_up)
            for _ in range(5):
                await checkpoint()
            yield answers


async def test_catching_up_waits_for_what_waits_is_ready_and_is_in_work_but_for_nothing_later(tmp_path: Path) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    (*paths, later) = files(tmp_path, 6)
    async with running(ingester, concurrency=2) as intake:
        assert await intake.caught_up("a") == frozenset()
        for path in paths:
            intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.started) == 2)
        waiting_for_settle = tmp_path / "young"
        waiting_for_settle.touch()
        intake.sight(os.fsencode(waiting_for_settle), root="a", settle_s=0.2)
        async with catching_up(intake) as answers:
            intake.sight(later, root="a", settle_s=3600)
            intake.sight(paths[0], root="a", settle_s=3600)
            assert answers == []
            gate.opened.set()
        assert set(ingester.ended) == {*paths, os.fsencode(waiting_for_settle)}
        # What was sighted later is told, as far as it was looked at.
        assert inode(later) in answers[0]


async def test_catching_up_waits_for_the_second_round_of_what_was_sighted_while_it_was_in_work(tmp_path: Path) -> None:
    gates = [Gate(), Gate()]

    async def ingest(path: bytes) -> IngestResult:
        return await gates[len(ingester.started) - 1].pass_through(path)

    ingester = Ingester(ingest)
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: len(ingester.started) == 1)
        intake.sight(path, root="a", settle_s=0)
        async with catching_up(intake) as answers:
            gates[0].opened.set()
            await ingester.until(lambda: len(ingester.started) == 2)
            assert answers == []
            gates[1].opened.set()


async def test_catching_up_does_not_wait_for_what_somebody_writes_and_tells_its_inode(tmp_path: Path) -> None:
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        with open(path, "ab") as file:  # noqa: PTH123, ASYNC230 - pathlib has no paths of bytes; it is local
            intake.sight(path, root="a", settle_s=0)
            async with catching_up(intake) as answers:
                pass
            assert answers == [frozenset({os.fstat(file.fileno()).st_ino})]
            assert intake.explain(path)["for"] == "whoever writes it to close it"  # type: ignore[index]  # it is known
            assert ingester.started == []
            assert intake.lanes.waiting_in("a") == 1
        intake.sight(path, root="a", settle_s=0, closed=True)
        await ingester.until(lambda: ingester.ended == [path])


async def test_catching_up_tells_what_waits_in_every_root_and_waits_for_its_own_only(tmp_path: Path) -> None:
    ingester = Ingester()
    (own,), (other,) = files(tmp_path / "a", 1), files(tmp_path / "b", 1)
    async with running(ingester) as intake:
        intake.sight(other, root="b", settle_s=3600)
        with anyio.fail_after(10):
            while intake.explain(other)["for"] == "its first look":  # type: ignore[index]  # it is known
                await checkpoint()
        intake.sight(own, root="a", settle_s=0)
        async with catching_up(intake) as answers:
            pass
        assert ingester.ended == [own]
        assert answers == [frozenset({inode(other)})]
        assert (intake.lanes.waiting_in("a"), intake.lanes.waiting_in("b")) == (0, 1)


async def test_catching_up_does_not_wait_for_ever_for_what_does_not_come_to_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_RESTLESS_AFTER_S", 0.1)
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=3600)
        intake.sight(os.fsencode(tmp_path / "gone"), root="a", settle_s=0)
        monkeypatch.setattr(waiting, "_RESTLESS_AFTER_SETTLES", 0)
        async with catching_up(intake) as answers:
            pass
        assert answers == [frozenset({inode(path)})]
        assert (intake.lanes.waiting, ingester.started) == (1, [])


async def test_catching_up_does_not_end_during_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_FIRST_WAIT_S", 0.05)
    is_out = True

    async def answer(path: bytes) -> IngestResult:
        return IngestResult(status=IngestStatus.FAILED, catalogue_failed=True) if is_out else SUCCESS

    ingester = Ingester(answer)
    paths = files(tmp_path, 5)
    async with running(ingester) as intake:
        for path in paths:
            intake.sight(path, root="a", settle_s=0)
        async with catching_up(intake) as answers:
            await ingester.until(lambda: len(ingester.ended) >= 3)
            assert {intake.explain(path)["for"] for path in paths} == {  # type: ignore[index]  # they are known
                "the catalogue to take writes again"
            }
            assert answers == []
            is_out = False
            ended = len(ingester.ended)
        assert set(ingester.ended[ended:]) == set(paths)


async def test_a_path_sighted_during_its_command_that_an_outage_foiled_ends_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "_FIRST_WAIT_S", 0.05)
    gate = Gate()

    async def answer(path: bytes) -> IngestResult:
        if ingester.ended:
            return SUCCESS
        await gate.opened.wait()
        return IngestResult(status=IngestStatus.FAILED, catalogue_failed=True)

    ingester = Ingester(answer)
    (path,) = files(tmp_path, 1)
    async with running(ingester) as intake:
        intake.sight(path, root="a", settle_s=0)
        await ingester.until(lambda: ingester.started == [path])
        intake.sight(path, root="a", settle_s=0)
        async with catching_up(intake) as answers:
            assert answers == []
            gate.opened.set()
        assert ingester.ended == [path, path]


async def test_catching_up_is_over_with_its_patience_and_tells_what_is_ready_and_in_work_in_every_root(
    tmp_path: Path,
) -> None:
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    own, others = files(tmp_path / "a", 600), files(tmp_path / "b", 3)
    async with running(ingester, concurrency=2) as intake:
        for path in others:
            intake.sight(path, root="b", settle_s=0)
        await ingester.until(lambda: len(ingester.started) == 2)
        for path in own:
            intake.sight(path, root="a", settle_s=0)
        with anyio.fail_after(10):
            assert await intake.caught_up("a", patience_s=1.0) == frozenset(map(inode, [*own, *others]))
        assert (ingester.ended, intake.lanes.waiting_in("a"), intake.lanes.waiting_in("b")) == ([], 599, 1)
        gate.opened.set()


async def test_catching_up_is_over_with_its_patience_during_an_outage_too(tmp_path: Path) -> None:
    async def fail(path: bytes) -> IngestResult:
        return IngestResult(status=IngestStatus.FAILED, catalogue_failed=True)

    ingester = Ingester(fail)
    paths = files(tmp_path, 5)
    async with running(ingester) as intake:
        for path in paths:
            intake.sight(path, root="a", settle_s=0)
        with anyio.fail_after(10):
            assert await intake.caught_up("a", patience_s=0.5) == frozenset(map(inode, paths))
        assert intake.lanes.waiting + intake.lanes.in_work == 5


async def test_catching_up_tells_of_the_file_that_has_taken_another_ones_place_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "_FOR_ENDS", 0.02)
    gate = Gate()
    ingester = Ingester(gate.pass_through)
    in_work, settling, first, second = files(tmp_path, 4)
    async with running(ingester) as intake:
        intake.sight(in_work, root="a", settle_s=0)
        intake.sight(settling, root="a", settle_s=3600)
        await ingester.until(lambda: ingester.started == [in_work])
        with anyio.fail_after(10):
            while intake.explain(settling)["for"] == "its first look":  # type: ignore[index]  # it is known
                await checkpoint()
        for path, there in ((first, in_work), (second, settling)):
            os.replace(path, there)  # noqa: PTH105 - pathlib has no paths of bytes
            intake.sight(there, root="a", settle_s=3600, moved_from=path)
        with anyio.fail_after(10):
            told = await intake.caught_up("a", patience_s=9.0)
        assert told == {inode(in_work), inode(settling)}
        assert intake.lanes.waiting + intake.lanes.in_work == 2
        gate.opened.set()


async def test_catching_up_is_over_with_its_patience_where_looks_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revived = hanging_looks(lambda path: path.endswith(b"/0"), monkeypatch)
    ingester = Ingester()
    (path,) = files(tmp_path, 1)
    try:
        async with running(ingester) as intake:
            intake.sight(path, root="a", settle_s=0)
            with anyio.fail_after(10):
                assert await intake.caught_up("a", patience_s=0.1) == frozenset()
            revived.set()
            await ingester.until(lambda: ingester.ended == [path])
    finally:
        revived.set()
