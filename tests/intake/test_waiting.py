"""The waiting files of a root: looks at real files, and what is told of them."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from damd.intake import waiting as waiting_module
from damd.intake.look import Look, look_at
from damd.intake.waiting import Looked, Waiting

pytestmark = pytest.mark.anyio


def file(folder: Path, name: str) -> bytes:
    (folder / name).touch()
    return os.fsencode(folder / name)


def inode(path: bytes) -> int:
    return os.stat(path).st_ino  # noqa: PTH116 - pathlib has no paths of bytes


async def rested(waiting: Waiting) -> list[Looked]:
    """The first that come to rest."""
    with anyio.fail_after(10):
        while True:
            if (due_at := waiting.next_look_at()) is not None:
                await anyio.sleep_until(due_at)
            if found := [looked for looked in await waiting.look(waiting.take_due()) if looked.has_rested]:
                return found


async def test_what_rests_and_what_is_gone_wait_no_longer(tmp_path: Path) -> None:
    waiting = Waiting()
    here, gone = file(tmp_path, "here"), os.fsencode(tmp_path / "gone")
    for path in (here, gone):
        waiting.sight(path, settle_s=0, closed=False)
    assert len(waiting) == 2
    assert await rested(waiting) == [Looked(gone, None, has_rested=True)]
    assert await rested(waiting) == [Looked(here, inode(here), has_rested=True)]
    assert (len(waiting), waiting.next_look_at(), waiting.take_due()) == (0, None, [])


async def test_what_is_out_of_reach_rests_and_the_inode_of_what_does_not_is_told(tmp_path: Path) -> None:
    waiting = Waiting()
    first, second, beyond = file(tmp_path, "first"), file(tmp_path, "second"), os.fsencode(tmp_path / ("a" * 300))
    for path in (first, beyond):
        waiting.sight(path, settle_s=3600, closed=False)
    assert await waiting.look(waiting.take_due()) == [
        Looked(first, inode(first), has_rested=False),
        Looked(beyond, 0, has_rested=True),
    ]
    waiting.sight(second, settle_s=3600, closed=False)
    assert waiting.waiting_for(first) == "it to be quiet for 3600 s"
    assert waiting.waiting_for(second) == "its first look"


async def test_a_look_that_was_asked_for_comes_at_once_and_settles_nothing(tmp_path: Path) -> None:
    waiting = Waiting()
    here, other = file(tmp_path, "here"), file(tmp_path, "other")
    waiting.sight(here, settle_s=3600, closed=False)
    await waiting.look(waiting.take_due())
    due_at = waiting.next_look_at()
    assert due_at is not None
    assert due_at > 0.0
    waiting.ask([here, other])
    assert waiting.next_look_at() == 0.0
    assert await waiting.look(waiting.take_due()) == [
        Looked(here, inode(here), has_rested=False),
        Looked(other, inode(other), has_rested=False),
    ]
    assert (waiting.next_look_at(), waiting.take_due(), len(waiting)) == (due_at, [], 1)


async def test_there_is_one_look_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting()
    paths = [file(tmp_path, str(number)) for number in range(3)]
    monkeypatch.setattr(waiting_module, "_LOOKS", 2)
    for path in paths:
        waiting.sight(path, settle_s=3600, closed=False)
    due = waiting.take_due()
    assert due == paths[:2]
    assert (waiting.take_due(), waiting.next_look_at()) == ([], None)
    await waiting.look(due)
    assert waiting.take_due() == paths[2:]


async def test_a_look_that_hangs_is_left_behind_when_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, revived = threading.Event(), threading.Event()

    def hang(paths: Sequence[bytes]) -> list[Look]:
        hangs.set()
        revived.wait(30)
        return look_at(paths)

    monkeypatch.setattr(waiting_module, "look_at", hang)
    waiting = Waiting()
    waiting.sight(file(tmp_path, "a"), settle_s=0, closed=False)
    try:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(waiting.look, waiting.take_due())
                await anyio.to_thread.run_sync(hangs.wait)
                tasks.cancel_scope.cancel()
    finally:
        revived.set()


async def test_who_is_written_or_does_not_come_to_rest_is_restless(tmp_path: Path) -> None:
    waiting = Waiting()
    path = file(tmp_path, "a")
    assert not waiting.is_restless(path, settle_s=0.5, waited_s=3600)
    with (tmp_path / "a").open("wb"):
        waiting.sight(path, settle_s=0.5, closed=False)
        assert not waiting.is_restless(path, settle_s=0.5, waited_s=5.9)
        assert waiting.is_restless(path, settle_s=0.5, waited_s=6.0)
        await waiting.look(waiting.take_due())
        assert waiting.is_restless(path, settle_s=0.5, waited_s=0.0)
