"""A root in doubt: what was missed, a root that is not there or does not answer, a catalogue that is away."""

import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy
from sqlmodel import Session, select
from structlog.testing import capture_logs
from watch.rooted import MakeRoot, Sink, Watches, move, running, until

from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Root
from damd.errors import WatchError
from damd.mounts import Mounts
from damd.watch import root as root_module
from damd.watch.base import RootSettings, Sighting
from damd.watch.presence import Presence, look_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_a_hurry")]


async def test_after_a_loss_the_watches_are_renewed_and_the_whole_root_is_compared(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    root = make_root()
    with capture_logs() as lines:
        async with running(root, sink):
            (folder / "a" / "1.jpg").touch()
            watches.lose("the queue overflowed")
            await sink.until(lambda: sink.reconciled == 2)
            assert sink.offered == ["1.jpg"]
            assert (watches.entered, root.state.renewals) == (2, 1)
            assert root.held is None
    assert [line["reason"] for line in lines if line["event"] == "watches renewed"] == ["the queue overflowed"]


async def test_between_a_loss_and_the_next_comparison_the_root_is_not_at_rest(
    make_root: MakeRoot, sink: Sink, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_root()
    scanning: list[bool] = []
    open_one = watches.open

    @asynccontextmanager
    async def note_and_open(
        settings: RootSettings, wants: Callable[[bytes], bool], canary: Path | None
    ) -> AsyncIterator[Watches]:
        scanning.append(root.state.scanning)
        async with open_one(settings, wants, canary) as opened:
            yield opened

    monkeypatch.setattr(root_module, "open_watcher", note_and_open)
    async with running(root, sink):
        watches.lose("the queue overflowed")
        await sink.until(lambda: sink.reconciled == 2)
    assert scanning == [True, True]


async def test_losses_that_follow_one_another_are_answered_ever_more_slowly(
    make_root: MakeRoot, sink: Sink, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    class Clock:
        """Sleeping takes no time, but is noted."""

        def __getattr__(self, name: str) -> object:
            return getattr(anyio, name)

        @staticmethod
        async def sleep(seconds: float) -> None:
            if seconds == root_module._ABSENT_S:
                await anyio.sleep_forever()
            pauses.append(seconds)
            await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(root_module, "anyio", Clock())
    monkeypatch.setattr(root_module, "_LONGEST_RENEWAL_PAUSE_S", 3.0)
    async with running(make_root(), sink):
        for renewals in range(1, 6):
            watches.lose("again")
            await sink.until(lambda: sink.reconciled == renewals + 1)  # noqa: B023 - awaited within the loop
    assert pauses == [0.0, 1.0, 2.0, 3.0, 3.0]


async def test_a_root_that_is_not_there_at_the_start_is_held_until_it_appears(
    folder: Path, make_root: MakeRoot, sink: Sink, catalogue: Catalogue
) -> None:
    shutil.rmtree(folder)
    root = make_root()

    async def held_because() -> str | None:
        return (await catalogue.read(lambda session: session.exec(select(Root)).one())).held_because

    async with running(root, sink):
        assert root.held is not None
        assert "No such file" in root.held
        assert await held_because() == root.held
        assert (root.state.backend, root.state.scanning) == (None, False)
        (folder / "a").mkdir(parents=True)
        (folder / "a" / "1.jpg").touch()
        await sink.until(lambda: sink.offered == ["1.jpg"])
        await until(lambda: root.held is None)
        await until(lambda: not root.state.scanning)
        assert root.state.backend == "polling"
    assert await held_because() is None


async def test_a_root_that_vanishes_is_held_and_compared_when_it_is_back(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    root = make_root()
    away = folder.with_name("away")
    async with running(root, sink):
        move(folder, away)
        await until(lambda: root.held is not None)
        await until(lambda: root.state.backend is None)
        (away / "a" / "1.jpg").touch()
        move(away, folder)
        await sink.until(lambda: sink.offered == ["1.jpg"])
        await until(lambda: root.held is None)
        assert watches.entered == 2


async def test_another_folder_in_the_root_s_place_is_watched_anew_and_compared(
    folder: Path, make_root: MakeRoot, sink: Sink, watches: Watches
) -> None:
    root = make_root()
    other = folder.with_name("other")
    other.mkdir()
    (other / "1.jpg").touch()
    async with running(root, sink):
        # Whatever moment is looked at: there is the one, or nothing, or the other.
        move(folder, folder.with_name("away"))
        move(other, folder)
        await sink.until(lambda: sink.offered == ["1.jpg"])
        await until(lambda: watches.entered == 2)


async def test_a_root_that_does_not_answer_is_held(
    make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def hang(folder: bytes, mounts: Mounts) -> Presence:
        answers.wait(20)
        raise WatchError(os.fsdecode(folder), OSError(5, "Input/output error"))

    monkeypatch.setattr(root_module, "_ANSWER_S", 0.02)
    monkeypatch.setattr(root_module, "look_for", hang)
    root = make_root()
    try:
        async with running(root, sink):
            assert root.held is not None
            assert "it does not answer" in root.held
    finally:
        answers.set()


async def test_a_look_that_hangs_is_followed_by_no_other_until_it_returns(
    make_root: MakeRoot, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    looks: list[bytes] = []

    def hang(folder: bytes, mounts: Mounts) -> Presence:
        looks.append(folder)
        answers.wait(20)
        return look_for(folder, mounts)

    monkeypatch.setattr(root_module, "_ANSWER_S", 0.02)
    monkeypatch.setattr(root_module, "look_for", hang)
    root = make_root()
    try:
        async with running(root, sink):
            await sink.until(lambda: sink.reconciled >= 4)
            assert len(looks) == 1
            monkeypatch.setattr(root_module, "_ANSWER_S", 10.0)
            answers.set()
            await until(lambda: root.held is None)
            assert len(looks) > 1
    finally:
        answers.set()


async def test_a_look_that_is_cancelled_before_it_begins_keeps_nobody_from_looking(
    make_root: MakeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "_ANSWER_S", 5.0)
    root = make_root()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await root._look()
    assert scope.cancelled_caught
    assert await root._look()


async def test_reconciling_outlives_a_catalogue_that_cannot_be_read(
    folder: Path, make_root: MakeRoot, catalogue: Catalogue, sink: Sink
) -> None:
    def rename(session: Session, before: str, after: str) -> None:
        session.execute(sqlalchemy.text(f"ALTER TABLE {before} RENAME TO {after}"))

    (folder / "1.jpg").touch()
    await catalogue.write(lambda session: rename(session, "location", "hidden"))
    root = make_root()
    with capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            await tasks.start(lambda task_status: root.run(sink, sink.note_reconciled, task_status=task_status))
            waits = "reconciling waits for the catalogue"
            await until(lambda: any(line["event"] == waits for line in lines))
            assert root.state.scanning
            await catalogue.write(lambda session: rename(session, "hidden", "location"))
            await sink.until(lambda: sink.offered == ["1.jpg"])
            await sink.until(lambda: sink.reconciled == 1)
            tasks.cancel_scope.cancel()


async def test_what_is_no_doubt_is_an_error(make_root: MakeRoot, sink: Sink, watches: Watches) -> None:
    async def fail() -> list[Sighting]:
        raise ZeroDivisionError

    watches.next_batch = fail  # type: ignore[method-assign]  # a fault of a watcher's
    with pytest.raises(ExceptionGroup) as caught:
        async with running(make_root(), sink):
            await anyio.sleep_forever()
    assert caught.group_contains(ZeroDivisionError)
