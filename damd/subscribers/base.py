"""What a subscriber is.

A subscriber is a sink for events. Its class names its kind and its settings, and is handed those
settings; a durable one is fed from the outbox until it has taken each event, any other is told once,
in the process that made the event.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, ClassVar, Protocol

from pydantic import AfterValidator, Field, WithJsonSchema

from damd.events import EVENTS, Event, known_event_types
from damd.settings import Duration, Settings

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


EventTypes = Annotated[
    tuple[str, ...],
    AfterValidator(known_event_types),
    WithJsonSchema({"type": "array", "items": {"enum": list(EVENTS)}}),
]
"""A subscriber's choice among damd's events; all of them when empty."""


@dataclass(frozen=True, kw_only=True)
class DeliveryPolicy:
    """How patiently a durable subscriber is served.

    Attributes:
        retry: The waits between attempts, at least one; the last one repeats.
        concurrency: How many events it is handed at a time.
        disable_after: For how long it may do nothing but fail; None: as long as it likes.
    """

    retry: tuple[timedelta, ...] = DEFAULT_RETRY
    concurrency: int = 8
    disable_after: timedelta | None = timedelta(days=5)


class SubscriberSettings(Settings):
    """What the entries of all subscribers are."""

    def lacking(self) -> Iterator[tuple[str, str]]:
        """What the system lacks for it to work: what it is about, and the rest of the sentence; blocking."""
        yield from ()


class DurableSettings(SubscriberSettings):
    """What the entries of all durable subscribers may say; ``disable_after`` is Svix's."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._][A-Za-z0-9._-]*$")]
    """What deliveries, logs and metrics call it: letters, digits, '.', '_' and '-'. What it is still owed is known by
    this name, so choose it once."""
    events: EventTypes = ("file.imported",)
    """By default imports alone. The others: file.duplicate, file.near_duplicate, file.changed, file.moved,
    file.missing, file.failed, root.held; [] means all."""
    retry: Annotated[tuple[Annotated[Duration, Field(gt=timedelta(0))], ...], Field(min_length=1)] = DEFAULT_RETRY
    """The waits between attempts; the last one repeats."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    """How many messages are under way at a time: 1 to 64."""
    disable_after: Annotated[Duration, Field(gt=timedelta(0))] | None = timedelta(days=5)
    """Disabled after so long a time of nothing but failures; null: never."""

    @property
    def target(self) -> str | None:
        """Where it leads to, for people, without any secret; each kind has its own words."""
        return None

    @property
    def policy(self) -> DeliveryPolicy:
        """How patiently it is served."""
        return DeliveryPolicy(retry=self.retry, concurrency=self.concurrency, disable_after=self.disable_after)


@dataclass(frozen=True, kw_only=True)
class TrialEvent(Event):
    """Nothing happened: somebody tries whether a subscriber takes what it is told. None of `damd.events.EVENTS`.

    Attributes:
        message: What this is, for whoever finds it at the receiver's.
    """

    event_type: ClassVar[str] = "webhook.test"

    event_id: str = field(default_factory=lambda: f"evt_test_{uuid.uuid4().hex}")
    message: str = "A test message, sent by `damd webhooks test`: nothing happened"


class Subscriber(Protocol):
    """A sink of events.

    A durable one may have a further attribute ``policy``, its `DeliveryPolicy`. One that holds connections or files
    is an async context manager, entered before the first event and left after the last one. One that reads what lies
    outside of the configuration, such as a secret's file, may have ``async def renew(self)``, which reads it again: it
    is called at each reload that leaves the subscriber's own entry as it is.

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


class DurableSubscriber:
    """What durable subscribers are made of: their settings say their name, their types and their policy."""

    durable: ClassVar[bool] = True

    _settings: DurableSettings

    def __init__(self, settings: DurableSettings) -> None:
        self._settings = settings

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    @property
    def name(self) -> str:
        """As the configuration calls it."""
        return self._settings.name

    @property
    def policy(self) -> DeliveryPolicy:
        """How patiently it is served."""
        return self._settings.policy

    def wants(self, event_type: str) -> bool:
        """Whether it asked for this type."""
        return not self._settings.events or event_type in self._settings.events


def policy_of(subscriber: Subscriber) -> DeliveryPolicy:
    """A durable subscriber's own policy, or the default."""
    policy: DeliveryPolicy = getattr(subscriber, "policy", DeliveryPolicy())
    return policy
