"""Tells events, once, to the subscribers that are not durable: in this process, when they happen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import anyio
import structlog

from damd.events import Event
from damd.subscribers.base import Subscriber
from damd.world import World

_log = structlog.get_logger(__name__)


class Listeners:
    """The subscribers that are not durable; they can be changed while events are told.

    Args:
        subscribers: Already entered, where they are context managers; the durable ones are left to the relay.
    """

    def __init__(self, subscribers: Iterable[Subscriber] = ()) -> None:
        self._listeners = [_Listener(each) for each in subscribers if not each.durable]

    def listen(self, world: World) -> None:
        """Tell them of every event that this World dispatches."""
        world.register_system(self._tell, event_type=Event)

    async def change(self, subscribers: Sequence[Subscriber]) -> None:
        """Tell these from now on; returns when the others are told nothing any more."""
        known = {id(each.subscriber): each for each in self._listeners}
        wanted = [known.get(id(each)) or _Listener(each) for each in subscribers if not each.durable]
        leaving = [each for each in self._listeners if each not in wanted]
        self._listeners = wanted
        for each in leaving:
            await each.until_idle()

    async def _tell(self, event: Event) -> None:
        async with anyio.create_task_group() as tasks:
            for listener in self._listeners:
                listener.under_way += 1  # before its turn comes, since it may be asked for meanwhile
                tasks.start_soon(listener.tell, event)


class _Listener:
    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.under_way = 0
        self._idle = anyio.Event()

    async def tell(self, event: Event) -> None:
        """Whatever a subscriber raises, the others are told."""
        try:
            if self.subscriber.wants(event.event_type):
                await self.subscriber.receive(event)
        except Exception:  # noqa: BLE001 - a plugin's may raise anything, and it is logged
            _log.exception("event handler failed", handler=self.subscriber.name, event_handled=repr(event))
        finally:
            self.under_way -= 1
            self._idle.set()

    async def until_idle(self) -> None:
        while self.under_way:
            self._idle = anyio.Event()
            await self._idle.wait()
