"""An ingest that is cancelled: nothing is left of it, or all of it is there."""

import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from bench import Bench
from sqlmodel import col, select

from damd.catalogue.tables import ContentHash, StoredEvent
from damd.fingerprint import calculate_hash

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("moment", ["hashed", "about to be read"])
async def test_given_up_between_two_steps_nothing_is_left(bench: Bench, moment: str) -> None:
    path = bench.picture("a.jpg")
    with anyio.CancelScope() as scope:

        async def give_up(command: object) -> None:
            scope.cancel()
            await anyio.sleep_forever()

        if moment == "hashed":
            bench.after_hashing = give_up
        else:
            bench.before_reading = give_up
        await bench.ingest(path)
    assert scope.cancelled_caught
    assert await bench.known(path) == (None, None)
    bench.reset()
    assert (await bench.ingest(path)).status == "SUCCESS"


async def test_given_up_while_the_picture_is_read_nothing_is_left(bench: Bench) -> None:
    for after_s in (0, 0.002, 0.005, 0.02):
        path = bench.picture("a.jpg", size=(380, 260))
        sha256 = await calculate_hash(path)
        with anyio.CancelScope() as scope:

            async def give_up_soon(command: object, scope: anyio.CancelScope = scope, after_s: float = after_s) -> None:
                scope.deadline = anyio.current_time() + after_s

            bench.before_reading = give_up_soon
            await bench.ingest(path)
        await bench.check()
        known = await bench.known(path)
        assert known.failure is None
        if known.location is None or known.location.sha256 != sha256:
            bench.reset()
            assert (await bench.ingest(path)).status == "SUCCESS"


@pytest.mark.parametrize("begun", [False, True])
async def test_given_up_at_the_commit_it_is_either_withdrawn_or_whole(bench: Bench, begun: bool) -> None:
    path = bench.picture("a.jpg")
    sha256 = await calculate_hash(path)
    entered, leave = threading.Event(), threading.Event()

    def hold_the_writer(session: object) -> None:
        entered.set()
        assert leave.wait(20)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as holding:
            holding.start_soon(bench.catalogue.write, hold_the_writer)
            await anyio.to_thread.run_sync(entered.wait)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bench.ingest, path)
                while not bench.catalogue._waiting:  # until its change stands behind the other
                    await anyio.lowlevel.checkpoint()
                assert len(bench.previews(sha256)) == 1
                if begun:
                    leave.set()
                    while bench.catalogue._waiting:
                        await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            leave.set()
    known = await bench.known(path)
    assert known.failure is None
    assert (known.location is not None) == begun
    stored = select(StoredEvent.id).join(ContentHash, col(ContentHash.entity_id) == StoredEvent.entity_id)
    events = await bench.catalogue.read(lambda session: session.exec(stored.where(ContentHash.sha256 == sha256)).all())
    assert len(events) == (2 if begun else 0), "it looks like another one, and that is told, too"
    assert (await bench.ingest(path)).status == ("SKIPPED" if begun else "SUCCESS")
