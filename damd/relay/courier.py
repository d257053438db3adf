"""Brings one endpoint what is owed to it."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime
from functools import partial

import anyio
from anyio.abc import TaskGroup

from damd.catalogue.deliveries import DueDelivery, Refusal, due_deliveries
from damd.catalogue.tables import Endpoint
from damd.errors import CatalogueUnavailableError, DeliveryError
from damd.relay.endpoint_log import EndpointLog
from damd.relay.ledger import Ledger
from damd.relay.outcomes import Outcome, Outcomes
from damd.relay.refusals import as_refusal
from damd.relay.throttle import Throttle
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
        self._log = EndpointLog(subscriber)
        self._outcomes = Outcomes(ledger, subscriber.name, self._policy.disable_after, clock)
        self._throttle: Throttle | None = None  # until it is known how the endpoint stands
        self._stands = False
        self._enabled_at: datetime | None = None
        self._answered_at: datetime | None = None
        self._gave_up = False
        self._is_due = False
        self._claimed: deque[DueDelivery] = deque()
        self._in_work: set[int] = set()  # due by the catalogue until they are marked
        self._under_way = 0
        self._changed = anyio.Event()
        self.attempts = Counter({"delivered": 0, "refused": 0})
        """How many there were, by what came of them."""

    @property
    def is_troubled(self) -> bool:
        """Whether the endpoint takes nothing at the moment: it does not answer, or is disabled."""
        return self._stands and (self._throttle is None or self._throttle.is_away)

    def stands(self, endpoint: Endpoint) -> None:
        """How the endpoint stands by the catalogue; told before the first `wake`, and with each look."""
        self._stands = True
        self._log.stands(endpoint, gave_up=self._gave_up)
        was_enabled_at, self._enabled_at = self._enabled_at, endpoint.enabled_at
        self._answered_at = self._answered_at or endpoint.last_delivered_at
        if endpoint.disabled_at is not None:
            self._gave_up = False  # it is told now
            self._throttle = None  # once it is enabled, it begins anew
            self._put_back()
        elif self._throttle is None or endpoint.enabled_at != was_enabled_at:  # it may have been both between two looks
            self._throttle = Throttle(self._policy.concurrency, endpoint.failing_since)

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
                    self._send(tasks)
                    await self._changed.wait()
        finally:
            await self._outcomes.finish()

    def _room(self) -> int:
        if self._throttle is None:
            return 0
        room = self._throttle.room(at=self._clock(), under_way=self._under_way)
        return min(room, MOST_UNMARKED - self._under_way - len(self._outcomes))

    async def _claim(self) -> None:
        if self._room() <= 0:
            return
        if self._throttle is not None and self._throttle.is_away:
            self._put_back()  # what nobody has tried yet may have been added since
        if self._claimed or not self._is_due:
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

    def _send(self, tasks: TaskGroup) -> None:
        """As much of what is claimed as there is room for."""
        throttle = self._throttle
        while throttle is not None and self._claimed and self._room() > 0:
            delivery = self._take(throttle)
            self._under_way += 1
            tasks.start_soon(self._attempt, delivery, throttle, throttle.rests)

    def _take(self, throttle: Throttle) -> DueDelivery:
        """The next one; of an endpoint that is away any one, best an untried one.

        What it never answers may be one event's fault, and many such would be asked about before any other.
        """
        if throttle.is_away:
            untried = sum(delivery.attempts == 0 for delivery in self._claimed)
            chosen = self._rng.randrange(untried or len(self._claimed))
            self._claimed[0], self._claimed[chosen] = self._claimed[chosen], self._claimed[0]
        return self._claimed.popleft()

    async def _attempt(self, delivery: DueDelivery, throttle: Throttle, rests: int) -> None:
        try:
            error = await self._offer(delivery)
        finally:
            self._under_way -= 1
            self._changed.set()
        # Nothing is awaited from here on: what was answered is known to `Outcomes`, whatever is cancelled.
        self.attempts["delivered" if error is None else "refused"] += 1
        if error is None:
            self._answered_at = self._clock()
            self._log.taken(delivery, at=self._answered_at)
            self._outcomes.add(Outcome(delivery.delivery_id, is_back=throttle.answered(rests=rests)))
        else:
            self._outcomes.add(self._refused(delivery, error, throttle, rests))

    async def _offer(self, delivery: DueDelivery) -> DeliveryError | None:
        try:
            await self.subscriber.receive(delivery.event)
        except DeliveryError as error:
            return as_refusal(error)
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                raise
            # Not the relay's: it got out of the subscriber, and would end this task without a word.
            self._log.raised(delivery, error)
            return as_refusal(error)
        except Exception as error:  # noqa: BLE001 - a plugin's may raise anything, and it is logged
            self._log.raised(delivery, error)
            return as_refusal(error)
        return None

    def _refused(self, delivery: DueDelivery, error: DeliveryError, throttle: Throttle, rests: int) -> Outcome:
        at, is_back = self._clock(), False
        if error.is_down:
            throttle.failed(at=at, rests=rests, retry_after_s=error.retry_after_s)
        elif not error.is_gone:
            self._answered_at = at
            is_back = throttle.answered(rests=rests)
        waits_for_endpoint = error.is_down and not self._fails_alone(delivery)
        wait = next_wait(
            self._policy.retry,
            delivery.attempts,
            retry_after_s=error.retry_after_s,
            rng=self._rng,
            at_most=throttle.longest_wait(at) if waits_for_endpoint else None,
        )
        self._log.refused(delivery, error, at=at, next_attempt_at=at + wait)
        refusal = Refusal(
            delivery.delivery_id,
            at + wait,
            str(error),
            error.status_code,
            error.response,
            attempted_at=at,
            until_back=waits_for_endpoint and not error.retry_after_s,
        )
        return Outcome(delivery.delivery_id, refusal, error.is_gone, is_back, delivery.put_off_for)

    def _fails_alone(self, delivery: DueDelivery) -> bool:
        """Whether other events were answered since it failed before: then it waits as planned, whoever is down."""
        tried_at, answered_at = delivery.tried_at, self._answered_at
        return tried_at is not None and answered_at is not None and tried_at <= answered_at

    async def _mark(self) -> None:
        while True:
            written = await self._outcomes.write()
            self._in_work.difference_update(written.delivery_ids)
            self._is_due |= written.is_more_due
            if written.because is not None:
                self._gave_up = True
                self._throttle = None
                self._put_back()
                self._on_disabled()
            self._changed.set()
