"""Brings one endpoint what is owed to it."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from datetime import datetime
from functools import partial

import anyio
from anyio.abc import TaskGroup

from damd.catalogue.deliveries import DueDelivery, Refusal, due_deliveries
from damd.catalogue.tables import Endpoint
from damd.errors import CatalogueUnavailableError, DeliveryError
from damd.relay.ledger import Ledger
from damd.relay.marks import Marks, Outcome
from damd.relay.pace import Pace
from damd.relay.tidings import Tidings
from damd.relay.waits import next_wait
from damd.subscribers.base import Subscriber, policy_of

CLAIMED_TOGETHER = 256
MOST_UNMARKED = 64
"""So many attempts may be under way or not yet durable: what a crash at that moment repeats at most."""


class Courier:
    """Brings one durable subscriber what is owed to it.

    Args:
        subscriber: The endpoint.
        ledger: Where its deliveries are.
        clock: The present moment, with its time zone.
        rng: Where the jitter of the waits comes from.
        on_disabled: Called when it is disabled for its failures.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        ledger: Ledger,
        clock: Callable[[], datetime],
        rng: random.Random,
        on_disabled: Callable[[], None],
    ) -> None:
        self.subscriber = subscriber
        self._policy = policy_of(subscriber)
        self._ledger = ledger
        self._clock = clock
        self._rng = rng
        self._on_disabled = on_disabled
        self._tidings = Tidings(subscriber)
        self._marks = Marks(ledger, subscriber.name, self._policy.disable_after, clock)
        self._pace: Pace | None = None  # until it is known how the endpoint stands
        self._gave_up = False
        self._is_due = False
        self._claimed: deque[DueDelivery] = deque()
        self._in_work: set[int] = set()  # due by the catalogue until they are marked
        self._under_way = 0
        self._changed = anyio.Event()

    def stands(self, endpoint: Endpoint) -> None:
        """How the endpoint stands by the catalogue; told before the first `wake`, and with each look."""
        self._tidings.stands(endpoint, gave_up=self._gave_up)
        if endpoint.disabled_at is not None:
            self._gave_up = False  # it is told now
            self._pace = None  # once it is enabled, it begins anew
            self._put_back()
        elif self._pace is None:
            self._pace = Pace(self._policy.concurrency, endpoint.failing_since)

    def wake(self) -> None:
        """Look at what is due."""
        self._is_due = True
        self._changed.set()

    async def run(self) -> None:
        """Deliver until cancelled; what was answered by then is marked."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._mark)
                while True:
                    self._changed = anyio.Event()
                    await self._claim()
                    while self._claimed and self._room() > 0:
                        self._send(tasks, self._claimed.popleft())
                    await self._changed.wait()
        finally:
            await self._marks.finish()

    def _room(self) -> int:
        if self._pace is None:
            return 0
        room = self._pace.room(at=self._clock(), under_way=self._under_way)
        return min(room, MOST_UNMARKED - self._under_way - len(self._marks))

    async def _claim(self) -> None:
        if self._claimed or not self._is_due or self._room() <= 0:
            return
        self._is_due = False  # a wake while it is asked counts again
        ask = partial(
            due_deliveries,
            endpoint=self.subscriber.name,
            at=self._clock(),
            limit=CLAIMED_TOGETHER,
            in_work=tuple(self._in_work),
        )
        try:
            claimed = await self._ledger.read(ask)
        except CatalogueUnavailableError:
            return  # the relay finds it due again
        self._is_due |= len(claimed) == CLAIMED_TOGETHER
        self._claimed.extend(claimed)
        self._in_work.update(delivery.delivery_id for delivery in claimed)

    def _put_back(self) -> None:
        """What is claimed and not sent stays due, to be claimed again when it is its time."""
        self._is_due |= bool(self._claimed)
        self._in_work.difference_update(delivery.delivery_id for delivery in self._claimed)
        self._claimed.clear()

    def _send(self, tasks: TaskGroup, delivery: DueDelivery) -> None:
        if self._pace is not None:
            self._under_way += 1
            tasks.start_soon(self._attempt, delivery, self._pace, self._pace.rests)

    async def _attempt(self, delivery: DueDelivery, pace: Pace, rests: int) -> None:
        try:
            error = await self._offer(delivery)
        finally:
            self._under_way -= 1
            self._changed.set()
        # Nothing is awaited from here on: what was answered is known to `Marks`, whatever is cancelled.
        if error is None:
            self._tidings.taken(delivery, at=self._clock())
            self._marks.add(Outcome(delivery.delivery_id, is_back=pace.answered()))
        else:
            self._marks.add(self._refused(delivery, error, pace, rests))

    async def _offer(self, delivery: DueDelivery) -> DeliveryError | None:
        try:
            await self.subscriber.receive(delivery.event)
        except DeliveryError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a plugin's may raise anything, and it is logged
            self._tidings.raised(delivery, error)
            return DeliveryError(f"{type(error).__name__}: {error}")
        return None

    def _refused(self, delivery: DueDelivery, error: DeliveryError, pace: Pace, rests: int) -> Outcome:
        at, is_back = self._clock(), False
        if error.is_down:
            pace.failed(at=at, rests=rests, retry_after_s=error.retry_after_s)
        elif not error.is_gone:
            is_back = pace.answered()
        wait = next_wait(
            self._policy.retry,
            delivery.attempts,
            retry_after_s=error.retry_after_s,
            rng=self._rng,
            at_most=pace.longest_wait(at) if error.is_down else None,
        )
        self._tidings.refused(delivery, error, at=at, next_attempt_at=at + wait)
        refusal = Refusal(delivery.delivery_id, at + wait, str(error), error.status_code, error.response)
        return Outcome(delivery.delivery_id, refusal, is_gone=error.is_gone, is_back=is_back)

    async def _mark(self) -> None:
        while True:
            written = await self._marks.write()
            self._in_work.difference_update(written.delivery_ids)
            self._is_due |= written.is_more_due
            if written.because is not None:
                self._gave_up = True
                self._pace = None
                self._put_back()
                self._on_disabled()
            self._changed.set()
