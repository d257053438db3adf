"""From committed events to those who asked: the relay's durable deliveries, and `listen` for the rest.

The promise: at least once; a stable id; no ordering. An event first becomes a delivery for each durable
subscriber that wants it, in a transaction of its own, since whoever made it need not know the subscribers.
Each of them has a task that claims what is due and sends it, so that a slow one delays nobody else. What is
due, and when it is due again, is in the catalogue: whatever a crash leaves unmarked is sent again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import anyio
import structlog
from anyio.abc import TaskGroup
from sqlmodel import Session

from damd.catalogue.outbox import (
    DueDelivery,
    awaits_fan_out,
    due_deliveries,
    fan_out,
    mark_delivered,
    mark_refused,
    next_due_at,
)
from damd.catalogue.store import Catalogue
from damd.errors import CatalogueUnavailableError, DeliveryError
from damd.events import Event
from damd.subscribers.base import Subscriber, retry_schedule
from damd.world import World

_log = structlog.get_logger(__name__)

Result = TypeVar("Result")

AT_ONCE = 8
"""Deliveries to one subscriber that may be under way together."""
JITTER = 0.2
"""Waits are this much longer or shorter, so that what failed together does not come back together."""
_LONGEST_WAIT = timedelta(days=365)
_LONGEST_REASON = 1000
_FANNED_OUT_TOGETHER = 500
_CLAIMED_TOGETHER = 64


def next_wait(
    retry: Sequence[timedelta], attempts: int, *, retry_after_s: float | None, rng: random.Random
) -> timedelta:
    """How long to wait after a refusal.

    Args:
        retry: The subscriber's schedule; its last wait repeats.
        attempts: How many had been made before this one.
        retry_after_s: What the receiver asked for; it only ever makes the wait longer.
        rng: Where the jitter comes from, `JITTER` of the wait either way.
    """
    planned = min(retry[min(attempts, len(retry) - 1)], _LONGEST_WAIT)
    asked = timedelta(seconds=min(_LONGEST_WAIT.total_seconds(), retry_after_s or 0.0))
    return max(planned * rng.uniform(1 - JITTER, 1 + JITTER), asked)


def _storable(text: str) -> str:
    """What every database takes: neither NUL nor lone surrogates, of which other people's errors are free to speak."""
    return text[:_LONGEST_REASON].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


class _Ledger:
    """The catalogue as the relay uses it: of an outage, the log tells once, however often it is met."""

    def __init__(self, catalogue: Catalogue, pause_s: float) -> None:
        self._catalogue = catalogue
        self._pause_s = pause_s
        self._outages: set[str] = set()  # a full disk stops writing alone

    async def read(self, query: Callable[[Session], Result]) -> Result:
        try:
            result = await self._catalogue.read(query)
        except CatalogueUnavailableError as error:
            self._began("read", error)
            raise
        self._ended("read")
        return result

    async def write(self, change: Callable[[Session], Result]) -> Result:
        try:
            result = await self._catalogue.write(change)
        except CatalogueUnavailableError as error:
            self._began("write", error)
            raise
        self._ended("write")
        return result

    async def insist(self, change: Callable[[Session], None]) -> None:
        """Write, as often as it takes; a cancellation waits for the attempt that runs, and ends the rest."""
        while True:
            with anyio.CancelScope(shield=True), suppress(CatalogueUnavailableError):
                await self.write(change)
                return
            await anyio.sleep(self._pause_s)

    def _began(self, verb: str, error: CatalogueUnavailableError) -> None:
        if verb not in self._outages:
            _log.warning("deliveries wait for the catalogue", operation=verb, error=str(error))
        self._outages.add(verb)

    def _ended(self, verb: str) -> None:
        if verb in self._outages:
            _log.info("deliveries go on", operation=verb)
        self._outages.discard(verb)


class _Courier:
    """Brings one durable subscriber what is owed to it."""

    def __init__(
        self, subscriber: Subscriber, ledger: _Ledger, clock: Callable[[], datetime], rng: random.Random
    ) -> None:
        self.subscriber = subscriber
        self._retry = retry_schedule(subscriber)
        self._ledger = ledger
        self._clock = clock
        self._rng = rng
        self._log = _log.bind(kind=subscriber.kind, subscriber=subscriber.name)
        self._woken = anyio.Event()
        self._slots = anyio.Semaphore(AT_ONCE)
        self._in_work: set[int] = set()  # due by the catalogue until they are marked

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                await self._woken.wait()
                self._woken = anyio.Event()
                with suppress(CatalogueUnavailableError):
                    await self._send_what_is_due(tasks)

    async def _send_what_is_due(self, tasks: TaskGroup) -> None:
        is_more = True
        while is_more:
            claim = partial(
                due_deliveries,
                subscriber=self.subscriber.name,
                at=self._clock(),
                limit=_CLAIMED_TOGETHER,
                in_work=tuple(self._in_work),
            )
            claimed = await self._ledger.read(claim)
            for delivery in claimed:
                await self._slots.acquire()
                self._in_work.add(delivery.delivery_id)
                tasks.start_soon(self._deliver, delivery)
            is_more = len(claimed) == _CLAIMED_TOGETHER

    async def _deliver(self, delivery: DueDelivery) -> None:
        # The slot is held until the mark is durable: where nothing can be written, no more is sent.
        try:
            error = await self._offer(delivery.event)
            if error is None:
                await self._delivered(delivery)
            else:
                await self._refused(delivery, error)
        finally:
            self._in_work.discard(delivery.delivery_id)
            self._slots.release()

    async def _offer(self, event: Event) -> DeliveryError | None:
        try:
            await self.subscriber.receive(event)
        except DeliveryError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a plugin's may raise anything, and it is logged
            self._log.exception("subscriber failed", event_id=event.event_id)
            return DeliveryError(f"{type(error).__name__}: {error}")
        return None

    async def _delivered(self, delivery: DueDelivery) -> None:
        await self._ledger.insist(partial(mark_delivered, delivery_id=delivery.delivery_id, at=self._clock()))
        self._log.debug("delivery taken", event_id=delivery.event.event_id, attempts=delivery.attempts + 1)

    async def _refused(self, delivery: DueDelivery, error: DeliveryError) -> None:
        wait = next_wait(self._retry, delivery.attempts, retry_after_s=error.retry_after_s, rng=self._rng)
        next_attempt_at = self._clock() + wait
        self._log.warning(
            "delivery refused",
            event_id=delivery.event.event_id,
            attempts=delivery.attempts + 1,
            next_attempt_at=next_attempt_at.isoformat(),
            error=str(error),
        )
        await self._ledger.insist(
            partial(
                mark_refused,
                delivery_id=delivery.delivery_id,
                reason=_storable(str(error)),
                next_attempt_at=next_attempt_at,
            )
        )


class Relay:
    """Takes committed events from the catalogue to the durable subscribers, until each has taken them.

    Args:
        catalogue: Where the events are.
        subscribers: Already entered, where they are context managers; those that are not durable are left
            to `listen`.
        clock: The present moment, with its time zone; decides what is due.
        poll_interval: How soon what other processes committed, or what is due again, is noticed.
        rng: Where the jitter of the waits comes from.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        subscribers: Sequence[Subscriber],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        poll_interval: timedelta = timedelta(seconds=1),
        rng: random.Random | None = None,
    ) -> None:
        self._poll_interval_s = poll_interval.total_seconds()
        self._ledger = _Ledger(catalogue, self._poll_interval_s)
        self._clock = clock
        self._woken = anyio.Event()
        rng = rng or random.Random()  # noqa: S311 - jitter is no secret
        self._couriers = [
            _Courier(subscriber, self._ledger, clock, rng) for subscriber in subscribers if subscriber.durable
        ]

    def listen(self, world: World) -> None:
        """Be woken by this World's events, which its systems dispatch once they are committed."""

        async def wake(_event: Event) -> None:  # a plain function would run in a thread
            self.wake()

        world.register_system(wake, event_type=Event)

    def wake(self) -> None:
        """Look at once; called on the event loop after a commit, so that one's own events need not be polled for."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; an attempt that is then under way is made again by whoever runs next."""
        async with anyio.create_task_group() as tasks:
            for courier in self._couriers:
                tasks.start_soon(courier.run)
            while True:
                self._woken = anyio.Event()
                with suppress(CatalogueUnavailableError):
                    await self._look()
                with anyio.move_on_after(self._poll_interval_s):
                    await self._woken.wait()

    async def _look(self) -> None:
        is_new, due = await self._ledger.read(self._waiting)
        for courier in due:
            courier.wake()
        change = partial(fan_out, wanting=self._wanting, at=self._clock(), limit=_FANNED_OUT_TOGETHER)
        while is_new:
            is_new = await self._ledger.write(change) == _FANNED_OUT_TOGETHER
            for courier in self._couriers:
                courier.wake()

    def _waiting(self, session: Session) -> tuple[bool, list[_Courier]]:
        """Whether there are new events, and whose deliveries are due; two look-ups in indexes for each."""
        at = self._clock()
        dues = ((courier, next_due_at(session, [courier.subscriber.name])) for courier in self._couriers)
        return awaits_fan_out(session), [courier for courier, due in dues if due is not None and due <= at]

    def _wanting(self, event_type: str) -> list[str]:
        return [each.subscriber.name for each in self._couriers if each.subscriber.wants(event_type)]


def listen(world: World, subscribers: Sequence[Subscriber]) -> None:
    """Tell the subscribers that are not durable of every event that this World dispatches, once."""
    for subscriber in subscribers:
        if not subscriber.durable:
            world.register_system(_teller(subscriber), event_type=Event)


def _teller(subscriber: Subscriber) -> Callable[..., object]:
    async def tell(event: Event) -> None:
        if subscriber.wants(event.event_type):
            await subscriber.receive(event)

    return tell
