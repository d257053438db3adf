"""From committed events to those who asked: the relay's durable deliveries, and `listen` for the rest.

The promise: at least once; a stable id; no ordering. An event first becomes a delivery for each durable
subscriber that wants it, in a transaction of its own, since whoever made it need not know the subscribers.
Each of them has a courier that claims what is due and sends it, so that a slow one delays nobody else. What is
due, and when it is due again, is in the catalogue: whatever a crash leaves unmarked is sent again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import anyio
import structlog
from sqlmodel import Session

from damd.catalogue.deliveries import bring_forward, endpoints_with_due
from damd.catalogue.endpoints import attach, known_endpoints
from damd.catalogue.outbox import awaits_fan_out, fan_out
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Endpoint
from damd.errors import CatalogueUnavailableError, ConfigurationError
from damd.events import EVENTS, Event, Subscription
from damd.relay.courier import Courier
from damd.relay.ledger import Ledger
from damd.relay.retention import Retention
from damd.relay.settings import KEEP
from damd.subscribers.base import Subscriber
from damd.world import World

_log = structlog.get_logger(__name__)

_FANNED_OUT_TOGETHER = 500
_TOLERANCE = timedelta(seconds=5)
"""By so much a clock may be set right without anybody noticing."""


class _Waiting(NamedTuple):
    """Whether there are new events, how the endpoints stand, and to whom something is due."""

    is_new: bool
    endpoints: list[Endpoint]
    due: set[str]


class Relay:
    """Takes committed events from the catalogue to the durable subscribers, until each has taken them.

    Args:
        catalogue: Where the events are.
        subscribers: Already entered, where they are context managers; those that are not durable are left
            to `listen`.
        keep: How long events are remembered, once nobody waits for them.
        clock: The present moment, with its time zone; decides what is due.
        poll_interval: How soon what other processes committed, or what is due again, is noticed.
        min_interval: The least time between two looks: what a busy import commits within it is fetched together, since
            for one event alone a look costs a good part of what its import did.
        rng: Where the jitter of the waits comes from.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        subscribers: Sequence[Subscriber],
        *,
        keep: timedelta = KEEP,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        poll_interval: timedelta = timedelta(seconds=1),
        min_interval: timedelta = timedelta(milliseconds=500),
        rng: random.Random | None = None,
    ) -> None:
        self._poll_interval_s = poll_interval.total_seconds()
        self._min_interval_s = min_interval.total_seconds()
        self._ledger = Ledger(catalogue, self._poll_interval_s)
        self._clock = clock
        self._latest: datetime | None = None
        self._woken = anyio.Event()
        rng = rng or random.Random()  # noqa: S311 - jitter is no secret
        self._couriers = {
            subscriber.name: Courier(subscriber, self._ledger, clock, rng, on_disabled=self.wake)
            for subscriber in subscribers
            if subscriber.durable
        }
        self._retention = Retention(self._ledger, keep, clock)

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
        subscriptions = {name: _subscription(courier.subscriber) for name, courier in self._couriers.items()}
        await self._ledger.write_until_done(partial(attach, subscriptions=subscriptions, at=self._clock(), sole=True))
        async with anyio.create_task_group() as tasks:
            for courier in self._couriers.values():
                tasks.start_soon(courier.run)
            tasks.start_soon(self._retention.run)
            while True:
                self._woken = anyio.Event()
                with suppress(CatalogueUnavailableError):
                    await self._look()
                await anyio.sleep(self._min_interval_s)
                with anyio.move_on_after(self._poll_interval_s):
                    await self._woken.wait()

    async def _look(self) -> None:
        await self._mind_clock()
        self._retention.wake()
        waiting = await self._ledger.read(partial(self._waiting, at=self._clock()))
        for endpoint in waiting.endpoints:
            self._couriers[endpoint.name].stands(endpoint)
        for name in waiting.due:
            self._couriers[name].wake()
        change = partial(fan_out, at=self._clock(), limit=_FANNED_OUT_TOGETHER)
        is_new = waiting.is_new
        while is_new:
            is_new = await self._ledger.write(change) == _FANNED_OUT_TOGETHER
            for courier in self._couriers.values():
                courier.wake()

    async def _mind_clock(self) -> None:
        """At the start, and when the clock went back: what was put off by the later time would wait for it again."""
        at = self._clock()
        if self._latest is None or at < self._latest - _TOLERANCE:
            count = await self._ledger.write(partial(bring_forward, at=at))
            if count:
                _log.warning("the clock went back: deliveries that waited for the later time are due", count=count)
            self._latest = at
        self._latest = max(self._latest, at)

    def _waiting(self, session: Session, at: datetime) -> _Waiting:
        endpoints = [each for each in known_endpoints(session) if each.name in self._couriers]
        due = endpoints_with_due(session, at=at) & self._couriers.keys()
        return _Waiting(awaits_fan_out(session), endpoints, due)


def _subscription(subscriber: Subscriber) -> Subscription:
    try:
        wanted = tuple(event_type for event_type in EVENTS if subscriber.wants(event_type))
    except Exception as error:
        what = f"wants() of {subscriber.name} failed ({type(error).__name__})"
        raise ConfigurationError(
            [f"subscribers: {what}: mend the plugin that brings the kind {subscriber.kind}"]
        ) from error
    return Subscription(subscriber.kind, None if len(wanted) == len(EVENTS) else wanted)


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
