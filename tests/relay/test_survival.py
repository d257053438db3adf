"""Whatever moment a relay is ended at, the next one leaves nothing undelivered."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from relay.scene import Clock, Spool, WatchedCatalogue, all_delivered, down, many, posting, running
from sqlalchemy import Engine
from sqlmodel import Session
from subscribers.receiver import Gate, Receiver, imported, status, webhook_settings

from damd.events import Event
from damd.relay.relay import Relay
from damd.subscribers.webhook import WebhookSubscriber

pytestmark = pytest.mark.anyio

Result = TypeVar("Result")


class Cut:
    """Cancels at the so-manieth step that is told to it."""

    def __init__(self, after: int) -> None:
        self.scope = anyio.CancelScope()
        self._left = after

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.scope.cancel()


class CutCatalogue(WatchedCatalogue):
    def __init__(self, engine: Engine, cut: Cut) -> None:
        super().__init__(engine)
        self._cut = cut

    async def write(self, change: Callable[[Session], Result]) -> Result:
        self._cut.step()
        result = await super().write(change)
        self._cut.step()
        return result

    async def read(self, query: Callable[[Session], Result]) -> Result:
        self._cut.step()
        result = await super().read(query)
        self._cut.step()
        return result


class CutSpool(Spool):
    def __init__(self, cut: Cut) -> None:
        super().__init__(concurrency=2, errors=[down()])
        self._cut = cut

    async def receive(self, event: Event) -> None:
        self._cut.step()
        await super().receive(event)
        self._cut.step()


async def test_a_relay_that_is_ended_at_any_step_leaves_the_rest_to_the_next_one(
    engine: Engine, catalogue: WatchedCatalogue, clock: Clock
) -> None:
    await catalogue.attach("spool")
    delivered, after, was_cut = 0, 0, True
    while was_cut:
        after += 1
        cut = Cut(after)
        first, second, events = CutSpool(cut), Spool(), many(3)
        await catalogue.store(*events)
        cut_catalogue = CutCatalogue(engine, cut)
        with cut.scope:
            async with running(cut_catalogue, first, clock=clock):
                await cut_catalogue.until_idle()
        was_cut = cut.scope.cancelled_caught
        clock.advance(timedelta(seconds=10))
        async with running(catalogue, second, clock=clock):
            delivered += len(events)
            await catalogue.until_delivered(delivered)
        assert {*first.taken_ids, *second.taken_ids} == {each.event_id for each in events}
        assert {*first.taken_ids.values(), *second.taken_ids.values()} == {1}
    assert after > 20


async def test_what_was_sent_but_not_marked_is_sent_again_with_the_same_id(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    event, gate = imported(), Gate(receiver, status(200))
    receiver.answers = [gate]
    await catalogue.attach("gallery")
    await catalogue.store(event)
    async with posting(catalogue, tmp_path, receiver.url, clock=clock):
        await receiver.has_received(1)
    (delivery,) = await catalogue.deliveries()
    assert delivery.attempts == 0
    async with posting(catalogue, tmp_path, receiver.url, clock=clock):
        await catalogue.until(all_delivered(1))
    assert [each.message_id for each in receiver.received] == [event.event_id] * 2


async def test_what_was_taken_is_marked_although_the_relay_is_cancelled(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    gate, is_held, let_go = Gate(receiver, status(200)), threading.Event(), threading.Event()
    receiver.answers = [gate]
    await catalogue.attach("gallery")
    await catalogue.store(imported())

    def hold(session: Session) -> None:
        is_held.set()
        assert let_go.wait(20)

    async def let_go_when_the_relay_has_heard() -> None:
        await anyio.wait_all_tasks_blocked()
        let_go.set()

    async with (
        WebhookSubscriber(webhook_settings(tmp_path, receiver.url)) as webhook,
        anyio.create_task_group() as outside,
        anyio.create_task_group() as relay_tasks,
    ):
        relay_tasks.start_soon(Relay(catalogue, [webhook], clock=clock).run)
        await receiver.has_received(1)
        outside.start_soon(catalogue.write, hold)
        await anyio.to_thread.run_sync(is_held.wait)
        asked = catalogue.asked
        gate.open()
        await catalogue.until_asked(asked + 1)
        relay_tasks.cancel_scope.cancel()
        outside.start_soon(let_go_when_the_relay_has_heard)
    (delivery,) = await catalogue.deliveries()
    assert delivery.delivered_at is not None


async def test_all_that_was_answered_while_one_mark_was_written_is_marked_before_the_relay_ends(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    is_held, let_go = threading.Event(), threading.Event()

    def hold(session: Session) -> None:
        is_held.set()
        assert let_go.wait(20)

    class Last(Spool):
        async def receive(self, event: Event) -> None:
            if not self.offered:
                outside.start_soon(catalogue.write, hold)
                await anyio.to_thread.run_sync(is_held.wait)
            await super().receive(event)
            if len(self.taken) == 20:
                relay_tasks.cancel_scope.cancel()
                outside.start_soon(anyio.to_thread.run_sync, let_go.set)

    spool = Last(concurrency=1)
    await catalogue.attach("spool")
    await catalogue.store(*many(20))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as outside, anyio.create_task_group() as relay_tasks:
            relay_tasks.start_soon(Relay(catalogue, [spool], clock=clock).run)
    assert Counter(each.attempts for each in await catalogue.deliveries()) == {1: 20}


async def test_what_is_answered_after_the_relay_was_cancelled_is_marked_too(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    class Stubborn(Spool):
        async def receive(self, event: Event) -> None:
            with anyio.CancelScope(shield=True):
                await super().receive(event)
                relay_tasks.cancel_scope.cancel()
                await anyio.wait_all_tasks_blocked()

    await catalogue.attach("spool")
    await catalogue.store(imported())
    with anyio.fail_after(20):
        async with anyio.create_task_group() as relay_tasks:
            relay_tasks.start_soon(Relay(catalogue, [Stubborn()], clock=clock).run)
    (delivery,) = await catalogue.deliveries()
    assert delivery.delivered_at == clock.now


async def test_who_is_ended_while_others_write_without_end_leaves_what_is_unmarked_to_the_next_one(
    catalogue: WatchedCatalogue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("damd.relay.ledger.LONGEST_FAREWELL_S", 0.01)
    is_held, let_go = threading.Event(), threading.Event()

    def hold(session: Session) -> None:
        is_held.set()
        assert let_go.wait(20)

    class Occupying(Spool):
        async def receive(self, event: Event) -> None:
            outside.start_soon(catalogue.write, hold)
            await anyio.to_thread.run_sync(is_held.wait)
            await super().receive(event)

    await catalogue.attach("spool")
    await catalogue.store(imported())
    async with anyio.create_task_group() as outside:
        async with anyio.create_task_group() as relay_tasks:
            relay_tasks.start_soon(Relay(catalogue, [Occupying()], clock=clock).run)
            await anyio.to_thread.run_sync(is_held.wait)
            await catalogue.until_asked(catalogue.asked + 1)
            relay_tasks.cancel_scope.cancel()
        let_go.set()
    (delivery,) = await catalogue.deliveries()
    assert (delivery.attempts, delivery.delivered_at) == (0, None)
    spool = Spool()
    async with running(catalogue, spool, clock=clock):
        await catalogue.until(all_delivered(1))
    assert len(spool.taken) == 1
