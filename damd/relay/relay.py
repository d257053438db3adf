"""From committed events to the durable subscribers who asked; `damd.relay.listeners` tells the rest.

The promise: at least once; a stable id; no ordering. An event first becomes a delivery for each durable
subscriber that wants it, in a transaction of its own, since whoever made it need not know the subscribers.
Each of them has a courier that claims what is due and sends it, so that a slow one delays nobody else. What is
due, and when it is due again, is in the catalogue: whatever a crash leaves unmarked is sent again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import anyio
import structlog
from anyio.abc import TaskGroup
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
_UNHURRIED_S = 15.0
"""Between two looks while nobody is served: what others commit is then only made ready to be forgotten."""
_TOLERANCE = timedelta(seconds=5)
"""By so much a clock may be set right without anybody noticing."""


class _Waiting(NamedTuple):
    """Whether there are new events, how the endpoints stand, and to whom something is due."""

    is_new: bool
    endpoints: list[Endpoint]
    due: set[str]


class _Served:
    """A courier at work, which can be ended by itself."""

    def __init__(self, courier: Courier) -> None:
        self.courier = courier
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.ended.set()  # it has not begun

    async def run(self) -> None:
        self.ended = anyio.Event()
        try:
            with self.scope:
                await self.courier.run()
        finally:
            self.ended.set()


class Relay:
    """Takes committed events from the catalogue to the durable subscribers, until each has taken them.

    Args:
        catalogue: Where the events are.
        subscribers: Already entered, where they are context managers; those that are not durable are left
            to `damd.relay.listeners`.
        keep: How long events are remembered, once nobody waits for them.
        clock: The present moment, with its time zone; decides what is due.
        poll_interval: How soon what other processes committed, or what is due again, is noticed; each second less costs
            an idle daemon another tenth of a per cent of a processor.
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
        poll_interval: timedelta = timedelta(seconds=2),
        min_interval: timedelta = timedelta(milliseconds=500),
        rng: random.Random | None = None,
    ) -> None:
        self._poll_interval_s = poll_interval.total_seconds()
        self._min_interval_s = min_interval.total_seconds()
        self._ledger = Ledger(catalogue, self._poll_interval_s)
        self._clock = clock
        self._latest: datetime | None = None
        self._woken = anyio.Event()
        self._rng = rng or random.Random()  # noqa: S311 - jitter is no secret
        self._served = {each.name: self._serve(each) for each in subscribers if each.durable}
        self._retention = Retention(self._ledger, keep, clock)
        self._tasks: TaskGroup | None = None

    def listen(self, world: World) -> None:
        """Be woken by this World's events, which its systems dispatch once they are committed."""

        async def wake(_event: Event) -> None:  # a plain function would run in a thread
            self.wake()

        world.register_system(wake, event_type=Event)

    def wake(self) -> None:
        """Look at once; called on the event loop after a commit, so that one's own events need not be polled for."""
        self._woken.set()

    @property
    def attempts(self) -> dict[str, Counter[str]]:
        """How many attempts there were since the start, by endpoint, and by what came of them."""
        return {name: served.courier.attempts for name, served in self._served.items()}

    @property
    def troubled(self) -> list[str]:
        """The endpoints that take nothing at the moment, by their names."""
        return [name for name, served in self._served.items() if served.courier.is_troubled]

    async def run(self) -> None:
        """Deliver until cancelled; an attempt that is then under way is made again by whoever runs next."""
        await self._ledger.write_until_done(self._attach)
        async with anyio.create_task_group() as self._tasks:
            for served in self._served.values():
                self._tasks.start_soon(served.run)
            self._tasks.start_soon(self._retention.run)
            while True:
                self._woken = anyio.Event()
                with suppress(CatalogueUnavailableError):
                    await self._look()
                await self._rest()

    async def _rest(self) -> None:
        """Until it is woken, but not before the least time is over; else until it is time for a look."""
        rested_at = anyio.current_time() + self._min_interval_s
        poll_interval_s = self._poll_interval_s if self._served else max(self._poll_interval_s, _UNHURRIED_S)
        # One wait where nothing happens, which is most of the time: an idle daemon should cost nothing.
        with anyio.move_on_after(self._min_interval_s + poll_interval_s):
            await self._woken.wait()
            await anyio.sleep_until(rested_at)

    async def change(self, subscribers: Sequence[Subscriber], *, keep: timedelta) -> None:
        """Serve these from now on, while it runs; those that are the same objects are served on undisturbed.

        Returns when the others have been told the last; an attempt that was under way is made again by whoever serves
        the endpoint next. The catalogue has been told of `subscriptions_of` them.
        """
        wanted = {subscriber.name: subscriber for subscriber in subscribers if subscriber.durable}
        self._retention.keep = keep
        before, stays = self._served, {}
        for name, served in before.items():
            if wanted.get(name) is served.courier.subscriber:
                stays[name] = served
            else:
                served.scope.cancel()
        for name in before.keys() - stays.keys():
            await before[name].ended.wait()
        arriving = {name: self._serve(each) for name, each in wanted.items() if name not in stays}
        self._served = stays | arriving
        if self._tasks is not None:  # else they begin with the rest
            for served in arriving.values():
                self._tasks.start_soon(served.run)
        self.wake()

    def _serve(self, subscriber: Subscriber) -> _Served:
        courier = Courier(subscriber, self._ledger, self._clock, self._rng, on_disabled=self.wake)
        return _Served(courier)

    def _attach(self, session: Session) -> None:
        # Asked when it is written, since they may have changed while the catalogue took nothing.
        served = [each.courier.subscriber for each in self._served.values()]
        attach(session, subscriptions_of(served), at=self._clock(), sole=True)

    async def _look(self) -> None:
        await self._mind_clock()
        self._retention.wake()
        waiting = await self._ledger.read(partial(self._waiting, at=self._clock()))
        for endpoint in waiting.endpoints:
            if endpoint.name in self._served:  # it may have been left meanwhile
                self._served[endpoint.name].courier.stands(endpoint)
        for name in waiting.due & self._served.keys():
            self._served[name].courier.wake()
        change = partial(fan_out, at=self._clock(), limit=_FANNED_OUT_TOGETHER)
        is_new = waiting.is_new
        while is_new:
            is_new = await self._ledger.write(change) == _FANNED_OUT_TOGETHER
            for each in self._served.values():
                each.courier.wake()

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
        served = self._served.keys()
        endpoints = [each for each in known_endpoints(session) if each.name in served]
        due = endpoints_with_due(session, at=at) & served
        return _Waiting(awaits_fan_out(session), endpoints, due)


def subscriptions_of(subscribers: Iterable[Subscriber]) -> dict[str, Subscription]:
    """What each of these asks for that is durable, by its name.

    Raises:
        ConfigurationError: One cannot be asked.
    """
    return {subscriber.name: _subscription(subscriber) for subscriber in subscribers if subscriber.durable}


def _subscription(subscriber: Subscriber) -> Subscription:
    try:
        wanted = tuple(event_type for event_type in EVENTS if subscriber.wants(event_type))
    except Exception as error:
        what = f"wants() of {subscriber.name} failed ({type(error).__name__})"
        raise ConfigurationError(
            [f"subscribers: {what}: mend the plugin that brings the kind {subscriber.kind}"]
        ) from error
    return Subscription(subscriber.kind, None if len(wanted) == len(EVENTS) else wanted)
