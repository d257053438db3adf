"""What the relay's tests play with: a catalogue that can be waited for, a clock that is set, subscribers in memory."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import anyio
import anyio.lowlevel
from sqlalchemy import Engine
from sqlmodel import Session, col, func, select
from subscribers.receiver import imported, webhook_settings

from damd.catalogue.endpoints import attach
from damd.catalogue.outbox import store_event
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Delivery, Endpoint
from damd.errors import DeliveryError
from damd.events import Event, Subscription
from damd.relay.relay import Relay
from damd.settings import Settings
from damd.subscribers.base import DeliveryPolicy, Subscriber
from damd.subscribers.webhook import WebhookSubscriber

PATIENCE_S = 20
_STEPS = 50
"""Of the event loop: more than lie between one question to the catalogue and the next."""

Result = TypeVar("Result")


class WatchedCatalogue(Catalogue):
    """A catalogue that can be waited for."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._touched = anyio.Event()
        self.asked = 0
        self.looked = 0
        self._busy = 0

    async def write(self, change: Callable[[Session], Result]) -> Result:
        self.asked += 1
        self._busy += 1
        self._touch()
        try:
            return await super().write(change)
        finally:
            self._busy -= 1
            self._touch()

    async def read(self, query: Callable[[Session], Result]) -> Result:
        self.looked += 1
        self._busy += 1
        try:
            return await super().read(query)
        finally:
            self._busy -= 1
            self._touch()

    def _touch(self) -> None:
        self._touched.set()
        self._touched = anyio.Event()

    async def until(self, is_so: Callable[[Sequence[Delivery]], bool]) -> None:
        """Wait for a state of the deliveries."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                touched = self._touched
                if is_so(await self.deliveries()):
                    return
                await touched.wait()

    async def until_delivered(self, count: int) -> None:
        """As `until`, for many."""
        delivered = select(func.count()).select_from(Delivery).where(col(Delivery.delivered_at).is_not(None))
        with anyio.fail_after(PATIENCE_S):
            while True:
                touched = self._touched
                if await super().read(lambda session: session.exec(delivered).one()) == count:
                    return
                await touched.wait()

    async def until_asked(self, times: int) -> None:
        """Wait until so many writes were asked for, whether or not they are done."""
        with anyio.fail_after(PATIENCE_S):
            while self.asked < times:
                await self._touched.wait()

    async def until_idle(self) -> None:
        """Wait until nobody reads or writes any more, nor is about to."""
        quiet = 0
        with anyio.fail_after(PATIENCE_S):
            while quiet < _STEPS:
                await anyio.lowlevel.checkpoint()
                quiet = 0 if self._busy else quiet + 1
                if self._busy:
                    await self._touched.wait()

    async def deliveries(self) -> Sequence[Delivery]:
        return await super().read(lambda session: session.exec(select(Delivery).order_by("id")).all())

    async def attach(self, *names: str) -> None:
        """As `damd run` left it: these hear of what is stored from now on."""
        kinds = dict.fromkeys(names, Subscription("spool"))
        await super().write(lambda session: attach(session, kinds, at=datetime.now(UTC)))

    async def endpoint(self, name: str = "spool") -> Endpoint:
        return await super().read(lambda session: session.exec(select(Endpoint).where(Endpoint.name == name)).one())

    async def store(self, *events: Event) -> None:
        def change(session: Session) -> None:
            for each in events:
                store_event(session, each)

        await super().write(change)


class Clock:
    """The present moment, which goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


class SpoolSettings(Settings):
    pass


class Spool:
    """A durable subscriber in memory: answers with one of `errors` after the other, then with `usual`, or takes."""

    kind: ClassVar[str] = "spool"
    settings_type: ClassVar[type[Settings]] = SpoolSettings
    durable: ClassVar[bool] = True

    def __init__(self, name: str = "spool", errors: Sequence[Exception] = (), **policy: Any) -> None:
        self._name = name
        self.policy = DeliveryPolicy(**policy)
        self.errors = list(errors)
        self.usual: Exception | None = None
        self.offered: list[Event] = []
        self.taken: list[Event] = []

    @property
    def name(self) -> str:
        return self._name

    def wants(self, event_type: str) -> bool:
        return True

    async def receive(self, event: Event) -> None:
        self.offered.append(event)
        await anyio.lowlevel.checkpoint()
        error = self.errors.pop(0) if self.errors else self.usual
        if error is not None:
            raise error
        self.taken.append(event)

    @property
    def taken_ids(self) -> Counter[str]:
        return Counter(each.event_id for each in self.taken)


def down(reason: str = "nobody answers", **others: Any) -> DeliveryError:
    return DeliveryError(reason, is_down=True, **others)


@asynccontextmanager
async def running(catalogue: Catalogue, *subscribers: Subscriber, **options: Any) -> AsyncIterator[Relay]:
    """A relay at work, which polls so seldom that a test has to wake it unless it says otherwise."""
    usual = {"poll_interval": timedelta(hours=1), "min_interval": timedelta(0)}
    relay = Relay(catalogue, subscribers, **usual | options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay.run)
        yield relay
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def posting(
    catalogue: Catalogue, folder: Path, url: str, *, clock: Clock, **settings: Any
) -> AsyncIterator[Relay]:
    """A relay with one webhook; each of its attempts is one second after the one before."""
    ticks = Clock()

    def next_second() -> datetime:
        ticks.advance(timedelta(seconds=1))
        return ticks.now

    async with (
        WebhookSubscriber(webhook_settings(folder, url, **settings), clock=next_second) as webhook,
        running(catalogue, webhook, clock=clock) as relay,
    ):
        yield relay


def all_delivered(count: int) -> Callable[[Sequence[Delivery]], bool]:
    return lambda deliveries: sum(each.delivered_at is not None for each in deliveries) == count


def all_refused(count: int, attempts: int = 1) -> Callable[[Sequence[Delivery]], bool]:
    return lambda deliveries: sum(each.attempts >= attempts for each in deliveries) == count


def many(count: int, first: int = 1) -> list[Event]:
    return [imported(number) for number in range(first, first + count)]
