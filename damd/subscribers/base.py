"""What a subscriber is.

A subscriber is a sink for events. Its class names its kind and its settings, and is handed those
settings; a durable one is fed from the outbox until it has taken each event, any other is told once,
in the process that made the event.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Protocol

from pydantic import AfterValidator

from damd.events import Event, known_event_types
from damd.settings import Settings

DEFAULT_RETRY = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
"""The waits between the attempts of a durable subscriber that has no ``retry`` of its own; Svix's schedule."""


EventTypes = Annotated[tuple[str, ...], AfterValidator(known_event_types)]
"""A subscriber's choice among damd's events; all of them when empty."""


class Subscriber(Protocol):
    """A sink of events.

    A durable one may have a further attribute ``retry``, a tuple of timedeltas: the waits between attempts,
    of which the last one repeats. One that holds connections is an async context manager, entered before
    the first event and left after the last one.

    Attributes:
        kind: The word in the configuration.
        settings_type: What the rest of its entry in the configuration is made of.
        durable: Whether events are kept for it until it has taken them.
        name: What deliveries, logs and metrics call it; unique among the durable ones.
    """

    kind: ClassVar[str]
    settings_type: ClassVar[type[Settings]]
    durable: ClassVar[bool]

    @property
    def name(self) -> str:
        """What deliveries, logs and metrics call it."""
        ...

    def wants(self, event_type: str) -> bool:
        """Whether it asked for this type, such as ``file.imported``."""
        ...

    async def receive(self, event: Event) -> None:
        """Take the event, within a time that is bounded; a durable one may be told the same event again.

        Raises:
            DeliveryError: It was not taken; a durable subscriber is offered it again later.
        """
        ...


def retry_schedule(subscriber: Subscriber) -> tuple[timedelta, ...]:
    """The waits between attempts, at least one: the subscriber's own ``retry``, or the default."""
    return tuple(getattr(subscriber, "retry", ())) or DEFAULT_RETRY
